"""What the wheel holds: four packages, the compiled coder, the shipped models."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import rtcodec
from rtcodec.entropy import build

ROOT = Path(rtcodec.__file__).parents[1]
PACKAGES = {"rtcodec", "rtcodec_server", "rtcodec_engines", "rtcodec_client"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build the wheel with the back end alone (no network); return its names."""
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    [path] = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_wheel_installs_four_packages_and_nothing_else(wheel: set[str]) -> None:
    top = {name.partition("/")[0] for name in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_the_wheel_is_typed_and_licensed(wheel: set[str]) -> None:
    assert "rtcodec/py.typed" in wheel
    assert any(re.fullmatch(r"rtcodec-.*\.dist-info/licenses/LICENSE", name) for name in wheel)


@pytest.mark.parametrize(
    "library", ["entropy/_rans", "motion/_motion", "exact/_exact", "progressive/_progressive"]
)
def test_the_wheel_holds_the_compiled_libraries(library: str, wheel: set[str]) -> None:
    assert any(re.fullmatch(rf"rtcodec/{library}\S*\.(so|dylib|pyd|dll)", name) for name in wheel)


def test_the_wheel_holds_the_specification_beside_its_code(wheel: set[str]) -> None:
    folders = ("bitstream", "exact", "progressive")
    assert {f"rtcodec/{folder}/SPEC.md" for folder in folders} <= wheel


@pytest.mark.parametrize("model", ["s128", "n64"])
def test_the_wheel_holds_a_model_with_its_graphs(model: str, wheel: set[str]) -> None:
    assert f"rtcodec/models/weights/{model}.rtcm" in wheel
    for graph in ("analysis", "residual", "synthesis"):
        assert f"rtcodec/models/weights/{model}.{graph}.onnx" in wheel


def test_the_wheel_holds_the_relays_pages(wheel: set[str]) -> None:
    web = ROOT / "server" / "rtcodec_server" / "web"
    pages = {f"rtcodec_server/web/{path.name}" for path in web.iterdir()}
    assert len(pages) > 10
    assert pages <= wheel


def test_the_wheel_holds_the_viewer_and_its_decoder_where_it_could_be_built(
    wheel: set[str],
) -> None:
    scripts = {f"rtcodec/web/{path.name}" for path in (build.WEB / "src").glob("*.js")}
    assert "rtcodec/web/decoder.js" in scripts
    found = {name for name in wheel if name.startswith("rtcodec/web/")}
    if build.find_wasm_compiler(build.inherited_environment()) is None:
        assert found == scripts  # pages load them, and say what is missing
    else:
        modules = {f"rtcodec/web/{module.name}" for module in build.WASM_MODULES}
        assert found == {*scripts, *modules}


def test_checkpoints_are_not_in_the_wheel(wheel: set[str]) -> None:
    assert not [name for name in wheel if "checkpoints" in name]


def test_every_command_s_module_is_in_the_wheel(wheel: set[str]) -> None:
    from rtcodec.cli import COMMANDS

    for entry in COMMANDS.values():
        assert entry.module.replace(".", "/") + ".py" in wheel


def test_no_file_in_the_wheel_is_a_pickle_or_a_cache(wheel: set[str]) -> None:
    assert not [name for name in wheel if re.search(r"\.(pkl|pickle|pt|pth|pyc|npz)$", name)]
