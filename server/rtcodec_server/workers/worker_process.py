"""
A worker: the whole relay of `app`, but for the socket that it listens on.

    start {settings} -> hello -> ready {engine} | failed {why}
    http + descriptor          a connection of the front
    engine + descriptors       connections to the engine process, again after each of its deaths
    drain, stop                the end; so is the end of the control channel

Not for people: `rtcodec serve --workers N` starts it. Signals are for the supervisor.
"""

import asyncio
import logging
import os
import signal
import socket
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.calm import calm_interpreter
from rtcodec.engine.api import Engine
from rtcodec.engine.loader import AttachableEngine, remote_engine
from rtcodec.engine.null import null_bundle
from rtcodec.errors import ConfigError, RtcodecError
from rtcodec.process import ControlChannel, Message, adopt_channel
from rtcodec.webrtc import monotonic_us
from rtcodec_server.app import (
    Door,
    RunningServer,
    load_engine,
    running_server,
    until_end,
    with_fallback,
)
from rtcodec_server.config import ServerConfig
from rtcodec_server.event import RelayEvent
from rtcodec_server.logs import set_up_logging
from rtcodec_server.problem import Handler
from rtcodec_server.report import report_engine
from rtcodec_server.settings import take_settings
from rtcodec_server.workers.link import CLIENT_HEADER
from rtcodec_server.workers.report import WorkerReport
from rtcodec_server.workers.stats_tree import write_tree

REPORT_S: Final = 0.25
FIGURES_EVERY: Final = 4
"Reports."

_log = logging.getLogger(__name__)


class WorkerProcess:
    """What the supervisor's messages do."""

    def __init__(self, end: socket.socket) -> None:
        self.started = asyncio.get_running_loop().create_future()
        "The settings, once they have come."
        self._draining, self._stop = asyncio.Event(), asyncio.Event()
        self._engines: list[AttachableEngine] = []
        self._web: web.Server | None = None
        self._label = _Label()
        self._connecting: set[asyncio.Future[Any]] = set()
        self._channel = ControlChannel(
            end,
            on_message=self._on_message,
            on_close=lambda: os._exit(1),  # the kernel closes what is open; nobody is left to tell
        )
        self._channel.send("hello")

    async def run(self) -> None:
        """Be a relay until told to end."""
        config: ServerConfig = await self.started
        set_up_logging(level=config.log_level, log_format=config.log_format)
        for handler in logging.getLogger().handlers:
            handler.addFilter(self._label)
        beating = asyncio.ensure_future(self._beat())
        try:
            await self._serve(config)
        except RtcodecError as error:
            kind = "ConfigError" if isinstance(error, ConfigError) else "EngineError"
            self._channel.send("failed", error=kind, message=str(error))
            await asyncio.sleep(REPORT_S)
        finally:
            beating.cancel()
            self._channel.close()

    async def _serve(self, config: ServerConfig) -> None:
        if config.engine_in == "process":
            bundle = null_bundle() if config.engine == "null" else find_bundle(config.model)
            self._engines += [remote_engine(bundle) for _ in range(config.engine_processes)]
        door = Door(self._open, _as_the_front_saw_it, self._tell)
        async with running_server(
            config, engine_factory=self._load_engine, draining=self._draining, door=door
        ) as server:
            ending = asyncio.ensure_future(until_end(server.relay, self._stop, config.drain_s))
            await asyncio.wait({ending, server.ready}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                server.ready.result()
                assert server.relay.host is not None
                calm_interpreter()
                self._channel.send("ready", engine=report_engine(server.relay.host.info))
                await self._report(server, ending)
            elif not server.ready.done():
                for engine in self._engines:
                    engine.close()  # or its start would be waited for
        self._channel.send("figures", tree=write_tree(server.relay.stats))

    async def _beat(self) -> None:
        """Show that the event loop goes round, as long as there is nothing else to say."""
        while True:
            self._channel.send("beat")
            await asyncio.sleep(REPORT_S)

    async def _report(self, server: RunningServer, ending: asyncio.Future[None]) -> None:
        relay, n_reports = server.relay, 0
        while not ending.done():
            report = WorkerReport(
                {room.name: relay.source_of(room.name) is not None for room in relay.rooms},
                relay.n_sessions,
                monotonic_us(),
                relay.loop_lag_s,
            )
            self._channel.send("report", **report.write())
            if n_reports % FIGURES_EVERY == 0:
                self._channel.send("figures", tree=write_tree(relay.stats))
            n_reports += 1
            await asyncio.wait({ending}, timeout=REPORT_S)
        await ending

    def _load_engine(self, config: ServerConfig) -> tuple[Engine, Bundle]:
        if not self._engines:
            return load_engine(config)
        bundle = null_bundle() if config.engine == "null" else find_bundle(config.model)
        for engine in self._engines:
            engine.wait_attached()
        return with_fallback(self._engines, config, bundle, threads=config.threads), bundle

    def _open(self, runner: web.AppRunner) -> str:
        self._web = runner.server
        return "worker"

    def _tell(self, event: RelayEvent) -> None:
        self._channel.send("event", event=asdict(event))

    def _on_message(self, kind: str, fields: Message, descriptors: list[int]) -> None:
        ends = [socket.socket(fileno=number) for number in descriptors]
        if kind == "start" and not self.started.done():
            self._start(fields)
        elif kind == "slot":
            self._label.process = f"worker-{fields['slot']}"
        elif kind == "http" and self._web is not None and len(ends) == 1:
            self._accept(self._web, ends.pop())
        elif kind == "engine" and fields["number"] < len(self._engines):
            for end in ends:
                end.setblocking(True)
            self._engines[fields["number"]].attach(fields["about"], ends)
            return
        elif kind == "engine_gone" and fields["number"] < len(self._engines):
            self._engines[fields["number"]].give_up("its process died again and again")
        elif kind == "drain":
            self._draining.set()
        elif kind == "stop":
            self._stop.set()
        for end in ends:
            end.close()

    def _start(self, fields: Message) -> None:
        try:
            self.started.set_result(
                ServerConfig(**take_settings(fields["settings"], where="the supervisor"))
            )
        except (ConfigError, KeyError) as error:
            self.started.set_exception(error)

    def _accept(self, server: web.Server, end: socket.socket) -> None:
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        connecting = asyncio.ensure_future(loop.connect_accepted_socket(server, end))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)


class _Label(logging.Filter):
    """Says in each line which worker it is of."""

    def __init__(self) -> None:
        super().__init__()
        self.process = "spare"

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the name; let everything through."""
        record.fields = {**getattr(record, "fields", {}), "process": self.process}
        return True


@web.middleware
async def _as_the_front_saw_it(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the request come from whom the front had it from."""
    return await handler(request.clone(remote=request.headers.get(CLIENT_HEADER, "")))


async def _main(end: socket.socket) -> None:
    await WorkerProcess(end).run()


def main() -> None:
    """Serve the supervisor that started this process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    running = _main(adopt_channel())
    try:
        import uvloop
    except ImportError:
        asyncio.run(running)
    else:
        uvloop.run(running)


if __name__ == "__main__":
    main()
