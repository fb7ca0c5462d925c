"""`rtcodec` commands as processes of their own."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from rtcodec import cli

START_TIMEOUT_S = 60.0

ROOMY = {"RTCODEC_ADMISSION_LIMIT": "0", "RTCODEC_ADMISSION_SHED": "false"}
"For tests of other things: a relay on a busy machine lets everybody in, and leaves nothing out."


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)

    @property
    def last_line(self) -> str:
        """What it said last."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


async def start(*words: str) -> asyncio.subprocess.Process:
    """Start `rtcodec WORDS` with the import path of this process."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rtcodec.cli",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | ROOMY | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


async def outcome(process: asyncio.subprocess.Process, *, timeout_s: float = 60.0) -> Outcome:
    """Wait for a command to end; kill it if it does not."""
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Outcome(process.returncode, out.decode(), err.decode())


async def run(*words: str, timeout_s: float = 60.0) -> Outcome:
    """Run a command to its end."""
    return await outcome(await start(*words), timeout_s=timeout_s)


def run_here(capsys: pytest.CaptureFixture[str], *words: str) -> Outcome:
    """Run a command in this process, which is quicker: for what ends before it listens."""
    try:
        code = cli.main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return Outcome(code, *capsys.readouterr())


async def said(process: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
    """Read a process's stderr until a line matches."""
    assert process.stderr is not None
    async with asyncio.timeout(START_TIMEOUT_S):
        while line := await process.stderr.readline():
            if match := re.search(pattern, line.decode()):
                return match
    raise AssertionError(f"ended without saying {pattern!r}")


@asynccontextmanager
async def relay_process(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """
    Run a relay with the stand-in engine in its own process; yield it and its address.

    Told to end, it waits for nobody, unless *options* say so.
    """
    process = await start("serve", "--port", "0", "--engine", "null", "--drain-s", "0", *options)
    try:
        url = (await said(process, r"http://\S+?:\d+")).group()
        await _ready(url)
        yield process, url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await outcome(process, timeout_s=20)


async def _ready(url: str) -> None:
    async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{url}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.02)
