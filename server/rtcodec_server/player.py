"""
Plays a recording into a room, in the place of its publisher.

    source, on a thread --> when is it due? --> PlayedStream --> subscribers

Frames leave when their time stamps say, counted from the first; none is left out, since later ones
lean on it. A source that falls behind by over a second is waited for, and goes on from there.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from rtcodec.errors import BitstreamError, InputError
from rtcodec.session.message import IceFragment
from rtcodec.timebase import RTP_TIME_BASE, us_to_ticks
from rtcodec.webrtc import monotonic_us
from rtcodec_server.offer import Unprocessable
from rtcodec_server.play_source import PlaySource, StoredFrame, describe_problem
from rtcodec_server.played_stream import PlayedStream

_log = logging.getLogger(__name__)

T = TypeVar("T")

MIN_SPEED: Final = 0.1
MAX_SPEED: Final = 10.0
_BEHIND_US: Final = 1_000_000
_MIN_STEP_US: Final = 4_000  # between two frames, whatever their time stamps say
_ALONE_US: Final = 1_000_000  # how long the only frame of a recording stays


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayOptions:
    """How to play."""

    loop: bool = False
    "Start over at the end."

    speed: float = 1.0
    "Of the time stamps, 0.1 to 10."

    def __post_init__(self) -> None:
        """Check the limits; InputError if one is broken."""
        if not MIN_SPEED <= self.speed <= MAX_SPEED:
            raise InputError(f"a speed of {self.speed:g} is outside {MIN_SPEED:g} to {MAX_SPEED:g}")


class Player:
    """What `PublisherPeer` is for a publisher; its media come from a file."""

    def __init__(
        self,
        source: PlaySource,
        stream: PlayedStream,
        options: PlayOptions,
        *,
        on_ended: Callable[[], None],
    ) -> None:
        """
        Args:
            source: Opened.
            stream: Where frames go.
            options: How fast, how often.
            on_ended: Called once, at the end.
        """
        self.stream = stream
        self.problem: str | None = None
        "Why it ended before its end."
        self.n_frames = 0
        self._source = source
        self._options = options
        self._on_ended = on_ended
        self._pool = ThreadPoolExecutor(1, "play")
        self._task: asyncio.Task[None] | None = None
        self._origin_us = self._due_us = monotonic_us()
        self._ended = asyncio.Event()

    @property
    def last_heard_us(self) -> int:
        """Now: a recording that is silent for an hour is still there."""
        return monotonic_us()

    def start(self) -> None:
        """Begin with the first frame now."""
        self._task = asyncio.ensure_future(self._run())

    def report(self) -> dict[str, Any]:
        """Return what it is and what was played."""
        return {
            "state": "playing" if not self._ended.is_set() else "ended",
            "source": "recording",
            "speed": self._options.speed,
            "loop": self._options.loop,
            "frames_played": self.n_frames,
            "seconds": round((self._due_us - self._origin_us) / 1e6, 3),
            "error": self.problem,
        }

    async def add_candidates(self, fragment: IceFragment) -> None:
        """Refuse: there is no connection."""
        raise Unprocessable("a recording has no candidates")

    async def wait_ended(self) -> None:
        """Wait until nothing more is played."""
        await self._ended.wait()

    async def close(self) -> None:
        """Stop at once."""
        self._source.close()
        task, self._task = self._task, None  # a cancelled one knows the frames it was in
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._ended.set()
        self._pool.shutdown(wait=False)
        await self.stream.close()
        self._on_ended = lambda: None  # it knows the relay

    async def _run(self) -> None:
        try:
            await self._play()
            while self._options.loop:
                await self._in_thread(self._source.open)
                await self._play()
        except (BitstreamError, InputError) as error:
            self.problem = describe_problem(error)
        except OSError as error:
            self.problem = error.strerror or "the file cannot be read"
        except Exception:  # ours: the room must not stay taken
            _log.exception("playing failed")
            self.problem = "internal error"
        self._ended.set()
        self._on_ended()

    async def _play(self) -> None:
        """Play once from where the source stands; the first frame is due a step after the last."""
        start_us = max(self._due_us, monotonic_us())
        step_us = _ALONE_US
        first: StoredFrame | None = None
        while (frame := await self._in_thread(self._source.next)) is not None:
            first = first or frame
            media_us = (frame.pts_s - first.pts_s) * 1_000_000
            wanted_us = start_us + round(media_us / self._options.speed)
            due_us = max(wanted_us, self._due_us + (_MIN_STEP_US if frame is not first else 0))
            behind_us = monotonic_us() - due_us
            if behind_us > _BEHIND_US:
                start_us, due_us = start_us + behind_us, due_us + behind_us
            if frame is not first:
                step_us = due_us - self._due_us
            self._due_us = due_us
            await asyncio.sleep((due_us - monotonic_us()) / 1e6)
            self._deliver(frame)
        self._due_us += min(step_us, _BEHIND_US)  # the last frame stays for as long as the others

    def _deliver(self, frame: StoredFrame) -> None:
        self.n_frames += 1
        pts = us_to_ticks(self._due_us - self._origin_us, RTP_TIME_BASE)
        self.stream.deliver(frame, pts=pts, now_us=monotonic_us())

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)
