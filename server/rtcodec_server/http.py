"""
WHIP, WHEP and the small pages, on aiohttp.

    POST /whip/{room}  /whep/{room}             offer -> 201, answer
    PATCH, DELETE, GET on the session's URL     # RFC 9725, draft-ietf-wish-whep

Reads requests, writes responses; what they mean is `Relay`'s business. Errors
are `application/problem+json` with one line for people in `detail`.
"""

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

import rtcodec
from rtcodec.errors import RemoteProtocolError
from rtcodec.session.lobby import RelayFull, Role, RoomTaken
from rtcodec.session.message import MAX_FRAGMENT_BYTES, check_room_name, read_ice_fragment
from rtcodec.webrtc.sdp import MAX_SDP_BYTES
from rtcodec_server.metrics import CONTENT_TYPE, MetricsPage
from rtcodec_server.page import PAGE
from rtcodec_server.peer import Unprocessable
from rtcodec_server.relay import Relay, Room, Session, UnknownSession
from rtcodec_server.report import report_engine, report_stats

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SDP_TYPE: Final = "application/sdp"
FRAGMENT_TYPE: Final = "application/trickle-ice-sdpfrag"

_RELAY: Final = web.AppKey("relay", Relay)
_TOKEN: Final = web.AppKey("token", str)
_METRICS: Final = web.AppKey("metrics", MetricsPage)

_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After",
}
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "OPTIONS, GET, HEAD, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Max-Age": "86400",
}
_BODY_TIMEOUT_S: Final = 10.0
_ROLES: Final = {"whip": Role.PUBLISHER, "whep": Role.SUBSCRIBER}


