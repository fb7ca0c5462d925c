"""Operations can be recorded as CUDA graphs: once warm, they ask the host for nothing."""

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")

from torch.overrides import TorchFunctionMode  # noqa: E402

from rtcodec.bundle import find_bundle  # noqa: E402
from rtcodec_engines.batch_rows import (  # noqa: E402
    DECODE_DELTA,
    DECODE_INTRA,
    ENCODE_DELTA,
    ENCODE_INTRA,
    KEEP,
    shapes_of,
)
from rtcodec_engines.device import CpuDevice  # noqa: E402
from rtcodec_engines.tensor.frames import Frames  # noqa: E402
from rtcodec_engines.tensor.slab import Slab  # noqa: E402

_FROM_HOST = ("tensor", "as_tensor", "from_numpy", "asarray")
_TO_HOST = (
    "item", "tolist", "cpu", "numpy", "nonzero", "masked_select", "unique", "is_nonzero",
    "__bool__", "__int__", "__float__", "__index__", "equal", "allclose",
)  # fmt: skip


class NothingOfTheHost(TorchFunctionMode):
    """Refuses what a recording could not hold."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        assert name not in (*_FROM_HOST, *_TO_HOST), f"{name} in a recording"
        return function(*args, **(kwargs or {}))


# The meta device has no numbers that one could look at, but knows no autocast.
@pytest.mark.parametrize(
    ("operation", "where"),
    [
        (ENCODE_INTRA, "cpu"),
        (DECODE_INTRA, "cpu"),
        (ENCODE_DELTA, "meta"),
        (DECODE_DELTA, "meta"),
        (KEEP, "meta"),
    ],
)
def test_operations_take_and_give_nothing_but_tensors(operation: str, where: str) -> None:
    bundle, device = find_bundle("n64"), torch.device(where)
    frames = Frames(bundle).eval().to(device)
    slab = Slab((64, 128), states=2, references=2, device=device)
    shapes = shapes_of(bundle, operation, (64, 128), 2)
    given = {
        name: torch.zeros(shape, dtype=kind, device=device)
        for name, (shape, kind) in shapes.items()
    }
    call = getattr(frames, operation)
    outputs = call(slab, given)
    with NothingOfTheHost():
        again = call(slab, given)
    assert {name: out.shape for name, out in again.items()} == {
        name: out.shape for name, out in outputs.items()
    }
    assert all(out.device == device for out in again.values())
    assert CpuDevice().memory_bytes() == 0


def test_what_a_recording_cannot_hold_is_noticed() -> None:
    with NothingOfTheHost(), pytest.raises(AssertionError, match="item in a recording"):
        torch.zeros(1).item()
    with NothingOfTheHost(), pytest.raises(AssertionError, match="tensor in a recording"):
        torch.tensor([1])
