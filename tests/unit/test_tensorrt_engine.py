"""TensorRT is used where its engines are whole, of here, and right in every row; else torch is."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")

from torch import Tensor  # noqa: E402

from rtcodec.bundle import GRAPHS, Bundle, find_bundle  # noqa: E402
from rtcodec.cli import main  # noqa: E402
from rtcodec.engine.api import EncodeJob  # noqa: E402
from rtcodec.errors import EngineError  # noqa: E402
from rtcodec.models.inference import Inference  # noqa: E402
from rtcodec.models.network import pack_planes, unpack_planes  # noqa: E402
from rtcodec.models.parity import networks_of  # noqa: E402
from rtcodec_engines import tensorrt_networks, tensorrt_runtime  # noqa: E402
from rtcodec_engines.device import CpuDevice  # noqa: E402
from rtcodec_engines.plan_cache import PlanCache, PlanMissing, PlanUnusable  # noqa: E402
from rtcodec_engines.tensorrt_engine import TensorRtEngine  # noqa: E402
from rtcodec_engines.tensorrt_networks import TensorRtNetworks, plan_key  # noqa: E402
from rtcodec_engines.tensorrt_runtime import Executable, Outputs  # noqa: E402
from support.pictures import noise  # noqa: E402

BUNDLE = find_bundle("n64")


class TorchExecutable:
    """A graph of a model, run by torch."""

    def __init__(self, graph: str, networks: Inference, faulty_row: int | None) -> None:
        self._graph, self._networks, self._faulty_row = graph, networks, faulty_row

    def run(self, inputs: Mapping[str, Tensor], outputs: Outputs) -> dict[str, Tensor]:
        made = self._run(inputs)
        assert {name: (tuple(t.shape), t.dtype) for name, t in made.items()} == dict(outputs)
        first = next(iter(made.values()))
        if self._faulty_row is not None and len(first) > self._faulty_row:
            for tensor in made.values():
                tensor[self._faulty_row] = 77
        return made

    def _run(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        first, last = (0, 3, 1, 2), (0, 2, 3, 1)
        if self._graph == "analysis":
            y, u, v = unpack_planes(given["blocks"].permute(first))
            latents, z = self._networks.analyse(y, u, v, given["gains"])
            return {"latents": latents.permute(last).clone(), "z": z.clone()}
        symbols = given["symbols" if self._graph == "synthesis" else "latents"].permute(first)
        if self._graph == "residual":
            indices = given["indices"].permute(first)
            made = self._networks.residual(symbols, given["z"], indices)
            return {"symbols": made.permute(last).clone()}
        planes = self._networks.synthesise(given["z"], symbols, given["gains"])
        return {"blocks": pack_planes(*planes).permute(last).clone()}


class TorchRuntime:
    """A stand-in for TensorRT: its plans name a graph."""

    def __init__(self, version: str = "1.0", faulty_row: int | None = None) -> None:
        self.library, self.gpu = f"stand-in {version}", "no GPU, 0.0"
        self.device = torch.device("cpu")
        self._faulty_row = faulty_row

    def build(self, content: bytes) -> bytes:
        return json.dumps({"version": self.library, "bytes": len(content)}).encode()

    def load(self, plan: bytes) -> Executable:
        graph = plan.decode()
        if graph not in GRAPHS:
            raise EngineError("the stand-in does not take the engine")
        return TorchExecutable(graph, networks_of(BUNDLE), self._faulty_row)


def filled(folder: Path, runtime: TorchRuntime) -> PlanCache:
    """A cache with the engines of the model."""
    cache = PlanCache(folder)
    for graph in GRAPHS:
        cache.store(plan_key(BUNDLE, graph, runtime), graph.encode())
    return cache


def opened(runtime: TorchRuntime, cache: PlanCache, bundle: Bundle = BUNDLE) -> TensorRtEngine:
    return TensorRtEngine(bundle, device=CpuDevice(), runtime=runtime, cache=cache, states=2)


def assert_torch_runs(engine: TensorRtEngine, caplog: pytest.LogCaptureFixture, why: str) -> None:
    assert engine.info.name == "torch"
    assert engine.problem is not None
    assert why in engine.problem
    assert [r.getMessage() for r in caplog.records] == [
        f"tensorrt is not used, torch is: {engine.problem}"
    ]
    state = engine.open_state(64, 64)
    assert engine.encode([EncodeJob(state, noise(64, 64), 30)])[0].symbols.any()
    engine.close()


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "rtcodec_engines")


def test_engines_that_agree_are_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime = TorchRuntime()
    engine = opened(runtime, filled(tmp_path, runtime))
    assert (engine.info.name, engine.problem) == ("tensorrt", None)
    assert engine.info.versions["stand-in"] == "1.0"
    plain = TensorRtEngine(
        BUNDLE, device=CpuDevice(), runtime=runtime, cache=PlanCache(tmp_path / "x")
    )
    outputs = []
    for one in (engine, plain):
        state = one.open_state(100, 70)
        outputs.append(one.encode([EncodeJob(state, noise(100, 70), 30, reconstruct=True)])[0])
        one.close()
    assert (outputs[0].symbols == outputs[1].symbols).all()
    assert len(caplog.records) == 1  # of the one without engines


def test_without_engines_torch_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = opened(TorchRuntime(), PlanCache(tmp_path))
    assert_torch_runs(engine, caplog, "no engine of n64 analysis was built for this")


def test_engines_of_another_version_are_not_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = filled(tmp_path, TorchRuntime("1.0"))
    assert_torch_runs(opened(TorchRuntime("2.0"), cache), caplog, "was built for this")


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[:-3],
        lambda content: content + b"x",
        lambda content: content.replace(b"analysis", b"analysys"),
        lambda content: b"",
        lambda content: b"\x80\x04pickled",
        lambda content: b"[]\n",
        lambda content: b'{"format": 1}\n' + content,
    ],
)
def test_damaged_engines_are_not_used(
    harm: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = TorchRuntime()
    cache = filled(tmp_path, runtime)
    path = cache.path(plan_key(BUNDLE, "analysis", runtime))
    path.write_bytes(harm(path.read_bytes()))
    engine = opened(runtime, cache)
    assert_torch_runs(engine, caplog, path.name)


def test_engines_that_the_library_refuses_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = TorchRuntime()
    cache = filled(tmp_path, runtime)
    cache.store(plan_key(BUNDLE, "residual", runtime), b"of another GPU")
    assert_torch_runs(opened(runtime, cache), caplog, "does not take the engine")


def test_a_library_that_has_changed_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: TorchRuntime, plan: bytes) -> Executable:
        raise AttributeError("no attribute 'execute_async_v3'")

    runtime = TorchRuntime()
    cache = filled(tmp_path, runtime)
    monkeypatch.setattr(TorchRuntime, "load", load)
    assert_torch_runs(opened(runtime, cache), caplog, "AttributeError: no attribute")


@pytest.mark.parametrize("row", [0, 3, 15])
def test_one_wrong_row_of_one_batch_is_enough(
    row: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = TorchRuntime(faulty_row=row)
    engine = opened(runtime, filled(tmp_path, runtime))
    size = {0: 1, 3: 4, 15: 16}[row]
    assert_torch_runs(engine, caplog, f"give other numbers than torch: row {row} of {size}:")


def test_a_gpu_that_goes_while_engines_are_checked_is_not_taken_for_a_wrong_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: TorchExecutable, inputs: Any, outputs: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    runtime = TorchRuntime()
    cache = filled(tmp_path, runtime)
    monkeypatch.setattr(TorchExecutable, "run", run)
    with pytest.raises(EngineError, match="engines of n64 do not run: CUDA error"):
        opened(runtime, cache)


def test_what_is_too_large_for_engines_runs_in_torch() -> None:
    plain = networks_of(BUNDLE)
    networks = TensorRtNetworks(plain, {})  # none of which is asked
    y, half = (
        torch.zeros((1, 1, side, 64 * side // 1152), dtype=torch.uint8) for side in (1152, 576)
    )
    gains = torch.tensor(BUNDLE.gains[:1])
    with torch.inference_mode():
        latents, z = networks.analyse(y, half, half, gains)
        symbols = networks.residual(latents, z, torch.ones(latents.shape, dtype=torch.uint8))
        shown = networks.synthesise(z, symbols, gains)
        assert torch.equal(z, plain.analyse(y, half, half, gains)[1])
    assert shown[0].shape == y.shape


def test_the_key_of_an_engine_is_all_it_depends_on() -> None:
    key = plan_key(BUNDLE, "analysis", TorchRuntime())
    others = [
        plan_key(BUNDLE, "residual", TorchRuntime()),
        plan_key(find_bundle("s128"), "analysis", TorchRuntime()),
        plan_key(BUNDLE, "analysis", TorchRuntime("1.1")),
    ]
    assert len({key.digest, *(other.digest for other in others)}) == 4
    assert key.digest == plan_key(BUNDLE, "analysis", TorchRuntime()).digest


def test_a_cache_says_what_it_holds(tmp_path: Path) -> None:
    runtime = TorchRuntime()
    cache = filled(tmp_path, runtime)
    (tmp_path / "old.plan").write_bytes(b"of an earlier format")
    about = {one.path.name: one.about for one in cache.stored()}
    assert len(about) == 4
    assert not about["old.plan"]
    with pytest.raises(PlanMissing):
        cache.load(plan_key(BUNDLE, "analysis", TorchRuntime("3")))
    key = plan_key(BUNDLE, "analysis", runtime)
    cache.path(key).unlink()
    cache.path(key).mkdir()
    with pytest.raises(PlanUnusable, match="directory"):
        cache.load(key)


def test_the_graphs_are_acceptable_to_a_builder() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed (extra: train)")
    from rtcodec_engines.tensorrt_graph import accepted_graph, build_plan

    for model in ("n64", "s128"):
        for graph in GRAPHS:
            assert len(build_plan(trt, accepted_graph(find_bundle(model), graph))) > 100_000
    with pytest.raises(EngineError, match="TensorRT refuses the graph"):
        build_plan(trt, find_bundle("n64").read_graph("analysis"))


def test_the_command_lists_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path, TorchRuntime())
    (tmp_path / "old.plan").write_bytes(b"of an earlier format")
    assert main(["engines", "list", "--cache", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert sum("stand-in 1.0 on no GPU, 0.0" in line for line in lines) == 3
    assert sum("damaged" in line for line in lines) == 1
    assert main(["engines", "list", "--json", "--cache", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["damaged"] for one in found["engines"]].count(True) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("action", ["build", "check"])
def test_the_command_says_what_is_missing(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engines", action, "n64", "--cache", str(tmp_path)]) in (2, 3)
    told = capsys.readouterr().err
    assert "tensorrt" in told or "torch finds no CUDA device" in told
    assert len(told.splitlines()) == 1


def test_the_command_builds_what_is_not_there_and_checks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = TorchRuntime()
    plans = iter(GRAPHS)
    monkeypatch.setattr(runtime, "build", lambda content: next(plans).encode())
    monkeypatch.setattr(tensorrt_networks, "accepted_graph", lambda bundle, graph: b"")
    monkeypatch.setattr(tensorrt_runtime, "TensorRtRuntime", lambda: runtime)
    for action in ("build", "build", "check"):  # the second time nothing is left to build
        assert main(["engines", action, "n64", "--json", "--cache", str(tmp_path)]) == 0
        assert json.loads(capsys.readouterr().out)["models"] == [{"model": "n64", "problem": None}]
    assert main(["engines", "check", "s128", "--cache", str(tmp_path)]) == 3
    assert "s128: no engine of s128 analysis was built" in capsys.readouterr().out
