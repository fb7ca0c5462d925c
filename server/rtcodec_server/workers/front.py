"""
The one address of several workers: passes on what is one room's, answers what is all rooms'.

Who may do what the workers decide, as if they had been asked directly; the front counts requests
of an address, since only it sees them all.
"""

import asyncio
import re
import time
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

import rtcodec
from rtcodec.session.lobby import RelayFull
from rtcodec.session.message import check_room_name
from rtcodec.webrtc import monotonic_us
from rtcodec.webrtc.sdp import MAX_SDP_BYTES
from rtcodec_server.body import read_bytes
from rtcodec_server.config import ServerConfig
from rtcodec_server.cors import Cors
from rtcodec_server.gate import Gate
from rtcodec_server.metrics import CONTENT_TYPE
from rtcodec_server.page import Pages
from rtcodec_server.problem import REFUSED, Problem, answer_problems
from rtcodec_server.report import report_stats
from rtcodec_server.room import UnknownSession
from rtcodec_server.webhook import WebhookSender
from rtcodec_server.workers.front_metrics import front_page
from rtcodec_server.workers.link import Answer, WorkerGone, WorkerLink
from rtcodec_server.workers.metrics_page import Page, merge_pages, read_page, write_page
from rtcodec_server.workers.passage import is_upload, pass_on
from rtcodec_server.workers.processes import report_processes, summarise
from rtcodec_server.workers.supervisor import Supervisor

_OF_ROOM: Final = re.compile(r"/(?:whip|whep|study|api/rooms)/([^/]+)")
_ENTRANCE: Final = re.compile(
    r"/whip/[^/]+|(?P<watches>/(?:whep|study)/[^/]+)|/api/rooms/[^/]+/play"
)
"Where a POST lets somebody into a room."

_COUNTED: Final = (
    ("POST", re.compile(r"/(?:whip|whep|study)/|/api/rooms/[^/]+/(?:play|recording)")),
    ("PATCH", re.compile(r"/(?:whip|whep|study)/")),
    ("DELETE", re.compile(r"/api/rooms/[^/]+/(?:play|recording)")),
)
"What the limit of requests is for."

_GATHER_TIMEOUT_S: Final = 2.0
"How long a worker may keep figures of all of them waiting."


