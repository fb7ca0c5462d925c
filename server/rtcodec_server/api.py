"""
What operators ask for: rooms as JSON, ending them, draining, metrics, health.

    GET    /api/rooms                             DELETE /api/rooms/{room}
    DELETE /api/rooms/{room}/sessions/{session}   POST   /api/drain
"""

import asyncio
import time
from typing import Any, Final

from aiohttp import web

import rtcodec
from rtcodec.session.message import check_room_name
from rtcodec_server.cors import PREFLIGHT
from rtcodec_server.gate import Gate
from rtcodec_server.metrics import CONTENT_TYPE, MetricsPage
from rtcodec_server.problem import Problem
from rtcodec_server.relay import Relay
from rtcodec_server.report import report_engine, report_stats
from rtcodec_server.room import Room

_MAX_NOTE_CHARS: Final = 200


class OperatorApi:
    """Handlers of everything that is neither WHIP nor WHEP."""

    def __init__(self, relay: Relay, gate: Gate, metrics: MetricsPage, *, grafana_url: str) -> None:
        """
        Args:
            relay: What is operated.
            gate: Who may.
            metrics: What `/metrics` shows.
            grafana_url: What the dashboard links to; empty if nothing.
        """
        self._grafana_url = grafana_url
        self._relay = relay
        self._gate = gate
        self._page = metrics

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Declare what there is."""
        router.add_get("/healthz", self._healthz)
        router.add_get("/readyz", self._readyz)
        router.add_get("/metrics", self._metrics)
        router.add_get("/api/rooms", self._rooms)
        router.add_delete("/api/rooms/{room}", self._end)
        router.add_delete("/api/rooms/{room}/sessions/{session}", self._end)
        router.add_post("/api/drain", self._drain)
        router.add_route("OPTIONS", "/api/{_:.*}", self._options)

    async def _options(self, request: web.Request) -> web.Response:
        return web.Response(headers=PREFLIGHT)

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        if self._relay.draining.is_set():
            raise Problem(503, "the relay is draining", Retry_After=self._retry_after)
        if not self._relay.is_ready:
            raise Problem(503, "the engine is not ready yet", Retry_After="1")
        return web.Response(text="ready\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        self._gate.check_metrics(request)
        text = await asyncio.to_thread(self._page.render)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _rooms(self, request: web.Request) -> web.Response:
        grant = self._gate.check_reader(request)
        relay = self._relay
        document: dict[str, Any] = {
            "version": rtcodec.__version__,
            "time": time.time(),
            "ready": relay.is_ready,
            "draining": relay.draining.is_set(),
            "engine": report_engine(relay.host.info) if relay.host is not None else None,
            "rooms": [report_room(relay, room) for room in relay.rooms if grant.covers(room.name)],
        }
        if grant.is_relay_admin:
            document["total"] = report_stats(relay.stats)
            document["grafana_url"] = self._grafana_url or None
        return web.json_response(document)

    async def _end(self, request: web.Request) -> web.Response:
        room = check_room_name(request.match_info["room"])
        self._gate.check_admin(request, room)
        note = request.query.get("reason", "")[:_MAX_NOTE_CHARS] or None
        n_ended = await self._relay.occupancy.end(
            room, request.match_info.get("session"), note=note
        )
        return web.json_response({"ended": n_ended})

    async def _drain(self, request: web.Request) -> web.Response:
        self._gate.check_admin(request, None)
        self._relay.draining.set()
        return web.json_response({"draining": True, "sessions": self._relay.n_sessions}, status=202)

    @property
    def _retry_after(self) -> str:
        return str(self._relay.settings.limits.retry_after_s)


def report_room(relay: Relay, room: Room) -> dict[str, Any]:
    """Return what `/api/rooms` says of a room."""
    stream = room.stream
    forward = relay.forwards.get(room.name)
    size = stream.size if stream is not None else None
    rate = stream.rate if stream is not None else None
    return {
        "room": room.name,
        "room_id": room.id,
        "live": relay.is_live(room.name),
        "publisher": relay.occupancy.report_publisher(room.name),
        "subscribers": relay.occupancy.report_subscribers(room.name),
        "transcoders": room.audience.report(),
        "forward": forward.report() if forward is not None else None,
        "width": size[0] if size else None,
        "height": size[1] if size else None,
        "qp": stream.qp if stream is not None else relay.settings.qp,
        "target_kbps": round(rate.target_bps / 1000, 1) if rate is not None else None,
        "rungs": stream.describe_rungs() if stream is not None else [],
        "recording": relay.recordings.report(room.id),
        "fps": round(room.rates.fps, 2),
        "kbps": round(room.rates.kbps, 1),
        "recent": room.recent.report(room.stats),
        **report_stats(room.stats),
    }
