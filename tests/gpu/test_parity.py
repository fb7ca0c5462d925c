"""CUDA against ONNX Runtime on the CPU, for every installed model, batch bucket and row."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: cpu)")

from rtcodec.bundle import Bundle, installed_bundles  # noqa: E402
from rtcodec.models.parity import (  # noqa: E402
    Reference,
    differences,
    made_up_frames,
    networks_of,
    spread_qps,
    summary,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

BATCHES = (1, 2, 4, 8, 16)


@pytest.mark.parametrize("kind", [None, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("path", installed_bundles(), ids=lambda path: path.stem)
def test_cuda_decodes_what_the_cpu_encodes(
    path: object, kind: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        monkeypatch.setattr(backend, "allow_tf32", False)
    bundle = Bundle.load(path)  # type: ignore[arg-type]
    reference = Reference(bundle)
    planes = made_up_frames(max(BATCHES), 192, 320, seed=1)
    qps = spread_qps(len(planes))
    frames = [reference.code(*pair) for pair in zip(planes, qps, strict=True)]
    networks = networks_of(bundle).to("cuda")
    rows = list(differences(networks, bundle, frames, BATCHES, autocast=kind))  # type: ignore[arg-type]
    assert len(rows) == sum(BATCHES)
    for worst in summary(rows).values():
        assert worst["psnr_drop_db"] < 0.1
        if kind is None:
            # In 8 bits a value near a tie may be rounded to the other side.
            assert worst["symbols_identical"] > (0.95 if bundle.is_int8 else 0.99)
            assert worst["pixel_max"] <= (16 if bundle.is_int8 else 2)
