"""The transform that training starts from."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.models.network import Codec, pack_planes  # noqa: E402
from rtcodec.models.start import (  # noqa: E402
    LOCAL_FROM,
    START_CARRY,
    localised_dct,
    start,
    starting_basis,
)
from rtcodec.models.tier import ANCHORED  # noqa: E402
from support.models import TINY, crops  # noqa: E402


@pytest.mark.parametrize("size", [8, 16])
def test_the_localised_dct_is_orthonormal(size: int) -> None:
    basis = localised_dct(size)
    identity = torch.eye(size * size, dtype=torch.float64)
    assert torch.allclose(basis @ basis.T, identity, atol=1e-12)


@pytest.mark.parametrize("size", [8, 16])
def test_detail_lives_in_one_quarter_of_the_block_and_the_lowest_frequencies_in_all(
    size: int,
) -> None:
    half = size // 2
    energy = localised_dct(size).view(size, size, 2, half, 2, half).square().sum((3, 5))
    most = energy.flatten(2).max(2).values  # of a row, in its strongest quarter
    group = torch.arange(size) // 2
    is_local = group[:, None] + group[None] >= LOCAL_FROM
    assert most[is_local].min() > 0.7
    assert most[0, 0] == pytest.approx(0.25)


def test_the_first_row_is_the_mean() -> None:
    assert torch.allclose(localised_dct(8)[0], torch.full((64,), 1 / 8, dtype=torch.float64))


def test_the_strongest_rows_are_kept_strongest_first() -> None:
    basis = starting_basis(crops(), 40)
    assert basis.shape == (40, 384)
    x = pack_planes(*crops().batch(16))
    energy = torch.einsum("kc,nchw->nkhw", basis, x).square().mean((0, 2, 3))
    left = x.square().mean((0, 2, 3)).sum() - energy.sum()
    assert energy[0] > 4 * energy[10:].mean()
    assert 0 <= left < 0.2 * energy.sum()


def test_only_the_dcs_of_anchors_are_carried_at_the_start() -> None:
    net = Codec(TINY)
    start(net, crops())
    carried = net.means.anchor_out.weight[:, :, 0, 0]
    flat = pack_planes(*(torch.full((1, 1, 64 // s, 64 // s), 0.4) for s in (1, 2, 2)))
    latents = net.analysis.linear(flat)[0].abs().amax((1, 2))
    dcs = [k for k in range(ANCHORED) if latents[k] > 0.1]
    assert dcs
    assert carried.count_nonzero() == len(dcs)
    assert (carried.diagonal()[dcs] == START_CARRY).all()
