"""
Figures of one frame, of all frames of a clip, and their means.

    original, decoded --Meter.add--> PSNR, MS-SSIM, VMAF --finish--> a row per frame

Means are over frames. A figure that does not exist, as MS-SSIM of a tiny
picture or VMAF without its library, is None and stays empty in every file.
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from rtcodec.evaluation.clip import Clip
from rtcodec.evaluation.ms_ssim import LEAST_SIDE_PX, ms_ssim
from rtcodec.evaluation.vmaf import Vmaf, why_not
from rtcodec.quality import PlanePsnr, picture_psnr
from rtcodec.types import Planes

COLUMNS = (
    "frame", "size_bytes", "psnr_y_db", "psnr_u_db", "psnr_v_db", "psnr_yuv_db", "ms_ssim", "vmaf",
)  # fmt: skip
"Of a file of figures per frame; `frame` counts from 0."


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFigures:
    """What one frame took and what came back."""

    size_bytes: int | None
    "None if the stream does not say."

    psnr_db: PlanePsnr

    ms_ssim: float | None
    "Of luma, 0 to 1; None below `LEAST_SIDE_PX`."

    vmaf: float | None
    "0 to 100; None for pictures and without libvmaf."


class Meter:
    """Compares the frames of a clip, in order, with those that were decoded."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._psnr: list[PlanePsnr] = []
        self._ms_ssim: list[float | None] = []
        self._has_ms_ssim = min(clip.width, clip.height) >= LEAST_SIDE_PX
        self._vmaf = _open_vmaf(clip)

    def add(self, decoded: Planes) -> None:
        """
        Compare the next frame.

        Raises:
            ValueError: If the clip has no more, or it is of another size.
        """
        number, frames = len(self._psnr), self._clip.frames
        if number == len(frames):
            raise ValueError(f"more than {number} frames came back")
        original = frames[number]
        self._psnr.append(picture_psnr(original, decoded))
        self._ms_ssim.append(ms_ssim(original.y, decoded.y) if self._has_ms_ssim else None)
        if self._vmaf is not None:
            self._vmaf.add(original, decoded)

    def finish(self, sizes_bytes: Sequence[int] | None) -> tuple[FrameFigures, ...]:
        """
        Return the figures of every frame.

        Args:
            sizes_bytes: What each frame takes, None if that is not known.

        Raises:
            ValueError: If frames are missing.
        """
        n_frames = len(self._clip.frames)
        if len(self._psnr) != n_frames:
            raise ValueError(f"{len(self._psnr)} of {n_frames} frames came back")
        nothing = [None] * n_frames
        rows = zip(
            sizes_bytes or nothing,
            self._psnr,
            self._ms_ssim,
            nothing if self._vmaf is None else self._vmaf.finish(),
            strict=True,
        )
        return tuple(
            FrameFigures(size_bytes=size, psnr_db=psnr_db, ms_ssim=similarity, vmaf=score)
            for size, psnr_db, similarity, score in rows
        )


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean, or None if one is missing or there are none."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return sum(known) / len(known) if known and len(known) == len(listed) else None


def write_frames(path: Path, frames: Sequence[FrameFigures]) -> None:
    """
    Write figures per frame as CSV, one line each.

    Raises:
        OSError: If the file cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, frame in enumerate(frames):
            psnr_db = [round(db, 4) for db in frame.psnr_db.as_dict().values()]
            rest = (rounded(frame.ms_ssim, 6), rounded(frame.vmaf, 4))
            writer.writerow([number, frame.size_bytes, *psnr_db, *rest])


def read_frames(path: Path) -> tuple[FrameFigures, ...]:
    """
    Read what `write_frames` wrote.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no such file.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path.name} holds no figures per frame")
        return tuple(_frame(row) for row in reader)


def rounded(value: float | None, digits: int) -> float | None:
    """Round what there is."""
    return None if value is None else round(value, digits)


def _frame(row: dict[str, str]) -> FrameFigures:
    def number(column: str, read: Callable[[str], float] = float) -> float | None:
        return read(row[column]) if row[column] else None

    size = number("size_bytes", int)
    return FrameFigures(
        size_bytes=None if size is None else int(size),
        psnr_db=PlanePsnr(*(float(row[f"psnr_{plane}_db"]) for plane in "yuv")),
        ms_ssim=number("ms_ssim"),
        vmaf=number("vmaf"),
    )


def _open_vmaf(clip: Clip) -> Vmaf | None:
    """Return a VMAF meter for a video, or None where there cannot be one."""
    if clip.kind == "image" or why_not() is not None:
        return None
    try:
        return Vmaf(clip.width, clip.height)
    except av.FFmpegError:  # a size that the library does not take
        return None
