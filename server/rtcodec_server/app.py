"""
The composition root: the only place that chooses what the relay is made of.

    config -> bundle, engine -> EngineHost -> Relay -> HTTP
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.call_restorer import CallRestorer
from rtcodec.codec.self_test import measure_capacity
from rtcodec.console import CLOCKS
from rtcodec.engine.api import Engine
from rtcodec.engine.capacity import Capacity
from rtcodec.engine.loader import (
    FALLBACKS,
    AttachableEngine,
    group_engines,
    open_engine,
    open_fallback,
)
from rtcodec.engine.null import NullEngine
from rtcodec.errors import ConfigError, RtcodecError
from rtcodec.session.candidate import CandidatePolicy
from rtcodec.session.ladder import ladder
from rtcodec.webrtc import install
from rtcodec_server import crowd, malformed
from rtcodec_server.config import ServerConfig
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.event import RelayEvent
from rtcodec_server.http import make_app
from rtcodec_server.logs import log_event
from rtcodec_server.measure import MeasureGate
from rtcodec_server.relay import Relay
from rtcodec_server.report import report_engine, report_stats
from rtcodec_server.room import RelaySettings
from rtcodec_server.signals import Signals
from rtcodec_server.study_library import StudyLibrary
from rtcodec_server.tls import Tls
from rtcodec_server.warming import warm
from rtcodec_server.webhook import WebhookSender
from rtcodec_server.workers.limits import CALL_PATIENCE

_log = logging.getLogger(__name__)

_WEBHOOK_PATIENCE_S: Final = 2.0
"How long the last events may take to be sent, once everybody has left."

_IDLE_S: Final = 20.0
"""How long an HTTP connection may take to bring a request whole but for its body, and wait for the
next one; aiohttp's own limit is an hour."""

_TEST_SIZE: Final = (320, 192)
"Of frames to measure an engine with that is to be ready for no size."

EngineFactory = Callable[[ServerConfig], tuple[Engine, Bundle]]


@dataclass(frozen=True, slots=True)
class Door:
    """Where requests come in and events go out, of a relay that does not listen by itself."""

    open: Callable[[web.AppRunner], str]
    "Lets requests in; returns where from."

    middleware: Middleware
    "Sees them first."

    on_event: Callable[[RelayEvent], None]
    "Gets what webhooks are for."


@dataclass(slots=True)
class RunningServer:
    """A relay that listens."""

    relay: Relay
    url: str
    "`http://host:port`."

    ready: asyncio.Future[None]
    "Done when the engine is ready; fails with what kept it from starting."

    tls: Tls | None = None
    "The certificate, with https."


def load_engine(config: ServerConfig) -> tuple[Engine, Bundle]:
    """
    Load the model and start the engine that the settings name.

    Raises:
        ConfigError: If one of them does not exist.
        EngineError: If the engine does not start.
    """
    if config.engine == "null":
        null = NullEngine()
        return null, null.bundle
    bundle = find_bundle(config.model)
    threads = config.threads or len(os.sched_getaffinity(0))
    engine = open_engine(config.engine, bundle, threads=threads)
    return with_fallback([engine], config, bundle, threads=threads), bundle


def with_fallback(
    engines: Sequence[Engine], config: ServerConfig, bundle: Bundle, *, threads: int
) -> Engine:
    """
    Return engines as one, beside another that takes over when none of them is left.

    Args:
        engines: At least one, all of *bundle*.
        config: Says which takes over.
        bundle: The model.
        threads: Of the one that takes over, for one frame.
    """
    name = engines[0].info.name
    is_local = not isinstance(engines[0], AttachableEngine)
    can_hang = is_local and name not in (*FALLBACKS, "null")
    fallback: Callable[[], Engine] | None = None
    if config.engine == "null":
        fallback = NullEngine
    elif config.engine_fallback != "off":
        fallback = partial(open_fallback, config.engine_fallback, bundle, threads=threads, but=name)
    return group_engines(
        engines,
        hang_s=CALL_PATIENCE * config.processes.hang_s if can_hang else None,
        fallback=fallback,
        on_change=lambda what, about: log_event(
            _log, f"engine_{what}", level=logging.WARNING, engine=about
        ),
    )


