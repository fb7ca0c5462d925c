"""
How far a device's networks are from the reference: ONNX Runtime on the CPU, frame by frame.

Bits never depend on floats, so what can differ is which symbols an encoder chooses and, from the
same symbols, the decoded pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.bundle import GRAPHS, Bundle
from rtcodec.engine.blocks import BLOCK_SAMPLES, fill_blocks, planes_of
from rtcodec.models.inference import Inference, inference_from_weights
from rtcodec.models.tier import QP_COUNT, tier_from_dims

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, how the reference codes it and what it decodes it to."""

    qp: int
    planes: tuple[Bytes, Bytes, Bytes]
    "y uint8 [1, H, W], u and v [1, H/2, W/2]; sides are multiples of 64."
    z: Floats
    "[Cz, h64, w64]."
    indices: Bytes
    "[M, h16, w16]."
    symbols: Floats
    "[M, h16, w16]."
    decoded: tuple[Bytes, Bytes, Bytes]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of one batch against the reference."""

    batch: int
    row: int
    qp: int
    z_identical: float
    "Share of hyper-latents that the device chose like the reference."
    symbols_identical: float
    "Share of symbols, both from the reference's hyper-latents."
    pixel_max: int
    "Largest difference of decoded samples, from the reference's symbols."
    pixels_identical: float
    psnr_drop_db: float
    "Luma PSNR of the reference less that of the device, from the same symbols."


class Reference:
    """The shipped graphs in ONNX Runtime, float32, one frame at a time."""

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        """
        Args:
            bundle: A model with its graphs.
            threads: Of the CPU; 0 lets ONNX Runtime decide.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._bundle = bundle
        self._sessions = {
            graph: onnxruntime.InferenceSession(
                bundle.read_graph(graph), options, providers=["CPUExecutionProvider"]
            )
            for graph in GRAPHS
        }

    def code(self, planes: tuple[Bytes, Bytes, Bytes], qp: int) -> Frame:
        """Encode and decode one frame."""
        gains = self._bundle.gains[qp : qp + 1]
        height, width = planes[0].shape[1:]
        blocks = np.empty((1, height // 16, width // 16, BLOCK_SAMPLES), np.uint8)
        fill_blocks([plane[0] for plane in planes], blocks[0])
        latents, z = self._run("analysis", {"blocks": blocks, "gains": gains})
        indices = self._bundle.scale_net.indices(z[0].astype(np.int8), qp)
        chosen = np.ascontiguousarray(indices.transpose(1, 2, 0))[None]
        (symbols,) = self._run("residual", {"latents": latents, "z": z, "indices": chosen})
        (blocks,) = self._run("synthesis", {"z": z, "symbols": symbols, "gains": gains})
        y, u, v = (plane[None] for plane in planes_of(blocks[0]))
        return Frame(qp, planes, z[0], indices, symbols[0].transpose(2, 0, 1), (y, u, v))

    def _run(self, graph: str, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        results: list[NDArray[Any]] = self._sessions[graph].run(None, inputs)
        return results


def networks_of(bundle: Bundle) -> Inference:
    """The bundle's float networks in torch, on the CPU."""
    return inference_from_weights(tier_from_dims(bundle.name, dict(bundle.dims)), bundle.tensors)


def made_up_frames(
    count: int, height: int, width: int, *, seed: int
) -> list[tuple[Bytes, Bytes, Bytes]]:
    """Smooth noisy planes of *count* frames, for where no pictures are at hand."""
    rng = np.random.default_rng(seed)

    def plane(h: int, w: int) -> Bytes:
        coarse = rng.integers(40, 216, (h // 16 + 1, w // 16 + 1))
        smooth = np.kron(coarse, np.ones((16, 16)))[:h, :w]
        return (smooth + rng.normal(0, 3, (h, w))).round().clip(0, 255).astype(np.uint8)[None]

    half = (height // 2, width // 2)
    return [(plane(height, width), plane(*half), plane(*half)) for _ in range(count)]


@torch.no_grad()
def differences(
    networks: Inference,
    bundle: Bundle,
    frames: Sequence[Frame],
    batches: Sequence[int],
    *,
    autocast: torch.dtype | None = None,
) -> Iterator[Difference]:
    """
    Code *frames* in batches of each size of *batches*, and compare every row.

    Args:
        networks: On the device to check.
        bundle: The model.
        frames: At least as many as the largest batch; all of one size.
        batches: Batch sizes.
        autocast: Type of the trunks; None is float32 throughout.
    """
    device = next(networks.parameters()).device
    for size in batches:
        chosen = frames[:size]

        def stack(values: list[NDArray[Any]]) -> Tensor:
            return torch.from_numpy(np.stack(values)).to(device)

        y, u, v = (stack([frame.planes[i] for frame in chosen]) for i in range(3))
        gains = stack([bundle.gains[frame.qp] for frame in chosen])
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            latents, z = networks.analyse(y, u, v, gains)
            true_z = stack([frame.z for frame in chosen])
            indices = stack([frame.indices for frame in chosen])
            symbols = networks.residual(latents, true_z, indices)
            true_symbols = stack([frame.symbols for frame in chosen])
            planes = networks.synthesise(true_z, true_symbols, gains)
        for row, frame in enumerate(chosen):
            yield _compare(
                frame,
                size,
                row,
                z[row].cpu().numpy(),
                symbols[row].cpu().numpy(),
                [plane[row].cpu().numpy() for plane in planes],
            )


def _compare(
    frame: Frame, batch: int, row: int, z: Floats, symbols: Floats, planes: list[Bytes]
) -> Difference:
    gaps = [np.abs(a.astype(np.int16) - b) for a, b in zip(planes, frame.decoded, strict=True)]
    return Difference(
        batch=batch,
        row=row,
        qp=frame.qp,
        z_identical=float((z == frame.z).mean()),
        symbols_identical=float((symbols == frame.symbols).mean()),
        pixel_max=max(int(gap.max()) for gap in gaps),
        pixels_identical=float(np.concatenate([gap.ravel() == 0 for gap in gaps]).mean()),
        psnr_drop_db=_psnr(frame.decoded[0], frame.planes[0]) - _psnr(planes[0], frame.planes[0]),
    )


def _psnr(plane: Bytes, source: Bytes) -> float:
    mse = float(np.square(plane.astype(np.float64) - source).mean())
    return float(10 * np.log10(255**2 / max(mse, 1e-3)))


def spread_qps(count: int) -> list[int]:
    """*count* qp from fine to coarse."""
    return [round(i * (QP_COUNT - 1) / max(1, count - 1)) for i in range(count)]


def summary(rows: Sequence[Difference]) -> dict[str, dict[str, float]]:
    """The worst of each figure, by batch size."""
    out = {}
    for size in sorted({row.batch for row in rows}):
        own = [asdict(row) for row in rows if row.batch == size]
        out[str(size)] = {
            "z_identical": min(row["z_identical"] for row in own),
            "symbols_identical": min(row["symbols_identical"] for row in own),
            "pixels_identical": min(row["pixels_identical"] for row in own),
            "pixel_max": max(row["pixel_max"] for row in own),
            "psnr_drop_db": max(abs(row["psnr_drop_db"]) for row in own),
        }
    return out
