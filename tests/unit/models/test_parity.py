"""The comparison of a device with the reference: the CPU against itself, and a broken network."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("onnx", reason="onnx is not installed (extra: train)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: cpu)")

from rtcodec.bundle import Bundle  # noqa: E402
from rtcodec.models.export import export  # noqa: E402
from rtcodec.models.inference import inference_from_weights  # noqa: E402
from rtcodec.models.parity import (  # noqa: E402
    Reference,
    differences,
    made_up_frames,
    networks_of,
    spread_qps,
    summary,
)
from support.models import TINY, codec, crops  # noqa: E402


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("bundle")
    return export(codec(), crops(), folder, batches=1, card={})


def test_the_same_networks_on_the_cpu_are_the_same(bundle: Bundle) -> None:
    reference = Reference(bundle, threads=1)
    planes = made_up_frames(2, 64, 128, seed=1)
    frames = [reference.code(*pair) for pair in zip(planes, spread_qps(2), strict=True)]
    rows = list(differences(networks_of(bundle), bundle, frames, (1, 2)))
    assert [(row.batch, row.row, row.qp) for row in rows] == [(1, 0, 0), (2, 0, 0), (2, 1, 63)]
    for worst in summary(rows).values():
        assert worst["z_identical"] > 0.99
        assert worst["symbols_identical"] > 0.99
        assert worst["pixel_max"] <= 1
        assert worst["psnr_drop_db"] < 0.01


def test_the_networks_of_a_bundle_round_as_it_says(bundle: Bundle) -> None:
    assert torch.equal(networks_of(bundle).rounding, codec().rounding)
    other = dict(bundle.tensors) | {"rounding": bundle.tensors["rounding"] / 2}
    networks = inference_from_weights(TINY, other)
    torch.testing.assert_close(networks.rounding, codec().rounding / 2)


def test_bf16_trunks_move_pixels_a_little(bundle: Bundle) -> None:
    reference = Reference(bundle, threads=1)
    frames = [reference.code(made_up_frames(1, 64, 64, seed=2)[0], 20)]
    networks = networks_of(bundle).trunks_to(torch.bfloat16)
    (row,) = differences(networks, bundle, frames, (1,), autocast=torch.bfloat16)
    assert 0 < row.pixel_max < 20
    assert abs(row.psnr_drop_db) < 0.1


def test_a_broken_network_is_seen(bundle: Bundle) -> None:
    reference = Reference(bundle, threads=1)
    frames = [reference.code(made_up_frames(1, 64, 64, seed=2)[0], 20)]
    networks = networks_of(bundle)
    with torch.no_grad():
        networks.synthesis.linear.weight.mul_(1.1)
        networks.analysis.linear.weight.mul_(1.1)
    (row,) = differences(networks, bundle, frames, (1,))
    assert row.symbols_identical < 0.99
    assert row.pixels_identical < 0.9
    assert row.psnr_drop_db != 0
