"""
`rtcodec watch URL`: subscribe to a room, decode it, show, save or measure it.

Talks on stderr, one line a second; `--json` prints one object at the end, also
when the relay went away in the middle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.calm import calm_interpreter
from rtcodec.codec.perceptual_head import HEADS, PSNR, open_head
from rtcodec.engine.api import Engine
from rtcodec.engine.loader import ENGINE_NAMES, open_engine
from rtcodec.engine.null import NullEngine
from rtcodec.errors import ConfigError, RemoteProtocolError, RtcodecError
from rtcodec.types import Planes
from rtcodec_client.connection import BUSY_PATIENCE_S, RelayConnection, Session, wait_set
from rtcodec_client.contact_sheet import SheetText, Timeline, write_contact_sheet
from rtcodec_client.event_log import EventWriter
from rtcodec_client.frame_record import WatchFigures
from rtcodec_client.machine import hardware, versions
from rtcodec_client.output import OutputThread, check_output, open_output
from rtcodec_client.room_status import RoomStatus, fetch_room
from rtcodec_client.shell import add_connection_arguments, run_async, say, token_of
from rtcodec_client.signalling import SignallingClient, check_url, room_of
from rtcodec_client.source import parse_size
from rtcodec_client.study_command import is_study, watch_studies
from rtcodec_client.watch import Watcher, WatchOptions
from rtcodec_client.window import Window, check_display

DEFAULT_MODEL = "s128"
NULL = "null"
"An engine without a network, for tests: fast, and pictures of coarse blocks."

_PROGRESS_INTERVAL_S = 1.0
_READY_POLL_S = 0.3
_SHEET_ROWS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec watch`."""
    parser.add_argument(
        "url",
        metavar="URL",
        help="WHEP endpoint, http://host:8080/whep/room, or studies, http://host:8080/study/room",
    )
    parser.add_argument(
        "--output",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="save as .rtc (the bitstream), .y4m .mkv (exact), .mp4 or .png; may be repeated; of "
        "studies: an existing folder, for DICOM or .npy",
    )
    parser.add_argument(
        "--spool",
        action="store_true",
        help="encode the saved video after the stream, not during it",
    )
    parser.add_argument("--show", action="store_true", help="show the pictures in a window")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--seconds", type=float, help="stop this long after the first picture")
    parser.add_argument("--frames", type=int, help="stop after this many pictures")
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS", help="give up if no picture comes within this"
    )
    parser.add_argument(
        "--rung",
        type=int,
        choices=range(3),
        help="get this coding of the stream, 0 the finest; by default the relay chooses",
    )
    parser.add_argument(
        "--half-rate", action="store_true", help="get every other frame, from a relay with rungs"
    )
    parser.add_argument(
        "--head",
        choices=HEADS,
        default=PSNR,
        help="what pictures aim at: the least error, or structure that eyes look for; figures and "
        "contact sheet are of the former",
    )
    parser.add_argument("--model", help="what the relay sends; by default it is asked")
    engines = (*ENGINE_NAMES, NULL)
    parser.add_argument("--engine", choices=engines, default="auto", help="what decodes")
    parser.add_argument(
        "--warm", metavar="WxH", help="get ready for this size before the first picture comes"
    )
    parser.add_argument("--threads", type=int, default=1, help="of the engine")
    add_connection_arguments(parser)
    measure = parser.add_argument_group("measuring on one machine")
    measure.add_argument(
        "--tap", type=Path, metavar="DIR", help="compare with the frames that the relay tapped"
    )
    measure.add_argument(
        "--source-tap", type=Path, metavar="DIR", help="and with those that the publisher tapped"
    )
    measure.add_argument(
        "--barcode", action="store_true", help="check the counter that publish --barcode draws"
    )
    measure.add_argument(
        "--contact-sheet", type=Path, metavar="PNG", help="draw source beside decoded frames"
    )
    measure.add_argument(
        "--events", type=Path, metavar="FILE", help="append progress to FILE as JSON lines"
    )


def run(args: argparse.Namespace) -> int:
    """Watch until told to stop, or until the stream ends."""
    if is_study(args.url):
        return watch_studies(args)
    url = _layer_url(check_url(args.url, kind="whep"), args)
    _check(args)
    with EventWriter(args.events) as events:
        command = _WatchCommand(url, args, events)
        failure: RtcodecError | None = None
        try:
            run_async(command.run)
        except RtcodecError as error:
            if command.watcher is None or not command.watcher.figures.decoded:
                raise
            failure = error  # what was measured until then is still of use
        report = command.report()
        events.write("report", **report)
        if args.json:
            print(json.dumps(report))
        if args.contact_sheet is not None:
            command.draw_sheet(args.contact_sheet)
        if failure is not None:
            raise failure
    return 0