class Front:
    """Handlers of the relay's only socket."""

    def __init__(
        self,
        supervisor: Supervisor,
        config: ServerConfig,
        draining: asyncio.Event,
        webhooks: WebhookSender | None,
    ) -> None:
        """
        Args:
            supervisor: Knows the workers.
            config: Of the whole relay.
            draining: Nobody is let in any more once it is set.
            webhooks: Whose figures the metrics show.
        """
        self._supervisor = supervisor
        self._draining = draining
        self._retry_after_s = config.limits.retry_after_s
        self._grafana_url = config.grafana_url
        self._webhooks = webhooks
        self._gate = Gate(config)
        cors = Cors(config)
        self.app = web.Application(
            middlewares=[cors.middleware, answer_problems], client_max_size=MAX_SDP_BYTES
        )
        self._refused: dict[int, int] = {}
        self.app[REFUSED] = self._refused
        router = self.app.router
        Pages(config.tab_model, config.study_model).add_routes(router)
        router.add_get("/healthz", self._healthz)
        router.add_get("/readyz", self._readyz)
        router.add_get("/metrics", self._metrics)
        router.add_get("/api/rooms", self._rooms)
        router.add_get("/api/processes", self._processes)
        router.add_get("/api/recordings", self._recordings)
        router.add_post("/api/drain", self._drain)
        router.add_route("*", "/{rest:.*}", self._pass_on)

    # ---- what is one room's

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if any(m == request.method and paths.match(request.path) for m, paths in _COUNTED):
            self._gate.check_rate(request)
        found = _OF_ROOM.match(request.path)
        room = check_room_name(found[1]) if found else None
        body = b"" if is_upload(request) else await read_bytes(request, MAX_SDP_BYTES)
        entrance = _ENTRANCE.fullmatch(request.path) if request.method == "POST" else None
        if room is not None and entrance is not None:
            return await self._enter(request, room, body, publishes=entrance["watches"] is None)
        slot = self._supervisor.directory.owner(room) if room is not None else None
        try:
            return await pass_on(request, self._link(slot), body)
        except WorkerGone:
            raise UnknownSession("no such session: its worker process ended") from None

    async def _enter(
        self, request: web.Request, room: str, body: bytes, *, publishes: bool
    ) -> web.StreamResponse:
        if self._draining.is_set():
            raise RelayFull("the relay is draining", retry_after_s=self._retry_after_s)
        directory = self._supervisor.directory
        visit = directory.enter(room, publishes=publishes, lasts=is_upload(request))
        is_in = False
        try:
            answer = await pass_on(request, self._link(visit.slot), body)
            is_in = answer.status < 300
        except WorkerGone:
            raise RelayFull("the room's worker process ended", retry_after_s=1) from None
        finally:
            directory.left(visit, is_in=is_in, now_us=monotonic_us())
        return answer

    def _link(self, slot: int | None) -> WorkerLink:
        """Return the way to a worker, or to any if it does not matter which."""
        links = self._supervisor.links
        if not links:
            raise RelayFull("no worker process is ready yet", retry_after_s=1)
        link = links.get(slot if slot is not None else min(links))
        if link is None:
            raise WorkerGone("no such worker")
        return link

    # ---- what is all rooms'

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response(summarise(self._supervisor))

    async def _readyz(self, request: web.Request) -> web.Response:
        if self._draining.is_set():
            raise Problem(503, "the relay is draining", Retry_After=str(self._retry_after_s))
        if not self._supervisor.links:
            raise Problem(503, "no worker process is ready yet", Retry_After="1")
        return web.Response(text="ready\n")

    async def _processes(self, request: web.Request) -> web.Response:
        self._gate.check_admin(request, None)
        return web.json_response({"processes": report_processes(self._supervisor)})

    async def _drain(self, request: web.Request) -> web.Response:
        self._gate.check_admin(request, None)
        self._draining.set()
        n_sessions = self._supervisor.directory.n_sessions
        return web.json_response({"draining": True, "sessions": n_sessions}, status=202)

    async def _rooms(self, request: web.Request) -> web.Response:
        grant = self._gate.check_reader(request)
        supervisor = self._supervisor
        document: dict[str, Any] = {
            "version": rtcodec.__version__,
            "time": time.time(),
            "ready": bool(supervisor.links) and not self._draining.is_set(),
            "draining": self._draining.is_set(),
            "engine": supervisor.engine_report or None,
            "rooms": [],
        }
        for slot, answer in await self._ask_all(request):
            for room in answer.json().get("rooms", ()):
                document["rooms"].append({**room, "worker": slot})
        if grant.is_relay_admin:
            document["total"] = report_stats(supervisor.stats())
            document["grafana_url"] = self._grafana_url or None
        return web.json_response(document)

    async def _recordings(self, request: web.Request) -> web.Response:
        """Put together what workers list, though all look at one folder: one of them may hang."""
        self._gate.check_record_reader(request)
        files: dict[str, Any] = {}
        for _, answer in await self._ask_all(request):
            files |= {file["file"]: file for file in answer.json().get("recordings", ())}
        return web.json_response({"recordings": [files[name] for name in sorted(files)]})

    async def _metrics(self, request: web.Request) -> web.Response:
        self._gate.check_metrics(request)
        supervisor = self._supervisor
        pages: list[Page] = []
        for slot, answer in await self._ask_all(request):
            pages.append(read_page(answer.body.decode(errors="replace")))
            supervisor.note_page(slot, pages[-1])
        outcomes = self._webhooks.outcomes if self._webhooks is not None else {}
        own = front_page(supervisor, refused=self._refused, webhooks=outcomes)
        merged = merge_pages((*pages, supervisor.past_page, read_page(own.decode())))
        return web.Response(
            body=write_page(merged).encode(), headers={"Content-Type": CONTENT_TYPE}
        )

    async def _ask_all(self, request: web.Request) -> Iterable[tuple[int, Answer]]:
        """Ask every worker the same; leave out those that do not answer."""

        async def ask(slot: int) -> tuple[int, Answer] | None:
            try:
                async with asyncio.timeout(_GATHER_TIMEOUT_S):
                    answer = await self._supervisor.links[slot].ask(request)
            except (WorkerGone, TimeoutError):
                return None
            return (slot, answer) if answer.status == 200 else None

        answers = await asyncio.gather(*map(ask, list(self._supervisor.links)))
        return [answer for answer in answers if answer is not None]
