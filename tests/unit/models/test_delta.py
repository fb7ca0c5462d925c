"""Networks of delta frames: what they compute, how they are trained, frozen and thawed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.bundle import DELTA_GRAPHS, Bundle  # noqa: E402
from rtcodec.cli import main  # noqa: E402
from rtcodec.entropy import contexts  # noqa: E402
from rtcodec.errors import ConfigError, InputError  # noqa: E402
from rtcodec.models import streams as streams_module  # noqa: E402
from rtcodec.models.config import TrainConfig  # noqa: E402
from rtcodec.models.contexts import luma_count  # noqa: E402
from rtcodec.models.data import clips_of  # noqa: E402
from rtcodec.models.delta import DeltaCodec, at_rest, spread  # noqa: E402
from rtcodec.models.export import export_part  # noqa: E402
from rtcodec.models.graph import build_delta_graphs  # noqa: E402
from rtcodec.models.inference import float_weights  # noqa: E402
from rtcodec.models.layer import is_int8  # noqa: E402
from rtcodec.models.prior import round_by  # noqa: E402
from rtcodec.models.run import Run  # noqa: E402
from rtcodec.models.streams import Streams, to_blocks, to_samples  # noqa: E402
from rtcodec.models.thaw import thaw, thaw_delta  # noqa: E402
from rtcodec.models.tier import DELTA_LIKELY_OFFSET, TIERS  # noqa: E402
from rtcodec.models.validation import QPS, ClipValidation  # noqa: E402
from rtcodec.motion.hyper import HyperAnalysis  # noqa: E402
from rtcodec.motion.latents import LEAST, Latents, quantise, transform  # noqa: E402
from rtcodec.motion.native import FINE, paint, rounded  # noqa: E402
from rtcodec.motion.steps import step_table  # noqa: E402
from rtcodec.motion.vectors import CHANNELS  # noqa: E402
from support.models import (  # noqa: E402
    TINY,
    clip_pictures,
    codec,
    delta_bundle,
    delta_codec,
    delta_supply,
    write_clip,
)

CPU = torch.device("cpu")
CONFIG = TrainConfig(tier="tiny", delta=True, crop_px=64, batch=2, warm_up_steps=2)


@pytest.fixture(autouse=True)
def tiny_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return delta_bundle(tmp_path_factory.mktemp("model"), int8=True)


def inputs(count: int = 2, *, still: bool = False) -> Any:
    """x, prediction, motion and qp of frames of 128x64."""
    torch.manual_seed(3)
    x = (torch.rand(count, 384, 4, 8) * 255).round() / 255 - 0.5
    prediction = x
    if not still:
        prediction = ((x + 0.5 + torch.randn_like(x) * 0.05) * 255).round() / 255 - 0.5
    motion = torch.zeros(count, CHANNELS, 4, 8)
    if not still:
        motion[:, 0, :, :4] = 9
    return x, prediction.clamp(-0.5, 0.5), motion, torch.tensor([10, 50])[:count]


def listed(latents: NDArray[np.float32]) -> Latents:
    """Latents [h16, w16, 384] as engines have them."""
    latents = np.where(np.abs(latents) < LEAST, 0, latents).astype(np.float32)
    at = np.flatnonzero(latents)
    by_part = at[np.lexsort((at, at % 6, at // 384))].astype(np.uint32)
    ends = np.cumsum(np.count_nonzero(latents, 2), dtype=np.uint32).reshape(latents.shape[:2])
    return Latents(by_part, latents.reshape(-1)[by_part], ends, np.zeros(ends.shape, np.uint8))


def dense(latents: Latents) -> NDArray[np.float32]:
    all_of = np.zeros((*latents.ends.shape, 384), np.float32)
    all_of.reshape(-1)[latents.at] = latents.values
    return all_of


def test_latents_are_what_engines_make_of_blocks() -> None:
    net = delta_codec()
    x, prediction, motion, qp = inputs()
    x[:, :, :2] = prediction[:, :, :2]
    x[:, :4] = (prediction[:, :4] + 51 / 255).clamp(max=0.5)  # a corner: better in 4x4
    latents, split = (t.permute(0, 2, 3, 1).numpy() for t in net.latents(x, prediction, motion, qp))
    for frame, seen, wanted, small, q in zip(
        to_blocks(x), to_blocks(prediction), latents, split, qp, strict=True
    ):
        luma, chroma = (int(step) for step in step_table()[q])
        found = transform(frame, seen.astype(np.uint16) * FINE, (luma, chroma))
        same = found.split == small[..., 0]
        assert same.mean() > 0.9
        wrong = np.abs(dense(found) - np.where(np.abs(wanted) < LEAST, 0, wanted))[same]
        assert np.minimum(wrong, np.abs(wrong - LEAST)).max() < 0.05


def test_training_paints_as_engines_do() -> None:
    net = delta_codec().eval()
    x, prediction, motion, qp = inputs()
    with torch.no_grad():
        coded = net(x, prediction, motion, qp)
    assert coded.symbols.any()
    symbols = coded.symbols.permute(0, 2, 3, 1).contiguous().numpy().astype(np.int16)
    assert symbols[..., -1].any()
    for sent, seen, wanted, q in zip(
        symbols, to_blocks(prediction), to_blocks(coded.x_hat), qp, strict=True
    ):
        luma, chroma = (int(step) for step in step_table()[q])
        still = np.zeros(sent.shape[:2], np.bool_)
        fine = seen.astype(np.uint16) * FINE
        coded_parts = paint(sent, fine, still, (luma, chroma))
        painted = rounded(fine)
        assert (coded_parts > 0).any()
        assert np.abs(painted.astype(int) - wanted).max() <= 1


def test_what_stands_still_stays_as_it_is() -> None:
    net = delta_codec()
    with torch.no_grad():
        net.hyper_analysis.third.weight.zero_()
        net.scale_network.bias3.fill_(-9.0)  # nothing is coded, whatever the latents are
        x, prediction, motion, qp = inputs(still=True)
        coded = net(x, prediction, motion, qp)
    assert torch.equal(coded.x_hat, prediction)
    tiles = 2
    assert coded.coded_y.tolist() == [tiles, tiles]  # one bit for each says so
    assert coded.bits_z.tolist() == [0, 0]


def test_motion_is_always_coded() -> None:
    net = delta_codec()
    with torch.no_grad():
        net.scale_network.bias3.fill_(-9.0)
        coded = net.eval()(*inputs())
    latent, motion = coded.index.split((384, CHANNELS), 1)
    assert (latent < 1).all()
    assert (motion[:, :-1] >= 1).all()
    assert ((motion[:, -1] >= 1) == (luma_count(coded.symbols) > 0)).all()
    assert (coded.coded_y > 2).all()


def test_tiles_rest_one_by_one() -> None:
    symbols = torch.zeros(1, 7, 8, 8)
    symbols[0, 4, 1, 6] = -2
    symbols[0, 6, 7, 0] = 1
    assert at_rest(symbols)[0, 0].tolist() == [[1, 0], [0, 1]]
    assert spread(at_rest(symbols)).shape == (1, 1, 8, 8)


def test_every_weight_learns() -> None:
    net = delta_codec().train()
    coded = net(*inputs())
    (coded.bits_y.mean() + coded.bits_z.mean()).backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert not coded.x_hat.requires_grad


def test_the_exported_graph_equals_the_torch_network() -> None:
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: cpu)")
    net = delta_codec()
    graphs = build_delta_graphs(float_weights(net), {**TINY.dims, "motion": CHANNELS})
    x, prediction, motion, qp = inputs()
    with torch.no_grad():
        latents, _ = net.latents(x, prediction, motion, qp)
        likely = round_by(latents, DELTA_LIKELY_OFFSET)
        z = torch.floor(net.hyper_analysis(torch.cat((likely, motion), 1)) + 0.5).clamp(-15, 15)
    session = ort.InferenceSession(graphs["delta_hyper"], providers=["CPUExecutionProvider"])
    feed = {"latents": latents, "motion": motion}
    feed = {name: tensor.permute(0, 2, 3, 1).numpy() for name, tensor in feed.items()}
    (got,) = session.run(None, feed)
    assert (got == z.numpy()).mean() > 0.99


def test_hyper_latents_in_c_equal_the_torch_network() -> None:
    net = delta_codec()
    x, prediction, motion, qp = inputs()
    prediction[:, :, :, 4:] = x[:, :, :, 4:]  # a tile of which nothing is said
    with torch.no_grad():
        latents, split = net.latents(x, prediction, motion, qp)
        motion[:, -1:] = split
        likely = round_by(latents, DELTA_LIKELY_OFFSET)
        z = net.hyper_analysis(torch.cat((likely, motion), 1)).round().clamp(-15, 15)
    hyper = HyperAnalysis(float_weights(net))
    for frame, moved, wanted in zip(latents, motion, z.numpy(), strict=True):
        said = np.ascontiguousarray(moved.permute(1, 2, 0).numpy().astype(np.int16))
        tiles, got = hyper.describe(listed(frame.permute(1, 2, 0).numpy()), said)
        assert tiles.tolist() == [0]
        assert (got[0] == wanted[:, 0, 0]).mean() > 0.99


def test_hyper_analysis_wants_its_weights_and_shapes() -> None:
    weights = dict(float_weights(delta_codec()))
    hyper = HyperAnalysis(weights)
    nothing = listed(np.zeros((4, 4, 384), np.float32))
    with pytest.raises(ValueError, match="motion is int16"):
        hyper.describe(nothing, np.zeros((4, 4, 9), np.int16))
    weights["hyper_analysis.second.weight"] = weights["hyper_analysis.second.weight"][:9]
    with pytest.raises(ConfigError, match="not \\[96, 256\\]"):
        HyperAnalysis(weights)
    del weights["hyper_analysis.third.bias"]
    with pytest.raises(ConfigError, match="is missing"):
        HyperAnalysis(weights)


def test_engines_cut_latents_as_training_does() -> None:
    net = delta_codec()
    torch.manual_seed(1)
    with torch.no_grad():
        net.contexts.offsets.copy_(torch.randn_like(net.contexts.offsets) / 2)
    latents, index = torch.randn(1, 384, 4, 4) * 3, torch.randint(0, 64, (1, 384, 4, 4))
    wanted = net.contexts.quantise(latents, index.float(), net.rounding)[0].permute(1, 2, 0).numpy()
    symbols = np.zeros((4, 4, 384), np.int16)
    indices = np.ascontiguousarray(index[0].permute(1, 2, 0).numpy().astype(np.uint8))
    floats = latents[0].permute(1, 2, 0).contiguous().numpy()
    offsets = net.contexts.table()
    quantise(listed(floats), indices, net.rounding.numpy(), offsets, symbols)
    assert np.array_equal(symbols, wanted)
    assert symbols.any()
    tiles = symbols.reshape(16, 384).T[None]
    moved = contexts.adjusted(
        np.concatenate((indices.reshape(16, 384).T[None], np.ones((1, 10, 16), np.uint8)), 1),
        np.concatenate((tiles, np.zeros((1, 10, 16), np.int16)), 1),
        offsets,
    )
    assert not tiles[moved[:, :384] == 0].any()  # nothing is meant that could not be read


def test_batches_of_delta_frames_have_their_form() -> None:
    with delta_supply() as supply:
        for _ in range(3):
            x, prediction, motion, qp = supply.next()
            assert x.shape == prediction.shape == (2, 384, 4, 4)
            assert motion.shape == (2, CHANNELS, 4, 4)
            assert ((qp >= 0) & (qp <= 63)).all()
            supply.done(x)


def test_streams_go_on_from_what_they_were_decoded_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "DAMAGED_SHARE", 0.0)
    clips = clips_of(clip_pictures())
    streams = Streams(clips, [], lambda blocks, qp: blocks, size=64, seed=2)
    draw = streams.take(2)
    streams.give_back(draw, torch.full_like(draw.sample.x, 0.21))
    for stream in draw.streams:
        assert stream.seen is not None
        assert (stream.seen == 181).all()
    with pytest.raises(InputError, match="at least 128 pixels"):
        Streams(clips, [], lambda blocks, qp: blocks, size=128, seed=2)


def test_streams_of_one_seed_are_alike() -> None:
    batches = []
    for _ in range(2):
        with delta_supply(seed=5) as supply:
            found = []
            for _ in range(5):
                found.append(supply.next())
                supply.done(found[-1][1])
            batches.append(found)
    for one, two in zip(*batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_samples_and_blocks_are_each_other_s_inverse() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (4, 8, 384), dtype=np.uint8)
    assert np.array_equal(to_blocks(to_samples([blocks]))[0], blocks)


def test_a_run_trains_delta_frames_and_resumes(tmp_path: Path) -> None:
    with delta_supply() as supply:
        run = Run(CONFIG, tmp_path, supply, CPU)
        first = run.advance(0.0)
        assert np.isfinite(list(first.values())).all()
        run.save()
        again = Run(CONFIG, tmp_path, supply, CPU)
    assert again.step == 1
    for name, value in run.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name]), name


def test_the_command_trains_and_exports_delta_frames(
    tmp_path: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundle.directory is not None
    intra = bundle.directory / "tiny.rtcm"
    data, run, out = tmp_path / "data", tmp_path / "run", tmp_path / "out"
    (data / "video").mkdir(parents=True)
    write_clip(data / "video" / "a.mkv", 4)
    common = ["--data", str(data), "--intra", str(intra)]
    words = ["train", "--delta", "--tier", "tiny", "--out", str(run), "--device", "cpu", *common]
    words += ["--crop", "64", "--batch", "1", "--screens", "0", "--minutes", "0.0005"]
    assert main([*words, "--validate", str(data / "video")]) == 0
    assert json.loads((run / "config.json").read_text())["delta"] is True
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [point["qp"] for point in rows[-1]["validation"]] == list(QPS)
    words = ["export", "--run", str(run), "--out", str(out), "--batches", "2", *common]
    assert main(words) == 0
    made = Bundle.load(out / "tiny.rtcm")
    assert made.delta is not None
    assert made.card["delta"]["config"]["delta"] is True
    assert {*DELTA_GRAPHS} <= made.graph_sha256.keys()
    assert capsys.readouterr().out == f"tiny {made.model_id.hex()[:16]}\n"


def test_a_model_of_both_kinds_is_frozen_and_thawed(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.directory is not None
    path = bundle.directory / "tiny.rtcm"
    assert bundle.delta is not None
    assert bundle.delta.scale_net.always_coded == CHANNELS
    assert bundle.delta.latent_channels == 384 + CHANNELS
    assert bundle.delta_tables is bundle.delta.entropy_tables
    intra, net = thaw(path, TINY), thaw_delta(path, TINY).eval()
    assert is_int8(intra)
    was = delta_codec()
    with torch.no_grad():
        one, two = was(*inputs()), net(*inputs())
    assert (one.symbols != two.symbols).float().mean() < 0.02
    with pytest.raises(InputError, match="not those of tier"):
        thaw_delta(path, TIERS["n64"])


def test_a_model_of_intra_frames_has_nothing_for_others(tmp_path: Path, bundle: Bundle) -> None:
    from rtcodec.models.export import export
    from support.models import crops

    plain = export(codec(), crops(), tmp_path, batches=1, card={})
    assert plain.delta is None
    assert plain.delta_tables is None
    with pytest.raises(InputError, match="intra frames only"):
        thaw_delta(tmp_path / "tiny.rtcm", TINY)
    other = DeltaCodec(TIERS["n64"])
    with delta_supply() as supply, pytest.raises(ConfigError, match="do not fit model tiny"):
        export_part(other, plain, supply, tmp_path, batches=0, card={})
    dims = {key: value for key, value in bundle.dims.items() if key != "motion"}
    with pytest.raises(ConfigError, match="dimension motion"):
        _ = Bundle("tiny", dims, bundle.tensors).delta


def test_there_is_nothing_to_round_to_8_bits(tmp_path: Path) -> None:
    words = ["train", "--delta", "--int8", "--tier", "tiny", "--data", str(tmp_path)]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2


def test_validation_needs_clips(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clip"):
        ClipValidation(tmp_path)
