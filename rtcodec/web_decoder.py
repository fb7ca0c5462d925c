"""
Where the viewer for browsers lies: its scripts and, where it could be built, its WebAssembly.

In a checkout that is `clients/web`, in an installation `rtcodec/web`. Reads nothing.
"""

from pathlib import Path

from rtcodec.entropy.build import EXACT_WASM, PROGRESSIVE_WASM, WASM, WEB

_INSTALLED = Path(__file__).parent / "web"


def web_decoder_files() -> dict[str, Path]:
    """
    Return the files of the decoders by name, `decoder.js` and `rtcodec.wasm` among them.

    All scripts lie in one folder and import each other from there. Empty where the decoder was not
    built (`python -m rtcodec.entropy.build`, with Clang and wasm-ld).
    """
    wasm = _INSTALLED / WASM.name if _INSTALLED.is_dir() else WASM
    if not wasm.is_file():
        return {}
    beside = (wasm.with_name(module.name) for module in (EXACT_WASM, PROGRESSIVE_WASM))
    modules = [wasm, *(module for module in beside if module.is_file())]
    return {**web_scripts(), **{module.name: module for module in modules}}


def web_scripts() -> dict[str, Path]:
    """Return the scripts of viewer and decoder by name, which are there in any case."""
    folder = _INSTALLED if _INSTALLED.is_dir() else WEB / "src"
    return {path.name: path for path in sorted(folder.glob("*.js"))}
