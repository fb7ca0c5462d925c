"""The client commands' arguments: one line and the right exit code for every mistake."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtcodec.cli import main
from rtcodec.errors import ConfigError, EngineError, InputError
from rtcodec_client import shell
from rtcodec_client.child import Child
from rtcodec_client.load.arguments import parse_loss
from rtcodec_client.window import check_display

NOBODY = "http://127.0.0.1:9/"  # the discard port: nothing listens there


def outcome(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run one command; return its exit code and what it said, which must be one line."""
    code = main(words)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    return code, lines[0]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("publish {0} {1}/missing.mp4", 1, "no such file"),
        ("publish {0} {1}/text.mp4", 1, "not a video"),
        ("publish {0} {1}", 1, "is a directory"),
        ("publish {0} camera:/dev/none", 1, "camera"),
        ("publish {0} pattern:64x64", 1, "connection refused"),
        ("publish ftp://x pattern:", 2, "not an http or https URL"),
        ("publish {0} pattern:x", 2, "not a pattern"),
        ("publish {0} pattern:64x64 --size 7", 2, "not a size"),
        ("publish {0} pattern:64x64 --bitrate 0", 2, "kb/s"),
        ("publish {0} pattern:64x64 --threads 0", 2, "threads"),
        ("publish {0} pattern:64x64 --seconds -1", 2, "not a duration"),
        ("publish {0} pattern:63x64 --codec h264", 2, "even sizes"),
        ("watch {0}", 1, "connection refused"),
        ("watch nonsense", 2, "not an http or https URL"),
        ("watch {0} --seconds 0", 2, "not above 0"),
        ("watch {0} --frames -3", 2, "not above 0"),
        ("watch {0} --threads 99", 2, "threads"),
        ("watch {0} --output {1}/x.avi", 2, "unknown kind of output"),
        ("watch {0} --output {1}/no/x.mp4", 1, "folder does not exist"),
        ("watch {0} --contact-sheet {1}/x.png", 2, "--tap"),
        ("loadtest {0} --decode 0", 1, "connection refused"),
        ("loadtest", 2, "either the URL"),
        ("loadtest {0} --serve", 2, "either the URL"),
        ("loadtest ftp://x", 2, "not an http or https URL"),
        ("loadtest {0} --publishers 0", 2, "at least 1"),
        ("loadtest {0} --subscribers 5000", 2, "more than"),
        ("loadtest {0} --decode some", 2, "neither a number nor all"),
        ("loadtest {0} --loss 101", 2, "outside 0..100 %"),
        ("loadtest {0} --loss much", 2, "neither a share nor percent"),
        ("loadtest {0} --jitter -1", 2, "not below 0"),
        ("loadtest {0} --rate 0.5", 2, "below 1000"),
        ("loadtest {0} --duration 0", 2, "duration"),
        ("loadtest {0} --churn 1000", 2, "churn"),
        ("loadtest {0} --fps 0", 2, "frames per second"),
        ("loadtest {0} --size 64x32", 2, "too small for a 96x48 barcode"),
        ("loadtest {0} --bitrate 0", 2, "kb/s"),
        ("loadtest {0} --codec h264 --size 161x97", 2, "even sizes"),
        ("loadtest {0} --require freezes", 2, "is not a name"),
        ("loadtest {0} --require freeze==0", 2, "did you mean freezes"),
        ("loadtest {0} --peer-cores x", 2, "not a list of cores"),
        ("loadtest --serve --model nosuch", 2, "no model called"),
        ("loadtest {0} --out {1}/text.mp4", 2, "not a folder"),
        ("demo --input {1}/missing.mp4 --out {1}/o", 1, "no such file"),
        ("demo --input {1}/text.mp4 --out {1}/o", 1, "not a video"),
        ("demo --model nosuch --out {1}/o", 2, "no model called"),
        ("demo --qp 64 --out {1}/o", 2, "qp 64"),
        ("demo --port 70000 --out {1}/o", 2, "port"),
        ("demo --threads 0 --out {1}/o", 2, "threads"),
        ("demo --seconds -2 --out {1}/o", 2, "not a duration"),
        ("demo --size 1 --out {1}/o", 2, "not a size"),
        ("demo --out {1}/text.mp4 --engine null", 2, "not a folder"),
    ],
)
def test_a_mistake_is_one_line_and_the_right_exit_code(
    words: str,
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.mp4").write_text("this is no video")
    got, line = outcome(capsys, *words.format(NOBODY, tmp_path).split())
    assert message in line
    assert got == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.mp4"]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("0", 0.0),
        ("0.05", 0.05),
        ("5", 0.05),
        ("5%", 0.05),
        ("0.5%", 0.005),
        ("1", 0.01),
        ("100", 1.0),
    ],
)
def test_a_loss_is_a_share_below_one_and_percent_above(text: str, share: float) -> None:
    assert parse_loss(text) == pytest.approx(share)


def test_showing_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="needs a display"):
        check_display()


def test_a_token_is_taken_from_the_environment_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    shell.add_connection_arguments(parser)
    monkeypatch.setenv(shell.TOKEN_VARIABLE, "from-there")
    assert shell.token_of(parser.parse_args([])) == "from-there"
    assert shell.token_of(parser.parse_args(["--token", "mine"])) == "mine"
    monkeypatch.delenv(shell.TOKEN_VARIABLE)
    assert shell.token_of(parser.parse_args([])) is None


def test_a_signal_ends_the_work_in_good_order() -> None:
    async def work(stop: asyncio.Event) -> str:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 5)
        return "done"

    assert shell.run_async(work) == "done"


# ---- children


async def test_a_child_that_fails_passes_its_words_and_code_on(tmp_path: Path) -> None:
    words = ["publish", "http://127.0.0.1:9", str(tmp_path / "missing")]
    child = await Child.start("publisher", words, tmp_path / "log")
    await _ended(child)
    with pytest.raises(InputError, match=r"publisher ended early: .*no such file"):
        await child.finish(timeout_s=30)


async def test_a_child_with_wrong_settings_is_a_usage_error(tmp_path: Path) -> None:
    child = await Child.start("watcher", ["watch", "nonsense"], tmp_path / "log")
    await _ended(child)
    with pytest.raises(ConfigError, match="watcher ended early"):
        child.check_running()


async def test_a_child_that_was_killed_is_our_failure(tmp_path: Path) -> None:
    words = ["serve", "--engine", "null", "--port", "0"]
    child = await Child.start("relay", words, tmp_path / "log")
    child.signal(signal.SIGKILL)
    await _ended(child)
    with pytest.raises(EngineError, match="relay ended early"):
        child.check_running()
    await child.stop()  # does nothing


async def _ended(child: Child) -> None:
    async with asyncio.timeout(30):
        while child.is_running:  # noqa: ASYNC110 - another process, nothing to wait on
            await asyncio.sleep(0.02)


def test_the_commands_load_no_torch() -> None:
    code = (
        "import sys, rtcodec_client.publish_command, rtcodec_client.watch_command, "
        "rtcodec_client.demo_command; print([m for m in ('torch', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
    )
    assert done.stdout.strip() == "[]"
