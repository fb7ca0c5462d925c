"""Whether two forms of the same operations give the same integers, asked before one is used."""

import torch
from torch import Tensor

from rtcodec.types import QP_MAX
from rtcodec_engines.tensor.frames import PLANES, Frames
from rtcodec_engines.tensor.slab import Slab
from rtcodec_engines.tensor.tiles import list_tiles

_SIZE, _BATCH = (128, 192), 3
_PIXELS_OFF = 1.0
"Mean difference of intra frames' samples: their floats may round otherwise."


def disagreement(one: Frames, other: Frames, device: torch.device) -> str | None:
    """Run all operations of both on made-up frames; say in one line what differs, if anything."""
    draw = torch.Generator().manual_seed(1)
    height, width = _SIZE
    numbers = torch.tensor(
        [[k * QP_MAX // _BATCH, 1 + k, 1 + k, 1 + k] for k in range(_BATCH)], device=device
    )

    def planes(seed: int) -> dict[str, Tensor]:
        sides = ((height, width), *((height // 2, width // 2),) * 2)
        own = torch.Generator().manual_seed(seed)
        noise = [torch.rand((_BATCH, *side), generator=own) * 8 for side in sides]
        slope = [torch.arange(side[1]) * 160.0 / side[1] + 9 * seed for side in sides]
        made = [(a + b).to(torch.uint8).to(device) for a, b in zip(noise, slope, strict=True)]
        return dict(zip(PLANES, made, strict=True))

    slabs = [Slab(_SIZE, states=4, references=1, device=device) for _ in range(2)]
    for frames, slab in zip((one, other), slabs, strict=True):
        frames.encode_intra(slab, {**planes(0), "numbers": numbers})
    for mine, its in zip(slabs[0].pictures.planes, slabs[1].pictures.planes, strict=True):
        off = (mine.float() - its.float())[1 : 1 + _BATCH].abs().mean().item() / 16
        if off > _PIXELS_OFF:
            return f"intra frames differ by {off:.1f} a sample"
        its.copy_(mine)
    if not one.has_delta:
        return None
    said = (_BATCH, height // 16, width // 16, 394)
    symbols = torch.randint(-9, 10, said, generator=draw) * (
        torch.rand(said, generator=draw) < 0.02
    )
    listed = torch.ones((_BATCH, height * width // 4096), dtype=torch.bool, device=device)
    tiles = list_tiles(symbols.to(torch.int16).to(device), listed)
    for operation, given in (
        ("encode_delta", planes(1)),
        ("decode_delta", {"listed": listed, "list_symbols": tiles}),
    ):
        mine, its = (
            getattr(frames, operation)(slab, {**given, "numbers": numbers})
            for frames, slab in zip((one, other), slabs, strict=True)
        )
        wrong = [name for name in mine if not torch.equal(mine[name], its[name])]
        if wrong:
            return f"{operation} gives other {', '.join(wrong)}"
    return None
