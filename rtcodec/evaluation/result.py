"""What an evaluation found, and the comparisons that follow from it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from rtcodec.evaluation.bd_rate import BdRate, RatePoint, bd_rate
from rtcodec.evaluation.clip import Kind
from rtcodec.evaluation.figures import FrameFigures
from rtcodec.evaluation.ms_ssim import ms_ssim_db
from rtcodec.quality import PlanePsnr

Quality = Literal["psnr_yuv", "ms_ssim"]
"What curves are compared by, both in dB: PSNR 6:1:1, or -10 log10(1 - MS-SSIM)."


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

    ms_ssim: float | None
    "Of luma, mean over frames; None for pictures that are too small for it."

    vmaf: float | None
    "Mean over frames; None for images and without libvmaf."

    encode_ms: float | None
    decode_ms: float | None
    "Wall time per frame, including container and entropy coding; None if not of this machine."

    frames: tuple[FrameFigures, ...] = ()
    "Figures of each frame; empty if an earlier run's are gone."

    reused: bool = False
    "Whether an earlier run measured it."

    @property
    def bpp(self) -> float:
        """Bits per luma pixel."""
        return 8 * self.size_bytes / (self.width * self.height * self.n_frames)

    @property
    def kbps(self) -> float:
        """Kilobits per second at the clip's frame rate."""
        return float(8 * self.size_bytes * self.frame_rate / self.n_frames / 1000)

    def quality_db(self, quality: Quality) -> float | None:
        """Return what a curve is drawn by, or None if it was not measured."""
        if quality == "psnr_yuv":
            return self.psnr_db.yuv
        return None if self.ms_ssim is None else ms_ssim_db(self.ms_ssim)


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

    digests: dict[str, str] = field(default_factory=dict)
    "Clip: SHA-256 of what was coded, see `clip_sha256`."

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

    def curve(self, clip: str, codec: str, quality: Quality = "psnr_yuv") -> list[RatePoint]:
        """Return (bits per pixel, dB) of one codec on one clip, cheapest first."""
        return sorted(
            (point.bpp, level_db)
            for point in self.points
            if point.clip == clip and point.codec == codec
            for level_db in [point.quality_db(quality)]
            if level_db is not None
        )

    def kbps_curve(self, clip: str, codec: str) -> list[RatePoint]:
        """Return (kilobits per second, 6:1:1 PSNR) of one codec on one clip, cheapest first."""
        points = [p for p in self.points if (p.clip, p.codec) == (clip, codec)]
        return sorted((point.kbps, point.psnr_db.yuv) for point in points)

    def mean_groups(self, kind: Kind, codec: str) -> list[list[Point]]:
        """Return the points of each setting that all clips have, the cheapest first."""
        by_setting: dict[int, list[Point]] = {}
        for point in self.points:
            if point.kind == kind and point.codec == codec:
                by_setting.setdefault(point.setting, []).append(point)
        most = max(map(len, by_setting.values()), default=0)
        full = [points for points in by_setting.values() if len(points) == most]
        return sorted(full, key=lambda points: sum(point.bpp for point in points))

    def mean_curve(self, kind: Kind, codec: str) -> list[RatePoint]:
        """Return (mean bits per pixel, mean PSNR) over clips for each setting."""
        return [
            (_mean(p.bpp for p in points), _mean(p.psnr_db.yuv for p in points))
            for points in self.mean_groups(kind, codec)
        ]

    def compare(
        self, kind: Kind, anchor: str, codec: str, quality: Quality = "psnr_yuv"
    ) -> Comparison:
        """Return *codec* against *anchor* on every clip of *kind*."""
        return Comparison(
            kind,
            anchor,
            codec,
            {
                clip: bd_rate(self.curve(clip, anchor, quality), self.curve(clip, codec, quality))
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
