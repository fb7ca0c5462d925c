"""Networks of frames predicted from themselves: what they see, how they are frozen and thawed."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.bundle import GRAPHS, Bundle  # noqa: E402
from rtcodec.cli import main  # noqa: E402
from rtcodec.engine.spatial_encoder import SpatialEncoder  # noqa: E402
from rtcodec.errors import ConfigError, InputError  # noqa: E402
from rtcodec.models.config import TrainConfig  # noqa: E402
from rtcodec.models.export import export, export_part  # noqa: E402
from rtcodec.models.network import pack_planes  # noqa: E402
from rtcodec.models.run import Run  # noqa: E402
from rtcodec.models.spatial import (  # noqa: E402
    SpatialCodec,
    SpatialSupply,
    spatial_sample,
    spatial_supply,
)
from rtcodec.models.streams import Sample, to_blocks, to_samples  # noqa: E402
from rtcodec.models.thaw import thaw_delta, thaw_kind, thaw_spatial  # noqa: E402
from rtcodec.models.tier import TIERS  # noqa: E402
from rtcodec.motion import within  # noqa: E402
from rtcodec.motion.native import BLOCK_SAMPLES, FINE  # noqa: E402
from rtcodec.motion.steps import step_table  # noqa: E402
from rtcodec.motion.vectors import CHANNELS  # noqa: E402
from support.models import (  # noqa: E402
    TINY,
    codec,
    crops,
    data_folder,
    delta_bundle,
    pictures,
)

CPU = torch.device("cpu")
CONFIG = TrainConfig(tier="tiny", spatial=True, crop_px=64, batch=2, warm_up_steps=2)
QPS = [10, 50]


@pytest.fixture(autouse=True)
def tiny_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)


def spatial_codec(seed: int = 0) -> SpatialCodec:
    """Tiny networks as if trained."""
    torch.manual_seed(seed)
    net = SpatialCodec(TINY)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    return net.eval()


@pytest.fixture(scope="module")
def intra(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(codec(), crops(), tmp_path_factory.mktemp("intra"), batches=1, card={})


@pytest.fixture(scope="module")
def supply() -> Iterator[SpatialSupply]:
    with spatial_supply(pictures(), CONFIG, seed=1) as feed:
        yield feed


@pytest.fixture(scope="module")
def bundle(
    intra: Bundle, supply: SpatialSupply, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    out = tmp_path_factory.mktemp("spatial")
    return export_part(spatial_codec(), intra, supply, out, batches=2, card={"note": "tiny"})


def sample() -> Sample:
    return spatial_sample(to_blocks(pack_planes(*crops().batch(2))), QPS)


def test_a_sample_is_what_an_encoder_finds() -> None:
    found = sample()
    assert found.x.shape == found.prediction.shape == (2, BLOCK_SAMPLES, 4, 4)
    assert found.motion.shape == (2, CHANNELS, 4, 4)
    blocks = to_blocks(found.x)
    assert torch.equal(to_samples(blocks), found.x)
    for picture, qp, prediction, motion in zip(
        blocks, QPS, found.prediction, found.motion, strict=True
    ):
        luma, chroma = (int(step) for step in step_table()[qp])
        choice = within.choose(picture, (luma, chroma), thorough=True, linear=True)
        said = within.mode_symbols(choice.modes, choice.latents.split)
        assert np.array_equal(motion.permute(1, 2, 0).numpy(), said)
        fine = (prediction.permute(1, 2, 0).numpy() + 0.5) * 255 * FINE
        assert np.abs(fine - choice.prediction).max() < 0.01


def test_training_sees_latents_that_an_encoder_would_list() -> None:
    net = spatial_codec()
    x, prediction, motion, qp = sample()
    with torch.no_grad():
        latents, forms = net.latents(x, prediction, motion, qp)
    for picture, q, found, form in zip(to_blocks(x), QPS, latents, forms, strict=True):
        luma, chroma = (int(step) for step in step_table()[q])
        listed = within.choose(picture, (luma, chroma), thorough=True, linear=True).latents
        assert np.array_equal(form[0].numpy(), listed.split)
        dense = np.zeros((4, 4, BLOCK_SAMPLES), np.float32)
        dense.reshape(-1)[listed.at] = listed.values
        seen = found.permute(1, 2, 0).numpy()
        in_parts = listed.split < 2  # not in 16x16
        assert in_parts.any()
        assert (np.abs(dense - seen)[in_parts][dense[in_parts] != 0] < 0.05).all()


def test_every_weight_learns_and_figures_are_finite() -> None:
    net = spatial_codec().train()
    coded = net(*sample())
    (coded.bits_y.mean() + coded.bits_z.mean()).backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert torch.isfinite(coded.bits_y).all()


def test_batches_have_their_form(supply: SpatialSupply) -> None:
    for _ in range(3):
        x, prediction, motion, qp = supply.next()
        assert x.shape == prediction.shape == (2, BLOCK_SAMPLES, 4, 4)
        assert motion.shape == (2, CHANNELS, 4, 4)
        assert ((qp >= 0) & (qp <= 63)).all()
        supply.done(x)


def test_a_model_with_the_part_is_frozen_and_thawed(bundle: Bundle, intra: Bundle) -> None:
    assert bundle.directory is not None
    path = bundle.directory / "tiny.rtcm"
    part = bundle.spatial
    assert part is not None
    assert bundle.delta is None
    assert part.scale_net.always_coded == CHANNELS
    assert part.latent_channels == BLOCK_SAMPLES + CHANNELS
    assert bundle.spatial_tables is part.entropy_tables
    assert np.array_equal(part.steps, step_table())
    assert bundle.graph_sha256.keys() == {*GRAPHS}
    assert bundle.card["spatial"] == {"note": "tiny"}
    for name, value in intra.tensors.items():
        assert np.array_equal(bundle.tensors[name], value), name
    was, now = spatial_codec(), thaw_spatial(path, TINY).eval()
    assert thaw_kind(path, TINY, "spatial").state_dict().keys() == now.state_dict().keys()
    with torch.no_grad():
        one, two = was(*sample()), now(*sample())
    assert (one.symbols != two.symbols).float().mean() < 0.02
    assert one.symbols.any()
    with pytest.raises(InputError, match="not those of tier"):
        thaw_spatial(path, TIERS["n64"])
    with pytest.raises(InputError, match="intra frames only"):
        thaw_delta(path, TINY)


def test_a_frame_is_coded_with_what_was_frozen(bundle: Bundle) -> None:
    """As an engine does: what is said comes back through tables of the part."""
    part = bundle.spatial
    assert part is not None
    luma, chroma = (int(step) for step in part.steps[24])
    picture = to_blocks(sample().x)[0]
    assert part.chroma_from_luma
    encoder = SpatialEncoder(part)
    for thorough in (False, True):
        z, symbols, indices = encoder.encode(picture, 24, thorough=thorough, across_tiles=False)
        assert np.array_equal(indices, part.scale_net.indices(z, 24).transpose(1, 2, 0))
        painted, coded = within.paint(symbols, (luma, chroma), linear=True)
        assert coded.any()
        wrong = painted / FINE - picture.astype(np.float64)
        assert (wrong**2).mean() < (luma / FINE) ** 2


def test_without_the_part_training_starts_from_delta_frames(tmp_path: Path, intra: Bundle) -> None:
    delta_bundle(tmp_path)
    net, delta = (
        thaw_spatial(tmp_path / "tiny.rtcm", TINY),
        thaw_delta(tmp_path / "tiny.rtcm", TINY),
    )
    for name, value in delta.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    assert intra.directory is not None
    with pytest.raises(InputError, match="intra frames only"):
        thaw_spatial(intra.directory / "tiny.rtcm", TINY)


def test_the_part_of_another_tier_does_not_fit(
    tmp_path: Path, intra: Bundle, supply: SpatialSupply
) -> None:
    with pytest.raises(ConfigError, match="do not fit model tiny"):
        export_part(SpatialCodec(TIERS["n64"]), intra, supply, tmp_path, batches=0, card={})


def test_a_run_trains_and_resumes(tmp_path: Path, supply: SpatialSupply) -> None:
    run = Run(CONFIG, tmp_path, supply, CPU)
    first = run.advance(0.0)
    assert np.isfinite(list(first.values())).all()
    run.save()
    again = Run(CONFIG, tmp_path, supply, CPU)
    assert again.step == 1
    for name, value in run.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name]), name


def test_a_run_of_other_frames_is_not_resumed(tmp_path: Path, supply: SpatialSupply) -> None:
    """Their weights have the same names and shapes."""
    Run(CONFIG, tmp_path, supply, CPU).save()
    delta = replace(CONFIG, spatial=False, delta=True)
    with pytest.raises(InputError, match="of spatial frames, not delta"):
        Run(delta, tmp_path, supply, CPU)


def test_the_command_trains_and_exports(
    tmp_path: Path, intra: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert intra.directory is not None
    data, run, out = data_folder(tmp_path / "data"), tmp_path / "run", tmp_path / "out"
    words = ["train", "--spatial", "--tier", "tiny", "--out", str(run), "--device", "cpu"]
    words += ["--data", str(data), "--crop", "64", "--batch", "1", "--screens", "0"]
    assert main([*words, "--minutes", "0.0005"]) == 0
    assert json.loads((run / "config.json").read_text())["spatial"] is True
    words = ["export", "--run", str(run), "--out", str(out), "--batches", "2"]
    words += ["--data", str(data), "--intra", str(intra.directory / "tiny.rtcm")]
    assert main(words) == 0
    made = Bundle.load(out / "tiny.rtcm")
    assert made.spatial is not None
    assert made.card["spatial"]["config"]["spatial"] is True
    assert capsys.readouterr().out == f"tiny {made.model_id.hex()[:16]}\n"


def test_networks_of_two_kinds_are_not_trained_at_once(tmp_path: Path) -> None:
    words = ["train", "--spatial", "--delta", "--tier", "tiny", "--data", str(tmp_path)]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
