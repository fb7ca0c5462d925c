"""
A process full of peers: commands as JSON lines on stdin, events on stdout.

    {"do": "join", "peer": {...}}  {"do": "leave", "peer": NAME}
    {"do": "measure", "on": true}  {"do": "end"}
        -->  ready, joined, failed, left, tick, ended

Started by `fleet`; ends, with its peers, when stdin closes, so it never outlives
the test. The first line is the `ProcessSettings`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from rtcodec.calm import calm_interpreter
from rtcodec.errors import RtcodecError
from rtcodec.timebase import US_PER_S
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_client.load.feed import Feed, FeedSettings, Pictures
from rtcodec_client.load.impairment import Impairment
from rtcodec_client.load.link import LinkSettings
from rtcodec_client.load.peer import LoadPeer, PeerPlace, PeerSpec
from rtcodec_client.load.publisher import LoadPublisher
from rtcodec_client.load.recorder import Recorder
from rtcodec_client.load.step import read_step
from rtcodec_client.load.subscriber import LoadSubscriber, Viewer
from rtcodec_client.shell import run_async
from rtcodec_client.watch_command import load_engine

_LAG_S: Final = 0.05
_LEAVE_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What a process needs to know before the first peer comes."""

    place: PeerPlace
    feed: FeedSettings
    engine: str
    "Of decoding subscribers."

    model: str
    decodes: bool
    "Whether any subscriber of this process decodes."

    reports: bool
    "Whether the relay predicts frames."

    impaired_roles: tuple[str, ...] = ()
    "Whose media goes through links."

    def write(self) -> dict[str, Any]:
        """Return JSON values that `read_settings` undoes."""
        return asdict(self)


def read_settings(document: dict[str, Any]) -> ProcessSettings:
    """Return the settings that `ProcessSettings.write` wrote."""
    place = dict(document["place"])
    link = place.pop("link")
    if link is not None:
        link = LinkSettings(
            Impairment(**link["up"]),
            Impairment(**link["down"]),
            link["seed"],
            tuple(map(read_step, link["steps"])),
        )
    return ProcessSettings(
        **{
            **document,
            "place": PeerPlace(**place, link=link),
            "feed": FeedSettings(**document["feed"]),
            "impaired_roles": tuple(document["impaired_roles"]),
        }
    )


@dataclass(slots=True)
class _Stay:
    """A peer that is in, or on its way."""

    peer: LoadPeer
    stop: asyncio.Event
    task: asyncio.Task[None] | None = None


