"""
Compile the package's C sources into the shared libraries that the `native` modules load.

    python -m rtcodec.entropy.build

Standard library only, and no import of rtcodec: the build hook of the package
runs this file where nothing is installed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_ENTROPY = Path(__file__).parent
_MOTION = _ENTROPY.parent / "motion"
_EXACT = _ENTROPY.parent / "exact"
_PROGRESSIVE = _ENTROPY.parent / "progressive"
LIBRARY = (_ENTROPY / "_rans").with_suffix(SUFFIX)
SOURCES = tuple(
    (_ENTROPY / f"_{name}").with_suffix(".c")
    for name in (
        "tables",
        "contexts",
        "decode",
        "encode",
        "tiles",
        "scale_net",
        "copies_decode",
        "copies_encode",
    )
)
MOTION_LIBRARY = (_MOTION / "_motion").with_suffix(SUFFIX)
MOTION_SOURCES = tuple(
    (_MOTION / f"_{name}").with_suffix(".c")
    for name in (
        "predict",
        "paint",
        "spatial",
        "refine",
        "blocks",
        "vectors",
        "sights",
        "search",
        "latents",
        "spatial_choose",
        "spatial_quantise",
        "matches",
        "describe",
        "denoise",
    )
)
EXACT_LIBRARY = (_EXACT / "_exact").with_suffix(SUFFIX)
EXACT_SOURCES = tuple(
    (_EXACT / f"_{name}").with_suffix(".c") for name in ("decode", "encode", "jpeg_ls")
)
PROGRESSIVE_LIBRARY = (_PROGRESSIVE / "_progressive").with_suffix(SUFFIX)
PROGRESSIVE_SOURCES = tuple(
    (_PROGRESSIVE / f"_{name}").with_suffix(".c") for name in ("decode", "encode")
)
LIBRARIES = {
    LIBRARY: SOURCES,
    MOTION_LIBRARY: MOTION_SOURCES,
    EXACT_LIBRARY: EXACT_SOURCES,
    PROGRESSIVE_LIBRARY: PROGRESSIVE_SOURCES,
}
"Each library, and the C files it is made of."

WEB = _ENTROPY.parents[1] / "clients" / "web"
"The decoder for browsers, in a checkout; wheels have it as `rtcodec/web`."

WASM = WEB / "rtcodec.wasm"
_DECODES = {
    _ENTROPY: ("tables", "decode", "scale_net", "copies_decode"),
    _MOTION: ("predict", "paint", "spatial", "refine", "blocks"),
    WEB / "wasm": ("memory", "check", "symbols", "products", "layers", "color"),
}
WASM_SOURCES = tuple(folder / f"_{name}.c" for folder, names in _DECODES.items() for name in names)
"What browsers run, compiled into one module: the libraries' decoding half, and a few more."

EXACT_WASM = WEB / "exact.wasm"
EXACT_WASM_SOURCES = (
    *(_EXACT / f"_{name}.c" for name in ("decode", "jpeg_ls")),
    WEB / "wasm" / "_memory.c",
)
"Exact pictures are a module of their own: whoever watches a room needs none of it."

PROGRESSIVE_WASM = WEB / "progressive.wasm"
PROGRESSIVE_WASM_SOURCES = (
    _PROGRESSIVE / "_decode.c",
    *(WEB / "wasm" / f"_{name}.c" for name in ("memory", "color")),
)

WASM_MODULES = {
    WASM: WASM_SOURCES,
    EXACT_WASM: EXACT_WASM_SOURCES,
    PROGRESSIVE_WASM: PROGRESSIVE_WASM_SOURCES,
}
"Each module for browsers, and the C files it is made of."

FLAGS = ("-std=c11", "-O3", "-Wall", "-Wextra", "-shared", "-fvisibility=hidden")
COMPILERS = ("cc", "gcc", "clang")
WASM_FLAGS = (
    "--target=wasm32", "-std=c11", "-O2", "-msimd128", "-mbulk-memory", "-Wall", "-Wextra",
    "-flto", "-ffreestanding", "-nostdlib", "-fvisibility=hidden", "-DRTC_DECODER",
    "-Wl,--no-entry,--stack-first,-z,stack-size=131072,--gc-sections,--strip-all",
    "-Wl,--export-dynamic,--export=__heap_base",
)  # fmt: skip


class BuildError(Exception):
    """A source could not be compiled; the message says what to do."""


def find_compiler(environment: Mapping[str, str]) -> list[str]:
    """
    Return the command of a C compiler: $CC, else cc, gcc or clang on the path.

    Raises:
        BuildError: If there is none.
    """
    wanted = shlex.split(environment.get("CC", ""))
    path = environment.get("PATH", os.defpath)
    for name in wanted[:1] or COMPILERS:
        found = shutil.which(name, path=path)
        if found:
            return [found, *wanted[1:]]
    looked_for = "$CC" if wanted else ", ".join(COMPILERS)
    raise BuildError(
        f"part of rtcodec is C and needs a compiler (looked for {looked_for}): install one"
        " (Debian and Ubuntu: apt-get install gcc libc6-dev; macOS: xcode-select --install)"
        " or set CC to GCC or Clang"
    )


def compile_coder(
    output: Path,
    environment: Mapping[str, str],
    extra_flags: Sequence[str] = (),
    sources: Sequence[Path] = SOURCES,
) -> Path:
    """
    Compile *sources* to *output*, replacing it only on success.

    Args:
        output: Path of the shared library.
        environment: Read for CC and PATH, passed to the compiler.
        extra_flags: Added after our own.
        sources: The C files.

    Raises:
        BuildError: If there is no compiler or it fails; with its own words.
    """
    command = find_compiler(environment)
    flags = FLAGS if sys.platform == "win32" else (*FLAGS, "-fPIC")
    return _compile([*command, *flags, *extra_flags], sources, output, environment)


def _compile(
    command: Sequence[str], sources: Sequence[Path], output: Path, environment: Mapping[str, str]
) -> Path:
    partial = output.with_name(f"{output.name}.{os.getpid()}.part")
    arguments = [*command, *map(str, sources), "-o", str(partial)]
    try:
        result = subprocess.run(
            arguments, env=dict(environment), capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise BuildError(f"{shlex.join(arguments)} failed:\n{result.stderr.strip()}")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return output


def find_wasm_compiler(environment: Mapping[str, str]) -> str | None:
    """Return the path of a Clang that can make WebAssembly, or None."""
    path = environment.get("PATH", os.defpath)
    return shutil.which("clang", path=path) if shutil.which("wasm-ld", path=path) else None


def compile_wasm(
    output: Path,
    environment: Mapping[str, str],
    extra_flags: Sequence[str] = (),
    sources: Sequence[Path] = WASM_SOURCES,
) -> Path:
    """
    Compile a module for browsers to *output*, replacing it only on success.

    Raises:
        BuildError: If there is no compiler for it or it fails; with its own words.
    """
    compiler = find_wasm_compiler(environment)
    if compiler is None:
        raise BuildError(
            "the decoder for browsers needs Clang and wasm-ld (Debian and Ubuntu: apt-get install"
            " clang lld)"
        )
    return _compile([compiler, *WASM_FLAGS, *extra_flags], sources, output, environment)


def inherited_environment() -> Mapping[str, str]:
    """Return this process's environment; the only place that reads it."""
    return os.environ


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Compile every library, and what browsers run if that can be; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rtcodec.entropy.build", description=__doc__)
    parser.add_argument("--output", type=Path, help="folder; default: beside the sources")
    parser.add_argument("--missing", action="store_true", help="only what is not there yet")
    options = parser.parse_args(arguments)
    works = [(compile_coder, LIBRARIES)]
    if WEB.is_dir() and find_wasm_compiler(environment) is not None:
        works.append((compile_wasm, WASM_MODULES))
    try:
        for compile_one, outputs in works:
            for default, sources in outputs.items():
                output = default if options.output is None else options.output / default.name
                if not (options.missing and output.exists()):
                    print(compile_one(output, environment, sources=sources))
    except BuildError as error:
        print(f"rtcodec: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], inherited_environment()))
