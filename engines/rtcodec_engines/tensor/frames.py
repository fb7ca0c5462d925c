"""
What is done with a batch of frames of one size: the operations of an engine, on tensors.

    encode_intra   planes --analysis--> z --Scales--> indices --residual--> symbols, shown planes
    decode_intra   z, symbols --synthesis--> planes --Refine--> stored and shown
    encode_delta   planes --search--> prediction --transform, Quantise, Rest--> symbols, as below
    decode_delta   symbols --predict, paint, smooth--> stored; --Refine--> shown
    keep           planes that the host painted --> stored

Symbols of delta frames come and go as lists of tiles (`tiles`).

All shapes are fixed, nothing is read back on the way, and states are rows of a slab: each operation
is one CUDA graph. `numbers` int64 [N, 4] says of each frame its qp, the row of the picture it is
predicted from, the row to store it in and its state; frames that only fill up the batch have zeros.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rtcodec.bundle import Bundle
from rtcodec.entropy.cdf import SYMBOL_MAX
from rtcodec.models.inference import Inference
from rtcodec.models.parity import networks_of
from rtcodec.motion.native import FINE, NO_QP
from rtcodec.motion.refinement import Refinement
from rtcodec.motion.search import nominal_step
from rtcodec.motion.smoothing import limits
from rtcodec.motion.vectors import CHANNELS as MOTION_CHANNELS
from rtcodec.types import QP_MAX
from rtcodec_engines.tensor.latents import Quantise, of_tiles, transform
from rtcodec_engines.tensor.paint import Painted, paint
from rtcodec_engines.tensor.predict import Pictures, predict
from rtcodec_engines.tensor.refine import Refine
from rtcodec_engines.tensor.rest import Rest
from rtcodec_engines.tensor.scales import Scales
from rtcodec_engines.tensor.search import find_motion
from rtcodec_engines.tensor.sights import Sights
from rtcodec_engines.tensor.slab import Slab
from rtcodec_engines.tensor.smooth import smooth
from rtcodec_engines.tensor.tiles import list_tiles, spread_list
from rtcodec_engines.tensor.vectors import Motion, motion_symbols, spread_tiles, vectors_of

Tensors = Mapping[str, Tensor]

PLANES = ("y", "u", "v")
NEW_SCENE = 0.5
"As in `graph_engine`: part of the blocks without a prediction from which on a frame is alone."

QP, REFERENCE, STORE, STATE = range(4)
"Columns of `numbers`."


class Frames(nn.Module):
    """One model's networks and tables on a device, and what they do."""

    # What `rtcodec_engines.kernel.fused` has other forms of.
    sights: type[Sights] = Sights
    refinement: type[Refine] = Refine
    predict = staticmethod(predict)
    paint = staticmethod(paint)
    smooth = staticmethod(smooth)

    def __init__(self, bundle: Bundle, *, autocast: torch.dtype | None = None) -> None:
        """
        Args:
            bundle: The model.
            autocast: Type of the trunks of intra frames; None is float32.
        """
        super().__init__()
        self._autocast = autocast
        self.intra: Inference = networks_of(bundle)
        if autocast is not None:
            self.intra.trunks_to(autocast)
        self.scales = Scales(bundle.scale_net)
        tensors = bundle.group("refine")
        self.refine_intra, self.refine_delta = (
            None if found is None else self.refinement(found)
            for found in (Refinement.of(tensors, kind) for kind in ("intra", "delta"))
        )
        self.gains: Tensor
        self.register_buffer("gains", torch.from_numpy(np.array(bundle.gains)), False)
        self.has_delta = bundle.delta is not None
        if bundle.delta is not None:
            self._take_delta(bundle.delta)

    def _take_delta(self, delta: Bundle) -> None:
        self.quantise = Quantise(delta)
        self.rest = Rest(delta, self.quantise.contexts)
        steps = np.array(delta.steps)
        self.steps: Tensor
        self.limits: Tensor
        self.nominal: Tensor
        for name, values in (
            ("steps", steps),
            ("limits", np.stack([limits((int(y), int(uv))) for y, uv in steps])),
            ("nominal", np.array([nominal_step(qp) for qp in range(QP_MAX + 1)], np.float32)),
        ):
            self.register_buffer(name, torch.from_numpy(values), False)

    @torch.inference_mode()
    def encode_intra(self, slab: Slab, given: Tensors) -> dict[str, Tensor]:
        """Code frames alone: `y`, `u`, `v`, `numbers` to `z`, `symbols`, `indices` and planes."""
        numbers = given["numbers"]
        qp = numbers[:, QP]
        gains = self.gains[qp]
        with self._mixed(numbers.device):
            y, u, v = (given[name][:, None] for name in PLANES)
            latents, z = self.intra.analyse(y, u, v, gains)
            indices = self.scales(z, qp)
            symbols = self.intra.residual(latents.float(), z, indices)
            symbols = symbols.clamp(-SYMBOL_MAX, SYMBOL_MAX)
        said = _coded(z, symbols, indices)
        return {**said, **self.decode_intra(slab, {**said, "numbers": numbers})}

    @torch.inference_mode()
    def decode_intra(self, slab: Slab, given: Tensors) -> dict[str, Tensor]:
        """Turn `z`, `symbols` and `numbers` into planes."""
        # An encoder goes this way, too: floats laid out otherwise may be rounded otherwise.
        symbols = given["symbols"].permute(0, 3, 1, 2).float()
        return self._intra_pictures(slab, given["z"].float(), symbols, given["numbers"])

    @torch.inference_mode()
    def encode_delta(self, slab: Slab, given: Tensors) -> dict[str, Tensor]:
        """
        Code frames from pictures; as `encode_intra`, symbols and indices as lists, and `is_scene`.

        Of a frame that shows another scene, nothing else that comes out is of use.
        """
        numbers = given["numbers"]
        qp, rows, state = numbers[:, QP], numbers[:, REFERENCE], numbers[:, STATE]
        source, steps = [given[name] for name in PLANES], self.steps[qp]
        moved = find_motion(
            source, slab.pictures, rows, self.nominal[qp], slab.vectors[state],
            sights=self.sights, predict=self.predict,
        )  # fmt: skip
        slab.vectors.index_copy_(0, state, moved.motion.vectors)
        latents, split = transform(source, moved.prediction, steps)
        motion = motion_symbols(moved.motion)
        coded = self.quantise(latents, split, motion, qp)
        spared = self.rest(coded, qp)
        symbols = coded.symbols * ~spread_tiles(spared, 4)[:, None]
        still = ~of_tiles(symbols != 0)
        z = coded.z * ~still[:, None]  # nothing is sent of those tiles
        said = _coded(z, symbols, coded.indices)
        painted = self.paint(
            said["symbols"], moved.prediction, spread_tiles(still, 4), self.steps[qp]
        )
        shown = self._delta_pictures(slab, painted, moved.motion, still, numbers)
        is_scene = moved.motion.intra.flatten(1).float().mean(1) > NEW_SCENE
        listed = ~still.flatten(1)
        lists = {f"list_{name}": list_tiles(said[name], listed) for name in ("symbols", "indices")}
        return {"z": said["z"], "listed": listed, **lists, **shown, "is_scene": is_scene}

    @torch.inference_mode()
    def decode_delta(self, slab: Slab, given: Tensors) -> dict[str, Tensor]:
        """Turn `listed`, `list_symbols` and `numbers` into planes."""
        numbers, tiles = given["numbers"], slab.pictures.qps.shape[1:]
        symbols = spread_list(given["list_symbols"], given["listed"], *tiles)
        motion = vectors_of(symbols[..., -MOTION_CHANNELS:])
        still = ~of_tiles((symbols != 0).any(3, keepdim=True).permute(0, 3, 1, 2))
        painted = self.predict_and_paint(
            slab.pictures, numbers[:, REFERENCE], motion, symbols, spread_tiles(still, 4),
            self.steps[numbers[:, QP]],
        )  # fmt: skip
        return self._delta_pictures(slab, painted, motion, still, numbers)

    @torch.inference_mode()
    def keep(self, slab: Slab, given: Tensors) -> dict[str, Tensor]:
        """Store `y`, `u`, `v` (int16, as the slab has them) of `numbers`, refined already."""
        _store_alone(slab, given["numbers"], [given[name] for name in PLANES])
        return {}

    def predict_and_paint(
        self, pictures: Pictures, rows: Tensor, motion: Motion, symbols: Tensor, still: Tensor,
        steps: Tensor,
    ) -> Painted:  # fmt: skip
        """Both, of which a decoder never sees what is between."""
        return self.paint(symbols, self.predict(pictures, rows, motion), still, steps)

    def _intra_pictures(
        self, slab: Slab, z: Tensor, symbols: Tensor, numbers: Tensor
    ) -> dict[str, Tensor]:
        qp = numbers[:, QP]
        with self._mixed(numbers.device):
            painted = self.intra.synthesise(z, symbols, self.gains[qp])
        planes = [plane[:, 0].int() * FINE for plane in painted]
        n, _, rows, columns = z.shape
        if self.refine_intra is not None:
            tiles = qp.to(torch.uint8)[:, None, None].expand(n, rows, columns)
            planes = self.refine_intra(planes, tiles)
        _store_alone(slab, numbers, planes)
        return _shown(planes)

    def _delta_pictures(
        self, slab: Slab, painted: Painted, motion: Motion, still: Tensor, numbers: Tensor
    ) -> dict[str, Tensor]:
        qp, planes = numbers[:, QP], painted.planes
        self.smooth(
            planes, painted.coded, motion.vectors, motion.intra, spread_tiles(still, 4),
            self.limits[qp],
        )  # fmt: skip
        before = slab.pictures.qps[numbers[:, REFERENCE]]
        qps = torch.where(still, before, qp.to(torch.uint8)[:, None, None])
        slab.store(numbers[:, STORE], planes, qps)
        return _shown(planes if self.refine_delta is None else self.refine_delta(planes, qps))

    def _mixed(self, device: torch.device) -> Any:
        """The type of the trunks; no cache of cast weights, which a graph must not hold."""
        wanted = self._autocast is not None
        return torch.autocast(device.type, self._autocast, enabled=wanted, cache_enabled=False)


def _coded(z: Tensor, symbols: Tensor, indices: Tensor) -> dict[str, Tensor]:
    """As the entropy coder takes them: channels last, small integers."""
    last = (0, 2, 3, 1)
    return {
        "z": z.to(torch.int8),
        "symbols": symbols.permute(last).to(torch.int16).contiguous(),
        "indices": indices.permute(last).contiguous(),
    }


def _store_alone(slab: Slab, numbers: Tensor, planes: list[Tensor]) -> None:
    """Store what was coded alone: nothing is refined again where it is at rest."""
    tiles = (len(numbers), *slab.pictures.qps.shape[1:])
    nothing = torch.full(tiles, NO_QP, dtype=torch.uint8, device=numbers.device)
    slab.store(numbers[:, STORE], planes, nothing)


def _shown(planes: list[Tensor]) -> dict[str, Tensor]:
    """Planes in bytes."""
    return {
        name: ((plane + FINE // 2) >> 4).to(torch.uint8)
        for name, plane in zip(PLANES, planes, strict=True)
    }