class PeerProcess:
    """All peers of this process."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._settings = settings
        self._recorder = Recorder()
        self._pictures = Pictures(settings.feed)
        self._feeds: dict[str, Feed] = {}
        self._viewer = self._open_viewer() if settings.decodes else None
        self._stays: dict[str, _Stay] = {}

    async def run(self, lines: asyncio.StreamReader, stop: asyncio.Event) -> None:
        """Obey until told to end, stdin closes or a signal comes."""
        beats = [asyncio.ensure_future(self._tick()), asyncio.ensure_future(self._watch_lag())]
        stopping = asyncio.ensure_future(stop.wait())
        tell("ready")
        try:
            while not stopping.done():
                reading = asyncio.ensure_future(lines.readline())
                await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    break
                line = reading.result()
                if not line or not self._obey(json.loads(line)):
                    break
        finally:
            for task in (*beats, stopping):
                task.cancel()
            await self._end()
        stages = {name: tally.write() for name, tally in self._recorder.stages.items()}
        tell("ended", stages=stages, counts=self._recorder.take_interval()["counts"])

    def _obey(self, command: dict[str, Any]) -> bool:
        """Do as told; say whether to go on."""
        what = command["do"]
        if what == "join":
            self._join(PeerSpec(**command["peer"]))
        elif what == "leave":
            if (stay := self._stays.get(command["peer"])) is not None:
                stay.stop.set()
        elif what == "measure":
            self._recorder.is_measuring = command["on"]
            for stay in self._stays.values():
                stay.peer.measure(on=command["on"])
        return bool(what != "end")

    # ---- peers

    def _join(self, spec: PeerSpec) -> None:
        stay = _Stay(self._new_peer(spec), asyncio.Event())
        self._stays[spec.name] = stay
        stay.task = asyncio.ensure_future(self._stay(stay))

    def _new_peer(self, spec: PeerSpec) -> LoadPeer:
        settings = self._settings
        place = settings.place
        if spec.role not in settings.impaired_roles:
            place = replace(place, link=None)
        if spec.role == "publisher":
            feed = self._feed("churn" if spec.is_churn else "soak")
            return LoadPublisher(spec, place, feed, settings.feed.codec, self._recorder)
        viewer = self._viewer if spec.decodes else None
        return LoadSubscriber(spec, place, self._recorder, viewer, reports=settings.reports)

    def _feed(self, name: str) -> Feed:
        """Return a feed; the churn's key frames are none of the soak's business."""
        if name not in self._feeds:
            self._feeds[name] = Feed(self._settings.feed, self._pictures, self._recorder)
        return self._feeds[name]

    async def _stay(self, stay: _Stay) -> None:
        """One peer's time with the relay, and what is told of it."""
        spec, peer = stay.peer.spec, stay.peer
        announcing = asyncio.ensure_future(self._announce(stay))
        reason = None
        try:
            await peer.run(stay.stop)
        except RtcodecError as error:
            reason = str(error)
        except Exception as error:  # ours, but the other peers go on and the report says so
            reason = f"internal error, {type(error).__name__}: {error}"
        finally:
            announcing.cancel()
            self._stays.pop(spec.name, None)
        if peer.has_joined.is_set():
            tell("left", peer=spec.name, figures=peer.report(), reason=reason)
        else:
            reason = reason or "told to leave before the first frame"
            tell("failed", peer=spec.name, reason=reason, times=peer.times.report())

    async def _announce(self, stay: _Stay) -> None:
        peer = stay.peer
        await peer.has_joined.wait()
        tell("joined", peer=peer.spec.name, times=peer.times.report())
        peer.measure(on=self._recorder.is_measuring and not peer.spec.is_churn)
        if peer.spec.stay_s is not None:
            await asyncio.sleep(peer.spec.stay_s)
            stay.stop.set()

    def _open_viewer(self) -> Viewer:
        settings = self._settings
        engine, bundle = load_engine(settings.engine, settings.model, threads=1)
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")
        feed = settings.feed
        size = (feed.width, feed.height)
        return Viewer(engine, bundle, self._pictures, feed.frame_us, size, pool)

    async def _end(self) -> None:
        """Let everybody leave; whoever does not is left to the end of the process."""
        tasks = [stay.task for stay in self._stays.values() if stay.task is not None]
        for stay in self._stays.values():
            stay.stop.set()
        if tasks:
            await asyncio.wait(tasks, timeout=_LEAVE_TIMEOUT_S)
        for feed in self._feeds.values():
            await feed.close()
        if self._viewer is not None:
            self._viewer.pool.shutdown()
            self._viewer.engine.close()

    # ---- every second

    async def _tick(self) -> None:
        """Tell at every whole second of the clock, so that the processes' seconds are the same."""
        while True:
            await asyncio.sleep(1 - monotonic_us() % US_PER_S / US_PER_S)
            usage = resource.getrusage(resource.RUSAGE_SELF)
            tell(
                "tick",
                at_us=monotonic_us(),
                cpu_s=usage.ru_utime + usage.ru_stime,
                peers=len(self._stays),
                **self._recorder.take_interval(),
            )

    async def _watch_lag(self) -> None:
        """Measure how late timers of this event loop are: everything here is at least as late."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _LAG_S
            await asyncio.sleep(_LAG_S)
            self._recorder.time("loop_lag", max(0.0, loop.time() - due_s) * 1000)


def tell(event: str, **fields: Any) -> None:
    """Write one event."""
    print(json.dumps({"event": event, **fields}), flush=True)


async def _main(stop: asyncio.Event) -> None:
    lines = asyncio.StreamReader(limit=1 << 20)
    protocol = asyncio.StreamReaderProtocol(lines)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    settings = read_settings(json.loads(await lines.readline()))
    process = await asyncio.to_thread(PeerProcess, settings)
    calm_interpreter()
    try:
        await process.run(lines, stop)
    finally:
        transport.close()


def main() -> int:
    """Run the process."""
    with suppress(BrokenPipeError):
        try:
            run_async(_main)
        except RtcodecError as error:
            print(f"rtcodec: {error}", file=sys.stderr)
            return error.exit_code
    sys.stdout.flush()
    os._exit(0)  # a peer that could not leave must not keep the process


if __name__ == "__main__":
    sys.exit(main())
