"""A shipped model goes on training where it was frozen."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("onnx", reason="onnx is not installed (extra: train)")

from rtcodec import models  # noqa: E402
from rtcodec.bundle import WEIGHTS_DIR, Bundle  # noqa: E402
from rtcodec.errors import InputError  # noqa: E402
from rtcodec.models.config import TrainConfig  # noqa: E402
from rtcodec.models.export import export, gains_table  # noqa: E402
from rtcodec.models.inference import float_weights  # noqa: E402
from rtcodec.models.network import Codec, pack_planes  # noqa: E402
from rtcodec.models.tables import fit_tables  # noqa: E402
from rtcodec.models.thaw import thaw  # noqa: E402
from rtcodec.models.tier import TIERS  # noqa: E402
from support.models import TINY, codec, crops, started, supply  # noqa: E402


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Codec, Path]:
    net, out = codec(), tmp_path_factory.mktemp("bundle")
    export(net, crops(), out, batches=2, card={})
    return net, out / "tiny.rtcm"


def test_all_that_decides_symbols_and_pictures_comes_back(frozen: tuple[Codec, Path]) -> None:
    net, path = frozen
    back = thaw(path, TINY)
    for name, value in float_weights(net).items():
        assert (float_weights(back)[name] == value).all(), name
    assert gains_table(back) == pytest.approx(gains_table(net), rel=1e-5)
    ours, theirs = back.scale_network.integers(), net.scale_network.integers()
    assert (ours.s1, ours.s2, ours.s3) == (theirs.s1, theirs.s2, theirs.s3)
    for name in ("w1", "w2", "w3", "b2"):
        assert (getattr(ours, name) == getattr(theirs, name)).all(), name
    for name in ("b1", "b3"):  # between two anchors, halves may round the other way
        assert abs(getattr(ours, name) - getattr(theirs, name)).max() <= 1, name


def test_it_codes_as_it_did(frozen: tuple[Codec, Path]) -> None:
    net, path = frozen
    back = thaw(path, TINY).eval()
    x = pack_planes(*crops(5).batch(2))
    qp = torch.tensor([9, 45])
    with torch.no_grad():
        was, now = net(x, qp), back(x, qp)
    assert torch.equal(now.z, was.z)
    assert (now.symbols != was.symbols).float().mean() < 1e-3
    assert torch.allclose(now.x_hat, was.x_hat, atol=0.05)
    # Only the prior of z is an approximation, of the frozen tables.
    tables = fit_tables(net, supply(), 2)
    assert tables.hyper_channels == TINY.hyper_latents
    assert torch.isfinite(now.bits_z).all()
    assert (now.bits_z < 3 * was.bits_z + 500).all()


def test_a_run_starts_from_an_installed_model(tmp_path: Path) -> None:
    path = WEIGHTS_DIR / "n64.rtcm"
    run = started(TrainConfig(tier="n64", crop_px=64), tmp_path, init=path)
    assert run.step == 0
    figures = run.advance(1.0)
    assert figures["log_cost"] < 1.0


def test_another_size_or_no_bundle_is_an_input_error(
    frozen: tuple[Codec, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="not those of tier n64"):
        thaw(frozen[1], TIERS["n64"])
    with pytest.raises(InputError, match="No such file"):
        thaw(tmp_path / "none.rtcm", TINY)
    other = replace(TINY, latents=TINY.latents + 8)
    with pytest.raises(InputError, match="its sizes"):
        thaw(frozen[1], other)


def test_a_bundle_without_one_of_todays_weights_is_an_input_error(
    frozen: tuple[Codec, Path], tmp_path: Path
) -> None:
    bundle = Bundle.load(frozen[1])
    fewer = {k: v for k, v in bundle.tensors.items() if k != "means.anchor_out.weight"}
    replace(bundle, tensors=fewer, graph_sha256={}).save(tmp_path / "tiny.rtcm")
    with pytest.raises(InputError, match="its weights"):
        thaw(tmp_path / "tiny.rtcm", TINY)


def test_the_checkpoint_of_m256_is_the_one_described_and_training_goes_on_from_it(
    tmp_path: Path,
) -> None:
    folder = Path(models.__file__).parent / "checkpoints"
    path = folder / "m256.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in (folder / "README.md").read_text()
    run = started(TrainConfig(tier="m256", crop_px=64, batch=1), tmp_path, init=path)
    before = {key: value.clone() for key, value in run.net.state_dict().items()}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118
            assert torch.equal(before[key], file.get_tensor(key).to(before[key].dtype)), key
    assert run.advance(1.0)["log_cost"] < 1.0
    assert any(not torch.equal(before[key], value) for key, value in run.net.state_dict().items())
