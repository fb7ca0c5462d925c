"""Trunks in 8-bit integers: training rounds as integers do, and learns through it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("onnx", reason="onnx is not installed (extra: train)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: cpu)")

from torch import Tensor, nn  # noqa: E402

from rtcodec.models.config import TrainConfig  # noqa: E402
from rtcodec.models.export import export  # noqa: E402
from rtcodec.models.folding import int8_unit, int8_weight  # noqa: E402
from rtcodec.models.inference import inference_from_codec  # noqa: E402
from rtcodec.models.layer import Int8Input, conv1x1, is_int8  # noqa: E402
from rtcodec.models.network import Codec, pack_planes  # noqa: E402
from rtcodec.models.parity import (  # noqa: E402
    Reference,
    differences,
    made_up_frames,
    networks_of,
    spread_qps,
)
from rtcodec.models.run import read_averages  # noqa: E402
from rtcodec.models.thaw import thaw  # noqa: E402
from rtcodec.models.tier import TIERS  # noqa: E402
from support.models import TINY, assert_go_on_alike, codec, crops, started  # noqa: E402


def some_layer() -> tuple[Int8Input, nn.Conv2d, Tensor]:
    torch.manual_seed(3)
    layer = conv1x1(6, 5)
    nn.init.normal_(bias_of(layer))
    return Int8Input(6), layer, torch.randn(2, 6, 3, 4)


def bias_of(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def range_of(read: Int8Input) -> Tensor:
    assert read.log_range is not None
    largest: Tensor = read.log_range.detach().exp()
    return largest


def test_without_ranges_layers_run_in_floats() -> None:
    read, layer, x = some_layer()
    (y,) = read(x, layer)
    assert torch.equal(y, layer(x))
    assert not is_int8(read)


def test_products_are_those_of_integers() -> None:
    read, layer, x = some_layer()
    read.set_range(torch.linspace(0.5, 3.0, 6))
    y, again = read(x, layer, layer)
    unit = int8_unit({"in.log_range": range_of(read).log().numpy()}, "in")
    assert unit is not None
    weight, step = int8_weight(layer.weight.detach().numpy()[:, :, 0, 0] * unit)
    assert (np.abs(weight.astype(int)).max(1) == 127).all()
    rows = np.rint(x.numpy().transpose(0, 2, 3, 1) / unit).clip(-127, 127).astype(np.int64)
    exact = (rows @ weight.T.astype(np.int64)) * step + bias_of(layer).detach().numpy()
    np.testing.assert_allclose(y.detach().permute(0, 2, 3, 1).numpy(), exact, atol=1e-5)
    assert torch.equal(y, again)
    assert (np.abs(rows) == 127).any()
    # Near the product in floats where nothing is clipped.
    read.set_range(x.abs().amax((0, 2, 3)))
    (y,) = read(x, layer)
    assert (y - layer(x)).abs().max() < 0.05


def test_gradients_pass_the_rounding_but_not_the_clipping() -> None:
    read, layer, x = some_layer()
    read.set_range(torch.full((6,), 1.0))
    x.requires_grad_(True)
    (y,) = read(x, layer)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    inside = x.detach().abs() <= 1.0
    passed = layer.weight.detach().sum((0, 2, 3))[None, :, None, None].expand_as(x)
    assert (gradient[~inside] == 0).all()
    torch.testing.assert_close(gradient[inside], passed[inside], atol=0.05, rtol=0.05)


def test_a_range_learns_to_cover_what_it_clips() -> None:
    read, layer, x = some_layer()
    read.set_range(torch.full((6,), 0.3))
    expected = layer(x).detach()

    def error() -> Tensor:
        (y,) = read(x, layer)
        off: Tensor = y - expected
        return off.square().mean()

    optimiser = torch.optim.Adam(read.parameters(), 0.05)
    first = error().item()
    for _ in range(80):
        optimiser.zero_grad()
        torch.autograd.backward(error())
        optimiser.step()
    assert error().item() < first / 20
    assert (range_of(read) > 0.9).any()


def test_ranges_cover_what_was_seen() -> None:
    net = codec(int8=True)
    assert is_int8(net)
    x = pack_planes(*crops().batch(8))
    peaks: list[float] = []

    def look(module: Int8Input, arguments: tuple[Tensor, ...]) -> None:
        peaks.append((arguments[0].abs() / range_of(module)[:, None, None]).max().item())

    for module in net.modules():
        if isinstance(module, Int8Input):
            module.register_forward_pre_hook(look)
    with torch.no_grad():
        net(x, torch.linspace(0, 63, 8))
    assert len(peaks) == 4 * (TINY.encoder_blocks + TINY.decoder_blocks) + 3
    # The network now rounds, so an input may be a little beyond what was seen before it did.
    assert 0.5 < max(peaks) < 1.3


def test_networks_take_the_ranges_that_a_state_has() -> None:
    net, other = codec(int8=True), Codec(TINY)
    other.load_state_dict(net.state_dict())
    assert is_int8(other)
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    with pytest.raises(RuntimeError, match="log_range"):
        other.load_state_dict(codec().state_dict())


def test_a_run_in_8_bits_begins_from_floats_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)
    config = TrainConfig(tier="tiny", crop_px=64, batch=2, warm_up_steps=2)
    torch.manual_seed(1)
    floats = started(config, tmp_path)
    floats.advance(0.0)
    floats.save()
    assert not is_int8(floats.net)
    out = tmp_path / "int8"
    out.mkdir()
    config = replace(config, int8=True)
    run = started(config, out, init=tmp_path / "ema.safetensors")
    assert isinstance(run.net, Codec)
    before = range_of(run.net.analysis.out_input)
    run.advance(0.0)
    assert not torch.equal(range_of(run.net.analysis.out_input), before)
    run.save()
    assert is_int8(run.averaged())
    assert any("log_range" in name for name in read_averages(out / "ema.safetensors")[0])
    assert_go_on_alike(run, started(config, out))


def test_a_model_in_8_bits_is_frozen_and_thawed(tmp_path: Path) -> None:
    net = codec(int8=True)
    assert export(net, crops(), tmp_path, batches=1, card={}).is_int8
    back = thaw(tmp_path / "tiny.rtcm", TINY).eval()
    assert is_int8(back)
    x, qp = pack_planes(*crops(5).batch(2)), torch.tensor([9, 45])
    with torch.no_grad():
        was, now = net(x, qp), back(x, qp)
    assert (now.z != was.z).float().mean() < 0.02
    assert (now.symbols != was.symbols).float().mean() < 0.02


def test_another_device_decodes_it_nearly_the_same(tmp_path: Path) -> None:
    bundle = export(codec(int8=True), crops(), tmp_path, batches=1, card={})
    reference = Reference(bundle, threads=1)
    planes = made_up_frames(2, 64, 128, seed=1)
    frames = [reference.code(*pair) for pair in zip(planes, spread_qps(2), strict=True)]
    for row in differences(networks_of(bundle), bundle, frames, (1, 2)):
        assert row.z_identical > 0.95
        assert row.symbols_identical > 0.97
        assert row.pixel_max <= 6
        assert abs(row.psnr_drop_db) < 0.05


def test_weights_that_are_rounded_keep_their_precision() -> None:
    networks = inference_from_codec(codec(int8=True)).trunks_to(torch.bfloat16)
    assert {p.dtype for p in networks.parameters()} == {torch.float32}
    networks = inference_from_codec(codec()).trunks_to(torch.bfloat16)
    assert torch.bfloat16 in {p.dtype for p in networks.parameters()}
