"""
`rtcodec loadtest URL`: many synthetic publishers and subscribers at one relay, measured.

Talks on stderr; `--json` prints the report on stdout. Ends with 0 where every
requirement is met, 1 where one is not, 2 for wrong usage, and 3 where the test
itself failed or its generator, not the relay, was the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import socket
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rtcodec.bundle import find_bundle
from rtcodec.console import available_cores
from rtcodec.engine.loader import ENGINE_NAMES
from rtcodec.errors import ConfigError, RemoteProtocolError
from rtcodec_client.barcode import HEIGHT_PX, WIDTH_PX
from rtcodec_client.child import Child
from rtcodec_client.connection import BUSY_PATIENCE_S, wait_set
from rtcodec_client.load.conductor import Conductor, RelayFacts
from rtcodec_client.load.display import LoadDisplay
from rtcodec_client.load.feed import FeedSettings
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.own_relay import OwnRelay
from rtcodec_client.load.plan import LoadSettings, make_plan
from rtcodec_client.load.plot import plot_run
from rtcodec_client.load.relay_probe import RelayProbe
from rtcodec_client.load.report import make_report
from rtcodec_client.load.requirement import read_requirement
from rtcodec_client.load.system import listener_of
from rtcodec_client.load.timeline import peer_rows, timeline, write_csv
from rtcodec_client.load.verdict import EXIT_CODES, make_verdict, verdict_lines
from rtcodec_client.machine import hardware, versions
from rtcodec_client.shell import TOKEN_VARIABLE, run_async, say, token_of
from rtcodec_client.signalling import SignallingClient, base_of, check_url
from rtcodec_client.source import parse_size
from rtcodec_client.video_encoder import CODECS, default_bitrate_bps
from rtcodec_client.watch_command import DEFAULT_MODEL, NULL

_READY_POLL_S = 0.2
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
    group.add_argument("--rate", type=float, metavar="KBPS", help="most that passes, each way")
    group.add_argument(
        "--queue", type=float, default=200.0, metavar="MS", help="before --rate; more is dropped"
    )
    group.add_argument(
        "--direction", choices=("both", "up", "down"), default="both", help="up is to the relay"
    )
    group.add_argument(
        "--impair", choices=("all", "publishers", "subscribers"), default="all", help="whose way"
    )
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
        "--relay-cores", default="", metavar="LIST", help="with --serve: such as 0,1; default all"
    )
    group.add_argument(
        "--peer-cores", default="", metavar="LIST", help="of the peer processes; default all"
    )


def run(args: argparse.Namespace) -> int:
    """Run the test, judge it, leave the results."""
    command = _LoadtestCommand(args)
    with (
        tempfile.TemporaryDirectory(prefix="rtcodec-load-") as work,
        LoadDisplay() as display,
    ):
        report = run_async(lambda stop: command.run(stop, Path(work), display))
    for line in verdict_lines(report["verdict"], report):
        say(line)
    if args.json:
        print(json.dumps(report))
    return EXIT_CODES[report["verdict"]["outcome"]]


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
    impairment = Impairment(
        loss=parse_loss(args.loss),
        delay_us=round(args.delay * 1000),
        jitter_us=round(args.jitter * 1000),
        rate_bps=None if args.rate is None else round(args.rate * 1000),
        queue_us=round(args.queue * 1000),
    )
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
        up=impairment if args.direction != "down" else Impairment(),
        down=impairment if args.direction != "up" else Impairment(),
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


def _parse_cores(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"{text!r} is not a list of cores such as 0,1")
    return tuple(int(part) for part in parts)


class _LoadtestCommand:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._settings = settings_of(args)
        self._peer_cores = _parse_cores(args.peer_cores)
        self._own: OwnRelay | None = None
        if args.serve == (args.url is not None):
            raise ConfigError("either the URL of a relay or --serve, which starts one")
        if args.serve:
            if args.engine != NULL:
                find_bundle(args.model or DEFAULT_MODEL)  # a wrong name is said at once
            self._own = OwnRelay(
                model=args.model,
                engine=args.engine,
                qp=args.qp,
                psnr=args.psnr,
                cores=_parse_cores(args.relay_cores),
            )
        else:
            self._url = base_of(check_url(args.url, kind="whip"))
        if args.out is not None:
            _make_folder(args.out)

    async def run(self, stop: asyncio.Event, work: Path, display: LoadDisplay) -> dict[str, Any]:
        """Run the test and return the report."""
        async with AsyncExitStack() as stack:
            relay = await self._start_relay(stack, work, display)
            client = SignallingClient(f"{self._url}/", token=token_of(self._args))
            await stack.enter_async_context(client)
            document = await _until_ready(client, stop)
            prefix = f"load-{secrets.token_hex(4)}"
            probe = RelayProbe(client, prefix, relay.pid if relay is not None else self._pid())
            facts = self._facts(document)
            conductor = Conductor(
                self._settings,
                make_plan(self._settings, prefix),
                facts,
                probe,
                room_prefix=prefix,
                work=work,
                peer_cores=self._peer_cores,
                on_progress=display.update,
                check=relay.check_running if relay is not None else lambda: None,
            )
            display.note(self._headline(prefix))
            await conductor.run(stop)
        return self._report(conductor, document)

    async def _start_relay(
        self, stack: AsyncExitStack, work: Path, display: LoadDisplay
    ) -> Child | None:
        if self._own is None:
            return None
        feed = self._settings.feed
        display.note("starting a relay")
        relay, self._url = await self._own.start(
            work, size=(feed.width, feed.height), n_peers=self._settings.n_peers
        )
        stack.push_async_callback(relay.stop)
        return relay

    def _pid(self) -> int | None:
        """Find the relay's process, if it is on this machine."""
        if self._args.relay_pid is not None:
            return int(self._args.relay_pid)
        parts = urlsplit(self._url)
        if not _address_of(self._url).startswith("127."):
            return None
        return listener_of(parts.port or (443 if parts.scheme == "https" else 80))

    def _facts(self, document: dict[str, Any]) -> RelayFacts:
        engine = document.get("engine") or {}
        is_null = engine.get("engine") == NULL
        model = engine.get("model") or DEFAULT_MODEL
        if self._settings.n_decoding and not is_null:
            find_bundle(model)
        return RelayFacts(
            url=self._url,
            host=_address_of(self._url),
            token=token_of(self._args),
            engine=NULL if is_null else self._args.engine,
            model=model,
            predicts=not is_null,
        )

    def _headline(self, prefix: str) -> str:
        settings = self._settings
        feed, network = settings.feed, ""
        if settings.is_impaired:
            worst = settings.up if not settings.up.is_none else settings.down
            network = (
                f"; {self._args.direction} ways of {self._args.impair}: loss {worst.loss:.1%}, "
                f"delay {worst.delay_us / 1000:g} ms, jitter {worst.jitter_us / 1000:g} ms"
            )
            if worst.rate_bps is not None:
                network += f", {worst.rate_bps / 1000:g} kb/s"
        return (
            f"{settings.publishers} publishers of {feed.width}x{feed.height} at {feed.fps:g} fps, "
            f"{feed.bitrate_bps / 1000:.0f} kb/s {feed.codec}, {settings.subscribers} subscribers "
            f"each, {settings.n_decoding} of them decoding, in {settings.processes} process(es); "
            f"rooms {prefix}-*{network}"
        )

    def _report(self, conductor: Conductor, document: dict[str, Any]) -> dict[str, Any]:
        settings, record, marks = self._settings, conductor.record, conductor.marks
        samples = conductor.probe.samples
        report = make_report(settings, record, marks, samples)
        engine = document.get("engine") or {}
        report |= {
            "model": engine.get("model"),
            "model_id": engine.get("model_id"),
            "engine": engine.get("engine"),
            "hardware": hardware() | {"relay_device": engine.get("hardware")},
            "versions": versions() | (engine.get("versions") or {}),
        }
        report["verdict"] = make_verdict(
            settings, report, checks_generator=self._args.generator_check
        )
        if settings.out is not None:
            rows = timeline(record, marks, samples)
            _write(settings.out, report, rows, peer_rows(record.steady), self._title(report))
        return report

    def _title(self, report: dict[str, Any]) -> str:
        settings = self._settings
        return (
            f"rtcodec loadtest: {settings.publishers} x (1 publisher + {settings.subscribers} "
            f"subscribers), {report['model']} by {report['engine']}: "
            f"{report['verdict']['outcome']}"
        )


