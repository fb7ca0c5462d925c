"""Engines for GPUs cost those nothing that have none: they are named, and not imported."""

import subprocess
import sys

import pytest

from rtcodec.codec.doctor_command import examine
from rtcodec.engine import loader
from rtcodec.engine.loader import AUTO, ENGINE_NAMES, GPU_ENGINES, has_gpu, probe_engine
from rtcodec_server.config import ENGINES as CONFIGURABLE

_OPEN_AUTO = """
import sys
from rtcodec.bundle import find_bundle
from rtcodec.engine.loader import ENGINE_NAMES, open_engine, probe_engine
for name in ENGINE_NAMES[1:]:
    probe_engine(name)
engine = open_engine("auto", find_bundle("n64"))
assert engine.info.name in ("openvino", "onnxruntime"), engine.info.name
engine.close()
found = [name for name in ("torch", "triton", "tensorrt") if name in sys.modules]
assert not found, found
"""


@pytest.mark.skipif(has_gpu(), reason="there is an NVIDIA driver")
def test_without_a_driver_nothing_of_them_is_imported() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _OPEN_AUTO],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", list(GPU_ENGINES))
def test_without_a_driver_they_say_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "GPU_FILES", ())
    report = probe_engine(name)
    assert (report.usable, report.reason) == (False, "no NVIDIA driver here")


def test_everybody_knows_them_by_name() -> None:
    assert {"torch", "tensorrt"} == set(GPU_ENGINES) < set(ENGINE_NAMES) < set(CONFIGURABLE)
    assert [engine["name"] for engine in examine()["engines"]] == [
        name for name in ENGINE_NAMES if name != AUTO
    ]
