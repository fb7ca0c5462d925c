"""
The composition root: the only place that chooses what the relay is made of.

    config -> bundle, engine -> EngineHost -> Relay -> HTTP
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.engine.api import Engine
from rtcodec.engine.loader import open_engine
from rtcodec.engine.null import NullEngine
from rtcodec.errors import ConfigError
from rtcodec.webrtc import install
from rtcodec_server.config import ServerConfig
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.http import make_app
from rtcodec_server.measure import MeasureGate
from rtcodec_server.relay import Relay, RelaySettings
from rtcodec_server.report import report_engine, report_stats

_log = logging.getLogger(__name__)

EngineFactory = Callable[[ServerConfig], tuple[Engine, Bundle]]


@dataclass(slots=True)
class RunningServer:
    """A relay that listens."""

    relay: Relay
    url: str
    "`http://host:port`."

    ready: asyncio.Future[None]
    "Done when the engine is ready; fails with what kept it from starting."


def load_engine(config: ServerConfig) -> tuple[Engine, Bundle]:
    """
    Load the model and start the engine that the settings name.

    Raises:
        ConfigError: If one of them does not exist.
        EngineError: If the engine does not start.
    """
    if config.engine == "null":
        engine = NullEngine()
        return engine, engine.bundle
    bundle = find_bundle(config.model)
    threads = config.threads or len(os.sched_getaffinity(0))
    return open_engine(config.engine, bundle, threads=threads), bundle


@asynccontextmanager
async def running_server(
    config: ServerConfig, *, engine_factory: EngineFactory = load_engine
) -> AsyncIterator[RunningServer]:
    """
    Listen, get the engine ready meanwhile, and at the end leave nothing behind.

    Args:
        config: The settings.
        engine_factory: Called on a thread of its own.

    Raises:
        ConfigError: If the address cannot be listened on, or the tap's folder is missing.
    """
    install()
    if config.tap is not None and not config.tap.is_dir():
        raise ConfigError(f"{config.tap}: no such directory for the frame tap")
    relay = Relay(_relay_settings(config))
    runner = web.AppRunner(
        make_app(relay, token=config.token), access_log=None, shutdown_timeout=2.0
    )
    await runner.setup()
    ready = asyncio.ensure_future(_start_engine(relay, config, engine_factory))
    try:
        site = web.TCPSite(runner, config.host, config.port)
        try:
            await site.start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"cannot listen on {config.host}:{config.port}: {reason}") from error
        yield RunningServer(relay, _url(runner), ready)
    finally:
        await asyncio.gather(ready, return_exceptions=True)
        await relay.close()
        await runner.cleanup()


async def serve(
    config: ServerConfig,
    *,
    engine_factory: EngineFactory = load_engine,
    on_start: Callable[[RunningServer], None] = lambda server: None,
) -> dict[str, Any]:
    """
    Run a relay until SIGTERM or SIGINT.

    Args:
        config: The settings.
        engine_factory: As in `running_server`.
        on_start: Called when the relay listens.

    Returns:
        The figures of the whole run.

    Raises:
        ConfigError, EngineError: If it does not start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    engine: dict[str, Any] = {}
    try:
        async with running_server(config, engine_factory=engine_factory) as server:
            on_start(server)
            stopping = asyncio.ensure_future(stop.wait())
            first: set[asyncio.Future[Any]] = {stopping, server.ready}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if server.ready.done():
                server.ready.result()
                await stopping
            stopping.cancel()
            if server.relay.host is not None:
                engine = report_engine(server.relay.host.info)
        return {**report_stats(server.relay.stats), **engine}
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)


async def _start_engine(relay: Relay, config: ServerConfig, factory: EngineFactory) -> None:
    engine, bundle = await asyncio.to_thread(factory, config)
    host = EngineHost(engine, bundle, max_batch=config.max_batch, gate=MeasureGate(config.psnr))
    try:
        for width, height in config.warm:
            await host.warm(width, height)
    except BaseException:
        await host.close()
        raise
    relay.host = host
    _log.info(
        "engine ready name=%s model=%s precision=%s device=%s",
        engine.info.name,
        engine.info.model,
        engine.info.precision,
        engine.info.device,
    )


def _relay_settings(config: ServerConfig) -> RelaySettings:
    return RelaySettings(
        qp=config.qp,
        bitrate_bps=None if config.bitrate_kbps is None else config.bitrate_kbps * 1000,
        max_frame_factor=config.max_frame_factor,
        follow_remb=config.follow_remb,
        frame_deadline_us=config.frame_deadline_ms * 1000,
        ice_servers=config.ice_servers,
        loopback_only=config.loopback_only,
        tap=config.tap,
        limits=config.limits,
    )


def _url(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
