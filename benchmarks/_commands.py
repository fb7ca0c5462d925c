"""Run commands of ours beside a benchmark."""

import asyncio
import sys


async def start(*words: object) -> asyncio.subprocess.Process:
    """Start a command."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rtcodec.cli", *map(str, words),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def run(*words: object) -> None:
    """Run a command; SystemExit if it fails."""
    process = await start(*words)
    if await process.wait():
        raise SystemExit(f"failed: rtcodec {' '.join(map(str, words))}")
