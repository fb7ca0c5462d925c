"""The GPU engine on a GPU: exact where integers are, close where floats are, whatever the batch."""

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: cpu)")

from benchmarks._gpu_engine import (  # noqa: E402
    OPERATIONS,
    delta_differences,
    drift,
    moving_frames,
    row_differences,
)
from rtcodec.bundle import Bundle, installed_bundles  # noqa: E402
from rtcodec.engine.api import EncodeJob  # noqa: E402
from rtcodec.engine.loader import open_engine  # noqa: E402
from rtcodec_engines.batching import BUCKETS  # noqa: E402
from rtcodec_engines.best_frames import best_frames, plain_frames  # noqa: E402
from rtcodec_engines.cuda import CudaDevice  # noqa: E402
from rtcodec_engines.torch_engine import TorchEngine  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture(scope="module", params=installed_bundles(), ids=lambda path: path.stem)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.load(request.param)


@pytest.fixture(scope="module", params=["kernels and graphs", "graphs", "neither"])
def engine(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[TorchEngine]:
    engine = TorchEngine(
        bundle,
        device=CudaDevice(graphs="graphs" in request.param),
        frames=best_frames if "kernels" in request.param else plain_frames,
        states=40,
    )
    yield engine
    engine.close()


def test_delta_frames_are_exact(bundle: Bundle, engine: TorchEngine) -> None:
    other = open_engine("onnxruntime", bundle)
    assert delta_differences(bundle, engine, other, frames=20) == 0
    other.close()


def test_engines_stay_together(bundle: Bundle, engine: TorchEngine) -> None:
    other = open_engine("onnxruntime", bundle)
    frames = moving_frames(320, 192, 30)
    for one, two in ((engine, other), (other, engine)):
        assert drift(one, two, frames, 30)["worst_db"] < 0.1
    other.close()


def test_rows_of_batches_equal_frames_alone(engine: TorchEngine) -> None:
    for size, shares in row_differences(engine, 320, 192, BUCKETS).items():
        assert shares["intra"] > 0.95, size  # floats are summed in another order
        assert shares["delta"] > 0.95, size


def test_kernels_are_used_where_triton_is(bundle: Bundle) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    assert type(best_frames(bundle, CudaDevice())).__name__ == "FusedFrames"


def test_every_operation_is_recorded(engine: TorchEngine) -> None:
    engine.warm_up(128, 64, largest=2)
    state = engine.open_state(128, 64)
    planes = moving_frames(128, 64, 2)
    for t in range(2):
        reference = 0 if t else None
        engine.encode([EncodeJob(state, planes[t], 20, reference=reference, store=t)])
    engine.close_state(state)
    assert len(OPERATIONS) == 4
    assert engine.memory_bytes() > 0
    assert not engine.closed
