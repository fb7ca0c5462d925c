"""The arguments of `rtcodec loadtest`, declared and read."""

from __future__ import annotations

import argparse
from pathlib import Path

from rtcodec.console import available_cores
from rtcodec.engine.loader import ENGINE_NAMES
from rtcodec.errors import ConfigError
from rtcodec.media.video_encoder import CODECS, default_bitrate_bps
from rtcodec_client.barcode import HEIGHT_PX, WIDTH_PX
from rtcodec_client.load.feed import FeedSettings
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.plan import LoadSettings
from rtcodec_client.load.requirement import read_requirement
from rtcodec_client.load.step import parse_step
from rtcodec_client.shell import TOKEN_VARIABLE
from rtcodec_client.source import parse_size
from rtcodec_client.watch_command import DEFAULT_MODEL, NULL

_HANDFUL = 8
_CALL_SHARE = 4
"Publishers send a quarter of what `publish` takes by default: what calls use."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec loadtest`."""
    parser.add_argument(
        "url", metavar="URL", nargs="?", help="the relay, http://host:8080; not with --serve"
    )
    load = parser.add_argument_group("load")
    load.add_argument("--publishers", type=int, default=1, metavar="N", help="each in its own room")
    load.add_argument("--subscribers", type=int, default=1, metavar="M", help="of each publisher")
    load.add_argument(
        "--decode",
        default=None,
        metavar="N|all",
        help="how many subscribers decode; the others count access units (default: one for "
        "every two cores)",
    )
    load.add_argument("--duration", type=float, default=30.0, metavar="S", help="of the soak")
    load.add_argument("--ramp", type=float, default=5.0, metavar="S", help="for all to join")
    load.add_argument(
        "--churn", type=float, default=0.0, metavar="RATE", help="joins and leaves per second"
    )
    load.add_argument(
        "--churn-of", choices=("subscribers", "publishers", "both"), default="subscribers",
        help="who comes and goes",
    )  # fmt: skip
    load.add_argument("--size", default="640x360", metavar="WxH", help="of the published scene")
    load.add_argument("--fps", type=float, default=30.0, help="of the published scene")
    load.add_argument("--codec", choices=CODECS, default="vp8", help="of the first hop")
    load.add_argument(
        "--bitrate", type=float, metavar="KBPS", help="of each publisher (default: 518 at 640x360)"
    )
    load.add_argument(
        "--processes", type=int, metavar="N", help="for the peers (default: by the cores)"
    )
    _add_network_arguments(parser.add_argument_group("network between the peers and the relay"))
    _add_relay_arguments(parser.add_argument_group("relay"))
    out = parser.add_argument_group("results")
    out.add_argument(
        "--out", type=Path, metavar="DIR", help="for report.json, timeline.csv, peers.csv, load.png"
    )
    out.add_argument("--json", action="store_true", help="print the report on stdout")
    out.add_argument(
        "--require", action="append", default=[], metavar="WHAT",
        help="such as 'latency.total.p95<=200'; may be repeated; replaces the default ones",
    )  # fmt: skip
    out.add_argument(
        "--generator-check", action=argparse.BooleanOptionalAction, default=True,
        help="call a run inconclusive (exit code 3) whose generator was the limit",
    )  # fmt: skip


def _add_network_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--loss", default="0", metavar="P", help="share such as 0.05, or percent: 5 or 5%%"
    )
    group.add_argument(
        "--jitter",
        type=float,
        default=0.0,
        metavar="MS",
        help="up to so much more delay, at random",
    )
    group.add_argument("--delay", type=float, default=0.0, metavar="MS", help="one way")
    group.add_argument(
        "--rate", metavar="KBPS[,S:KBPS...]", help="most that passes, each way, and after S seconds"
    )
    group.add_argument(
        "--queue", type=float, default=200.0, metavar="MS", help="before --rate; more is dropped"
    )
    group.add_argument(
        "--direction", choices=("both", "up", "down"), default="both", help="up is to the relay"
    )
    group.add_argument(
        "--impair", choices=("all", "publishers", "subscribers"), default="all", help="whose way"
    )
    group.add_argument(
        "--step", action="append", default=[], metavar="S:NAME=VALUE,...",
        help="S seconds after a peer joined its network is another one: loss, delay, jitter, rate, "
        "queue; several",
    )  # fmt: skip
    group.add_argument("--seed", type=int, default=1, help="the same seed, the same losses")


def _add_relay_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--token", help=f"bearer token; taken from {TOKEN_VARIABLE} if not given")
    group.add_argument(
        "--relay-pid", type=int, metavar="PID", help="on this machine; found by its port otherwise"
    )
    group.add_argument("--serve", action="store_true", help="start a relay here for the test")
    group.add_argument(
        "--engine", choices=(*ENGINE_NAMES, NULL), default="auto",
        help="what decodes, and what encodes with --serve",
    )  # fmt: skip
    group.add_argument("--model", metavar="NAME", help=f"with --serve (default {DEFAULT_MODEL})")
    group.add_argument("--qp", type=int, help="with --serve: quantiser, 0 to 63")
    group.add_argument(
        "--psnr", choices=("auto", "all", "off"), default="auto",
        help="with --serve: which frames the relay measures",
    )  # fmt: skip
    group.add_argument(
        "--admission", type=float, default=0.0, metavar="LIMIT",
        help="with --serve: part of what its engine carries that it lets in (default: everybody)",
    )  # fmt: skip
    group.add_argument(
        "--relay-cores", default="", metavar="LIST", help="with --serve: such as 0,1; default all"
    )
    group.add_argument(
        "--peer-cores", default="", metavar="LIST", help="of the peer processes; default all"
    )


def settings_of(args: argparse.Namespace) -> LoadSettings:
    """
    Read the arguments.

    Raises:
        ConfigError: If one makes no sense.
    """
    width, height = parse_size(args.size)
    if width < WIDTH_PX or height < HEIGHT_PX:
        raise ConfigError(f"{args.size} is too small for a {WIDTH_PX}x{HEIGHT_PX} barcode")
    if args.codec == "h264" and (width % 2 or height % 2):
        raise ConfigError(f"h264 carries even sizes only, not {args.size}; use vp8")
    if not 1 <= args.fps <= 120:
        raise ConfigError(f"{args.fps:g} frames per second is outside 1..120")
    if args.bitrate is not None and not 1 <= args.bitrate <= 100_000:
        raise ConfigError(f"{args.bitrate:g} kb/s is outside 1..100000")
    asked_bps = None if args.bitrate is None else round(args.bitrate * 1000)
    default_bps = default_bitrate_bps(width, height, args.fps) // _CALL_SHARE
    rates = [] if args.rate is None else parse_rates(args.rate)
    impairment = Impairment(
        loss=parse_loss(args.loss),
        delay_us=round(args.delay * 1000),
        jitter_us=round(args.jitter * 1000),
        rate_bps=rates[0][1] if rates else None,
        rate_steps=tuple(rates[1:]),
        queue_us=round(args.queue * 1000),
    )
    up = impairment if args.direction != "down" else Impairment()
    down = impairment if args.direction != "up" else Impairment()
    roles = {"publishers": ("publisher",), "subscribers": ("subscriber",)}
    both = ("subscriber", "publisher")
    n_peers = args.publishers * (1 + args.subscribers)
    return LoadSettings(
        publishers=args.publishers,
        subscribers=args.subscribers,
        decode=_parse_decode(args.decode),
        ramp_s=args.ramp,
        duration_s=args.duration,
        churn_per_s=args.churn,
        churn_roles=roles.get(args.churn_of, both),
        feed=FeedSettings(
            width=width, height=height, fps=args.fps, codec=args.codec,
            bitrate_bps=asked_bps or default_bps,
        ),
        up=up,
        down=down,
        steps=tuple(
            parse_step(text, up=up, down=down, direction=args.direction, share=parse_loss)
            for text in args.step
        ),
        impaired_roles=roles.get(args.impair, both),
        seed=args.seed,
        processes=default_processes(n_peers) if args.processes is None else args.processes,
        requirements=tuple(read_requirement(text) for text in args.require),
        out=args.out,
    )  # fmt: skip


def parse_loss(text: str) -> float:
    """
    Read `0.05` (a share), `5` or `5%` (percent).

    Raises:
        ConfigError: If it is something else.
    """
    number = text.removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        raise ConfigError(f"a loss of {text!r} is neither a share nor percent") from None
    share = value if value < 1 and number == text else value / 100
    if not 0 <= share <= 1:
        raise ConfigError(f"a loss of {text} is outside 0..100 %")
    return share


def parse_rates(text: str) -> list[tuple[int, int]]:
    """
    Read `1000,20:300,40:1000`: 1 Mb/s, after 20 s 300 kb/s, after 40 s as before.

    Returns:
        (microseconds, bits per second) of each.

    Raises:
        ConfigError: If it is something else.
    """
    rates = []
    for part in text.split(","):
        seconds, _, kbps = part.rpartition(":")
        try:
            rates.append((round(float(seconds or 0) * 1_000_000), round(float(kbps) * 1000)))
        except (ValueError, OverflowError):
            raise ConfigError(f"a rate of {text!r} is not KBPS[,S:KBPS...]") from None
    return rates


def default_processes(n_peers: int) -> int:
    """Leave a core for the relay; but more than a handful of peers get two, one for publishers."""
    if n_peers <= _HANDFUL:
        return 1
    return max(2, min(available_cores() - 1, -(-n_peers // _HANDFUL), 16))


def _parse_decode(text: str | None) -> int | None:
    if text is None:
        return max(1, available_cores() // 2)
    if text == "all":
        return None
    if not text.isdecimal():
        raise ConfigError(f"--decode {text!r} is neither a number nor all")
    return int(text)


def parse_cores(text: str) -> tuple[int, ...]:
    """
    Read `0,1`; nothing stands for no choice.

    Raises:
        ConfigError: If it is something else.
    """
    if not text:
        return ()
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"{text!r} is not a list of cores such as 0,1")
    return tuple(int(part) for part in parts)
