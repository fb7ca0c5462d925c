"""
A point as a row: `read_row(write_row(point))` is the point without its frames.

Figures are rounded here and nowhere else.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any
from urllib.parse import quote

from rtcodec.evaluation.figures import rounded
from rtcodec.evaluation.result import Point
from rtcodec.quality import PlanePsnr

COLUMNS = (
    "clip", "kind", "width", "height", "frames", "frame_rate", "codec", "unit", "setting",
    "size_bytes", "bpp", "kbps", "psnr_y_db", "psnr_u_db", "psnr_v_db", "psnr_yuv_db",
    "ms_ssim", "vmaf", "encode_ms", "decode_ms", "reused",
)  # fmt: skip


def write_row(point: Point) -> dict[str, object]:
    """Return one line of `results.csv`, keyed by `COLUMNS`."""
    return {
        "clip": point.clip,
        "kind": point.kind,
        "width": point.width,
        "height": point.height,
        "frames": point.n_frames,
        "frame_rate": str(point.frame_rate),
        "codec": point.codec,
        "unit": point.unit,
        "setting": point.setting,
        "size_bytes": point.size_bytes,
        "bpp": round(point.bpp, 6),
        "kbps": round(point.kbps, 3),
        **{f"psnr_{plane}_db": round(db, 4) for plane, db in point.psnr_db.as_dict().items()},
        "ms_ssim": rounded(point.ms_ssim, 6),
        "vmaf": rounded(point.vmaf, 4),
        "encode_ms": rounded(point.encode_ms, 3),
        "decode_ms": rounded(point.decode_ms, 3),
        "reused": point.reused,
    }


def read_row(row: Mapping[str, Any]) -> Point:
    """
    Return a point, without figures per frame, from a row of `results.json`.

    Raises:
        KeyError: If a column is missing.
        TypeError: If a value is of another type.
        ValueError: If a value makes no sense.
    """
    return Point(
        clip=str(row["clip"]),
        kind="image" if row["kind"] == "image" else "video",
        width=int(row["width"]),
        height=int(row["height"]),
        n_frames=int(row["frames"]),
        frame_rate=Fraction(row["frame_rate"]),
        codec=str(row["codec"]),
        unit=str(row["unit"]),
        setting=int(row["setting"]),
        size_bytes=int(row["size_bytes"]),
        psnr_db=PlanePsnr(*(float(row[f"psnr_{plane}_db"]) for plane in "yuv")),
        ms_ssim=_figure(row["ms_ssim"]),
        vmaf=_figure(row["vmaf"]),
        encode_ms=_figure(row["encode_ms"]),
        decode_ms=_figure(row["decode_ms"]),
        reused=bool(row["reused"]),
    )


def frames_name(point: Point) -> str:
    """Return the name of the file of figures per frame, whatever clip and codec are called."""
    clip, codec = (quote(name, safe=" ()+,=@") for name in (point.clip, point.codec))
    return f"{clip}.{codec}.{point.setting}.csv"


def _figure(value: Any) -> float | None:
    return None if value is None else float(value)