@asynccontextmanager
async def running_server(
    config: ServerConfig,
    *,
    engine_factory: EngineFactory = load_engine,
    draining: asyncio.Event | None = None,
    door: Door | None = None,
) -> AsyncIterator[RunningServer]:
    """
    Listen, get the engine ready meanwhile, and at the end leave nothing behind.

    Args:
        config: The settings.
        engine_factory: Called on a thread of its own.
        draining: Nobody is let in any more once it is set.
        door: Used instead of a socket and webhooks of its own.

    Raises:
        ConfigError: If the address cannot be listened on, would let everybody in by accident,
            or a file or folder is missing.
    """
    install()
    malformed.install()
    if door is None:
        crowd.install()
    config.check_reachable()
    config.check_tap()
    config.studies.check()
    tls = Tls.of(config)
    record = config.record.directory
    if record is not None and not (record.is_dir() and os.access(record, os.W_OK | os.X_OK)):
        raise ConfigError(f"{record}: no directory that recordings can be written to")
    relay = Relay(_relay_settings(config), draining=draining)
    webhooks = WebhookSender(config.webhook) if config.webhook.url is not None else None
    if webhooks is not None:
        relay.on_event = webhooks.put
    app = make_app(relay, config, webhooks=webhooks)
    if door is not None:
        relay.on_event = door.on_event
        app.middlewares.insert(0, door.middleware)
    runner = make_runner(app)
    await runner.setup()
    relay.start_forwards()
    if config.studies.directory is not None:
        # several processes would each prepare all of it, those that only wait as well
        ahead = config.studies.ahead and not config.is_supervised
        relay.studies = StudyLibrary(
            replace(config.studies, ahead=ahead),
            model=config.study_model or "",
        )
        await relay.studies.look()
    ready = asyncio.ensure_future(_start_engine(relay, config, engine_factory))
    try:
        url = door.open(runner) if door is not None else await listen(runner, config, tls)
        yield RunningServer(relay, url, ready, tls)
    finally:
        await asyncio.gather(ready, return_exceptions=True)
        await relay.close()
        await runner.cleanup()
        if webhooks is not None:
            await webhooks.close(patience_s=_WEBHOOK_PATIENCE_S)


def make_runner(app: web.Application) -> web.AppRunner:
    """Return what serves *app*, with limits to the patience with clients."""
    return web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=2.0,
        keepalive_timeout=_IDLE_S,
        lingering_time=2.0,
    )


