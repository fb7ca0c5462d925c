"""
The intra networks of one model as TensorRT engines, in place of `Inference`, and their check.

TensorRT is known to give other numbers for a row than for the same row alone, without a word
(NVIDIA/TensorRT#4813), so nothing is used before every row of every batch was compared with torch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rtcodec.bundle import GRAPHS, Bundle
from rtcodec.models.inference import Inference
from rtcodec.models.network import pack_planes, unpack_planes
from rtcodec_engines.plan_cache import PlanCache, PlanKey
from rtcodec_engines.tensorrt_graph import LARGEST_PLACES, SETTINGS, accepted_graph
from rtcodec_engines.tensorrt_runtime import Executable, Runtime

HYPER_SAME, SYMBOLS_SAME, PIXEL_MEAN_OFF = 0.95, 0.98, 0.25
"""What may be other than in torch: of integers, at least so many are the same; of samples, the mean
difference. In 8 bits a value near a tie may be rounded to the other side."""


class TensorRtNetworks(nn.Module):
    """As `Inference`, where pictures are not too large; those are `Inference`'s."""

    def __init__(self, plain: Inference, executables: dict[str, Executable]) -> None:
        """
        Args:
            plain: The same networks in torch.
            executables: By graph.
        """
        super().__init__()
        self.plain = plain
        self._executables = executables

    def analyse(self, y: Tensor, u: Tensor, v: Tensor, gains: Tensor) -> tuple[Tensor, Tensor]:
        """As `Inference.analyse`."""
        n, _, height, width = y.shape
        h, w = height // 16, width // 16
        if not _fits(h, w):
            return self.plain.analyse(y, u, v, gains)
        tier = self.plain.tier
        blocks = pack_planes(y, u, v).permute(0, 2, 3, 1)
        made = self._executables["analysis"].run(
            {"blocks": blocks, "gains": gains},
            {
                "latents": ((n, h, w, tier.latents), torch.float32),
                "z": ((n, tier.hyper_latents, h // 4, w // 4), torch.float32),
            },
        )
        return made["latents"].permute(0, 3, 1, 2), made["z"]

    def residual(self, latents: Tensor, z: Tensor, indices: Tensor) -> Tensor:
        """As `Inference.residual`."""
        n, m, h, w = latents.shape
        if not _fits(h, w):
            return self.plain.residual(latents, z, indices)
        last = (0, 2, 3, 1)
        given = {"latents": latents.permute(last), "z": z, "indices": indices.permute(last)}
        wanted = {"symbols": ((n, h, w, m), torch.float32)}
        made = self._executables["residual"].run(given, wanted)
        return made["symbols"].permute(0, 3, 1, 2)

    def synthesise(
        self, z: Tensor, symbols: Tensor, gains: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `Inference.synthesise`."""
        n, _, h, w = symbols.shape
        if not _fits(h, w):
            return self.plain.synthesise(z, symbols, gains)
        made = self._executables["synthesis"].run(
            {"z": z, "symbols": symbols.permute(0, 2, 3, 1), "gains": gains},
            {"blocks": ((n, h, w, 384), torch.uint8)},
        )
        return unpack_planes(made["blocks"].permute(0, 3, 1, 2))


def plan_key(bundle: Bundle, graph: str, runtime: Runtime) -> PlanKey:
    """What a plan of one graph depends on here."""
    return PlanKey(
        model=bundle.name,
        model_id=bundle.model_id.hex(),
        graph=graph,
        graph_sha256=bundle.graph_sha256.get(graph, ""),
        settings=SETTINGS,
        library=runtime.library,
        gpu=runtime.gpu,
    )


def build_plans(bundle: Bundle, runtime: Runtime, cache: PlanCache, *, again: bool = False) -> Any:
    """Build what of a model is not in the cache; yields (graph, path, bytes), as it is done."""
    for graph in GRAPHS:
        key = plan_key(bundle, graph, runtime)
        if again or not cache.path(key).exists():
            plan = runtime.build(accepted_graph(bundle, graph))
            yield graph, cache.store(key, plan), len(plan)


def load_networks(
    bundle: Bundle, plain: Inference, runtime: Runtime, cache: PlanCache
) -> TensorRtNetworks:
    """
    Load a model's engines.

    Raises:
        ConfigError: If one was not built, is damaged, or of something else.
        EngineError: If the library does not take one.
    """
    plans = {graph: cache.load(plan_key(bundle, graph, runtime)) for graph in GRAPHS}
    return TensorRtNetworks(plain, {graph: runtime.load(plan) for graph, plan in plans.items()})


@torch.inference_mode()
def parity_problem(
    networks: TensorRtNetworks, gains: Tensor, device: torch.device, batches: Sequence[int]
) -> str | None:
    """
    Compare every row of every batch with torch in float32, one frame at a time.

    Args:
        networks: What to check, with what to compare.
        gains: Of the model, [64, G].
        device: Of both.
        batches: Sizes.

    Returns:
        What is wrong, in one line, or None.
    """
    plain = networks.plain
    count = max(batches)
    draw = torch.Generator().manual_seed(7)
    sides = ((128, 192), (64, 96), (64, 96))
    y, u, v = (
        (torch.rand((count, 1, *side), generator=draw) * 60 + 90).to(torch.uint8).to(device)
        for side in sides
    )
    indices = torch.randint(0, 64, (count, plain.tier.latents, 8, 12), generator=draw)
    indices = indices.to(torch.uint8).to(device)
    qps = torch.arange(count, device=device) * 63 // max(1, count - 1)
    wanted = []
    for k in range(count):
        one = slice(k, k + 1)
        latents, z = plain.analyse(y[one], u[one], v[one], gains[qps[one]])
        symbols = plain.residual(latents.float(), z, indices[one])
        wanted.append((latents, z, symbols, plain.synthesise(z, symbols, gains[qps[one]])))
    for size in batches:
        few = slice(size)
        own = gains[qps[few]]
        z = torch.cat([row[1] for row in wanted[few]])
        given = torch.cat([row[0] for row in wanted[few]]).float()
        of_torch = torch.cat([row[2] for row in wanted[few]])
        hyper = networks.analyse(y[few], u[few], v[few], own)[1]
        symbols = networks.residual(given, z, indices[few])
        shown = networks.synthesise(z, of_torch, own)
        for k in range(size):
            _, z_wanted, symbols_wanted, planes = wanted[k]
            same = (hyper[k] == z_wanted[0]).float().mean().item()
            if not same >= HYPER_SAME:
                return f"row {k} of {size}: {same:.3f} of the hyper-latents are torch's"
            same = (symbols[k] == symbols_wanted[0]).float().mean().item()
            if not same >= SYMBOLS_SAME:
                return f"row {k} of {size}: {same:.3f} of the symbols are torch's"
            off = (shown[0][k].float() - planes[0][0].float()).abs().mean().item()
            if not off <= PIXEL_MEAN_OFF:
                return f"row {k} of {size}: samples differ by {off:.2f}"
    return None


def _fits(h: int, w: int) -> bool:
    return h <= LARGEST_PLACES[0] and w <= LARGEST_PLACES[1]
