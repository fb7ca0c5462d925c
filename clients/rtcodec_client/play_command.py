"""
`rtcodec play FILE URL`: play a recording into a room, as it was coded.

The relay takes the file's bytes in one request, no faster than it plays them; nothing is decoded
here. With `--stored` FILE is the name of a recording that the relay has, and the command returns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp

from rtcodec.bitstream.file import RtcReader
from rtcodec.errors import BitstreamError, ConfigError, InputError, RemoteProtocolError
from rtcodec_client.shell import TOKEN_VARIABLE, run_async, say, token_of
from rtcodec_client.signalling import base_of, check_url, room_of

_CHUNK_BYTES: Final = 1 << 15
_MIN_SPEED: Final = 0.1
_MAX_SPEED: Final = 10.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec play`."""
    parser.add_argument("file", metavar="FILE", help="a recording, ROOM@TIME.rtc")
    parser.add_argument("url", metavar="URL", help="the room, http://host:8080/whip/room")
    parser.add_argument("--loop", action="store_true", help="start over at the end")
    parser.add_argument("--speed", type=float, default=1.0, help="of the time stamps, 0.1 to 10")
    parser.add_argument(
        "--stored", action="store_true", help="FILE is among the relay's own recordings"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument(
        "--token", help=f"bearer token; taken from {TOKEN_VARIABLE} where not given"
    )


def run(args: argparse.Namespace) -> int:
    """Play until the recording ends or a signal comes."""
    url = check_url(args.url, kind="whip")
    if not _MIN_SPEED <= args.speed <= _MAX_SPEED:
        raise ConfigError(f"a speed of {args.speed:g} is outside {_MIN_SPEED:g} to {_MAX_SPEED:g}")
    if not args.stored:
        _check_file(Path(args.file))
    figures = run_async(lambda stop: _play(args, url, token_of(args), stop))
    if args.json:
        print(json.dumps(figures))
    return 0


def _check_file(path: Path) -> None:
    """Say what is wrong with a file before the relay does."""
    try:
        with path.open("rb") as file:
            RtcReader(file)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except BitstreamError as error:
        raise type(error)(f"{path}: {error.message}", offset=error.offset) from None


async def _play(
    args: argparse.Namespace, url: str, token: str | None, stop: asyncio.Event
) -> dict[str, Any]:
    room = room_of(url)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as http:
        endpoint = f"{base_of(url)}/api/rooms/{room}/play"
        if args.stored:
            wish = {"file": args.file, "loop": args.loop, "speed": args.speed}
            figures = await _post(http, endpoint, json=wish)
            say(f"{args.file} plays in room {room}, session {figures['session']}")
            return figures
        say(f"playing {args.file} into room {room}")
        return await _upload(http, f"{endpoint}?speed={args.speed!r}", args, stop)


async def _upload(
    http: aiohttp.ClientSession, endpoint: str, args: argparse.Namespace, stop: asyncio.Event
) -> dict[str, Any]:
    total: dict[str, Any] = {"frames_played": 0, "seconds": 0.0, "times": 0}
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            kind = {"Content-Type": "application/octet-stream"}
            playing = asyncio.ensure_future(
                _post(http, endpoint, data=_chunks(Path(args.file)), headers=kind)
            )
            await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                playing.cancel()  # the relay sees us go
                with suppress(asyncio.CancelledError):
                    await playing
                break
            figures = playing.result()
            total["times"] += 1
            total["frames_played"] += figures["frames_played"]
            total["seconds"] = round(total["seconds"] + figures["seconds"], 3)
            if not args.loop:
                break
    finally:
        stopping.cancel()
    say(f"played {total['frames_played']} frames in {total['seconds']:.1f} s")
    return total


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk


async def _post(http: aiohttp.ClientSession, url: str, **request: Any) -> dict[str, Any]:
    try:
        async with http.post(url, **request) as response:
            body = await response.text()
            document = _read(body)
            if response.status not in (200, 201):
                reason = document.get("detail") or (response.reason or "").lower()
                raise RemoteProtocolError(f"the relay answered {response.status}: {reason}")
            return document
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{base_of(url)}: cannot be reached ({reason})") from None


def _read(body: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
