"""Scale networks made integers: nearer to what was trained than nearest integers are."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.models.prior import ScaleNetwork  # noqa: E402
from rtcodec.models.rounding import Case, round_scale_network  # noqa: E402
from support.models import TINY  # noqa: E402


def a_trained_network(seed: int) -> ScaleNetwork:
    torch.manual_seed(seed)
    network = ScaleNetwork(TINY)
    with torch.no_grad():  # activations of a hundred, as training makes them
        network.layer1.weight.mul_(4)
        network.bias1.fill_(8)
        network.layer2.weight.abs_().mul_(0.2)
        network.layer3.weight.mul_(3)
        network.bias3.fill_(2)
    return network


def cases(seed: int, count: int = 4) -> list[Case]:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(TINY.hyper_latents, 4, generator=generator)
    out = []
    for _ in range(count):
        few = torch.randn(8, 4, 4, 4, generator=generator)  # z's channels say much the same
        z = torch.einsum("cf,nfhw->nchw", mixed, few).round().clamp(-15, 15)
        out.append((z, torch.randint(0, 64, (8,), generator=generator)))
    return out


@torch.no_grad()  # type: ignore[untyped-decorator]
def error(network: ScaleNetwork, trained: ScaleNetwork, asked: list[Case]) -> float:
    """Root mean square of how far indices are off."""
    network.eval()
    off = [
        (network(z, qp).clamp(0, 63) - trained.train()(z, qp).clamp(0, 63)).square().mean()
        for z, qp in asked
    ]
    return float(torch.stack(off).mean().sqrt())


def test_indices_stay_nearer_than_with_the_nearest_integers() -> None:
    trained = a_trained_network(1)
    rounded = copy.deepcopy(trained)
    round_scale_network(rounded, cases(2))
    others = cases(3)
    assert error(rounded, trained, others) < 0.6 * error(copy.deepcopy(trained), trained, others)


def test_weights_are_integers_that_stay_as_they_are() -> None:
    network = a_trained_network(4)
    round_scale_network(network, cases(5))
    before = copy.deepcopy(network.state_dict())
    for layer in (network.layer1, network.layer2, network.layer3):
        integers = layer.weight * 2.0**layer.shift
        assert torch.equal(integers, integers.round())
        assert integers.abs().max() <= 127
    round_scale_network(network, cases(6))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_one_batch_of_one_tile_is_enough() -> None:
    network = a_trained_network(7)
    z, qp = cases(8, 1)[0]
    round_scale_network(network, [(z[:1, :, :1, :1], qp[:1])])
    assert torch.isfinite(network.layer3.weight).all()