def _write(
    out: Path,
    report: dict[str, Any],
    rows: list[dict[str, Any]],
    peers: list[dict[str, Any]],
    title: str,
) -> None:
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_csv(rows, out / "timeline.csv")
    write_csv(peers, out / "peers.csv")
    feed, settings = report["settings"]["feed"], report["settings"]
    subscribers = settings["publishers"] * settings["subscribers_per_publisher"]
    plot_run(rows, out / "load.png", title=title, fps=feed["fps"], subscribers=subscribers)
    for name in ("report.json", "timeline.csv", "peers.csv", "load.png"):
        say(f"wrote {out / name}")


async def _until_ready(client: SignallingClient, stop: asyncio.Event) -> dict[str, Any]:
    """Wait for the relay's engine and return what it says of itself."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + BUSY_PATIENCE_S
    while True:
        document = await client.get_json("/api/rooms")
        if not isinstance(document, dict):
            raise RemoteProtocolError(f"{client.url}: not an rtcodec relay, it has no /api/rooms")
        if document.get("ready") is not False or stop.is_set():
            return document
        if loop.time() > deadline_s:
            raise RemoteProtocolError(
                f"{client.url}: the relay's engine was not ready within {BUSY_PATIENCE_S:g} s"
            )
        await wait_set(stop, _READY_POLL_S)


def _address_of(url: str) -> str:
    """Return the IPv4 address of a URL's host, or the host as it is if there is none."""
    host = urlsplit(url).hostname or ""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"{path}: exists and is not a folder") from None
