"""Every vector by the decoder for browsers, in node: symbols, pictures, and what it refuses."""

import json
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks._web_decoder import MISSING, NODE, build_wasm
from rtcodec.bitstream.sequence import OTHER_FORMAT, known_source_format
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.conformance.model import CARRIED
from rtcodec.conformance.observe import Observation
from rtcodec.conformance.vector import MODELS, Vector, compare, find_vectors
from rtcodec.entropy import build
from rtcodec.models.web import web_model
from rtcodec.types import Planes

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

ROOT = Path(__file__).parent
VECTORS = find_vectors(ROOT)
OBSERVE = ROOT.parent / "support" / "web_observe.mjs"
SPEC = Path(build.__file__).parents[1] / "bitstream" / "SPEC.md"


@pytest.fixture(scope="module")
def observer(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Observer"]:
    running = Observer(tmp_path_factory.mktemp("web"))
    yield running
    running.close()


class Observer:
    """A process of node that looks at streams."""

    def __init__(self, folder: Path) -> None:
        assert NODE is not None
        self._folder = folder
        words = [NODE, OBSERVE, build.WEB / "src" / "decoder.js", build_wasm(folder)]
        self._process = subprocess.Popen(
            list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def observe(self, vector: Vector) -> Observation:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        job = {
            "stream": str(vector.folder / "input.rtc"),
            "model": str(self._model(vector.expectation.get("model", ""))),
            "source_formats": source_formats(),
        }
        stdin.write(json.dumps(job).encode() + b"\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        for unit in answer["report"]["units"]:
            unit["pts"] = int(unit["pts"])  # of 63 bits, which JavaScript's numbers do not hold
        return Observation(answer["report"], [planes(each) for each in answer["pictures"]])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _model(self, name: str) -> Path:
        path = self._folder / f"{name}.rtcw"
        if not path.exists():
            own = name in CARRIED
            bundle = Bundle.load(ROOT / MODELS / f"{name}.rtcm") if own else find_bundle(name)
            path.write_bytes(web_model(bundle))
        return path


def planes(picture: dict[str, Any]) -> Planes:
    width, height = picture["width"], picture["height"]
    half = (height + 1) // 2, (width + 1) // 2
    y, u, v = (
        np.frombuffer(b64decode(text), np.uint8).reshape(shape)
        for text, shape in zip(picture["planes"], ((height, width), half, half), strict=True)
    )
    return Planes(y, u, v)


def source_formats() -> list[str]:
    """The names of the specification's section 3.4, in order."""
    section = SPEC.read_text().partition("### 3.4")[2].partition("## 4.")[0]
    words = [word for line in section.splitlines() if line[:4] == "    " for word in line.split()]
    names = words[1::2]
    assert all(known_source_format(name) == name for name in names if name != OTHER_FORMAT)
    return names


@pytest.mark.parametrize("name", VECTORS)
def test_the_decoder_for_browsers_conforms(name: str, observer: Observer) -> None:
    vector = VECTORS[name]
    assert compare(vector.expectation, observer.observe(vector), vector.pictures) == []


def test_the_checker_sees_this_decoder(observer: Observer) -> None:
    """Guards against a report that says nothing."""
    vector = VECTORS["neural_n64_delta"]
    seen = observer.observe(vector)
    assert len(seen.pictures) == len(seen.report["units"]) == 4
    seen.report["units"][1]["packets"][0]["symbols_sha256"] = "0" * 64
    assert len(compare(vector.expectation, seen, vector.pictures)) == 1