async def listen(runner: web.AppRunner, config: ServerConfig, tls: Tls | None) -> str:
    """
    Listen where the settings say; return the address.

    Raises:
        ConfigError: If that cannot be.
    """
    context = tls.context if tls is not None else None
    site = web.TCPSite(runner, config.host, config.port, ssl_context=context)
    try:
        await site.start()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {config.host}:{config.port}: {reason}") from error
    host, port = runner.addresses[0][:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def serve(
    config: ServerConfig,
    *,
    engine_factory: EngineFactory = load_engine,
    on_start: Callable[[RunningServer], None] = lambda server: None,
) -> dict[str, Any]:
    """
    Run a relay until it is told to end.

    SIGTERM drains: nobody is let in any more, and it ends with the last
    session or after `drain_s`. SIGINT, or a second SIGTERM, ends it now.

    Args:
        config: The settings.
        engine_factory: As in `running_server`.
        on_start: Called when the relay listens.

    Returns:
        The figures of the whole run.

    Raises:
        ConfigError, EngineError: If it does not start.
    """
    engine: dict[str, Any] = {}
    with Signals() as signals:
        async with running_server(
            config, engine_factory=engine_factory, draining=signals.draining
        ) as server:
            signals.on_hangup(server.tls)
            on_start(server)
            ending = asyncio.ensure_future(until_end(server.relay, signals.stop, config.drain_s))
            first: set[asyncio.Future[Any]] = {ending, server.ready}
            try:
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                if server.ready.done():
                    server.ready.result()
                    await ending
            finally:
                ending.cancel()
            if server.relay.host is not None:
                engine = report_engine(server.relay.host.info)
        return {**report_stats(server.relay.stats), **engine}


async def until_end(relay: Relay, stop: asyncio.Event, drain_s: float) -> None:
    """Wait until the relay should end: told to, or drained."""
    stopping = asyncio.ensure_future(stop.wait())
    draining = asyncio.ensure_future(_drained(relay, drain_s))
    try:
        await asyncio.wait({stopping, draining}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (stopping, draining):
            task.cancel()
        await asyncio.gather(stopping, draining, return_exceptions=True)


async def _drained(relay: Relay, drain_s: float) -> None:
    await relay.draining.wait()
    log_event(_log, "draining", sessions=relay.n_sessions, patience_s=drain_s)
    try:
        async with asyncio.timeout(drain_s):
            await relay.until_empty()
    except TimeoutError:
        log_event(_log, "drain_timed_out", sessions=relay.n_sessions)


async def _start_engine(relay: Relay, config: ServerConfig, factory: EngineFactory) -> None:
    engine, bundle = await asyncio.to_thread(factory, config)
    size = config.warm[0] if config.warm else _TEST_SIZE
    capacity = await asyncio.to_thread(test_engine, engine, bundle, cores=_cores(config), size=size)
    host = EngineHost(
        engine, bundle, max_batch=config.max_batch, gate=MeasureGate(config.psnr), capacity=capacity
    )
    try:
        for width, height in config.warm:
            for rung in ladder(config.rungs, width, height):
                await warm(host, rung.width, rung.height)
    except BaseException:
        await host.close()
        raise
    relay.host = host
    info = engine.info
    log_event(
        _log, "engine_ready", engine=info.name, model=info.model, precision=info.precision,
        device=info.device,
        streams=None if capacity is None else int(capacity.streams(*size)["relay"]),
    )  # fmt: skip


def test_engine(
    engine: Engine, bundle: Bundle, *, cores: int, size: tuple[int, int]
) -> Capacity | None:
    """Measure what frames cost on an engine; None if it fails, which its first frames will say."""
    try:
        return measure_capacity(engine, bundle, clocks=CLOCKS, cores=cores, size=size)
    except RtcodecError as error:
        log_event(_log, "self_test_failed", level=logging.WARNING, problem=str(error))
        return None


def _cores(config: ServerConfig) -> int:
    """Return the cores that this relay, or this worker of one, has for itself."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, config.workers))


def _relay_settings(config: ServerConfig) -> RelaySettings:
    return RelaySettings(
        qp=config.qp,
        bitrate_bps=None if config.bitrate_kbps is None else config.bitrate_kbps * 1000,
        denoise=config.denoise,
        max_frame_factor=config.max_frame_factor,
        follow_remb=config.follow_remb,
        min_bitrate_bps=None if config.min_bitrate_kbps is None else config.min_bitrate_kbps * 1000,
        frame_deadline_us=config.frame_deadline_ms * 1000,
        ice_servers=config.ice_servers,
        loopback_only=config.loopback_only,
        tap=config.tap,
        limits=config.limits,
        publisher=config.publisher,
        restorer=CallRestorer.load() if config.restore else None,
        rungs=config.rungs,
        legacy=config.legacy,
        forward=config.forward,
        record=config.record,
        admission=config.admission,
        usual_size=config.warm[0] if config.warm else (640, 360),
        candidates=CandidatePolicy.of(config.allow_candidates, loopback=config.loopback_only),
    )
