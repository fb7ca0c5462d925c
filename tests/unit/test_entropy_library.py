"""Compiled libraries: loaded whole and of this version, or not at all."""

import ctypes
from pathlib import Path

import pytest

from rtcodec.entropy import build
from rtcodec.entropy.library import load_library
from rtcodec.errors import ConfigError

SIGNATURES = {
    "their_version": (ctypes.c_uint32, ()),
    "their_sum": (ctypes.c_uint32, (ctypes.c_uint32, ctypes.c_uint32)),
}
VERSION = "unsigned their_version(void) { return 7; }\n"
SUM = "unsigned their_sum(unsigned a, unsigned b) { return a + b; }\n"


def compiled(folder: Path, text: str) -> Path:
    source = folder / "other.c"
    source.write_text(
        text.replace("unsigned their", '__attribute__((visibility("default"))) unsigned their')
    )
    library = source.with_suffix(build.SUFFIX)
    return build.compile_coder(library, build.inherited_environment(), ["-O0"], [source])


def test_functions_are_declared_as_said(tmp_path: Path) -> None:
    library = load_library(compiled(tmp_path, VERSION + SUM), SIGNATURES, 7)
    assert library.their_sum(1 << 31, (1 << 31) - 1) == (1 << 32) - 1


def test_a_missing_library_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"_other\.so .*python -m rtcodec\.entropy\.build"):
        load_library(tmp_path / "_other.so", SIGNATURES, 7)


def test_a_library_without_our_functions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_library(compiled(tmp_path, VERSION), SIGNATURES, 7)


def test_a_library_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is version 7, not 8"):
        load_library(compiled(tmp_path, VERSION + SUM), SIGNATURES, 8)
