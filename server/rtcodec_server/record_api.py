"""
Recording and playing, for operators.

    POST   /api/rooms/{room}/recording      record it
    DELETE /api/rooms/{room}/recording      end that, return its figures
    GET    /api/recordings                  what is in the folder
    POST   /api/rooms/{room}/play           {"file": ...}, or the bytes of a recording
    DELETE /api/rooms/{room}/play           end that

Playing bytes that are sent along is publishing, and needs the right to that. It lasts as long as
the request: the relay takes no more of it than it plays.
"""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from rtcodec.errors import BitstreamError, InputError
from rtcodec.session.lobby import Role
from rtcodec.session.message import check_room_name
from rtcodec_server.entrance import Entrance
from rtcodec_server.gate import Gate
from rtcodec_server.play_source import FileSource, PlaySource, UploadSource, describe_problem
from rtcodec_server.player import Player, PlayOptions
from rtcodec_server.problem import Problem
from rtcodec_server.record_folder import room_of_file
from rtcodec_server.relay import Relay
from rtcodec_server.room import Session

RECORDING_TYPE: Final = "application/octet-stream"

_MAX_JSON_BYTES: Final = 4096
_OPEN_TIMEOUT_S: Final = 10.0
_GONE_POLL_S: Final = 0.5


class RecordApi:
    """Handlers of `/api/recordings` and of what rooms have to do with them."""

    def __init__(self, relay: Relay, gate: Gate) -> None:
        self._relay = relay
        self._entrance = Entrance(relay)
        self._gate = gate

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Declare what there is."""
        router.add_get("/api/recordings", self._list)
        router.add_post("/api/rooms/{room}/recording", self._start)
        router.add_delete("/api/rooms/{room}/recording", self._stop)
        router.add_post("/api/rooms/{room}/play", self._play)
        router.add_delete("/api/rooms/{room}/play", self._end_play)

    # ---- recording

    async def _list(self, request: web.Request) -> web.Response:
        grant = self._gate.check_record_reader(request)
        folder = self._relay.recordings.folder
        files = [] if folder is None else await asyncio.to_thread(lambda: list(folder.files()))
        shown = [
            {
                "file": file.name,
                "room": file.room,
                "bytes": file.size_bytes,
                "modified": datetime.fromtimestamp(file.modified_s, UTC).isoformat(),
            }
            for file in files
            if (grant.room == "*" if file.room is None else grant.covers(file.room))
        ]
        return web.json_response({"recordings": shown})

    async def _start(self, request: web.Request) -> web.Response:
        room = self._room_to_record(request)
        relay = self._relay
        if relay.host is None:
            raise Problem(503, "the engine is not ready yet", Retry_After="1")
        figures = relay.recordings.start(relay.occupancy.room_of(room), relay.host.info)
        return web.json_response({"room": room, **figures}, status=201)

    async def _stop(self, request: web.Request) -> web.Response:
        room = self._room_to_record(request)
        figures = await self._relay.recordings.stop(self._relay.occupancy.room_of(room))
        return web.json_response({"room": room, **figures})

    def _room_to_record(self, request: web.Request) -> str:
        self._gate.check_rate(request)
        room = check_room_name(request.match_info["room"])
        self._gate.check_recorder(request, room)
        return room

    # ---- playing

    async def _play(self, request: web.Request) -> web.StreamResponse:
        self._gate.check_rate(request)
        room = check_room_name(request.match_info["room"])
        if request.content_type == RECORDING_TYPE:
            self._gate.check_role(request, Role.PUBLISHER, room)
            return await self._play_upload(request, room)
        if request.content_type != "application/json":
            raise Problem(415, f"a recording is {RECORDING_TYPE}, the name of one is JSON")
        self._gate.check_recorder(request, room)
        return await self._play_stored(request, room)

    async def _play_stored(self, request: web.Request, room: str) -> web.Response:
        name, options = _read_wish(await _read_json(request))
        self._gate.check_recorder(request, room_of_file(name))
        folder = self._relay.recordings.folder
        if folder is None:
            raise Problem(409, "no directory for recordings is set")
        try:
            source = FileSource(folder.open(name))
        except InputError as error:
            raise Problem(404, str(error)) from None
        session = await self._begin(room, source, options)
        return web.json_response({"room": room, "session": session.shown}, status=201)

    async def _play_upload(self, request: web.Request, room: str) -> web.Response:
        options = _read_options({"speed": _number(request.query.get("speed", "1"))})
        has_room = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_room() -> None:
            with suppress(RuntimeError):  # the loop ended first
                loop.call_soon_threadsafe(has_room.set)

        source = UploadSource(on_room)
        feeding = asyncio.ensure_future(_feed(request, source, has_room))
        try:
            session = await self._begin(room, source, options)
            assert isinstance(session.peer, Player)
            while not await _ended(session.peer):
                if request.transport is None or request.transport.is_closing():
                    break  # whoever sent it has gone
            figures = await self._relay.leave(session)
        finally:
            source.close()
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        if figures["error"] is not None:
            raise Problem(422, figures["error"])
        return web.json_response({"room": room, **figures})

    async def _end_play(self, request: web.Request) -> web.Response:
        room = self._room_to_record(request)
        player = self._relay.end_playing(room)
        if player is None:
            raise Problem(404, f"nothing is played in room {room}")
        await player.wait_ended()
        return web.json_response({"room": room, **player.report()})

    async def _begin(self, room: str, source: PlaySource, options: PlayOptions) -> Session:
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                await asyncio.to_thread(source.open)
            return self._entrance.play(room, source, options)
        except TimeoutError:
            source.close()
            raise Problem(408, "the recording did not begin in time") from None
        except (BitstreamError, InputError) as error:
            source.close()
            raise Problem(422, describe_problem(error)) from None
        except BaseException:
            source.close()
            raise


async def _ended(player: Player) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(_GONE_POLL_S):
            await player.wait_ended()
            return True
    return False


async def _feed(request: web.Request, source: UploadSource, has_room: asyncio.Event) -> None:
    """Hand on what comes in, no faster than it is taken."""
    try:
        async for chunk in request.content.iter_any():
            while source.is_full:
                has_room.clear()
                if source.is_full:
                    await has_room.wait()
            source.feed(chunk)
    except (web.RequestPayloadError, HttpProcessingError, OSError):
        pass  # whoever sent it has gone; what came is played
    finally:
        source.end()


async def _read_json(request: web.Request) -> dict[str, Any]:
    if (request.content_length or 0) > _MAX_JSON_BYTES:
        raise Problem(413, f"the body is longer than {_MAX_JSON_BYTES} bytes")
    try:
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            body = await request.content.readexactly(request.content_length or 0)
        document = json.loads(body)
    except TimeoutError:
        raise Problem(408, "the body did not come in time") from None
    except (ValueError, RecursionError, asyncio.IncompleteReadError):
        raise Problem(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise Problem(400, "the body is no JSON object")
    return document


def _read_wish(document: dict[str, Any]) -> tuple[str, PlayOptions]:
    name = document.pop("file", None)
    if not isinstance(name, str):
        raise Problem(400, "file is the name of a recording")
    return name, _read_options(document)


def _read_options(document: dict[str, Any]) -> PlayOptions:
    loop, speed = document.pop("loop", False), document.pop("speed", 1.0)
    if document:
        raise Problem(400, "only file, loop and speed are known")
    if not isinstance(loop, bool) or isinstance(speed, bool) or not isinstance(speed, int | float):
        raise Problem(400, "loop is true or false, speed a number")
    try:
        return PlayOptions(loop=loop, speed=speed)
    except InputError as error:
        raise Problem(400, str(error)) from None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
