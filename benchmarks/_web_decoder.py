"""The decoder for browsers, run by node: packets in, planes out, for tests and benchmarks."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from select import select
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.entropy import build
from rtcodec.errors import BitstreamError, Corrupt, Truncated, Unsupported
from rtcodec.models.web import web_model
from rtcodec.types import Planes

NODE: Final = shutil.which("node")
HAS_CLANG: Final = build.find_wasm_compiler(build.inherited_environment()) is not None
MISSING: Final = None if NODE and HAS_CLANG else "needs node, and clang with wasm-ld"
"Why there is no decoder for browsers here, or None."

_PATIENCE_S: Final = 120.0
"For one frame, on a machine that does much else."

_SCRIPT: Final = Path(__file__).with_name("web_decoder.mjs")
_KINDS: Final[dict[str, type[BitstreamError]]] = {
    kind.__name__: kind for kind in (Corrupt, Truncated, Unsupported)
}


@dataclass(frozen=True, slots=True)
class WebFrame:
    """What it made of the packets of one frame."""

    planes: Planes
    facts: dict[str, Any]
    "All else that it said, as `Frame` of decoder.js."

    ms: dict[str, float]
    "By stage."

    rgba: NDArray[np.uint8] | None
    "uint8 [H, W, 4], if it was asked for."


class WebDecoder:
    """A process of node with a decoder in it."""

    def __init__(
        self,
        bundle: Bundle,
        folder: Path,
        *,
        wasm: Path | None = None,
        pixels_max: int = 10**7,
        stills: bool = False,
        head: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """
        Args:
            bundle: The model.
            folder: Where to write it, and the module, if that is not given.
            wasm: The module.
            pixels_max: Largest frame taken, width times height.
            stills: Whether the model is one for stills alone.
            head: Filters of a perceptual head.
        """
        assert NODE is not None
        model = folder / f"{bundle.name}.rtcw"
        model.write_bytes(web_model(bundle, stills=stills, head=head))
        wasm = wasm or build_wasm(folder)
        words = [_SCRIPT, build.WEB / "src" / "decoder.js", wasm, model, pixels_max]
        self._process = _run([NODE, "--no-warnings", *map(str, words)])
        self.memory_bytes = 0
        "Of the module, after the last frame."

        self.needs: str | None = None
        "What the last refusal said would help."

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def decode(
        self,
        packets: Sequence[bytes],
        *,
        size: tuple[int, int] | None = None,
        blocks: NDArray[np.uint8] | None = None,
        color: dict[str, Any] | None = None,
        perceptual: bool = False,
    ) -> WebFrame:
        """
        Decode one frame.

        Args:
            packets: Of it.
            size: Width and height, if they do not say.
            blocks: What stands in for the networks' picture, [h16, w16, 384].
            color: To show it as RGBA too: `Color` of color.js.
            perceptual: Whether by the perceptual head.

        Raises:
            BitstreamError: As the decoder says.
            AssertionError: If it fails in another way.
        """
        question: dict[str, Any] = {"packets": [b64encode(data).decode() for data in packets]}
        if size is not None:
            question["size"] = {"width": size[0], "height": size[1]}
        if blocks is not None:
            question["blocks"] = b64encode(np.ascontiguousarray(blocks).tobytes()).decode()
        if perceptual:
            question["perceptual"] = True
        if color is not None:
            question["rgba"] = color
        answer = self._ask(question)
        self.memory_bytes = answer["memory_bytes"]
        if "crash" in answer:
            raise AssertionError(answer["crash"])
        if "refusal" in answer:
            refusal = answer["refusal"]
            self.needs = refusal["needs"]
            raise _KINDS[refusal["kind"]](
                "the decoder for browsers",
                offset=refusal["offset"],
                unheld_frame=refusal["unheldFrame"],  # NaN is null in JSON
            )
        return _frame(answer)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(question).encode() + b"\n")
        stdin.flush()
        assert select([stdout], [], [], _PATIENCE_S)[0], "node does not answer"
        line = stdout.readline()
        assert line, "node ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


def _run(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start node, with the addresses that it wants, whatever this process is held to."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limits[1], limits[1]))
    try:
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def build_wasm(folder: Path) -> Path:
    """Compile the module into *folder*, unless it is there."""
    wasm = folder / build.WASM.name
    if not wasm.exists():
        build.compile_wasm(wasm, build.inherited_environment(), ["-Werror"])
    return wasm


def _frame(answer: dict[str, Any]) -> WebFrame:
    facts = answer["frame"]
    width, height = facts["width"], facts["height"]
    half = (height + 1) // 2, (width + 1) // 2
    y, u, v = (
        _array(answer[name], *shape)
        for name, shape in (("y", (height, width)), ("u", half), ("v", half))
    )
    rgba = _array(answer["rgba"], height, width, 4) if "rgba" in answer else None
    return WebFrame(Planes(y, u, v), facts, answer["ms"], rgba)


def _array(text: str, *shape: int) -> NDArray[np.uint8]:
    return np.frombuffer(b64decode(text), np.uint8).reshape(shape)
