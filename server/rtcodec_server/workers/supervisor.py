"""
Keeps the processes of one relay going, and what is known of all of them together.

    workers pool --report, event, figures--> directory, webhooks, figures
    engine pool  <--connections--> each worker, again whenever one of them is replaced
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from rtcodec.engine.loader import ENGINE_PROCESS
from rtcodec.errors import ConfigError, EngineError, RemoteProtocolError
from rtcodec.process import Message
from rtcodec.stats import StreamStats
from rtcodec_server.config import RequestLimits, ServerConfig, WebhookConfig
from rtcodec_server.event import RelayEvent
from rtcodec_server.happening import log_happening
from rtcodec_server.logs import log_event
from rtcodec_server.settings import give_settings
from rtcodec_server.workers.cores import engine_share, worker_share
from rtcodec_server.workers.directory import Directory
from rtcodec_server.workers.limits import CALL_PATIENCE
from rtcodec_server.workers.link import WorkerLink
from rtcodec_server.workers.managed import ManagedProcess
from rtcodec_server.workers.metrics_page import Page, lasting, merge_pages
from rtcodec_server.workers.pool import Pool
from rtcodec_server.workers.report import WorkerReport
from rtcodec_server.workers.stats_tree import Tree, add_trees, fill
from rtcodec_server.workers.stays import CRASHED, Stays, read_event

_log = logging.getLogger(__name__)

WORKER_PROCESS: Final = "rtcodec_server.workers.worker_process"
CONNECTIONS: Final = 3
"Of a worker to the engine: one to encode, one to open and close states, one for whatever else."


class Supervisor:
    """All processes of one relay. Belongs to the event loop."""

    def __init__(self, config: ServerConfig, on_event: Callable[[RelayEvent], None]) -> None:
        """
        Args:
            config: Of the whole relay.
            on_event: Gets what webhooks are for.
        """
        self.directory = Directory(config.limits)
        self.links: dict[int, WorkerLink] = {}
        "By slot; of workers that are there."
        self.reports: dict[int, WorkerReport] = {}
        "By slot; the last of each."
        self.engine_report: dict[str, Any] = {}
        "What runs, as `report_engine` says it."
        self.sessions_lost = 0
        "Sessions that ended with their worker."
        self._on_event = on_event
        self._stays = Stays()
        self._figures: dict[int, Tree] = {}
        self._past_figures: Tree = {}
        self._pages: dict[int, Page] = {}
        self._past_page: Page = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._about_engine: dict[str, Any] = {}
        self.workers = Pool(
            "worker",
            WORKER_PROCESS,
            max(1, config.workers),
            config.processes,
            settings={"settings": worker_settings(config)},
            on_up=self._worker_up,
            on_down=self._worker_down,
            on_message=self._hear_worker,
        )
        self.engines: Pool | None = None
        if config.engine_in == "process":
            self.engines = Pool(
                "engine",
                ENGINE_PROCESS,
                1,
                config.processes,
                settings=engine_settings(config),
                on_up=self._engine_up,
                on_down=lambda process: None,
                on_message=self._hear_engine,
            )

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Workers, and the engine's if it has one."""
        return (self.workers,) if self.engines is None else (self.workers, self.engines)

    def start(self) -> None:
        """Start the processes."""
        for pool in reversed(self.pools):
            pool.fill()

    def drain(self) -> None:
        """Let nobody in any more; workers end with their last session."""
        self.workers.stop("drain")

    def stop(self) -> None:
        """Let workers end now, in order."""
        self.workers.stop("stop")

    def check(self) -> None:
        """
        Raise what keeps the relay from running, if anything does.

        Raises:
            ConfigError, EngineError: As a relay in one process does.
        """
        for pool in self.pools:
            if pool.failure is not None:
                name, message = pool.failure
                raise (ConfigError if name == "ConfigError" else EngineError)(message)
            if pool.has_failed:
                raise EngineError(f"every {pool.kind} process died again and again")

    async def close(self) -> None:
        """End whatever is left, workers first."""
        await self.workers.close()
        if self.engines is not None:
            await self.engines.close()
        await asyncio.gather(*self._closing, *(link.close() for link in self.links.values()))

    # ---- what is known of all

    def stats(self) -> StreamStats:
        """Return the figures of all workers together, those that died too."""
        tree = self._past_figures
        for figures in self._figures.values():
            tree = add_trees(tree, figures)
        stats = StreamStats()
        fill(stats, tree)
        return stats

    def note_page(self, slot: int, page: Page) -> None:
        """Keep a worker's metrics: they stay when it is gone."""
        self._pages[slot] = page

    @property
    def past_page(self) -> Page:
        """Metrics of workers that are gone."""
        return self._past_page

    # ---- workers

    def _worker_up(self, process: ManagedProcess) -> None:
        assert process.slot is not None
        process.send("slot", slot=process.slot)
        self.links[process.slot] = WorkerLink(lambda end: process.send("http", end))
        self.directory.up(process.slot)

    def _worker_down(self, process: ManagedProcess) -> None:
        slot = process.slot
        assert slot is not None
        self.sessions_lost += self.directory.sessions_of(slot)
        self.directory.down(slot)
        self.reports.pop(slot, None)
        self._past_figures = add_trees(self._past_figures, self._figures.pop(slot, {}))
        self._past_page = merge_pages((self._past_page, lasting(self._pages.pop(slot, {}))))
        if (link := self.links.pop(slot, None)) is not None:
            closing = asyncio.ensure_future(link.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        for event in self._stays.lost(slot):
            if event.reason == CRASHED:
                log_happening(event)
            self._on_event(event)

    def _hear_worker(
        self, process: ManagedProcess, kind: str, fields: Message, descriptors: list[int]
    ) -> None:
        try:
            self._take(process, kind, fields)
        except (RemoteProtocolError, KeyError) as error:
            log_event(_log, "worker_unintelligible", level=logging.ERROR, problem=str(error))
            process.kill()

    def _take(self, process: ManagedProcess, kind: str, fields: Message) -> None:
        slot = process.slot
        if kind == "hello":
            self._connect(process)
        elif kind == "ready":
            self.engine_report = dict(fields["engine"])
        elif kind == "report" and slot is not None and process.is_ready:
            report = self.reports[slot] = WorkerReport.read(fields)
            self.directory.report(
                slot,
                rooms=report.rooms,
                published={room for room, is_taken in report.rooms.items() if is_taken},
                sessions=report.sessions,
                at_us=report.at_us,
            )
        elif kind == "figures" and slot is not None:
            fill(StreamStats(), fields["tree"])  # or it would be found out too late
            self._figures[slot] = fields["tree"]
        elif kind == "event" and slot is not None:
            event = read_event(fields["event"])
            self._stays.heard(slot, event)
            self._on_event(event)

    # ---- the engine

    def _engine_up(self, process: ManagedProcess) -> None:
        for worker in self.workers.processes:
            if worker.has_spoken:  # the others will ask
                self._connect(worker)

    def _hear_engine(
        self, process: ManagedProcess, kind: str, fields: Message, descriptors: list[int]
    ) -> None:
        if kind == "ready":
            self._about_engine = dict(fields.get("about", {}))

    def _connect(self, worker: ManagedProcess) -> None:
        """Give a worker connections to the engine process at work, if there is one."""
        engine = self.engines.slots[0] if self.engines is not None else None
        if engine is None:
            return
        pairs = [
            socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(CONNECTIONS)
        ]
        engine.send("client", *(theirs.fileno() for _, theirs in pairs))
        worker.send("engine", *(ours.fileno() for ours, _ in pairs), about=self._about_engine)
        for pair in pairs:
            for end in pair:
                end.close()


def worker_settings(config: ServerConfig) -> dict[str, Any]:
    """Return what a worker is told: not what the front does for all of them."""
    return give_settings(
        replace(
            config,
            threads=worker_share(config),
            tls_cert=None,
            tls_key=None,
            webhook=WebhookConfig(),
            requests=RequestLimits(per_s=0),
        )
    )


def engine_settings(config: ServerConfig) -> dict[str, Any]:
    """Return what the engine process is told."""
    lanes, threads = engine_share(config)
    return {
        "engine": config.engine,
        "model": config.model,
        "threads": threads,
        "lanes": lanes,
        "max_batch": 1 if lanes > 1 else config.max_batch,
        "warm": [list(size) for size in config.warm],
        "hang_s": CALL_PATIENCE * config.processes.hang_s,
    }
