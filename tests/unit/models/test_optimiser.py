"""Muon, which weights it gets, and the rate's schedule."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.models.config import TrainConfig  # noqa: E402
from rtcodec.models.optimiser import (  # noqa: E402
    Muon,
    build_optimisers,
    orthogonalise,
    schedule,
)
from support.models import codec  # noqa: E402


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (48, 16), (16, 48)])
def test_an_orthogonalised_matrix_has_singular_values_near_one(rows: int, columns: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1)) * 7
    values = torch.linalg.svdvals(orthogonalise(matrix))
    # Five quintic steps bring all but tiny singular values into this band (Jordan et al., 2024).
    assert values.max() < 1.25
    assert values.median() > 0.65


def test_more_steps_keep_the_directions_of_the_matrix() -> None:
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    result = orthogonalise(matrix)
    assert (result - torch.diag(torch.diag(result))).abs().max() < 1e-5
    assert (torch.diag(result) > 0.6).all()


def test_muon_moves_a_weight_against_its_gradient_by_about_the_rate() -> None:
    weight = torch.nn.Parameter(torch.zeros(16, 16, 1, 1))
    optimiser = Muon([weight, torch.nn.Parameter(torch.zeros(2, 2, 1, 1))], lr=0.1, momentum=0.9)
    gradient = torch.randn(16, 16, 1, 1, generator=torch.Generator().manual_seed(2))
    weight.grad = gradient.clone()
    optimiser.step()
    assert (weight.detach() * gradient).sum() < 0
    assert torch.linalg.matrix_norm(weight.detach()[..., 0, 0], 2).item() < 0.13


def test_every_weight_has_exactly_one_optimiser() -> None:
    net = codec()
    owned = [
        parameter
        for optimiser in build_optimisers(net, TrainConfig())
        for group in optimiser.param_groups
        for parameter in group["params"]
    ]
    assert len(owned) == len({id(p) for p in owned}) == len(list(net.parameters()))


def test_muon_leaves_the_integer_network_and_the_linear_paths_alone() -> None:
    net = codec()
    muon = build_optimisers(net, TrainConfig())[0]
    chosen = {id(p) for p in muon.param_groups[0]["params"]}
    names = {name for name, p in net.named_parameters() if id(p) in chosen}
    assert "analysis.blocks.0.mix_in.weight" in names
    assert not any("linear" in name or "scale_network" in name for name in names)
    assert not any("depthwise" in name or "bias" in name for name in names)


def test_the_rate_warms_up_and_ends_low() -> None:
    config = TrainConfig(warm_up_steps=10, final_lr=0.02)
    assert schedule(0.0, 0, config) == pytest.approx(0.1)
    assert schedule(0.0, 9, config) == pytest.approx(1.0)
    assert schedule(0.5, 500, config) == pytest.approx(0.51)
    assert schedule(1.0, 1000, config) == pytest.approx(0.02)
    assert schedule(1.5, 1000, config) == pytest.approx(0.02)


def test_a_run_on_trained_weights_has_a_part_of_the_rate() -> None:
    config = TrainConfig(warm_up_steps=10, final_lr=0.02, rate=0.25)
    assert schedule(0.5, 500, config) == pytest.approx(0.51 / 4)
