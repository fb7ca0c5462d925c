"""The command line's shell: dispatch, one-line errors, exit codes."""

import argparse
import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import rtcodec
from rtcodec import cli
from rtcodec.errors import (
    BitstreamError,
    ConfigError,
    EngineError,
    RemoteProtocolError,
    RtcodecError,
)

Run = Callable[[argparse.Namespace], int]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Make `rtcodec fake [--count N]` run a function."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=3, help="how many")
        parser.add_argument("--told", type=int, default=4, help="tells its default, 4")
        parser.add_argument("--flag", action="store_true", help="a switch")

    def install(run: Run) -> None:
        module = types.ModuleType("fake_command")
        module.__dict__.update(add_arguments=add_arguments, run=run)
        monkeypatch.setitem(sys.modules, "fake_command", module)
        monkeypatch.setitem(cli.COMMANDS, "fake", cli.Entry("fake_command", "pretend"))

    return install


def failing(error: BaseException) -> Run:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


def test_help_lists_every_visible_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, entry in cli.COMMANDS.items():
        assert (f"  {name} " in out) == bool(entry.summary)


def test_nothing_to_do_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: rtcodec" in captured.err


def test_version_is_the_library_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"rtcodec {rtcodec.__version__}\n"


@pytest.mark.parametrize(
    ("word", "said"),
    [("encod", "did you mean encode?"), ("qqq", "see rtcodec --help"), ("--qqq", "unknown option")],
)
def test_an_unknown_command_is_named_and_corrected(
    word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word]) == 2
    assert said in capsys.readouterr().err


def test_a_command_gets_its_arguments_and_returns_its_code(install: Callable[[Run], None]) -> None:
    install(lambda args: args.count)
    assert cli.main(["fake"]) == 3
    assert cli.main(["fake", "--count", "0"]) == 0


def test_help_of_a_command_tells_defaults_once(
    install: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(lambda args: 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(["fake", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "usage: rtcodec fake" in out
    assert "Pretend." in out
    assert out.count("default: ") == 1
    assert "how many (default: 3)" in out


def test_wrong_arguments_exit_with_2(
    install: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(lambda args: 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(["fake", "--count", "many"])
    assert stop.value.code == 2
    assert "invalid int value" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BitstreamError("bad magic", offset=0), 1, "rtcodec: bad magic (at byte 0)"),
        (RemoteProtocolError("peer is odd"), 1, "rtcodec: peer is odd"),
        (ConfigError("no such\nmodel"), 2, "rtcodec: no such model"),
        (EngineError("device lost"), 3, "rtcodec: device lost"),
        (RtcodecError("something"), 3, "rtcodec: something"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.mp4"), 1,
         "rtcodec: a.mp4: No such file or directory"),
        (OSError(errno.ENOSPC, "No space left on device"), 3, "rtcodec: No space left on device"),
        (OSError(), 3, "rtcodec: OSError"),
        (ModuleNotFoundError("x", name="torch.nn"), 2, "pip install 'rtcodec[train]'"),
        (ModuleNotFoundError("x", name="nonesuch"), 2, "this installation lacks nonesuch"),
        (MemoryError(), 3, "rtcodec: out of memory"),
        (KeyboardInterrupt(), 130, "rtcodec: interrupted"),
        (ZeroDivisionError("division\nby zero"), 3,
         "rtcodec: internal error, ZeroDivisionError: division by zero"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    said: str,
    install: Callable[[Run], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(failing(error))
    assert cli.main(["fake"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_debug_shows_where_an_unexpected_failure_happened(
    install: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(failing(ZeroDivisionError("oops")))
    assert cli.main(["--debug", "fake"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_command_whose_module_is_absent_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "fake", cli.Entry("rtcodec.nonesuch_command", "x"))
    assert cli.main(["fake"]) == 2
    assert "this installation lacks rtcodec.nonesuch_command" in capsys.readouterr().err


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    script = (
        "import sys, types; from rtcodec import cli\n"
        "m = types.ModuleType('m'); m.add_arguments = lambda p: None\n"
        "m.run = lambda a: print('x' * 1_000_000) or 0\n"
        "sys.modules['m'] = m; cli.COMMANDS['fake'] = cli.Entry('m', 'x')\n"
        "sys.exit(cli.main(['fake']))\n"
    )
    read_end, write_end = os.pipe()
    os.close(read_end)
    root = Path(rtcodec.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=write_end,
        stderr=subprocess.PIPE,
        cwd=root,
        check=False,
    )
    os.close(write_end)
    assert done.returncode == cli.EXIT_PIPE
    assert done.stderr == b""


@pytest.mark.parametrize("module", sorted(entry.module for entry in cli.COMMANDS.values()))
def test_every_command_is_named_after_the_package_that_owns_it(module: str) -> None:
    assert module.split(".")[0] in {
        "rtcodec",
        "rtcodec_engines",
        "rtcodec_server",
        "rtcodec_client",
    }
