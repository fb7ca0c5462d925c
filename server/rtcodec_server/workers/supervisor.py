"""
Keeps the processes of one relay going, and what is known of all of them together.

    workers pool --report, event, figures--> directory, webhooks, figures
    engine pool  <--connections--> each worker, again whenever one of them is replaced
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from rtcodec.engine.loader import ENGINE_PROCESS
from rtcodec.errors import ConfigError, EngineError, RemoteProtocolError
from rtcodec.process import Message
from rtcodec.stats import StreamStats
from rtcodec_server.client_limits import RequestLimits
from rtcodec_server.config import ServerConfig
from rtcodec_server.event import RelayEvent
from rtcodec_server.happening import log_happening
from rtcodec_server.logs import log_event
from rtcodec_server.settings import give_settings
from rtcodec_server.webhook_config import WebhookConfig
from rtcodec_server.workers.cores import devices, engine_share, worker_share
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
        self._about_engine: dict[int, dict[str, Any]] = {}
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
        self._has_fallback = config.engine_fallback != "off"
        n_engines = config.engine_processes if config.engine_in == "process" else 0
        self.engines = tuple(self._engine_pool(config, number) for number in range(n_engines))
        "A pool for each, with spares for its device."

    def _engine_pool(self, config: ServerConfig, number: int) -> Pool:
        return Pool(
            "engine" if config.engine_processes == 1 else f"engine{number}",
            ENGINE_PROCESS,
            1,
            config.processes,
            settings=engine_settings(config, number),
            on_up=lambda process: self._engine_up(number),
            on_down=lambda process: None,
            on_message=partial(self._hear_engine, number),
            on_given_up=lambda: self._engine_given_up(number),
        )

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Workers, and the engines' if they have processes of their own."""
        return (self.workers, *self.engines)

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

    async def until_ended(self) -> None:
        """Wait until all workers have ended, or cannot go on as their engines are gone for good."""
        workers: asyncio.Future[Any] = asyncio.ensure_future(self.workers.until_ended())
        engines: asyncio.Future[Any] = asyncio.gather(
            *(pool.until_ended() for pool in self.engines)
        )
        try:
            await asyncio.wait({workers, engines}, return_when=asyncio.FIRST_COMPLETED)
            if not self.engines or self._can_go_on:
                await workers
        finally:
            for task in (workers, engines):
                task.cancel()
            await asyncio.gather(workers, engines, return_exceptions=True)

    @property
    def _can_go_on(self) -> bool:
        """Whether workers have engines of their own to fall back on, should all others be gone."""
        return self._has_fallback and any(pool.was_ready for pool in self.engines)

    def check(self) -> None:
        """
        Raise what keeps the relay from running, if anything does.

        Raises:
            ConfigError, EngineError: As a relay in one process does.
        """
        for pool in self.pools:
            if pool is not self.workers and self._can_go_on:
                continue
            if pool.failure is not None:
                name, message = pool.failure
                raise (ConfigError if name == "ConfigError" else EngineError)(message)
            if pool.has_failed:
                raise EngineError(f"every {pool.kind} process died again and again")

    async def close(self) -> None:
        """End whatever is left, workers first."""
        await self.workers.close()
        for pool in self.engines:
            await pool.close()
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
            for number in range(len(self.engines)):
                self._connect(process, number)
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

    def _engine_up(self, number: int) -> None:
        for worker in self.workers.processes:
            if worker.has_spoken:  # the others will ask
                self._connect(worker, number)

    def _engine_given_up(self, number: int) -> None:
        for worker in self.workers.processes:
            worker.send("engine_gone", number=number)

    def _hear_engine(
        self,
        number: int,
        process: ManagedProcess,
        kind: str,
        fields: Message,
        descriptors: list[int],
    ) -> None:
        if kind == "ready":
            self._about_engine[number] = dict(fields.get("about", {}))

    def _connect(self, worker: ManagedProcess, number: int) -> None:
        """Give a worker connections to an engine process at work, or say there will be none."""
        pool = self.engines[number]
        engine = pool.slots[0]
        if pool.has_given_up:
            worker.send("engine_gone", number=number)
        if engine is None:
            return
        pairs = [
            socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(CONNECTIONS)
        ]
        engine.send("client", *(theirs.fileno() for _, theirs in pairs))
        about = self._about_engine[number]
        worker.send("engine", *(ours.fileno() for ours, _ in pairs), about=about, number=number)
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


def engine_settings(config: ServerConfig, number: int = 0) -> dict[str, Any]:
    """Return what an engine process is told."""
    lanes, threads = engine_share(config)
    n_engines = config.engine_processes
    return {
        "device": devices(n_engines, os.environ)[number] if n_engines > 1 else None,
        "engine": config.engine,
        "model": config.model,
        "threads": threads,
        "lanes": lanes,
        "max_batch": 1 if lanes > 1 else config.max_batch,
        "warm": [list(size) for size in config.warm],
        "hang_s": CALL_PATIENCE * config.processes.hang_s,
    }
