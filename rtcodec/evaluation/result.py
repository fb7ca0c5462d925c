"""What an evaluation found, and the comparisons that follow from it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from rtcodec.evaluation.bd_rate import BdRate, RatePoint, bd_rate
from rtcodec.evaluation.clip import Kind
from rtcodec.quality import PlanePsnr


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One clip through one codec at one setting."""

    clip: str
    kind: Kind
    width: int
    height: int
    n_frames: int
    frame_rate: Fraction
    codec: str
    unit: str
    setting: int
    size_bytes: int

    psnr_db: PlanePsnr
    "Mean over frames."

    encode_ms: float
    decode_ms: float
    "Wall time per frame, including container and entropy coding."

    @property
    def bpp(self) -> float:
        """Bits per luma pixel."""
        return 8 * self.size_bytes / (self.width * self.height * self.n_frames)

    @property
    def kbps(self) -> float:
        """Kilobits per second at the clip's frame rate."""
        return float(8 * self.size_bytes * self.frame_rate / self.n_frames / 1000)


@dataclass(frozen=True, slots=True)
class Failure:
    """One clip that one codec could not do at one setting."""

    clip: str
    codec: str
    setting: int
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One codec against another, over all clips of one kind."""

    kind: Kind
    anchor: str
    codec: str

    per_clip: dict[str, BdRate | None]
    "None where the curves share no PSNR range."

    @property
    def valid(self) -> list[BdRate]:
        """Those clips' figures that exist."""
        return [rate for rate in self.per_clip.values() if rate is not None]

    @property
    def percent(self) -> float | None:
        """Mean over the clips that have one, each counting the same."""
        rates = [rate.percent for rate in self.valid]
        return sum(rates) / len(rates) if rates else None

    @property
    def range_db(self) -> tuple[float, float] | None:
        """Mean lower and mean upper end of the common PSNR ranges."""
        valid = self.valid
        if not valid:
            return None
        return (
            sum(rate.low_db for rate in valid) / len(valid),
            sum(rate.high_db for rate in valid) / len(valid),
        )


@dataclass(slots=True)
class Evaluation:
    """All points, in the order they were measured."""

    points: list[Point] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)
    "Codec: library and settings in words, in the order asked for."

    def kinds(self) -> list[Kind]:
        """Return the kinds of input there were, images first."""
        return sorted({point.kind for point in self.points})

    def codecs(self, kind: Kind) -> list[str]:
        """Return the codecs that have points of *kind*, in the order asked for."""
        seen = {point.codec for point in self.points if point.kind == kind}
        return [name for name in self.descriptions if name in seen]

    def clips(self, kind: Kind) -> list[str]:
        """Return the clips of *kind*, in order."""
        return list(dict.fromkeys(point.clip for point in self.points if point.kind == kind))

    def curve(self, clip: str, codec: str) -> list[RatePoint]:
        """Return (bits per pixel, 6:1:1 PSNR) of one codec on one clip, cheapest first."""
        return sorted(
            (point.bpp, point.psnr_db.yuv)
            for point in self.points
            if point.clip == clip and point.codec == codec
        )

    def mean_curve(self, kind: Kind, codec: str) -> list[RatePoint]:
        """Return (mean bits per pixel, mean PSNR) over clips for each setting."""
        by_setting: dict[int, list[Point]] = {}
        for point in self.points:
            if point.kind == kind and point.codec == codec:
                by_setting.setdefault(point.setting, []).append(point)
        most = max(map(len, by_setting.values()), default=0)
        return sorted(
            (_mean(p.bpp for p in points), _mean(p.psnr_db.yuv for p in points))
            for points in by_setting.values()
            if len(points) == most
        )

    def compare(self, kind: Kind, anchor: str, codec: str) -> Comparison:
        """Return *codec* against *anchor* on every clip of *kind*."""
        return Comparison(
            kind,
            anchor,
            codec,
            {
                clip: bd_rate(self.curve(clip, anchor), self.curve(clip, codec))
                for clip in self.clips(kind)
            },
        )

    def comparisons(self) -> list[Comparison]:
        """Return every codec against every other that has a curve, kind by kind."""
        return [
            comparison
            for kind in self.kinds()
            for anchor in self.codecs(kind)
            for codec in self.codecs(kind)
            if codec != anchor
            for comparison in [self.compare(kind, anchor, codec)]
            if comparison.valid
        ]


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