class Problem(Exception):
    """An answer that is not what the client hoped for."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        """
        Args:
            status: HTTP status.
            detail: One line for people.
            headers: More headers; `_` stands for `-`.
        """
        super().__init__(detail)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def make_app(relay: Relay, *, token: str | None) -> web.Application:
    """
    Make the web application of a relay.

    Args:
        relay: Does the work.
        token: Bearer token that WHIP and WHEP ask for, or None.
    """
    app = web.Application(middlewares=[_answer_problems], client_max_size=MAX_SDP_BYTES)
    app[_RELAY] = relay
    app[_TOKEN] = token or ""
    app[_METRICS] = MetricsPage(relay)
    for kind in _ROLES:
        endpoint, session = f"/{kind}/{{room}}", f"/{kind}/{{room}}/{{session}}"
        app.router.add_route("OPTIONS", endpoint, _options)
        app.router.add_route("OPTIONS", session, _options)
        app.router.add_get(endpoint, _get_endpoint)
        app.router.add_post(endpoint, _post)
        app.router.add_get(session, _get_session)
        app.router.add_patch(session, _patch)
        app.router.add_delete(session, _delete)
    app.router.add_get("/", _page)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/api/rooms", _rooms)
    return app


# ------------------------------------------------------------------ middleware


@web.middleware
async def _answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except Problem as problem:
        response = _problem(problem.status, str(problem), problem.headers)
    except RoomTaken as error:
        response = _problem(409, str(error))
    except RelayFull as error:
        response = _problem(503, str(error), {"Retry-After": str(error.retry_after_s)})
    except UnknownSession as error:
        response = _problem(404, str(error))
    except Unprocessable as error:
        response = _problem(422, str(error))
    except RemoteProtocolError as error:
        response = _problem(400, str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        response = _problem(error.status, (error.reason or "error").lower(), headers)
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        response = _problem(500, "internal error")
    response.headers.update(_CORS)
    return response


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"type": "about:blank", "status": status, "detail": " ".join(detail.split())}
    return web.Response(
        status=status,
        text=json.dumps(body),
        content_type="application/problem+json",
        headers=headers,
    )


def _check_token(request: web.Request) -> None:
    wanted = request.app[_TOKEN]
    if not wanted:
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        raise Problem(401, "a bearer token is needed", WWW_Authenticate="Bearer")
    if not hmac.compare_digest(given.strip().encode(), wanted.encode()):
        raise Problem(
            401, "the bearer token is wrong", WWW_Authenticate='Bearer error="invalid_token"'
        )


def _role(request: web.Request) -> Role:
    return _ROLES[request.path.split("/")[1]]


def _room(request: web.Request) -> str:
    return check_room_name(request.match_info["room"])


def _session(request: web.Request) -> Session:
    relay = request.app[_RELAY]
    info = request.match_info
    return relay.session_of(info["room"], info["session"], _role(request))


async def _read_text(request: web.Request, content_type: str, limit_bytes: int) -> str:
    if request.content_type != content_type:
        raise Problem(
            415, f"the content type is {content_type}, not {request.content_type}",
            Accept=content_type,
        )  # fmt: skip
    too_large = Problem(413, f"the body is longer than {limit_bytes} bytes")
    if (request.content_length or 0) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit_bytes:
                    raise too_large
    except TimeoutError:
        raise Problem(408, f"the body did not come within {_BODY_TIMEOUT_S:g} s") from None
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(400, "the body is not UTF-8") from None


# --------------------------------------------------------------- WHIP and WHEP


async def _options(request: web.Request) -> web.Response:
    is_session = "session" in request.match_info
    accepted = {"Accept-Patch": FRAGMENT_TYPE} if is_session else {"Accept-Post": SDP_TYPE}
    return web.Response(headers=_PREFLIGHT | accepted)


async def _get_endpoint(request: web.Request) -> web.Response:
    _check_token(request)
    _room(request)
    return web.Response(headers={"Accept-Post": SDP_TYPE}, content_type=SDP_TYPE)


async def _post(request: web.Request) -> web.Response:
    _check_token(request)
    room, role = _room(request), _role(request)
    offer = await _read_text(request, SDP_TYPE, MAX_SDP_BYTES)
    relay = request.app[_RELAY]
    enter = relay.publish if role is Role.PUBLISHER else relay.subscribe
    session, answer = await enter(room, offer)
    return web.Response(
        status=201,
        text=answer,
        content_type=SDP_TYPE,
        headers={
            "Location": f"{request.path.rstrip('/')}/{session.name}",
            "ETag": session.etag,
            "Accept-Patch": FRAGMENT_TYPE,
        },
    )


async def _get_session(request: web.Request) -> web.Response:
    _check_token(request)
    return web.Response(headers={"ETag": _session(request).etag})


async def _patch(request: web.Request) -> web.Response:
    _check_token(request)
    session = _session(request)
    text = await _read_text(request, FRAGMENT_TYPE, MAX_FRAGMENT_BYTES)
    condition = request.headers.get("If-Match")
    if condition is None:
        raise Problem(428, "If-Match is needed")
    if condition.strip() == "*":
        raise Unprocessable("ICE restarts are not supported")
    if session.etag not in [tag.strip() for tag in condition.split(",")]:
        raise Problem(412, "If-Match names another ICE session")
    await request.app[_RELAY].trickle(session, read_ice_fragment(text))
    return web.Response(status=204)


async def _delete(request: web.Request) -> web.Response:
    _check_token(request)
    session = _session(request)
    figures = await request.app[_RELAY].leave(session)
    return web.json_response(figures)


# ------------------------------------------------------------------ small ones


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def _healthz(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _readyz(request: web.Request) -> web.Response:
    if not request.app[_RELAY].is_ready:
        raise Problem(503, "the engine is not ready yet", Retry_After="1")
    return web.Response(text="ready\n")


async def _metrics(request: web.Request) -> web.Response:
    text = await asyncio.to_thread(request.app[_METRICS].render)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})


async def _rooms(request: web.Request) -> web.Response:
    relay = request.app[_RELAY]
    document: dict[str, Any] = {
        "version": rtcodec.__version__,
        "time": time.time(),
        "ready": relay.is_ready,
        "engine": report_engine(relay.host.info) if relay.host is not None else None,
        "rooms": [_report_room(relay, room) for room in relay.rooms],
        "total": report_stats(relay.stats),
    }
    return web.json_response(document)


def _report_room(relay: Relay, room: Room) -> dict[str, Any]:
    publisher = relay.publisher_of(room.name)
    stream = room.stream
    size = stream.size if stream is not None else None
    rate = stream.rate if stream is not None else None
    return {
        "room": room.name,
        "live": relay.is_live(room.name),
        "publisher": publisher.report() if publisher is not None else None,
        "subscribers": relay.report_subscribers(room.name),
        "width": size[0] if size else None,
        "height": size[1] if size else None,
        "qp": stream.qp if stream is not None else relay.settings.qp,
        "target_kbps": round(rate.target_bps / 1000, 1) if rate is not None else None,
        "fps": round(room.rates.fps, 2),
        "kbps": round(room.rates.kbps, 1),
        **report_stats(room.stats),
    }
