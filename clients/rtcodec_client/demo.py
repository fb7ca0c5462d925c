"""
The demo: relay, publisher and watcher in processes of their own, and a report.

    publish --WHIP/RTP--> serve --WHEP/RTP X-RTC-LATENT--> watch
       |  source.tap        |  room.tap       /api/rooms     |  events, report
       +--------------------+------------ here --------------+

Everything goes over real sockets; the taps only let the watcher compare. The
order at the end makes the books balance: the publisher stops sending, the
relay finishes, the watcher counts, and only then does anybody leave.
"""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtcodec.errors import EngineError, RtcodecError
from rtcodec_client.child import Child
from rtcodec_client.demo_report import DemoOptions, demo_report
from rtcodec_client.display import Display, Snapshot
from rtcodec_client.event_log import EventReader
from rtcodec_client.room_status import RoomStatus, fetch_room
from rtcodec_client.signalling import RelayUnreachable, SignallingClient

ROOM = "demo"

_START_TIMEOUT_S = 120.0
_TICK_S = 0.25
_POLL_RELAY_EVERY = 4
"Ticks between two looks at the relay's figures."

_SETTLE_TIMEOUT_S = 5.0
_REPORT_TIMEOUT_S = 600.0
_LEAVE_TIMEOUT_S = 20.0
_SPOOL_MAX_BYTES = 2_000_000_000
_ADDRESS = re.compile(r"http://[^\s:]+:\d+")


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """What the demo leaves behind."""

    out: Path

    @property
    def report(self) -> Path:
        return self.out / "report.json"

    @property
    def video(self) -> Path:
        return self.out / "decoded.mp4"

    @property
    def bitstream(self) -> Path:
        return self.out / "received.rtc"

    @property
    def sheet(self) -> Path:
        return self.out / "contact-sheet.png"

    def all(self) -> list[Path]:
        """Return the paths in the order of interest."""
        return [self.sheet, self.video, self.bitstream, self.report]


@dataclass(slots=True)
class _Told:
    """What the children have told so far."""

    url: str = ""
    connected: set[str] = field(default_factory=set)
    finished: bool = False
    live: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] | None = None
    published: dict[str, Any] = field(default_factory=dict)
    relay: RoomStatus | None = None
    cores: dict[str, float] = field(default_factory=dict)
    "Processor cores that each child used while the clip played."


class Interrupted(RtcodecError):
    """The user ended it before there was anything to report."""

    exit_code = 130  # 128 + SIGINT


