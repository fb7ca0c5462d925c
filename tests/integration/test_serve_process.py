"""`rtcodec serve` as a process: it starts, serves, stops, and says what was wrong."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.command import run_here
from support.relay import MovingTrack, RelayClient, until


@contextlib.asynccontextmanager
async def serving(
    root: Path, *options: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run the command; yield the process and its first line on stderr."""
    paths = [str(root / part) for part in ("", "server", "engines", "clients")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "rtcodec.cli", "serve", *options,
        env={"PYTHONPATH": ":".join(paths), "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = await asyncio.wait_for(process.stderr.readline(), 60)
        yield process, line.decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def end(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(
    request: pytest.FixtureRequest, how: signal.Signals
) -> None:
    options = ("--port", "0", "--engine", "null", "--qp", "20", "--warm", "160x96", "--json")
    patience = ("--drain-s", "0.1")
    async with serving(request.config.rootpath, *options, *patience) as (process, line):
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        async with RelayClient(found[0]) as client:
            ready = False
            while not ready:
                async with client.http.get("/readyz") as response:
                    ready = response.status == 200
            watch = await client.watch("room")
            await client.publish("room", MovingTrack(160, 96))
            await until(lambda: len(watch.frames) >= 10)
            process.send_signal(how)
            code, out, err = await end(process)
            await asyncio.wait_for(watch.task, 60)
    assert (code, err) == (0, "")
    figures = json.loads(out)
    frames = figures["frames"]
    assert frames["in_flight"] == 0
    assert frames["received"] == frames["encoded"] + frames["dropped"]
    assert frames["sent"] == len(watch.frames) + watch.receiver.frames_lost
    assert figures["engine"] == "null"
    assert figures["latency_ms"]["total"]["p50"] > 0


async def test_it_stops_at_once_with_nobody_inside(request: pytest.FixtureRequest) -> None:
    async with serving(request.config.rootpath, "--port", "0", "--engine", "null") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert await end(process) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bitrate", "0"], "0 kb/s is outside 1 to"),
        (["--qp", "20", "--bitrate", "500"], "one of them at a time"),
        (["--port", "70000"], "port 70000 is outside"),
        (["--engine", "nothing", "--port", "0"], "engine 'nothing' is none of auto,"),
        (["--workers", "65"], "65 workers are outside 0 to 64"),
        (["--config", "missing.toml"], "missing.toml: No such file"),
        (["--token", "secret"], "the setting 'token' is gone"),
        (["--warm", "big"], "'big' is not WIDTHxHEIGHT"),
        (["--host", "192.0.2.1", "--engine", "null"], "without keys would let everybody in"),
    ],
)
def test_settings_that_are_wrong_end_it_with_one_line(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    ended = run_here(capsys, "serve", *options)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("rtcodec: ")
    assert ended.err.count("\n") == 1
    assert message in ended.err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--qp", "64"], 2, "qp 64 is outside 0 to 63"),
        (["--model", "nothing", "--port", "0"], 2, "nothing"),
        (
            ["--host", "192.0.2.1", "--engine", "null", "--open"],
            2,
            "cannot listen on 192.0.2.1:8080",
        ),
        (["--tap", "/nothing/here", "--port", "0"], 2, "/nothing/here: no such directory"),
    ],
)
async def test_a_start_that_fails_ends_the_process_with_one_line(
    request: pytest.FixtureRequest, options: list[str], code: int, message: str
) -> None:
    async with serving(request.config.rootpath, *options) as (process, line):
        if line.startswith("rtcodec relay at"):  # the engine is loaded while it listens
            assert process.stderr is not None
            line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        status, out, err = await end(process)
    assert line.startswith("rtcodec: ")
    assert message in line
    assert (status, out, err) == (code, "", "")


async def test_a_port_in_use_is_said_in_one_line(request: pytest.FixtureRequest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with serving(request.config.rootpath, "--port", port, "--engine", "null") as (
            process,
            line,
        ):
            status, _, err = await end(process)
    assert (status, err) == (2, "")
    assert f"cannot listen on 127.0.0.1:{port}: " in line


async def test_a_config_file_is_read_and_the_command_line_wins(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('engine = "null"\nport = 0\nqp = 70\n[limits]\nmax_rooms = 1\n')
    root = request.config.rootpath
    async with serving(root, "--config", str(file)) as (_, line):
        assert "qp 70 is outside" in line
    options = ("--config", str(file), "--qp", "5", "--drain-s", "0")
    async with serving(root, *options) as (process, line):
        found = re.search(r"http://\S+:\d+", line)
        assert found
        async with RelayClient(found[0]) as client:
            ready = False
            while not ready:
                async with client.http.get("/readyz") as response:
                    ready = response.status == 200
            await client.watch("a")
            with pytest.raises(AssertionError, match="1 rooms"):
                await client.watch("b")
        process.send_signal(signal.SIGTERM)
        assert (await end(process))[0] == 0
