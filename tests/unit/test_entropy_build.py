"""Compiling the coder: success, and failures that say what to do."""

import os
import runpy
import stat
import sys
from pathlib import Path

import pytest

from rtcodec.entropy import build

ENVIRONMENT = build.inherited_environment()
QUICKLY = "-O1"
"Comes after the build's own -O3: the same warnings in a third of the time."


def make_tool(folder: Path, name: str, body: str) -> Path:
    tool = folder / name
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return tool


def test_the_coder_compiles_without_a_warning(tmp_path: Path) -> None:
    flags = ["-Werror", "-Wconversion", "-Wpedantic", QUICKLY]
    library = build.compile_coder(tmp_path / "coder.so", ENVIRONMENT, extra_flags=flags)
    assert library.stat().st_size > 0
    assert list(tmp_path.iterdir()) == [library]


def test_motion_compiles_without_a_warning(tmp_path: Path) -> None:
    flags = ["-Werror", QUICKLY]
    library = build.compile_coder(tmp_path / "motion.so", ENVIRONMENT, flags, build.MOTION_SOURCES)
    assert library.stat().st_size > 0


def test_the_exact_codec_compiles_without_a_warning(tmp_path: Path) -> None:
    flags = ["-Werror", "-Wconversion", QUICKLY]
    library = build.compile_coder(tmp_path / "exact.so", ENVIRONMENT, flags, build.EXACT_SOURCES)
    assert library.stat().st_size > 0


@pytest.mark.parametrize("library", build.LIBRARIES)
def test_the_sources_need_no_library(library: Path, tmp_path: Path) -> None:
    flags = ["-ffreestanding", "-DRTC_PORTABLE", "-O0"]
    build.compile_coder(tmp_path / "some.so", ENVIRONMENT, flags, build.LIBRARIES[library])


def test_the_compiler_named_by_cc_is_used_with_its_arguments(tmp_path: Path) -> None:
    tool = make_tool(tmp_path, "mycc", "true")
    environment = {"CC": "mycc -m64", "PATH": str(tmp_path)}
    assert build.find_compiler(environment) == [str(tool), "-m64"]


def test_without_cc_the_first_common_name_is_used(tmp_path: Path) -> None:
    make_tool(tmp_path, "clang", "true")
    tool = make_tool(tmp_path, "gcc", "true")
    assert build.find_compiler({"PATH": str(tmp_path)}) == [str(tool)]


def test_a_machine_without_a_compiler_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(build.BuildError, match=r"looked for cc, gcc, clang.*apt-get install gcc"):
        build.find_compiler({"PATH": str(tmp_path)})
    with pytest.raises(build.BuildError, match=r"looked for \$CC"):
        build.find_compiler({"PATH": str(tmp_path), "CC": "nosuch"})


def test_a_failing_compiler_is_quoted_and_leaves_nothing(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    make_tool(tools, "cc", "echo no stddef.h here >&2; exit 1")
    old = tmp_path / "coder.so"
    old.write_bytes(b"old")
    with pytest.raises(build.BuildError, match=r"(?s)failed:.*no stddef.h here"):
        build.compile_coder(old, {"PATH": f"{tools}{os.pathsep}{os.defpath}"})
    assert old.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [old, tools]


def test_the_command_reports_the_library_or_the_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tool = make_tool(tmp_path, "cc", 'for output; do :; done; echo library > "$output"')
    arguments = ["--output", str(tmp_path)]
    assert build.main(arguments, {"CC": str(tool), "PATH": str(tmp_path)}) == 0
    made = [tmp_path / library.name for library in build.LIBRARIES]
    assert capsys.readouterr().out == "".join(f"{path}\n" for path in made)
    assert all(path.read_text() == "library\n" for path in made)
    assert build.main(arguments, {"PATH": ""}) == 3
    assert capsys.readouterr().err.startswith("rtcodec: ")


def test_the_module_is_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["build", "--output", str(tmp_path)])
    monkeypatch.setenv("CC", str(make_tool(tmp_path, "cc", "exit 1")))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(build.__file__, run_name="__main__")
    assert ended.value.code == 3


@pytest.mark.parametrize("sources", build.WASM_MODULES.values())
def test_the_decoders_for_browsers_compile_where_clang_does(
    tmp_path: Path, sources: tuple[Path, ...]
) -> None:
    if build.find_wasm_compiler(ENVIRONMENT) is None:
        pytest.skip("no clang with wasm-ld (apt-get install clang lld)")
    module = build.compile_wasm(tmp_path / "some.wasm", ENVIRONMENT, ["-Werror"], sources)
    assert module.read_bytes().startswith(b"\0asm")
    assert module.stat().st_size < 200_000


def test_without_clang_there_is_no_decoder_for_browsers(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path)}
    assert build.find_wasm_compiler(environment) is None
    make_tool(tmp_path, "clang", "exit 1")
    assert build.find_wasm_compiler(environment) is None
    with pytest.raises(build.BuildError, match=r"Clang and wasm-ld.*apt-get install clang lld"):
        build.compile_wasm(tmp_path / "some.wasm", environment)


def test_the_command_makes_the_decoder_for_browsers_if_it_can(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    body = 'for output; do :; done; echo module > "$output"'
    tool = make_tool(tmp_path, "clang", body)
    make_tool(tmp_path, "wasm-ld", "true")
    environment = {"CC": str(tool), "PATH": str(tmp_path)}
    assert build.main(["--output", str(tmp_path)], environment) == 0
    made = [tmp_path / library.name for library in (*build.LIBRARIES, *build.WASM_MODULES)]
    assert capsys.readouterr().out == "".join(f"{path}\n" for path in made)
    assert (tmp_path / build.WASM.name).read_text() == "module\n"


def test_what_is_there_already_is_not_made_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tool = make_tool(tmp_path, "clang", 'for output; do :; done; echo new > "$output"')
    make_tool(tmp_path, "wasm-ld", "true")
    environment = {"CC": str(tool), "PATH": str(tmp_path)}
    old, *new = (tmp_path / name.name for name in (*build.LIBRARIES, *build.WASM_MODULES))
    old.write_text("old\n")
    assert build.main(["--missing", "--output", str(tmp_path)], environment) == 0
    assert capsys.readouterr().out == "".join(f"{path}\n" for path in new)
    assert [path.read_text() for path in (old, *new)] == ["old\n", *("new\n" for _ in new)]
    assert build.main(["--missing", "--output", str(tmp_path)], environment) == 0
    assert capsys.readouterr().out == ""