class Demo:
    """
    One run.

    Args:
        options: See there.
        display: Open; shows how it goes.
        work: An empty folder for rings, logs and events; best in memory.
    """

    def __init__(self, options: DemoOptions, display: Display, work: Path) -> None:
        self.files = DemoFiles(options.out)
        self._options = options
        self._display = display
        self._work = work
        self._told = _Told()
        self._readers = {who: EventReader(work / f"{who}.events") for who in ("watch", "publish")}
        self._started_s: float | None = None

    async def run(self, stop: asyncio.Event) -> dict[str, Any]:
        """
        Run to the end of the input, or until *stop*, and return the report.

        Raises:
            RtcodecError: What a child failed with.
        """
        for path in self.files.all():
            path.unlink(missing_ok=True)  # never leave an old result beside a new one
        async with AsyncExitStack() as stack:
            relay = await self._start_relay(stack)
            client = await stack.enter_async_context(SignallingClient(self._told.url))
            await self._until_ready(client, relay, stop)
            watcher = await self._start_watcher(stack, [relay], stop)
            publisher = await self._start_publisher(stack, [relay, watcher], stop)
            await self._play([relay, watcher, publisher], client, stop)
            publisher.signal(signal.SIGINT)  # send no more, but stay
            await self._settle(relay, client)
            self._show("writing the decoded clip and the contact sheet")
            await watcher.finish(timeout_s=_REPORT_TIMEOUT_S)
            await publisher.finish(timeout_s=_LEAVE_TIMEOUT_S)
            self._follow()
            await relay.finish(timeout_s=_LEAVE_TIMEOUT_S)
        told = self._told
        if told.report is None:
            raise EngineError("the watcher ended without a report")
        return demo_report(told.report, told.published, self._options, cores=told.cores)

    # ---- starting

    async def _start_relay(self, stack: AsyncExitStack) -> Child:
        options = self._options
        self._show("starting the relay")
        log = self._work / "relay.log"
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(options.port)]
        arguments += ["--model", options.model, "--engine", options.engine]
        arguments += ["--threads", str(options.relay_threads), "--psnr", "off"]
        arguments += ["--warm", f"{options.size[0]}x{options.size[1]}", "--tap", str(self._work)]
        if options.qp is not None:
            arguments += ["--qp", str(options.qp)]
        relay = await Child.start("relay", arguments, log)
        stack.push_async_callback(relay.stop)
        async with _limit("the relay did not start"):
            while not (match := _ADDRESS.search(relay.said())):
                relay.check_running()
                await asyncio.sleep(_TICK_S / 5)
        self._told.url = match.group()
        self._display.note(f"watch page: {self._told.url}/")
        return relay

    async def _until_ready(
        self, client: SignallingClient, relay: Child, stop: asyncio.Event
    ) -> None:
        self._show(f"loading model {self._options.model}")
        async with _limit("the relay's engine did not get ready"):
            while True:
                _check_not_interrupted(stop)
                relay.check_running()
                try:
                    if await client.is_ok("/readyz"):
                        return
                except RelayUnreachable:
                    pass
                await asyncio.sleep(_TICK_S / 2)

    async def _start_watcher(
        self, stack: AsyncExitStack, others: list[Child], stop: asyncio.Event
    ) -> Child:
        options = self._options
        arguments = ["watch", f"{self._told.url}/whep/{ROOM}", "--engine", options.engine]
        if options.engine != "null":
            arguments += ["--model", options.model]
        arguments += ["--threads", str(options.watch_threads), "--wait", str(_START_TIMEOUT_S)]
        arguments += ["--warm", f"{options.size[0]}x{options.size[1]}"]
        arguments += ["--tap", str(self._work), "--source-tap", str(self._work)]
        arguments += ["--events", str(self._work / "watch.events")]
        arguments += ["--contact-sheet", str(self.files.sheet)]
        arguments += ["--output", str(self.files.video), "--output", str(self.files.bitstream)]
        if self._fits_spool():
            arguments += ["--spool"]
        watcher = await Child.start("watcher", arguments, self._work / "watch.log")
        stack.push_async_callback(watcher.stop)
        await self._until_connected("watch", [*others, watcher], stop)
        return watcher

    async def _start_publisher(
        self, stack: AsyncExitStack, others: list[Child], stop: asyncio.Event
    ) -> Child:
        options = self._options
        self._show(f"reading {options.input}" if ":" not in options.input else "drawing the clip")
        arguments = ["publish", f"{self._told.url}/whip/{ROOM}", options.input]
        arguments += ["--codec", options.codec, "--preload", "--hold"]
        arguments += ["--tap", str(self._work), "--events", str(self._work / "publish.events")]
        for name, value in (
            ("--fps", options.frame_rate),
            ("--seconds", options.seconds),
            ("--bitrate", options.bitrate_kbps),
        ):
            if value is not None:
                arguments += [name, f"{value:g}"]
        publisher = await Child.start("publisher", arguments, self._work / "publish.log")
        stack.push_async_callback(publisher.stop)
        await self._until_connected("publish", [*others, publisher], stop)
        return publisher

    async def _until_connected(self, who: str, children: list[Child], stop: asyncio.Event) -> None:
        async with _limit(f"{children[-1].name} did not connect"):
            while who not in self._told.connected:
                _check_not_interrupted(stop)
                for child in children:
                    child.check_running()
                await asyncio.sleep(_TICK_S / 2)
                self._follow()

    # ---- running

    async def _play(
        self, children: list[Child], client: SignallingClient, stop: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        self._started_s = loop.time()
        before = [child.cpu_s() for child in children]
        tick = 0
        while not self._told.finished and not stop.is_set():
            for child in children:
                child.check_running()
            if tick % _POLL_RELAY_EVERY == 0:
                self._told.relay = await fetch_room(client, ROOM) or self._told.relay
            self._follow()
            self._show(f"{self._options.input} through {self._options.model}")
            tick += 1
            await asyncio.sleep(_TICK_S)
        played_s = loop.time() - self._started_s
        for child, start_s in zip(children, before, strict=True):
            end_s = child.cpu_s()
            if start_s is not None and end_s is not None:
                self._told.cores[child.name] = (end_s - start_s) / played_s

    async def _settle(self, relay: Child, client: SignallingClient) -> None:
        """Wait until the relay has dealt with every frame and nothing moves any more."""
        deadline_s = asyncio.get_running_loop().time() + _SETTLE_TIMEOUT_S
        previous: RoomStatus | None = None
        while asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(_TICK_S)
            relay.check_running()
            status = await fetch_room(client, ROOM)
            self._follow()
            if status is None or (status == previous and status.in_flight in (0, None)):
                return
            self._told.relay = previous = status

    # ---- following

    def _follow(self) -> None:
        for who, reader in self._readers.items():
            for event in reader.poll():
                self._take(who, event)

    def _take(self, who: str, event: dict[str, Any]) -> None:
        kind = event.pop("event")
        if kind == "connected":
            self._told.connected.add(who)
        elif who == "publish":
            self._told.published = event
            self._told.finished = self._told.finished or kind == "finished"
        elif kind == "progress":
            self._told.live = event
        elif kind == "report":
            self._told.report = event

    def _show(self, headline: str) -> None:
        elapsed_s = 0.0
        if self._started_s is not None:
            elapsed_s = asyncio.get_running_loop().time() - self._started_s
        relay, live = self._told.relay or RoomStatus(), self._told.live
        self._display.update(
            Snapshot(
                headline=headline,
                page=f"{self._told.url}/",
                elapsed_s=elapsed_s,
                duration_s=self._options.duration_s,
                live=live,
                frames={
                    "received": relay.received,
                    "encoded": relay.encoded,
                    "dropped": relay.n_dropped,
                    "decoded": live.get("decoded"),
                    "lost": live.get("lost"),
                },
            )
        )

    def _fits_spool(self) -> bool:
        if self._options.duration_s is None:
            return False
        width, height = self._options.size
        rate = self._options.frame_rate or 60.0
        return width * height * 1.5 * rate * self._options.duration_s < _SPOOL_MAX_BYTES


def _check_not_interrupted(stop: asyncio.Event) -> None:
    if stop.is_set():
        raise Interrupted("interrupted")


class _limit:  # noqa: N801 - reads as a function
    """`asyncio.timeout` that says what took too long."""

    def __init__(self, problem: str) -> None:
        self._problem = problem
        self._timeout = asyncio.timeout(_START_TIMEOUT_S)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exc: Any) -> None:
        try:
            await self._timeout.__aexit__(*exc)
        except TimeoutError:
            raise EngineError(f"{self._problem} within {_START_TIMEOUT_S:g} s") from None
