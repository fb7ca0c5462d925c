"""
`rtcodec publish URL INPUT`: send a file, a camera or a pattern to a relay.

Talks on stderr, one line a second; `--json` prints one object at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path

from rtcodec.errors import ConfigError
from rtcodec.media.video_encoder import CODECS
from rtcodec_client.connection import RelayConnection
from rtcodec_client.event_log import EventWriter
from rtcodec_client.publish import Publisher, PublishOptions, PublishStats
from rtcodec_client.shell import add_connection_arguments, run_async, say, token_of
from rtcodec_client.signalling import SignallingClient, check_url
from rtcodec_client.source import Source, SourceOptions, open_source, parse_size

_PROGRESS_INTERVAL_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec publish`."""
    parser.add_argument("url", metavar="URL", help="WHIP endpoint, http://host:8080/whip/room")
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="a video file, a DICOM cine, camera, camera:DEVICE, or pattern:[WxH][@FPS]",
    )
    parser.add_argument("--codec", choices=CODECS, default="vp8", help="of the first hop")
    parser.add_argument("--bitrate", type=float, metavar="KBPS", help="most the first hop may use")
    parser.add_argument("--fps", type=float, help="play at this rate, whatever the file says")
    parser.add_argument("--size", metavar="WxH", help="scale to this size")
    parser.add_argument("--seconds", type=float, help="stop after this much of the input")
    parser.add_argument("--loop", action="store_true", help="start a file over at its end")
    parser.add_argument(
        "--allow-burned-in",
        action="store_true",
        help="take DICOM that may have a name in its samples",
    )
    parser.add_argument("--barcode", action="store_true", help="draw a frame counter in a corner")
    parser.add_argument("--threads", type=int, default=1, help="of the video encoder")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    add_connection_arguments(parser)
    measure = parser.add_argument_group("measuring on one machine")
    measure.add_argument(
        "--tap", type=Path, metavar="DIR", help="leave every frame sent in DIR/source.tap"
    )
    measure.add_argument(
        "--events", type=Path, metavar="FILE", help="append progress to FILE as JSON lines"
    )
    measure.add_argument(
        "--preload", action="store_true", help="decode up to 160 MB before the first frame"
    )
    measure.add_argument(
        "--hold",
        action="store_true",
        help="stay after the last frame (or SIGINT), until SIGTERM",
    )


def run(args: argparse.Namespace) -> int:
    """Publish until the input ends or a signal comes."""
    url = check_url(args.url, kind="whip")
    if args.bitrate is not None and not 1 <= args.bitrate <= 1_000_000:
        raise ConfigError(f"{args.bitrate:g} kb/s is outside 1..1000000")
    if not 1 <= args.threads <= 64:
        raise ConfigError(f"{args.threads} threads is outside 1..64")
    source = open_source(
        args.input,
        SourceOptions(
            frame_rate=args.fps,
            size=parse_size(args.size) if args.size else None,
            seconds=args.seconds,
            loop=args.loop,
            allow_burned_in=args.allow_burned_in,
        ),
    )
    options = PublishOptions(
        codec=args.codec,
        bitrate_bps=round(args.bitrate * 1000) if args.bitrate else None,
        threads=args.threads,
        barcode=args.barcode,
        is_preloading=args.preload,
        is_holding=args.hold,
        tap_directory=args.tap,
        stun_url=args.stun,
    )
    with EventWriter(args.events) as events:
        stats = run_async(lambda stop: _publish(url, token_of(args), source, options, events, stop))
        events.write("ended", **summary(stats, args.codec))
    if args.json:
        print(json.dumps(summary(stats, args.codec)))
    return 0


def summary(stats: PublishStats, codec: str) -> dict[str, object]:
    """What `--json` prints: rates in kb/s, durations in seconds."""
    return {
        "frames": {"published": stats.frames, "skipped": stats.skipped},
        "seconds": round(stats.elapsed_us / 1e6, 3),
        "fps": round(stats.fps, 2),
        "kbps": round(stats.kbps, 1),
        "codec": codec,
        "width": stats.width,
        "height": stats.height,
        "pli": stats.pli_count,
        "nack": stats.nack_count,
    }


async def _publish(
    url: str,
    token: str | None,
    source: Source,
    options: PublishOptions,
    events: EventWriter,
    stop: asyncio.Event,
) -> PublishStats:
    async with SignallingClient(url, token=token) as client:
        connection = RelayConnection(client, stun_url=options.stun_url, on_wait=say)
        publisher = Publisher(
            connection,
            source,
            options,
            on_connected=lambda: _on_connected(url, source, events),
            on_ended=lambda stats: events.write("finished", **summary(stats, options.codec)),
            stop=stop,
        )
        if options.is_holding:  # SIGINT ends the input, SIGTERM the session
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, publisher.finish.set)
        progress = asyncio.ensure_future(_show_progress(lambda: publisher.stats, options, events))
        try:
            stats = await publisher.run()
        finally:
            progress.cancel()
            await connection.peer.close()
    say(f"published {stats.frames} frames at {stats.fps:.1f} fps, {stats.kbps:.0f} kb/s")
    return stats


def _on_connected(url: str, source: Source, events: EventWriter) -> None:
    events.write("connected")
    say(f"publishing {source.name} to {url}")


async def _show_progress(
    stats_now: Callable[[], PublishStats], options: PublishOptions, events: EventWriter
) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_INTERVAL_S)
        stats = stats_now()
        if stats.frames:
            events.write("progress", **summary(stats, options.codec))
            say(f"{stats.frames} frames, {stats.fps:.1f} fps, {stats.kbps:.0f} kb/s")
