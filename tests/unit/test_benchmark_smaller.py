"""Pruning as `benchmarks.smaller` does it, and training that has a teacher."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from torch import Tensor  # noqa: E402

from benchmarks._pruning import pruned  # noqa: E402
from benchmarks.smaller import trained  # noqa: E402
from rtcodec.models.network import Codec  # noqa: E402
from rtcodec.models.tier import TIERS  # noqa: E402
from support.models import TINY, codec, crops, supply  # noqa: E402


def outputs(net: Codec) -> Tensor:
    x, _ = supply(5).next()
    with torch.no_grad():
        x_hat: Tensor = net.eval()(x, torch.tensor([20, 50])).x_hat
    return x_hat


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
def test_channels_that_nothing_reads_go_first(int8: bool) -> None:
    net = codec(int8=int8)
    with torch.no_grad():
        for trunk in (net.analysis, net.synthesis):
            blocks: Any = trunk.blocks
            for block in blocks:
                for reader in (block.mix_in, block.value, block.gate):
                    reader.weight[:, 3] = 0
                block.mix_out.weight[:, 5] = 0
                block.project.weight[:, 7] = 0
        net.analysis.out.weight[:, 3] = 0
        net.synthesis.head.weight[:, 3] = 0
    smaller = pruned(net, TINY.channels - 1, supply())
    assert smaller.tier.channels == TINY.channels - 1
    assert torch.allclose(outputs(smaller), outputs(net), atol=1e-5)
    assert not torch.allclose(outputs(pruned(net, 4, supply())), outputs(net), atol=1e-3)


def test_what_is_trained_on_starts_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)
    net, teacher = codec(), codec(seed=3)
    for taught in (None, teacher):
        still = trained(net, 0.0, crops(), teacher=taught)
        assert torch.equal(still.analysis.linear.weight, net.analysis.linear.weight)
        further = trained(net, 0.002, crops(), teacher=taught)
        assert not torch.equal(further.analysis.linear.weight, net.analysis.linear.weight)
