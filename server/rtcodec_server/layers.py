"""
The WHEP extensions that show the rungs of a stream and let a subscriber choose one.

    POST   /whep/{room}/{session}/layer       which layer it wants -> 200, the layers there are
    GET    /whep/{room}/{session}/layer       -> the same
    POST   /whep/{room}/{session}/sse         -> 201, Location of a stream of events
    GET, DELETE  .../sse/{stream}             event `layers`, whenever they change

Announced by Link headers in the answer to the offer, if there are rungs # draft-ietf-wish-whep 4.9
"""

import asyncio
import json
import secrets
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from rtcodec.session.layer import FULL_RATE, HALF_RATE, MAX_REQUEST_BYTES, read_layer_request
from rtcodec.session.lobby import Role
from rtcodec.session.message import check_room_name
from rtcodec_server.body import read_text
from rtcodec_server.cors import PREFLIGHT, Cors
from rtcodec_server.gate import Gate
from rtcodec_server.problem import Problem
from rtcodec_server.relay import Relay
from rtcodec_server.room import RoomStream, Session, UnknownSession
from rtcodec_server.subscriber_peer import SubscriberPeer

EXTENSION: Final = "urn:ietf:params:whep:ext:core:"

_MAX_STREAMS: Final = 2
"Streams of events of one session."

_POLL_S: Final = 0.5
_JSON: Final = "application/json"


def layer_links(session_path: str) -> tuple[str, str]:
    """Return the values of the Link headers that announce a session's extensions."""
    return (
        f'<{session_path}/layer>; rel="{EXTENSION}layer"',
        f'<{session_path}/sse>; rel="{EXTENSION}server-sent-events"; events="layers"',
    )


def describe_layers(stream: RoomStream | None) -> list[dict[str, Any]]:
    """Return the layers of a stream as the draft's `layers` event has them, finest first."""
    layers = []
    for rung in stream.rungs if stream is not None else ():
        for temporal in (FULL_RATE, HALF_RATE):
            layer: dict[str, Any] = {
                "rid": str(rung.index),
                "spatialLayerId": 0,
                "temporalLayerId": temporal,
                "width": rung.rung.width,
                "height": rung.rung.height,
            }
            if rung.rung.kbps is not None and temporal == FULL_RATE:
                layer["targetBitrate"] = 1000 * rung.rung.kbps
            if temporal == FULL_RATE:
                layer["bitrate"] = round(1000 * rung.meter.kbps)
            layers.append(layer)
    return layers


class LayerApi:
    """Handlers of the layer and the event resources of subscribers' sessions."""

    def __init__(self, relay: Relay, gate: Gate, cors: Cors) -> None:
        self._relay = relay
        self._gate = gate
        self._cors = cors
        self._streams: dict[str, Session] = {}  # name of an event stream -> whose it is

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Declare what there is."""
        session = "/whep/{room}/{session}"
        for path in (f"{session}/layer", f"{session}/sse", f"{session}/sse/{{stream}}"):
            router.add_route("OPTIONS", path, self._options)
        router.add_post(f"{session}/layer", self._choose)
        router.add_get(f"{session}/layer", self._show)
        router.add_post(f"{session}/sse", self._open)
        router.add_get(f"{session}/sse/{{stream}}", self._tell, allow_head=False)
        router.add_delete(f"{session}/sse/{{stream}}", self._close)

    async def _options(self, request: web.Request) -> web.Response:
        return web.Response(headers=PREFLIGHT | {"Accept-Post": _JSON})

    async def _choose(self, request: web.Request) -> web.Response:
        self._gate.check_rate(request)
        session = self._session(request)
        text = await read_text(request, _JSON, MAX_REQUEST_BYTES)
        self._relay.choose_layer(session, read_layer_request(text))
        return web.json_response({"layers": describe_layers(session.room.stream)})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response({"layers": describe_layers(self._session(request).room.stream)})

    async def _open(self, request: web.Request) -> web.Response:
        self._gate.check_rate(request)
        session = self._session(request)
        if request.can_read_body:
            _check_events(await read_text(request, _JSON, MAX_REQUEST_BYTES))
        self._streams = {name: s for name, s in self._streams.items() if s.closing is None}
        if sum(owner is session for owner in self._streams.values()) >= _MAX_STREAMS:
            raise Problem(403, f"a session has at most {_MAX_STREAMS} streams of events")
        name = secrets.token_urlsafe(12)
        self._streams[name] = session
        path = f"{request.path.rstrip('/')}/{name}"
        return web.Response(status=201, headers={"Location": path})

    async def _close(self, request: web.Request) -> web.Response:
        self._stream(request)
        del self._streams[request.match_info["stream"]]
        return web.Response()

    async def _tell(self, request: web.Request) -> web.StreamResponse:
        session = self._stream(request)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                **self._cors.headers(request.headers.get("Origin")),
            }
        )
        await response.prepare(request)
        told: object = None
        with suppress(ConnectionError):  # they are gone
            while self._is_wanted(request, session):
                layers = describe_layers(session.room.stream)
                kinds = [{**layer, "bitrate": layer.get("bitrate", 0) > 0} for layer in layers]
                if kinds != told:
                    told = kinds
                    event = f"event: layers\ndata: {json.dumps({'0': layers})}\n\n"
                    await response.write(event.encode())
                await asyncio.sleep(_POLL_S)
        return response

    def _session(self, request: web.Request) -> Session:
        room = check_room_name(request.match_info["room"])
        self._gate.check_role(request, Role.SUBSCRIBER, room)
        session = self._relay.occupancy.session_of(
            room, request.match_info["session"], Role.SUBSCRIBER
        )
        if self._relay.ladder is None:
            raise Problem(404, "streams of this relay have one layer")
        if not isinstance(session.peer, SubscriberPeer):
            raise Problem(404, "ordinary viewers all see the finest layer")
        return session

    def _stream(self, request: web.Request) -> Session:
        session = self._session(request)
        if self._streams.get(request.match_info["stream"]) is not session:
            raise UnknownSession("no such stream of events")
        return session

    def _is_wanted(self, request: web.Request, session: Session) -> bool:
        transport = request.transport
        is_read = transport is not None and not transport.is_closing()
        is_open = self._streams.get(request.match_info["stream"]) is session
        return is_read and is_open and session.closing is None


def _check_events(text: str) -> None:
    try:
        events = json.loads(text)
    except (ValueError, RecursionError):
        events = None
    if not isinstance(events, list):
        raise Problem(400, "the body is not a JSON array of events")
