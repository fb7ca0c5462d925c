"""
A room whose latents come from another relay's room.

    somebody watches -> subscribe there -> pass on -> nobody watches for a while -> leave

While the other relay is gone, or refuses, it is asked again, with growing pauses.
Belongs to the event loop.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from rtcodec.errors import ProtocolError
from rtcodec.webrtc import LatentFrame, LatentReceiver
from rtcodec_server.edge_config import ForwardConfig
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.latent_stream import LatentStream
from rtcodec_server.logs import log_event
from rtcodec_server.room import Room
from rtcodec_server.upstream import UpstreamBusy, UpstreamLost, upstream

_log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 15.0
_CANCEL_EVERY_S: Final = 1.0
LINGER_US: Final = 5_000_000
"How long to stay subscribed when nobody watches any more."


@dataclass(slots=True)
class ForwardCounters:
    """What came from the other relay since the start."""

    frames: int = 0
    frames_lost: int = 0
    "Frames of which nothing came."

    frames_incomplete: int = 0
    bitstream_bytes: int = 0
    connections: int = 0
    "Times that the other relay let us in."

    failures: int = 0
    "Times that it did not, or went away."


def backoff_s(n_failed: int, jitter: Random) -> float:
    """Return how long to wait after so many failures in a row, so that many do not ask at once."""
    pause_s = min(FIRST_PAUSE_S * 2.0 ** min(n_failed - 1, 10), MAX_PAUSE_S)
    return pause_s * jitter.uniform(0.5, 1.0)


class Forward:
    """One room's way to another relay."""

    def __init__(
        self,
        room: str,
        config: ForwardConfig,
        *,
        host: Callable[[], EngineHost | None],
        open_stream: Callable[..., LatentStream],
        ice_servers: Sequence[str] = (),
        jitter: Random | None = None,
    ) -> None:
        """
        Start, but ask for nothing before somebody watches.

        Args:
            room: Here.
            config: There.
            host: The engine, once it is ready; its model is what is asked for.
            open_stream: `Feeds.open_latents`.
            ice_servers: STUN and TURN URLs.
            jitter: Spreads what many rooms ask after the other relay came back.
        """
        self.counters = ForwardCounters()
        self.state = "idle"
        "idle, connecting, connected or waiting (to ask again)."
        self.error: str | None = None
        "Why it is waiting."
        self._room_name = room
        self._config = config
        self._host = host
        self._open = open_stream
        self._ice_servers = ice_servers
        self._jitter = jitter or Random()
        self._room: Room | None = None
        self._stream: LatentStream | None = None
        self._via: tuple[str, ...] = ()
        self._wanted = asyncio.Event()
        self._watched_us = 0
        self._has_passed = False
        self._receiver: LatentReceiver | None = None
        self._task = asyncio.ensure_future(self._run())

    @property
    def is_live(self) -> bool:
        """Whether the other relay lets us watch."""
        return self.state == "connected"

    def furnish(self, room: Room) -> None:
        """Give a new stay of the room what comes from the other relay."""
        self._room = room
        room.stream = self._stream
        if self._stream is not None:
            self._stream.enter(room.stats, room.audience)

    def heed(self, n_viewers: int, via: tuple[str, ...], *, now_us: int) -> None:
        """
        Note who watches; a few times a second.

        Args:
            n_viewers: In the room.
            via: This relay and those that watch.
            now_us: Now.
        """
        self._via = via
        if n_viewers:
            self._watched_us = now_us
            self._wanted.set()
        elif now_us - self._watched_us > LINGER_US:
            self._wanted.clear()
            if self._receiver is not None:
                self._receiver.close()

    def report(self) -> dict[str, Any]:
        """Return what `/api/rooms` says of it; the address without a name and a word to enter."""
        parts = urlsplit(self._config.url)
        host = parts.netloc.rpartition("@")[2]
        counters = self.counters
        return {
            "from": urlunsplit((parts.scheme, host, parts.path, "", "")),
            "state": self.state,
            "error": self.error,
            "rtt_us": self._receiver.rtt_us if self._receiver is not None else None,
            "frames": counters.frames,
            "frames_lost": counters.frames_lost,
            "frames_incomplete": counters.frames_incomplete,
            "bitstream_bytes": counters.bitstream_bytes,
            "connections": counters.connections,
            "failures": counters.failures,
        }

    async def close(self) -> None:
        """Leave the other relay."""
        # again and again: wait_for of Python 3.11, which libraries below use, may forget one
        while not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CANCEL_EVERY_S)

    # ---- inside

    async def _run(self) -> None:
        n_failed = 0
        while True:
            self.state = "idle"
            await self._wanted.wait()
            self._has_passed = False
            pause_s = None
            try:
                await self._carry()
                if not self._wanted.is_set():
                    n_failed = 0
                    continue
                self.error = "the other relay ended it"
            except UpstreamBusy as busy:
                self.error, pause_s = str(busy), busy.retry_after_s
            except (ProtocolError, UpstreamLost) as error:
                self.error = str(error)
            except Exception as error:  # whatever it was, the room must not stay dark for ever
                _log.exception("forwarding failed")
                self.error = type(error).__name__
            n_failed = 1 if self._has_passed else n_failed + 1
            self.counters.failures += 1
            self.state = "waiting"
            log_event(
                _log, "forward_failed", room=self._room_name, reason=self.error, failures=n_failed
            )
            await asyncio.sleep(min(pause_s or backoff_s(n_failed, self._jitter), MAX_PAUSE_S))

    async def _carry(self) -> None:
        """Subscribe and pass frames on until the other relay is gone, or nobody watches."""
        host = self._host()
        if host is None:
            raise UpstreamLost("the engine is not ready yet")
        self.state = "connecting"
        async with upstream(
            self._config,
            model_id=host.info.model_id.hex(),
            via=lambda: self._via,
            ice_servers=self._ice_servers,
        ) as receiver:
            self.state, self.error = "connected", None
            self.counters.connections += 1
            log_event(_log, "forward_connected", room=self._room_name)
            stream = self._open_stream(receiver, host)
            self._receiver = receiver
            try:
                async for frame in receiver:
                    self._has_passed = True
                    stream.receive(frame)
            finally:
                self._receiver = self._stream = None
                if self._room is not None and self._room.stream is stream:
                    self._room.stream = None
                await stream.close()

    def _open_stream(self, receiver: LatentReceiver, host: EngineHost) -> LatentStream:
        assert self._room is not None  # somebody watches, or has watched
        self._stream = self._open(self._room, receiver, host, on_frame=self._count)
        return self._stream

    def _count(self, frame: LatentFrame) -> None:
        counters = self.counters
        counters.frames += 1
        counters.frames_lost += frame.n_frames_lost_before
        counters.frames_incomplete += not frame.is_complete
        counters.bitstream_bytes += sum(map(len, frame.packets))
