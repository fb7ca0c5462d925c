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
from rtcodec.errors import ConfigError, RemoteProtocolError
from rtcodec_client.child import Child
from rtcodec_client.connection import BUSY_PATIENCE_S, wait_set
from rtcodec_client.load.arguments import add_arguments, parse_cores, settings_of
from rtcodec_client.load.conductor import Conductor, RelayFacts
from rtcodec_client.load.display import LoadDisplay
from rtcodec_client.load.own_relay import OwnRelay
from rtcodec_client.load.plan import make_plan
from rtcodec_client.load.plot import plot_run
from rtcodec_client.load.relay_probe import RelayProbe
from rtcodec_client.load.report import make_report
from rtcodec_client.load.system import is_here, listener_of
from rtcodec_client.load.timeline import peer_rows, timeline, write_csv
from rtcodec_client.load.verdict import EXIT_CODES, make_verdict, verdict_lines
from rtcodec_client.machine import hardware, versions
from rtcodec_client.shell import run_async, say, token_of
from rtcodec_client.signalling import SignallingClient, base_of, check_url
from rtcodec_client.watch_command import DEFAULT_MODEL, NULL

__all__ = ["add_arguments", "run"]

_READY_POLL_S = 0.2


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


class _LoadtestCommand:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._settings = settings_of(args)
        self._peer_cores = parse_cores(args.peer_cores)
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
                admission=args.admission,
                psnr=args.psnr,
                cores=parse_cores(args.relay_cores),
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
        if not is_here(_address_of(self._url)):
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
                for at_us, bps in worst.rate_steps:
                    network += f", after {at_us / 1e6:g} s {bps / 1000:g} kb/s"
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
        await client.check_admin("/api/rooms")  # it reads the relay's own figures
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
