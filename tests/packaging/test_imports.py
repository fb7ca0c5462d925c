"""What importing costs, and what the public names are."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import rtcodec
from rtcodec import cli
from support.command import run_here

ROOT = Path(rtcodec.__file__).parents[1]
PATHS = [str(ROOT), str(ROOT / "server"), str(ROOT / "engines"), str(ROOT / "clients")]

HEAVY = {"torch", "aiortc", "aiohttp", "prometheus_client"}

PURE = [
    "rtcodec",
    "rtcodec.cli",
    "rtcodec.bitstream",
    "rtcodec.entropy",
    "rtcodec.bundle",
    "rtcodec.codec",
    "rtcodec.codec.decoder",
    "rtcodec.codec.encoder",
    "rtcodec.engine",
    "rtcodec.packet",
    "rtcodec.session",
    "rtcodec.quality",
    "rtcodec.evaluation",
]

# Everything but training runs without torch, whatever else it needs.
TRAINING = ("train", "train-head", "export", "refine")
TORCHLESS = [name for name in cli.COMMANDS if name not in TRAINING]


def loaded_by(module: str) -> set[str]:
    """Import *module* in a fresh interpreter; return the top-level packages then loaded."""
    script = (
        f"import sys; sys.path[:0] = {PATHS!r}; import importlib\n"
        f"importlib.import_module({module!r})\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("module", PURE)
def test_a_library_module_loads_no_network_stack_and_no_torch(module: str) -> None:
    assert loaded_by(module) & HEAVY == set()


@pytest.mark.parametrize("name", TORCHLESS)
def test_a_command_that_does_not_train_loads_no_torch(name: str) -> None:
    assert "torch" not in loaded_by(cli.COMMANDS[name].module)


def test_import_rtcodec_alone_is_light() -> None:
    assert loaded_by("rtcodec") & {"numpy", "av", "PIL", "matplotlib", "rich", "openvino"} == set()


def test_public_names_exist() -> None:
    for name in rtcodec.__all__:
        assert getattr(rtcodec, name) is not None


@pytest.mark.parametrize("name", TORCHLESS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(capsys, name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"usage: rtcodec {name}" in done.out


@pytest.mark.parametrize("name", TRAINING)
def test_every_command_that_trains_explains_itself(name: str) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed (extra: train)")
    script = f"import sys; sys.path[:0] = {PATHS!r}; from rtcodec.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, name, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: rtcodec {name}" in done.stdout
    assert done.stderr == ""