def _layer_url(url: str, args: argparse.Namespace) -> str:
    """Add to an endpoint's URL which layer is wanted."""
    wanted = {"rung": args.rung, "temporal": 0 if args.half_rate else None}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, query)))))


def _check(args: argparse.Namespace) -> None:
    for name in ("seconds", "frames", "wait"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise ConfigError(f"--{name} {value:g} is not above 0")
    if not 1 <= args.threads <= 64:
        raise ConfigError(f"{args.threads} threads is outside 1..64")
    if args.warm is not None:
        parse_size(args.warm)
    for path in args.output:
        check_output(path)
    if args.tap is None and (args.contact_sheet is not None or args.source_tap is not None):
        raise ConfigError("--contact-sheet and --source-tap need --tap to find frames with")
    if args.show:
        check_display()


class _WatchCommand:
    """One run of the command: what it opened and what it found."""

    def __init__(self, url: str, args: argparse.Namespace, events: EventWriter) -> None:
        self.watcher: Watcher | None = None
        self._url = url
        self._args = args
        self._events = events
        self._room = room_of(url)
        self._status: RoomStatus | None = None
        self._engine: Engine | None = None
        self._room_size: tuple[int, int] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, watch, and finish every file."""
        args = self._args
        with ExitStack() as stack:
            async with SignallingClient(self._url, token=token_of(args)) as client:
                name = await self._choose_model(client, stop)
                engine, bundle = await asyncio.to_thread(
                    load_engine, args.engine, name, threads=args.threads
                )
                stack.callback(engine.close)
                self._engine = engine
                outputs = OutputThread(
                    [open_output(p, bundle.model_id, spool=args.spool) for p in args.output]
                )
                stack.callback(outputs.close)
                connection = RelayConnection(
                    client, stun_url=args.stun, models=[bundle.model_id.hex()], on_wait=say
                )
                self.watcher = Watcher(
                    connection,
                    engine,
                    bundle,
                    self._options(),
                    outputs=outputs,
                    show=self._open_window(stack, stop),
                    head=open_head(args.head),
                )
                await self._watch(client, connection, stop)

    async def _watch(
        self, client: SignallingClient, connection: RelayConnection, stop: asyncio.Event
    ) -> None:
        assert self.watcher is not None
        progress = asyncio.ensure_future(_show_progress(self.watcher.figures, self._events))
        try:
            await self.watcher.run(
                stop,
                on_connected=self._on_connected,
                before_leaving=lambda session: self._ask_relay(client, session),
            )
        finally:
            progress.cancel()
            await connection.peer.close()

    def report(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        assert self.watcher is not None
        assert self._engine is not None
        figures, info = self.watcher.figures, self._engine.info
        status = self._status or RoomStatus()
        sent = status.sent
        if sent is not None:  # what was under way when we left
            figures.lose("unfinished", sent - figures.decoded - figures.n_lost)
        return {
            "frames": {
                "received": status.received,
                "encoded": status.encoded,
                "dropped": status.n_dropped if status.received is not None else None,
                "dropped_by_reason": status.dropped,
                "in_flight": status.in_flight,
                "sent": sent if sent is not None else figures.decoded + figures.n_lost,
                "decoded": figures.decoded,
                "lost": figures.n_lost,
                "lost_by_reason": dict(figures.lost),
                "damaged": figures.damaged,
            },
            **figures.report(),
            **self._barcodes(),
            "rungs": {str(rung): n for rung, n in sorted(self.watcher.measured.rungs.items())},
            "bytes_received": self.watcher.bytes_received,
            "bytes_sent": status.bytes_sent,
            "relay_latency_ms": status.latency_ms,
            "relay_psnr_db": status.psnr_db,
            "model": info.model,
            "model_id": info.model_id.hex(),
            "engine": info.name,
            "hardware": hardware(info),
            "versions": versions(info),
        }

    def _barcodes(self) -> dict[str, Any]:
        if not self._args.barcode or self.watcher is None:
            return {}
        measured = self.watcher.measured
        return {
            "barcodes": {"checked": measured.barcodes_checked, "wrong": measured.barcodes_wrong}
        }

    def draw_sheet(self, path: Path) -> None:
        """Draw the contact sheet, if there was anything to compare."""
        assert self.watcher is not None
        samples = self.watcher.measured.samples.pick()
        if not samples:
            say("no contact sheet: no frame could be compared with its source")
            return
        report = self.report()
        timeline = self.watcher.measured.timeline
        write_contact_sheet(
            path, samples, Timeline(timeline.psnr_db, timeline.size_bytes), sheet_text(report)
        )

    def _options(self) -> WatchOptions:
        args = self._args
        warm = parse_size(args.warm) if args.warm else self._room_size
        return WatchOptions(
            seconds=args.seconds,
            frames=args.frames,
            wait_s=args.wait,
            relay_tap=args.tap / f"{self._room}.tap" if args.tap else None,
            source_tap=args.source_tap / "source.tap" if args.source_tap else None,
            warm=warm,
            barcode=args.barcode,
            samples=_SHEET_ROWS if args.contact_sheet is not None else 0,
        )

    async def _choose_model(self, client: SignallingClient, stop: asyncio.Event) -> str:
        name: str | None = self._args.model
        await client.get_json("/healthz")  # nobody there: say so before a model is loaded
        status = await fetch_room(client, self._room)
        if name is None and status is not None and status.is_ready is False:
            say(f"{self._url}: the relay loads its model; waiting for up to {BUSY_PATIENCE_S:g} s")
            status = await _until_ready(client, self._room, stop)
        if status is not None:
            name = name or status.model
            self._room_size = status.size
        return name or DEFAULT_MODEL

    def _open_window(self, stack: ExitStack, stop: asyncio.Event) -> Callable[[Planes], None]:
        if not self._args.show:
            return lambda _planes: None
        window = Window(f"rtcodec: {self._room}")
        stack.callback(window.close)
        loop = asyncio.get_running_loop()

        def show(planes: Planes) -> None:
            if window.is_open:
                window.show(planes)
            else:
                loop.call_soon_threadsafe(stop.set)

        return show

    def _on_connected(self) -> None:
        self._events.write("connected")
        say(f"watching {self._url}")

    async def _ask_relay(self, client: SignallingClient, session: Session) -> None:
        self._status = await fetch_room(client, self._room, subscriber=session.answer.session_id)


async def _until_ready(
    client: SignallingClient, room: str, stop: asyncio.Event
) -> RoomStatus | None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + BUSY_PATIENCE_S
    while True:
        status = await fetch_room(client, room)
        if status is None or status.is_ready is not False or stop.is_set():
            return status
        if loop.time() > deadline_s:
            raise RemoteProtocolError(
                f"{client.url}: the relay's engine was not ready within {BUSY_PATIENCE_S:g} s"
            )
        await wait_set(stop, _READY_POLL_S)


def load_engine(engine: str, model: str, *, threads: int) -> tuple[Engine, Bundle]:
    """
    Load a model and what runs it.

    Raises:
        ConfigError: If one of them does not exist.
        EngineError: If the engine does not start.
    """
    if engine == NULL:
        null = NullEngine()
        return null, null.bundle
    bundle = find_bundle(model)
    opened = open_engine(engine, bundle, threads=threads)
    calm_interpreter()
    return opened, bundle


def sheet_text(report: dict[str, Any]) -> SheetText:
    """Write title and facts of a contact sheet from a report."""
    frames, psnr = report["frames"], report["psnr_db"]["yuv"]
    source = report["psnr_source_db"]["yuv"]
    title = f"rtcodec {report['model']}: {report['kbps']:,.0f} kb/s at {report['fps']:.1f} frames/s"
    if psnr is not None:
        title += f", PSNR {psnr:.2f} dB"
    machine = report["hardware"]
    total = report["latency_ms"].get("total")
    where = f"{machine['cpu']}, {machine['cores']} cores"
    dropped = frames["dropped"]
    facts = [
        f"model {report['model']} by {report['engine']} ({machine['precision']}) on {where}",
        f"{frames['decoded']} frames decoded, {frames['lost']} lost"
        + (f", {dropped} dropped by the relay" if dropped is not None else ""),
    ]
    if total is not None:
        facts[1] += (
            f"; from the publisher's encoder to the decoded picture {total['p50']:.0f} ms (p50), "
            f"{total['p95']:.0f} ms (p95)"
        )
    facts.append(
        "PSNR in the title: decoded against what the relay received. Below: against the source"
        + (f", {source:.2f} dB in the mean" if source is not None else "")
    )
    return SheetText(title, facts)


async def _show_progress(figures: WatchFigures, events: EventWriter) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_INTERVAL_S)
        live = figures.live()
        events.write("progress", **live)
        if "fps" in live:
            say(progress_line(live))


def progress_line(live: dict[str, Any]) -> str:
    """Say the figures of the last seconds in one line."""
    parts = [f"{live['decoded']} frames", f"{live['fps']:.1f} fps", f"{live['kbps']:.0f} kb/s"]
    if live.get("psnr_db"):
        parts.append(f"{live['psnr_db']['yuv']:.2f} dB")
    total = live["latency_ms"].get("total")
    if total is not None:
        parts.append(f"{total['p50']:.0f} ms")
    if live["lost"]:
        parts.append(f"{live['lost']} lost")
    return ", ".join(parts)
