"""A fast form of the operations is used where it is there, works and gives the same integers."""

import logging
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")

from rtcodec.bundle import Bundle, find_bundle  # noqa: E402
from rtcodec_engines.best_frames import best_frames, switched_off  # noqa: E402
from rtcodec_engines.device import CpuDevice, Device  # noqa: E402
from rtcodec_engines.tensor.frames import Frames  # noqa: E402


class Same(Frames):
    """Another form that is right."""


class Wrong(Frames):
    """One whose smoothing is wrong."""

    @staticmethod
    def smooth(planes: list[Any], *_: object) -> None:
        planes[0].add_(1)


def made(form: type[Frames]) -> Any:
    return lambda bundle, device: form(bundle).eval()


def missing(bundle: Bundle, device: Device) -> Frames:
    raise ModuleNotFoundError("No module named 'triton'")


def out_of_memory(bundle: Bundle, device: Device) -> Frames:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_form_that_agrees_is_used(caplog: pytest.LogCaptureFixture) -> None:
    frames = best_frames(find_bundle("n64"), CpuDevice(), fused=made(Same))
    assert type(frames) is Same
    assert not caplog.records


@pytest.mark.parametrize(
    ("fused", "why"),
    [
        (made(Wrong), "encode_delta gives other y, u, v"),
        (missing, "ModuleNotFoundError: No module named 'triton'"),
    ],
)
def test_one_that_does_not_is_left_and_the_log_says_why(
    fused: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "rtcodec_engines")
    assert type(best_frames(find_bundle("n64"), CpuDevice(), fused=fused)) is Frames
    assert [record.getMessage() for record in caplog.records] == [f"kernels are not used: {why}"]


def test_a_device_that_fails_is_no_matter_of_kernels() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        best_frames(find_bundle("n64"), CpuDevice(), fused=out_of_memory)


def test_a_cpu_has_no_kernels() -> None:
    assert type(best_frames(find_bundle("n64"), CpuDevice())) is Frames


def test_what_is_in_doubt_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTCODEC_GPU_OFF", raising=False)
    assert switched_off() == frozenset()
    monkeypatch.setenv("RTCODEC_GPU_OFF", "graphs,kernels")
    assert switched_off() == {"graphs", "kernels"}
