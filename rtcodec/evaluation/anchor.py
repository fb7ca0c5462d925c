"""
Every codec against one: the BD-rate table in Markdown and as data.

    | codec | BD-rate, PSNR 6:1:1 | over dB | BD-rate, MS-SSIM | clips | encode | decode |

and, if there are several clips, a second table with a row for each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rtcodec.evaluation.clip import Kind
from rtcodec.evaluation.figures import mean, rounded
from rtcodec.evaluation.registry import RIVALS
from rtcodec.evaluation.result import Comparison, Evaluation

USUAL_ANCHORS: dict[Kind, str] = {"image": "jpeg", "video": "vp8"}
"What others are compared with when nothing is said."

_NOTHING = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One codec against the anchor, over all clips of a kind."""

    codec: str
    psnr: Comparison
    "By 6:1:1 PSNR."

    ms_ssim: Comparison
    "By MS-SSIM in dB; without figures where there is none."

    encode_ms: float | None
    decode_ms: float | None
    "Mean over its points, per frame."

    def as_json(self) -> dict[str, object]:
        """Return the figures, rounded."""
        ends = self.psnr.range_db
        return {
            "codec": self.codec,
            "psnr_yuv_percent": rounded(self.psnr.percent, 3),
            "ms_ssim_percent": rounded(self.ms_ssim.percent, 3),
            "mean_overlap_db": None if ends is None else [round(end, 2) for end in ends],
            "encode_ms": rounded(self.encode_ms, 3),
            "decode_ms": rounded(self.decode_ms, 3),
            "clips": {
                clip: None if rate is None else round(rate.percent, 3)
                for clip, rate in self.psnr.per_clip.items()
            },
        }


def find_anchor(result: Evaluation, kind: Kind, wanted: str | None = None) -> str | None:
    """
    Return the codec that others are compared with.

    Args:
        result: All points.
        kind: Of the input.
        wanted: Taken if it has points of that kind; then the usual one, then a rival.

    Returns:
        A name, or None if there is nothing to compare.
    """
    names = result.codecs(kind)
    rivals = [name for name in names if name in RIVALS]
    order = [wanted, USUAL_ANCHORS[kind], *rivals, *names]
    return next((name for name in order if name in names), None) if len(names) > 1 else None


def standings(result: Evaluation, kind: Kind, anchor: str) -> list[Standing]:
    """Return every codec that shares a range with *anchor*, the fewest bits first."""
    rows = []
    for codec in result.codecs(kind):
        points = [p for p in result.points if (p.kind, p.codec) == (kind, codec)]
        row = Standing(
            codec=codec,
            psnr=result.compare(kind, anchor, codec),
            ms_ssim=result.compare(kind, anchor, codec, "ms_ssim"),
            encode_ms=mean(p.encode_ms for p in points),
            decode_ms=mean(p.decode_ms for p in points),
        )
        if codec == anchor or row.psnr.valid:
            rows.append(row)
    return sorted(rows, key=lambda row: row.psnr.percent or 0.0)


def anchor_json(result: Evaluation, kind: Kind, anchor: str) -> dict[str, object]:
    """Return the table as data and as text."""
    rows = standings(result, kind, anchor)
    return {
        "kind": kind,
        "anchor": anchor,
        "rows": [row.as_json() for row in rows],
        "markdown": markdown(rows, kind, anchor),
    }


def markdown(rows: Sequence[Standing], kind: Kind, anchor: str) -> str:
    """Return the tables of *rows*, which hold at least the anchor's, as Markdown."""
    clips = list(rows[0].psnr.per_clip)
    lines = [f"{kind}s: BD-rate against {anchor}, mean over {len(clips)}; times per frame", ""]
    lines += _table(
        ["codec", "PSNR 6:1:1", "over dB", "MS-SSIM", "clips", "encode", "decode"],
        [_mean_row(row, anchor, len(clips)) for row in rows],
    )
    others = [row for row in rows if row.codec != anchor]
    if len(clips) > 1 and others:
        lines += ["", *_table(["clip", *(row.codec for row in others)], _clip_rows(others, clips))]
    return "\n".join(lines)


def _mean_row(row: Standing, anchor: str, n_clips: int) -> list[str]:
    times = [_NOTHING if t is None else f"{t:.1f} ms" for t in (row.encode_ms, row.decode_ms)]
    if row.codec == anchor:
        return [row.codec, "anchor", _NOTHING, "anchor", str(n_clips), *times]
    ends = row.psnr.range_db
    over = _NOTHING if ends is None else f"{ends[0]:.1f} to {ends[1]:.1f}"
    percents = _percent(row.psnr.percent), _percent(row.ms_ssim.percent)
    return [row.codec, percents[0], over, percents[1], str(len(row.psnr.valid)), *times]


def _clip_rows(rows: Sequence[Standing], clips: Iterable[str]) -> list[list[str]]:
    per_clip = [(clip, [row.psnr.per_clip[clip] for row in rows]) for clip in clips]
    return [
        [clip, *(_percent(None if rate is None else rate.percent) for rate in rates)]
        for clip, rates in per_clip
    ]


def _percent(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:+.1f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return Markdown that is also aligned as plain text: the first column left, others right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(pairs)]
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    return ["| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:])]
