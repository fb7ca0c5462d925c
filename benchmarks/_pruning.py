"""Channels taken out of the trunks of a trained codec: those that later layers make least of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from rtcodec.models.layer import Block, Int8Input
from rtcodec.models.network import Codec
from rtcodec.models.supply import Supply

TRUNKS = ("analysis", "synthesis")
_OUTER = {"analysis": ("out_input", "out"), "synthesis": ("head_input", "head")}
_GAINS = {
    "analysis": ("encoder_trunk_gain",),
    "synthesis": ("decoder_trunk_gain", "decoder_head_gain"),
}


@torch.no_grad()
def pruned(net: Codec, channels: int, supply: Supply, *, batches: int = 4) -> Codec:
    """
    Return a codec with fewer channels in its trunks, not trained further.

    Args:
        net: With trained weights; left as it is.
        channels: Of its trunks, to be kept.
        supply: What energies are measured on.
        batches: How much of it.
    """
    energy = _energies(net, supply, batches)
    state = dict(net.state_dict())
    for trunk in TRUNKS:
        part = getattr(net, trunk)
        stream = torch.zeros(net.tier.channels)
        for name, readers in _stream_inputs(trunk, part):
            stream += _importance(energy[name], readers)
        kept = _best(stream, channels)
        for name, block in part.blocks.named_children():
            _prune_block(state, f"{trunk}.blocks.{name}", block, energy, kept, channels)
        _take(state, f"{trunk}.embed.weight", kept, 0)
        _take(state, f"{trunk}.embed.bias", kept, 0)
        range_name, layer = _OUTER[trunk]
        _take(state, f"{trunk}.{range_name}.log_range", kept, 0)
        _take(state, f"{trunk}.{layer}.weight", kept, 1)
        for gain in _GAINS[trunk]:
            _take(state, f"gain_vectors.{gain}.log_gain", kept, 1)
    smaller = Codec(replace(net.tier, name=f"{net.tier.name}-{channels}", channels=channels))
    smaller.load_state_dict(state)
    return smaller


def _stream_inputs(trunk: str, part: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, ...]]]:
    """Inputs that read the residual stream, and the layers behind them."""
    blocks = part.get_submodule("blocks")
    for name, block in blocks.named_children():
        assert isinstance(block, Block)
        yield f"{trunk}.blocks.{name}.mix_input", (block.mix_in,)
        yield f"{trunk}.blocks.{name}.gate_input", (block.value, block.gate)
    outer, layer = _OUTER[trunk]
    yield f"{trunk}.{outer}", (part.get_submodule(layer),)


def _prune_block(
    state: dict[str, Tensor],
    name: str,
    block: Block,
    energy: dict[str, Tensor],
    kept: Tensor,
    channels: int,
) -> None:
    mixed = _best(_importance(energy[f"{name}.mixed_input"], (block.mix_out,)), channels)
    gated = _best(_importance(energy[f"{name}.gated_input"], (block.project,)), channels)
    for reader in ("mix_input", "gate_input"):
        _take(state, f"{name}.{reader}.log_range", kept, 0)
    _take(state, f"{name}.mixed_input.log_range", mixed, 0)
    _take(state, f"{name}.gated_input.log_range", gated, 0)
    for layer, outputs, inputs in (
        ("mix_in", mixed, kept),
        ("mix_out", kept, mixed),
        ("value", gated, kept),
        ("gate", gated, kept),
        ("project", kept, gated),
    ):
        _take(state, f"{name}.{layer}.weight", outputs, 0)
        _take(state, f"{name}.{layer}.weight", inputs, 1)
        _take(state, f"{name}.{layer}.bias", outputs, 0)
    _take(state, f"{name}.depthwise.weight", mixed, 0)
    _take(state, f"{name}.depthwise.bias", mixed, 0)
    for scale in ("mix_scale", "gate_scale"):
        _take(state, f"{name}.{scale}", kept, 1)


def _energies(net: Codec, supply: Supply, batches: int) -> dict[str, Tensor]:
    """Mean squares by channel of what each input of 1x1 layers sees."""
    seen: dict[str, Tensor] = {}

    def look(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            energy = arguments[0].square().mean((0, 2, 3)) / batches
            seen[name] = energy + seen.get(name, torch.zeros_like(energy))

        return hook

    modules = [(n, m) for n, m in net.named_modules() if isinstance(m, Int8Input)]
    hooks = [module.register_forward_pre_hook(look(name)) for name, module in modules]
    for _ in range(batches):
        net.eval()(*supply.next())
    for hook in hooks:
        hook.remove()
    return seen


def _importance(energy: Tensor, readers: tuple[nn.Module, ...]) -> Tensor:
    """What each channel brings into the layers that read it."""
    weight = torch.cat([reader.get_parameter("weight") for reader in readers])
    return energy * weight.square().sum((0, 2, 3))


def _best(importance: Tensor, count: int) -> Tensor:
    return importance.topk(count).indices.sort().values


def _take(state: dict[str, Tensor], name: str, kept: Tensor, axis: int) -> None:
    if name in state:  # ranges are there only where layers run in 8-bit integers
        state[name] = state[name].index_select(axis, kept)
