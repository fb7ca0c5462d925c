"""
One coding of a publisher's stream: its size, what the engine keeps of it, its rate, its figures.

Belongs to the event loop, but for what `StreamPrediction` does under its lock.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rtcodec.codec.reference import NewestReference
from rtcodec.engine.api import StateId
from rtcodec.session.ladder import MAX_RUNGS, Rung, RungSpec
from rtcodec.session.rung_selector import RungPolicy
from rtcodec.stats import StreamStats
from rtcodec.timebase import RTP_TIME_BASE
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.live_rate import LiveRate
from rtcodec_server.prediction import FrameNumbers, StreamPrediction
from rtcodec_server.report import RateMeter

_WIRE: Final = 1.05  # headers of payloads, on top of the bitstream

_TICK_S: Final = float(RTP_TIME_BASE)
_FIRST_INTERVAL_S: Final = 1 / 30  # until time stamps tell
_PAUSE_S: Final = 0.5
_WEIGHT: Final = 1 / 16  # of one frame in what is usual


def _new_totals() -> tuple[StreamStats, ...]:
    return tuple(StreamStats() for _ in range(MAX_RUNGS))


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderSetup:
    """What streams with rungs are made of."""

    specs: tuple[RungSpec, ...]
    new_rate: Callable[[int, int], LiveRate]
    "Makes what keeps a rung to its rate, of its bits per second and pixels."

    totals: Sequence[StreamStats] = field(default_factory=_new_totals)
    "Figures of each rung, of all streams together."

    switches: Counter[str] = field(default_factory=Counter)
    "`up` or `down` -> changes of rung, of all streams together."

    policy: RungPolicy = field(default_factory=RungPolicy)


class StreamRung:
    """One rung of one stream."""

    def __init__(
        self, rung: Rung, *, rate: LiveRate | None, stats: tuple[StreamStats, ...] = ()
    ) -> None:
        """
        Args:
            rung: Its place, size and target.
            rate: Chooses the qp of each frame; None codes at the stream's.
            stats: Filled alike: first its own, then those of this rung of all streams.
        """
        self.rung = rung
        self.rate = rate
        self.stats = stats
        self.state: StateId | None = None
        "None while the engine gets ready."
        self.prediction: StreamPrediction | None = None
        "None where the model has intra frames only."
        self.key_us: int | None = None
        "When somebody last changed to it."
        self.meter = RateMeter()
        self._size_bits: float | None = None
        self._interval_s = _FIRST_INTERVAL_S
        self._last_pts: int | None = None

    @property
    def index(self) -> int:
        """Its place on the ladder, 0 the finest."""
        return self.rung.index

    @property
    def is_open(self) -> bool:
        """Whether frames can be coded at it."""
        return self.state is not None

    @property
    def wire_bps(self) -> float | None:
        """
        What it takes on the way to a subscriber; None if it was not coded yet and has no target.

        Easy pictures take less than the target, and estimates of the way follow what is sent.
        """
        known = [] if self.rate is None else [self.rate.target_bps]
        if self._size_bits is not None:
            known.append(self._size_bits / self._interval_s)
        return _WIRE * min(known) if known else None

    async def open(
        self, host: EngineHost, numbers: FrameNumbers, subscribers: Callable[[], Iterable[str]]
    ) -> None:
        """
        Get the engine ready; raises as `EngineHost.open_state`.

        Args:
            host: Encodes.
            numbers: Those of the stream's frames.
            subscribers: Says who follows it, once it is ready.
        """
        state = await host.open_state(self.rung.width, self.rung.height)
        if host.info.references >= NewestReference.SLOTS:
            self.prediction = StreamPrediction(host.info.references, subscribers(), numbers=numbers)
        self.state = state

    async def close(self, host: EngineHost) -> None:
        """Let go of the engine's state, if there is one."""
        state, self.state = self.state, None
        if state is not None:
            await host.close_state(state)

    def join(self, name: str) -> None:
        """Let a subscriber follow it, from a frame on that can be started from."""
        if self.prediction is not None:
            self.prediction.join(name)
        if self.rate is not None:
            self.rate.expect_key()

    def leave(self, name: str) -> None:
        """Let a subscriber follow it no longer."""
        if self.prediction is not None:
            self.prediction.leave(name)

    def sample(self, *, now_us: int) -> None:
        """Let the meter look; a few times a second."""
        self.meter.sample(self.stats[0], now_us=now_us)

    def note(self, pts: int, n_bits: int, *, is_clean: bool) -> None:
        """
        Take the size of a frame into what is usual.

        Frames to start from are not, where others are predicted.
        """
        last, self._last_pts = self._last_pts, pts
        elapsed_s = 0.0 if last is None else (pts - last) * _TICK_S
        if 0 < elapsed_s < _PAUSE_S:
            self._interval_s += _WEIGHT * (elapsed_s - self._interval_s)
        if is_clean and self.prediction is not None:
            return
        before = n_bits if self._size_bits is None else self._size_bits
        self._size_bits = before + _WEIGHT * (n_bits - before)

    def report(self, *, n_subscribers: int) -> dict[str, Any]:
        """Return its figures as JSON values."""
        rung, stats = self.rung, self.stats[0]
        psnr_db = stats.psnr_db["yuv"].mean
        return {
            "rung": rung.index,
            "width": rung.width,
            "height": rung.height,
            "target_kbps": None if self.rate is None else round(self.rate.target_bps / 1000, 1),
            "ready": self.is_open,
            "subscribers": n_subscribers,
            "fps": round(self.meter.fps, 2),
            "kbps": round(self.meter.kbps, 1),
            "encoded": stats.frames.encoded,
            "sent": stats.frames.sent,
            "bitstream_bytes": stats.bitstream_bytes,
            "psnr_db": None if psnr_db is None else round(psnr_db, 3),
        }
