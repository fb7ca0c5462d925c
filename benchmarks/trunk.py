"""
What a trunk saves: latents between two relays against VP8 on the same way, as the viewer sees it.

    python -m benchmarks.trunk [--clips FILE...] [--frames 60] [--model s128]

    source -VP8 2 Mb/s-> relay =latents, kb/s counted=> gateway -VP8 1.5 Mb/s-> viewer
    source -VP8 2 Mb/s-> relay =VP8, kb/s counted====================> viewer

Both are compared with the source, behind all their codings; the second at rates between which the
rate that shows the same PSNR is interpolated. Bytes are those of the bitstreams, without RTP.
Writes `benchmarks/trunk.json`. Skips itself where the clips are not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.rate_distortion import commit
from rtcodec.evaluation.clip import Clip, read_clip
from rtcodec.evaluation.installation import hardware, versions
from rtcodec.evaluation.latent import Latent, open_latent_codec
from rtcodec.media.picture import planes_of
from rtcodec.media.video_encoder import VideoEncoder
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared/data/dev/video"
CLIPS = ("call_two_people_640x360_90f.mkv", "talking_head_studio2_640x360_100f.mkv")
FIRST_HOP_BPS = 2_000_000
LAST_HOP_BPS = 1_500_000
QPS = (44, 38, 32, 26, 20)
RIVAL_BPS = (100_000, 150_000, 220_000, 330_000, 500_000, 750_000, 1_100_000, 1_500_000)


def vp8(frames: Sequence[Planes], rate: Fraction, bitrate_bps: int) -> tuple[list[Planes], int]:
    """Encode as a live encoder of ours does; return what is decoded, and the bytes."""
    encoder = VideoEncoder(
        "vp8",
        width=frames[0].width,
        height=frames[0].height,
        frame_rate=rate,
        bitrate_bps=bitrate_bps,
    )
    decoder = av.CodecContext.create("vp8", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    shown: list[Planes] = []
    n_bytes = 0
    for number, planes in enumerate(frames):
        packet = encoder.encode(planes, int(number * 90_000 / rate))
        if packet is not None:
            n_bytes += packet.size
            shown += [planes_of(frame) for frame in decoder.decode(packet)]
        shown += shown[-1:] * (number + 1 - len(shown))  # left out: the last one stands
    return shown, n_bytes


def latents(codec: Latent, clip: Clip, qp: int) -> tuple[list[Planes], int]:
    """Encode as the relay does; return what the gateway decodes, and the bytes."""
    encoded = codec.encode(clip, qp)
    return list(codec.decode(encoded, clip)), sum(map(len, encoded.parts))


def psnr_db(clip: Clip, shown: Sequence[Planes]) -> float:
    """Return the mean 6:1:1 PSNR of what is shown against the source."""
    pairs = zip(clip.frames, shown, strict=True)
    return statistics.fmean(picture_psnr(source, seen).yuv for source, seen in pairs)


def measure(clip: Clip, codec: Latent) -> dict[str, Any]:
    """Measure one clip both ways."""
    to_kbps = 8 / 1000 / float(clip.seconds)
    received, _ = vp8(clip.frames, clip.frame_rate, FIRST_HOP_BPS)
    at_relay = replace(clip, frames=tuple(received))
    rivals = []
    for bitrate_bps in RIVAL_BPS:
        shown, n_bytes = vp8(received, clip.frame_rate, bitrate_bps)
        rivals.append({"kbps": n_bytes * to_kbps, "psnr_db": psnr_db(clip, shown)})
    rivals.sort(key=lambda point: point["psnr_db"])
    points = []
    for qp in QPS:
        decoded, n_bytes = latents(codec, at_relay, qp)
        shown, _ = vp8(decoded, clip.frame_rate, LAST_HOP_BPS)
        point: dict[str, float | None] = {
            "qp": qp,
            "kbps": n_bytes * to_kbps,
            "psnr_db": psnr_db(clip, shown),
        }
        point["psnr_at_gateway_db"] = psnr_db(clip, decoded)
        point["vp8_kbps"] = same_quality(rivals, psnr_db(clip, shown))
        points.append(point)
    return {"clip": clip.name, "frames": len(clip.frames), "trunk": points, "vp8": rivals}


def same_quality(points: list[dict[str, float]], target_db: float) -> float | None:
    """Interpolate log rate over PSNR; None outside of what was measured."""
    quality = [point["psnr_db"] for point in points]
    if not quality[0] <= target_db <= quality[-1]:
        return None
    rates = np.log([point["kbps"] for point in points])
    return float(np.exp(np.interp(target_db, quality, rates)))


def main() -> int:
    """Measure, write the file, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0].strip())
    parser.add_argument("--clips", type=Path, nargs="*", default=[DATA / name for name in CLIPS])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--model", default="s128")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/trunk.json")
    args = parser.parse_args()
    if not all(path.is_file() for path in args.clips):
        print("skipped: the clips are not there (choose with --clips)", file=sys.stderr)
        return 0
    at = commit()
    codec = open_latent_codec(args.model)
    try:
        results = [measure(read_clip(path, max_frames=args.frames), codec) for path in args.clips]
    finally:
        codec.close()
    document = {
        "command": f"python -m benchmarks.trunk --frames {args.frames} --model {args.model}",
        "commit": at,
        "hardware": hardware(),
        "versions": versions(),
        "model": args.model,
        "first_hop_bps": FIRST_HOP_BPS,
        "last_hop_bps": LAST_HOP_BPS,
        "clips": results,
    }
    args.output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    for result in results:
        for point in result["trunk"]:
            rival = point["vp8_kbps"]
            against = "out of range" if rival is None else f"{rival:6.0f} kb/s of VP8"
            ours = f"{point['kbps']:6.0f} kb/s, {point['psnr_db']:.2f} dB"
            print(f"{result['clip']}: {ours}; {against}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
