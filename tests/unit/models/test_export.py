"""What is exported is what was trained: graphs, integer network, tables, card."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("onnx", reason="onnx is not installed (extra: train)")

from rtcodec import cli  # noqa: E402
from rtcodec.bundle import Bundle  # noqa: E402
from rtcodec.engine.blocks import BLOCK_SAMPLES, fill_blocks  # noqa: E402
from rtcodec.entropy.rans import SliceDecoder, encode_slice  # noqa: E402
from rtcodec.entropy.tile import gather_hyper, gather_tiles  # noqa: E402
from rtcodec.errors import ConfigError, InputError  # noqa: E402
from rtcodec.models.export import (  # noqa: E402
    export,
    gains_table,
    last_validation,
    load_run,
)
from rtcodec.models.graph import build_graphs  # noqa: E402
from rtcodec.models.inference import float_weights, inference_from_weights  # noqa: E402
from rtcodec.models.network import pack_planes  # noqa: E402
from rtcodec.models.tables import fit_tables  # noqa: E402
from rtcodec.models.tier import TIERS, tier_from_dims  # noqa: E402
from support.models import TINY, codec, crops, data_folder, supply  # noqa: E402

Arrays = dict[str, NDArray[Any]]
QPS = (2, 33, 60)
NEAR = 1e-3
"Values this near to a rounding threshold may fall on either side in another order of summation."

NEAR_LATENTS = 0.03
"The same for what follows from bytes times weights of two times 7 bits, in quantiser steps."

ARITHMETIC = pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])


class OnnxRuntimeGraph:
    def __init__(self, content: bytes) -> None:
        ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: cpu)")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        return dict(zip(self._names, self._session.run(None, inputs), strict=True))


class OpenVinoGraph:
    def __init__(self, content: bytes) -> None:
        pytest.importorskip("openvino", reason="openvino is not installed (extra: cpu)")
        from rtcodec_engines.openvino_engine import openvino_core

        core = openvino_core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": 1,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        self._compiled = core.compile_model(core.read_model(content), "CPU", settings)
        self._names = [output.get_any_name() for output in self._compiled.outputs]

    def __call__(self, inputs: Arrays) -> Arrays:
        results = self._compiled(inputs)
        return {name: np.array(results[name]) for name in self._names}


RUNTIMES = pytest.mark.parametrize(
    "runtime", [OnnxRuntimeGraph, OpenVinoGraph], ids=["onnxruntime", "openvino"]
)


def frames(width: int = 128, height: int = 64) -> list[NDArray[np.uint8]]:
    """Planes of three pictures, uint8 [3, 1, H, W] and half-size twice."""
    rng = np.random.default_rng(4)
    y = np.kron(rng.integers(0, 256, (3, 1, height // 8, width // 8)), np.ones((8, 8)))
    u, v = (
        np.kron(rng.integers(64, 192, (3, 1, height // 16, width // 16)), np.ones((8, 8)))
        for _ in range(2)
    )
    noise = rng.normal(0, 5, y.shape)
    return [plane.clip(0, 255).astype(np.uint8) for plane in (y + noise, u, v)]


def blocks_of(planes: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The blocks of planes [N, 1, H, W]."""
    count, _, height, width = planes[0].shape
    blocks = np.empty((count, height // 16, width // 16, BLOCK_SAMPLES), np.uint8)
    for i in range(count):
        fill_blocks([plane[i, 0] for plane in planes], blocks[i])
    return blocks


def channels_last(x: Any) -> NDArray[Any]:
    """[N, K, h, w] as [N, h, w, K]."""
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())


@RUNTIMES
@ARITHMETIC
def test_exported_graphs_equal_the_torch_networks(runtime: Any, int8: bool) -> None:
    net = codec(int8=int8)
    assert any("log_range" in name for name in float_weights(net)) == int8
    graphs = build_graphs(float_weights(net), TINY.dims, net.rounding.numpy())
    networks = inference_from_weights(TINY, float_weights(net))
    planes, gains = frames(), gains_table(net)[list(QPS)]
    exact = net.scale_network.integers()
    with torch.no_grad():
        latents, z = networks.analyse(*map(torch.from_numpy, (*planes, gains)))
        z_raw = networks.hyper_analysis(latents)
        indices = np.stack(
            [exact.indices(one.numpy().astype(np.int8), qp) for one, qp in zip(z, QPS, strict=True)]
        )
        coded = torch.from_numpy(indices)
        symbols = networks.residual(latents, z, coded)
        means = networks.means.around(latents, z, coded, networks.rounding)
        decoded = networks.synthesise(z, symbols, torch.from_numpy(gains))

    out = runtime(graphs["analysis"])({"blocks": blocks_of(planes), "gains": gains})
    off = np.abs(out["latents"] - channels_last(latents))
    far = off > NEAR_LATENTS + 1e-4 * np.abs(out["latents"])
    # In 8 bits, a value near a tie may be rounded to the other side and move what is around it.
    assert far.mean() <= (0.1 if int8 else 0.0)
    assert off.mean() <= NEAR_LATENTS
    steady = ((z_raw + 0.5) - (z_raw + 0.5).round()).abs().numpy() > NEAR_LATENTS
    assert steady.mean() > 0.8
    assert (out["z"] == z.numpy())[steady].all()

    inputs = {
        "latents": channels_last(latents),
        "z": z.numpy(),
        "indices": channels_last(torch.from_numpy(indices)),
    }
    out = runtime(graphs["residual"])(inputs)
    modulus = (latents - means).abs() + networks.rounding[coded.long()].clamp_min(0)
    steady = (modulus - modulus.round()).abs().numpy() > NEAR
    assert steady.mean() > 0.98
    assert (out["symbols"].transpose(0, 3, 1, 2) == symbols.numpy())[steady].all()
    assert np.count_nonzero(out["symbols"]) > 100

    inputs = {"z": z.numpy(), "symbols": channels_last(symbols), "gains": gains}
    blocks = runtime(graphs["synthesis"])(inputs)["blocks"]
    assert blocks.dtype == np.uint8
    expected = blocks_of([plane.numpy() for plane in decoded])
    assert np.abs(blocks.astype(int) - expected).max() <= 1


@RUNTIMES
def test_one_graph_takes_any_batch_and_size(runtime: Any) -> None:
    net = codec()
    graphs = build_graphs(float_weights(net), TINY.dims, net.rounding.numpy())
    graph, gains = runtime(graphs["analysis"]), gains_table(net)
    blocks = blocks_of(frames())
    whole = graph({"blocks": blocks, "gains": gains[[9, 9, 9]]})
    single = graph({"blocks": blocks[1:2], "gains": gains[[9]]})
    np.testing.assert_allclose(single["latents"], whole["latents"][1:2], atol=NEAR)
    other = graph({"blocks": blocks_of(frames(64, 192)), "gains": gains[[1, 2, 3]]})
    assert other["latents"].shape == (3, 12, 4, TINY.latents)
    assert other["z"].shape == (3, TINY.hyper_latents, 3, 1)


def test_the_exported_integer_network_equals_the_trained_one_on_every_output() -> None:
    net = codec()
    exact = net.scale_network.integers()
    z = np.random.default_rng(1).integers(-15, 16, (TINY.hyper_latents, 3, 5)).astype(np.int8)
    for qp in range(64):
        with torch.no_grad():
            trained = net.scale_network(
                torch.from_numpy(z)[None].float(), torch.tensor([qp])
            ).clamp(0, 63)
        expected = trained[0].numpy().astype(np.uint8)
        assert (exact.indices_reference(z, qp) == expected).all()
        assert (exact.indices(z, qp) == expected).all()
    assert max(exact.bounds()) < 2**24


@pytest.mark.parametrize("name", ["bias1", "bias2", "bias3"])
def test_a_network_that_could_exceed_exact_floats_is_not_exported(
    name: str, tmp_path: Path
) -> None:
    net = codec()
    with torch.no_grad():
        getattr(net.scale_network, name).fill_(1e5)
    with pytest.raises(ConfigError, match=r"cannot be frozen: .* 2\*\*24"):
        export(net, crops(), tmp_path / "out", batches=1, card={})
    assert not (tmp_path / "out").exists()


def test_fitted_tables_code_the_symbols_that_the_networks_make() -> None:
    net = codec()
    tables = fit_tables(net, supply(), 2)
    exact = net.scale_network.integers()
    bits = 0
    for qp in QPS:
        with torch.no_grad():
            coded = net(pack_planes(*crops(9).batch(1)), torch.tensor([qp]))
        z = coded.z[0].numpy().astype(np.int8)
        indices = exact.indices(z, qp)
        symbols = np.ascontiguousarray(coded.symbols[0].numpy(), np.int16)
        tiles = np.arange(z.shape[1] * z.shape[2], dtype=np.uint32)
        z_tiles, index_tiles = gather_hyper(z, tiles), gather_tiles(indices, tiles)
        symbol_tiles = gather_tiles(symbols, tiles)
        payload = encode_slice(tables, z_tiles, symbol_tiles, index_tiles, qp, 1)
        decoder = SliceDecoder(tables, payload, len(tiles), qp, 1)
        assert (decoder.read_z() == z_tiles).all()
        assert (decoder.read_y(index_tiles) == symbol_tiles).all()
        bits += 8 * len(payload)
        estimate = (coded.bits_y + coded.bits_z).item()
        assert 8 * len(payload) < 1.5 * estimate + 200
    assert bits > 0


def test_a_bundle_holds_what_the_networks_need(tmp_path: Path) -> None:
    net = codec()
    bundle = export(net, crops(), tmp_path, batches=1, card={"note": "tiny"})
    assert bundle.name == "tiny"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tiny.analysis.onnx", "tiny.residual.onnx", "tiny.rtcm", "tiny.synthesis.onnx",
    ]  # fmt: skip
    assert tier_from_dims(bundle.name, dict(bundle.dims)) == TINY
    assert bundle.card == {"note": "tiny"}
    assert bundle.gains.shape == (64, sum(TINY.gain_sizes))
    assert (bundle.gains > 0).all()
    networks = inference_from_weights(TINY, bundle.tensors)
    for name, value in networks.state_dict().items():
        assert torch.equal(value, net.state_dict()[name])
    again = export(net, crops(), tmp_path / "again", batches=1, card={})
    assert again.model_id == bundle.model_id
    for graph in bundle.graph_sha256:
        assert again.read_graph(graph) == bundle.read_graph(graph)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A data folder and the run that some steps on it left."""
    monkeypatch.setitem(TIERS, "tiny", TINY)
    folder, run = data_folder(tmp_path / "data"), tmp_path / "run"
    words = ["train", "--data", str(folder), "--out", str(run), "--crop", "64", "--batch", "1"]
    words += ["--screens", "0"]
    words += ["--validate", str(folder / "images"), "--minutes", "0.0005", "--device", "cpu"]
    assert cli.main([*words, "--tier", "tiny"]) == 0
    return folder, run


def test_the_command_writes_a_bundle_with_its_card(
    trained: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, run = trained
    evaluation = tmp_path / "results.json"
    evaluation.write_text('{"bd_rate": -40.5}')
    words = ["--run", str(run), "--data", str(folder), "--out", str(tmp_path / "out")]
    words += ["--batches", "1", "--trained-on", "made-up pictures"]
    assert cli.main(["export", *words, "--evaluation", str(evaluation)]) == 0
    bundle = Bundle.load(tmp_path / "out" / "tiny.rtcm")
    assert capsys.readouterr().out == f"tiny {bundle.model_id.hex()[:16]}\n"
    assert bundle.card["data"] == "made-up pictures"
    assert bundle.card["evaluation"] == {"bd_rate": -40.5}
    assert bundle.card["config"]["tier"] == "tiny"
    assert bundle.card["steps"] >= 1
    assert len(bundle.card["validation"]["points"]) == 7


def test_a_missing_or_foreign_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(["export", "--run", str(tmp_path / "nowhere"), *words]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert cli.main(["export", "--run", str(tmp_path), *words]) == 1
    assert "ema.safetensors: no such file" in capsys.readouterr().err
    (tmp_path / "ema.safetensors").write_bytes(b"nothing")
    assert cli.main(["export", "--run", str(tmp_path), *words]) == 1
    assert "not a checkpoint" in capsys.readouterr().err
    assert cli.main(["export", "--run", str(tmp_path), *words, "--batches", "0"]) == 2


def test_a_run_without_its_settings_is_named(trained: tuple[Path, Path]) -> None:
    _, run = trained
    (run / "config.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        load_run(run)
    (run / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json"):
        load_run(run)


def test_the_card_has_the_last_validation_if_there_was_one(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert last_validation(metrics) is None
    metrics.write_text(json.dumps({"step": 50, "loss": 1.0}) + "\n")
    assert last_validation(metrics) is None
    point = {"qp": 4, "bpp": 1.23456, "psnr": 40.98765}
    with metrics.open("a") as file:
        for step in (60, 70):
            print(json.dumps({"step": step, "validation": [point]}), file=file)
    found = last_validation(metrics)
    assert found is not None
    assert found["step"] == 70
    assert found["points"] == [{"qp": 4, "bpp": 1.2346, "psnr": 40.988}]
