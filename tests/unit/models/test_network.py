"""The torch networks: shapes, rounding, gradients, and what is the same on both sides."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.models.inference import inference_from_codec  # noqa: E402
from rtcodec.models.layer import Block, clamp_ste, interpolate, qp_to_step, round_ste  # noqa: E402
from rtcodec.models.network import pack_planes, unpack_planes  # noqa: E402
from rtcodec.models.prior import (  # noqa: E402
    anchors_of,
    before_step2,
    index_to_scale,
    logistic_mass,
    quantise,
    rounding_offsets,
)
from rtcodec.models.tier import ANCHORED, QP_ANCHORS, TIERS, tier_from_dims  # noqa: E402
from support.models import TINY, codec, crops  # noqa: E402


def test_unpacked_planes_are_those_that_were_packed() -> None:
    planes = torch.rand(2, 1, 64, 128), torch.rand(2, 1, 32, 64), torch.rand(2, 1, 32, 64)
    x = pack_planes(*planes)
    assert x.shape == (2, 384, 4, 8)
    for plane, back in zip(planes, unpack_planes(x), strict=True):
        assert torch.equal(plane, back)


def test_a_block_starts_near_the_identity() -> None:
    x = torch.randn(1, 16, 5, 7)
    out = Block(16)(x)
    assert out.shape == x.shape
    assert (out - x).abs().mean() < 0.5 * x.abs().mean()


def test_rounding_is_half_up_and_lets_gradients_pass() -> None:
    x = torch.tensor([-1.5, -0.5, 0.49, 0.5, 2.5], requires_grad=True)
    out = round_ste(x)
    assert out.tolist() == [-1.0, 0.0, 0.0, 1.0, 3.0]
    assert torch.autograd.grad(out.sum(), x)[0].tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("towards", "expected"), [(1.0, [0.0, 1.0, 1.0]), (-1.0, [-1.0, -1.0, 0.0])]
)
def test_a_clamp_stops_only_gradients_that_push_further_out(
    towards: float, expected: list[float]
) -> None:
    # Descent moves against the gradient: +1 pushes down.
    x = torch.tensor([-3.0, 0.0, 3.0], requires_grad=True)
    out = clamp_ste(x, -1.0, 1.0)
    assert out.tolist() == [-1.0, 0.0, 1.0]
    assert torch.autograd.grad((out * towards).sum(), x)[0].tolist() == expected


def test_anchors_are_met_at_both_ends_and_mixed_between() -> None:
    anchors = torch.arange(QP_ANCHORS).float()[:, None]
    got = interpolate(anchors, torch.tensor([0, 9, 13.5, 63]))
    assert got[:, 0].tolist() == pytest.approx([0.0, 1.0, 1.5, 7.0], abs=1e-5)


def test_quantiser_steps_grow_with_qp() -> None:
    steps = qp_to_step(torch.arange(64).float())
    assert steps[0].item() == pytest.approx(3.0)
    assert steps[63].item() == pytest.approx(160.0)
    assert (steps.diff() > 0).all()


def test_symbols_are_exact_integers_and_zero_where_skipped() -> None:
    residual = torch.randn(1, 24, 8, 8, generator=torch.Generator().manual_seed(1)) * 5
    index = torch.randint(0, 64, residual.shape, generator=torch.Generator().manual_seed(2))
    symbols = quantise(residual, index, rounding_offsets())
    assert torch.equal(symbols, symbols.round())
    assert (symbols[index == 0] == 0).all()
    assert (symbols.abs() <= residual.abs() + 0.5).all()
    assert ((symbols == 0) | (symbols.sign() == residual.sign())).all()


def test_symbols_pass_gradients_only_where_they_are_coded() -> None:
    residual = torch.tensor([1.2, 1.2], requires_grad=True)
    symbols = quantise(residual, torch.tensor([0, 9]), rounding_offsets())
    assert torch.autograd.grad(symbols.sum(), residual)[0].tolist() == [0.0, 1.0]


def test_anchors_and_a_checkerboard_that_swaps_between_channels_come_before_step_2() -> None:
    before = before_step2(torch.zeros(2, 4, 8, 4))
    assert before.shape == (1, 4, 8, 4)
    assert before[0, 0].int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]] * 4
    odd = [[0, 1, 0, 1], [1, 1, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]] * 2  # the anchors at (1, 1)
    assert before[0, 1].int().tolist() == odd
    assert torch.equal(before[:, :2], before[:, 2:])


def test_an_anchor_moves_the_means_of_its_own_tile_and_of_no_anchor() -> None:
    net = codec()
    features = net.means.features(torch.zeros(1, TINY.hyper_latents, 2, 3))
    still = torch.zeros(1, ANCHORED, 2, 3)
    moved = still.clone()
    moved[0, 0, 1, 2] = 5
    with torch.no_grad():
        delta = net.means.carry(features, moved) - net.means.carry(features, still)
    own = torch.zeros(8, 12, dtype=torch.bool)
    own[4:, 8:] = True
    own[5, 9] = False
    assert (delta[0, 0][own] != 0).all()
    assert (delta[0][:, ~own] == 0).all()
    assert (anchors_of(net.means.carry(features, torch.ones_like(still))) == 0).all()


def test_the_decoder_restores_the_latents_that_the_encoder_expects() -> None:
    net = codec()
    with torch.no_grad():
        latents = torch.randn(2, TINY.latents, 8, 12) * 3
        z = torch.randint(-15, 16, (2, TINY.hyper_latents, 2, 3)).float()
        index = torch.randint(0, 64, latents.shape)
        means = net.means.around(latents, z, index, net.rounding)
        symbols = quantise(latents - means, index, net.rounding)
        restored = net.means.restore(symbols, z)
    torch.testing.assert_close(restored, symbols + means, atol=1e-4, rtol=0)


def test_logistic_masses_of_all_integers_sum_to_one() -> None:
    scales = index_to_scale(torch.tensor([1.0, 20.0, 40.0]))
    places = torch.arange(-2000, 2001).float()
    totals = logistic_mass(places[None], scales[:, None]).sum(1)
    assert totals.tolist() == pytest.approx([1.0] * 3, abs=1e-4)


def test_coding_yields_planes_bits_and_integers_within_range() -> None:
    net = codec()
    x = pack_planes(*crops().batch(2))
    with torch.no_grad():
        coded = net(x, torch.tensor([5, 40]))
    assert coded.x_hat.shape == x.shape
    assert coded.bits_y.shape == coded.bits_z.shape == (2,)
    assert (coded.bits_y > 0).all()
    assert torch.equal(coded.symbols, coded.symbols.round())
    assert torch.equal(coded.z, coded.z.round())
    assert coded.z.abs().max() <= 15
    assert (coded.symbols[coded.index < 1] == 0).all()


def test_the_networks_without_training_code_decode_the_same() -> None:
    net = codec()
    runtime = inference_from_codec(net)
    y, u, v = crops().batch(2)
    qp = torch.tensor([3, 50])
    y8, u8, v8 = (((p + 0.5) * 255).round().to(torch.uint8) for p in (y, u, v))
    with torch.no_grad():
        gains = torch.cat(net.gain_vectors(qp), 1)
        coded = net(pack_planes(y, u, v), qp)
        latents, z = runtime.analyse(y8, u8, v8, gains)
        symbols = runtime.residual(latents, z, coded.index.clamp(0, 63).to(torch.uint8))
        planes = runtime.synthesise(z, symbols, gains)
    assert torch.equal(z, coded.z)
    assert torch.equal(symbols, coded.symbols)
    for plane, expected in zip(planes, unpack_planes(coded.x_hat), strict=True):
        rounded = ((expected + 0.5) * 255).round().clamp(0, 255)
        assert (plane.float() - rounded).abs().max() <= 1


@pytest.mark.parametrize("tier", [*TIERS.values(), TINY], ids=lambda tier: tier.name)
def test_a_tier_is_named_by_its_dims(tier: object) -> None:
    from rtcodec.models.tier import Tier

    assert isinstance(tier, Tier)
    assert tier_from_dims(tier.name, tier.dims) == tier
