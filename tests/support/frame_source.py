"""An encoder that exists only as numbers, and a stream of its frames under a rate controller."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from rtcodec.rate_control import FrameKind, Plan, RateController
from rtcodec.rate_record import RateRecord
from rtcodec.size_model import Try
from rtcodec.types import QP_MAX

FPS = 30


@dataclass
class Source:
    """Frames that cost `2 ** (level - slope * qp)` bits."""

    level: float = 17.0
    "Of a delta frame, log2 of its bits at qp 0."

    slope: float = 0.08
    intra_octaves: float = 4.0
    "By which a frame without a reference costs more."

    noise_octaves: float = 0.05
    "Standard deviation, frame by frame."

    extra_octaves: Callable[[int], float] = lambda number: 0.0
    "What happens in the scene, by frame number."

    seed: int = 1
    _noise: Random = field(init=False)

    def __post_init__(self) -> None:
        self._noise = Random(self.seed)

    def frame(self, number: int, kind: FrameKind) -> Callable[[int], int]:
        """Return what one frame costs by qp."""
        level = self.level + self._noise.gauss(0, self.noise_octaves) + self.extra_octaves(number)
        if kind in (FrameKind.KEY, FrameKind.INTRA):
            level += self.intra_octaves
        return lambda qp: int(2 ** (level - self.slope * qp))


@dataclass(frozen=True)
class Coded:
    """One frame that went through."""

    plan: Plan
    tries: tuple[Try, ...]
    share_bits: float
    saturated: bool

    @property
    def shares(self) -> float:
        """Its size, in even shares."""
        return self.tries[-1].n_bits / self.share_bits


@dataclass
class Run:
    """What became of a stream."""

    frames: list[Coded] = field(default_factory=list)
    record: RateRecord = field(default_factory=RateRecord)

    @property
    def qps(self) -> Sequence[int]:
        """The qp of every frame."""
        return [frame.tries[-1].qp for frame in self.frames]


def kinds(n_frames: int, *, delta: bool = True, keys: Iterable[int] = (0,)) -> list[FrameKind]:
    """Return the kinds of a stream: key frames at *keys*, others between."""
    other = FrameKind.DELTA if delta else FrameKind.INTRA
    return [FrameKind.KEY if n in keys else other for n in range(n_frames)]


def simulate(
    control: RateController,
    source: Source,
    stream: Sequence[FrameKind],
    *,
    retries: int = 2,
    elapsed_s: Callable[[int], float] = lambda number: 1 / FPS,
    before: Callable[[int], None] = lambda number: None,
) -> Run:
    """
    Code *stream* as a file encoder does.

    Args:
        control: Chooses qp.
        source: Says what frames cost.
        stream: Kinds of the frames.
        retries: After a frame's first try.
        elapsed_s: Time from the frame before, by number.
        before: Called with each frame's number first.
    """
    run, now_s = Run(), 0.0
    for number, kind in enumerate(stream):
        before(number)
        gap_s = elapsed_s(number) if number else 0.0
        now_s += gap_s
        plan = control.plan(kind, gap_s)
        saturated = control.saturated
        cost = source.frame(number, kind)
        tries = [Try(plan.qp, cost(plan.qp))]
        while len(tries) <= retries and (qp := control.retry(plan, tries)) is not None:
            assert 0 <= qp <= QP_MAX
            tries.append(Try(qp, cost(qp)))
        run.frames.append(Coded(plan, tuple(tries), control.share_bits, saturated))
        run.record.add(now_s, tries[-1].n_bits)
        control.frame_done(plan, tries)
    return run
