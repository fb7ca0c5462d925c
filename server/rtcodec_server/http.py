"""
WHIP, WHEP and the same for studies, on aiohttp.

    POST /whip/{room}  /whep/{room}  /study/{room}    offer -> 201, answer
    PATCH, DELETE, GET on the session's URL     # RFC 9725, draft-ietf-wish-whep

Reads requests, writes responses; what they mean is `Relay`'s business, who may
make them is `Gate`'s.
"""

from typing import Final

from aiohttp import web

from rtcodec.session.carrier import read_carrier_query
from rtcodec.session.layer import read_layer_query
from rtcodec.session.lobby import Role
from rtcodec.session.message import MAX_FRAGMENT_BYTES, check_room_name, read_ice_fragment
from rtcodec.session.rate_match import read_match_query
from rtcodec.webrtc.sdp import MAX_SDP_BYTES
from rtcodec_server.api import OperatorApi
from rtcodec_server.body import read_text
from rtcodec_server.config import ServerConfig
from rtcodec_server.cors import PREFLIGHT, Cors
from rtcodec_server.entrance import Entrance
from rtcodec_server.gate import Gate
from rtcodec_server.layers import LayerApi, layer_links
from rtcodec_server.metrics import MetricsPage
from rtcodec_server.offer import Unprocessable
from rtcodec_server.page import Pages
from rtcodec_server.problem import REFUSED, Problem, answer_problems
from rtcodec_server.record_api import RecordApi
from rtcodec_server.relay import Relay
from rtcodec_server.room import Session
from rtcodec_server.subscriber_peer import SubscriberPeer
from rtcodec_server.via import VIA_HEADER, read_via
from rtcodec_server.webhook import WebhookSender

SDP_TYPE: Final = "application/sdp"
FRAGMENT_TYPE: Final = "application/trickle-ice-sdpfrag"

_ROLES: Final = {"whip": Role.PUBLISHER, "whep": Role.SUBSCRIBER, "study": Role.SUBSCRIBER}


def make_app(
    relay: Relay, config: ServerConfig, *, webhooks: WebhookSender | None = None
) -> web.Application:
    """
    Make the web application of a relay.

    Args:
        relay: Does the work.
        config: Says who may ask for it.
        webhooks: Whose figures the metrics show.
    """
    gate, cors = Gate(config), Cors(config)
    app = web.Application(
        middlewares=[cors.middleware, answer_problems], client_max_size=MAX_SDP_BYTES
    )
    refused = app[REFUSED] = {}
    outcomes = webhooks.outcomes if webhooks is not None else {}
    Signalling(relay, gate).add_routes(app.router)
    LayerApi(relay, gate, cors).add_routes(app.router)
    metrics = MetricsPage(relay, refused=refused, webhooks=outcomes)
    OperatorApi(relay, gate, metrics, grafana_url=config.grafana_url).add_routes(app.router)
    RecordApi(relay, gate).add_routes(app.router)
    Pages(config.tab_model, config.study_model).add_routes(app.router)
    return app


class Signalling:
    """Handlers of WHIP and WHEP."""

    def __init__(self, relay: Relay, gate: Gate) -> None:
        self._relay = relay
        self._entrance = Entrance(relay)
        self._gate = gate

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Declare what there is."""
        for kind in _ROLES:
            endpoint, session = f"/{kind}/{{room}}", f"/{kind}/{{room}}/{{session}}"
            router.add_route("OPTIONS", endpoint, self._options)
            router.add_route("OPTIONS", session, self._options)
            router.add_get(endpoint, self._get_endpoint)
            router.add_post(endpoint, self._post)
            router.add_get(session, self._get_session)
            router.add_patch(session, self._patch)
            router.add_delete(session, self._delete)

    async def _options(self, request: web.Request) -> web.Response:
        is_session = "session" in request.match_info
        accepted = {"Accept-Patch": FRAGMENT_TYPE} if is_session else {"Accept-Post": SDP_TYPE}
        return web.Response(headers=PREFLIGHT | accepted)

    async def _get_endpoint(self, request: web.Request) -> web.Response:
        self._enter(request)
        return web.Response(headers={"Accept-Post": SDP_TYPE}, content_type=SDP_TYPE)

    async def _post(self, request: web.Request) -> web.Response:
        self._gate.check_rate(request)
        room, role = self._enter(request)
        offer = await read_text(request, SDP_TYPE, MAX_SDP_BYTES)
        if _kind(request) == "study":
            subject = self._gate.check_viewer(request, room).subject
            session, answer = await self._entrance.show_studies(room, offer, subject=subject)
        elif role is Role.PUBLISHER:
            session, answer = await self._entrance.publish(room, offer)
        else:
            session, answer = await self._entrance.subscribe(
                room,
                offer,
                read_layer_query(request.query),
                carrier=read_carrier_query(request.query),
                matched_rung=read_match_query(request.query),
                via=read_via(request.headers.get(VIA_HEADER)),
            )
        path = f"{request.path.rstrip('/')}/{session.name}"
        response = web.Response(
            status=201,
            text=answer,
            content_type=SDP_TYPE,
            headers={"Location": path, "ETag": session.etag, "Accept-Patch": FRAGMENT_TYPE},
        )
        if isinstance(session.peer, SubscriberPeer) and self._relay.ladder is not None:
            for link in layer_links(path):
                response.headers.add("Link", link)
        return response

    async def _get_session(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if VIA_HEADER in request.headers:
            self._entrance.hear_via(session, read_via(request.headers[VIA_HEADER]))
        return web.Response(headers={"ETag": session.etag})

    async def _patch(self, request: web.Request) -> web.Response:
        self._gate.check_rate(request)
        session = self._session(request)
        text = await read_text(request, FRAGMENT_TYPE, MAX_FRAGMENT_BYTES)
        condition = request.headers.get("If-Match")
        if condition is None:
            raise Problem(428, "If-Match is needed")
        if condition.strip() == "*":
            raise Unprocessable("ICE restarts are not supported")
        if session.etag not in [tag.strip() for tag in condition.split(",")]:
            raise Problem(412, "If-Match names another ICE session")
        await session.peer.add_candidates(read_ice_fragment(text))
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        return web.json_response(await self._relay.leave(self._session(request)))

    def _enter(self, request: web.Request) -> tuple[str, Role]:
        """Return room and role of a request that may be made."""
        room = check_room_name(request.match_info["room"])
        role = _ROLES[_kind(request)]
        if _kind(request) == "study":
            self._gate.check_viewer(request, room)
        else:
            self._gate.check_role(request, role, room)
        return room, role

    def _session(self, request: web.Request) -> Session:
        room, role = self._enter(request)
        return self._relay.occupancy.session_of(room, request.match_info["session"], role)


def _kind(request: web.Request) -> str:
    """Return the first part of a request's path: a key of `_ROLES`."""
    return request.path.split("/")[1]
