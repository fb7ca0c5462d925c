"""
`rtcodec serve` with more than one process: the composition root of the front.

    config -> supervisor -> front -> HTTP
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from rtcodec_server import crowd, malformed
from rtcodec_server.app import listen, make_runner
from rtcodec_server.config import ServerConfig
from rtcodec_server.event import RelayEvent
from rtcodec_server.logs import log_event
from rtcodec_server.report import report_stats
from rtcodec_server.signals import Signals
from rtcodec_server.tls import Tls
from rtcodec_server.webhook import WebhookSender
from rtcodec_server.workers.front import Front
from rtcodec_server.workers.supervisor import Supervisor

_log = logging.getLogger(__name__)

_WEBHOOK_PATIENCE_S: Final = 2.0
_END_PATIENCE_S: Final = 15.0
"Beyond draining: what closing connections and last frames may take."


async def serve_processes(
    config: ServerConfig, *, on_start: Callable[[str], None] = lambda url: None
) -> dict[str, Any]:
    """
    Run a relay of several processes until it is told to end, as `serve` runs one of one.

    Args:
        config: The settings.
        on_start: Called with the relay's address when it listens.

    Returns:
        The figures of the whole run.

    Raises:
        ConfigError, EngineError: If it does not start, or its processes keep dying.
    """
    malformed.install()
    crowd.install()
    config.check_reachable()
    config.check_tap()
    tls = Tls.of(config)
    webhooks = WebhookSender(config.webhook) if config.webhook.url is not None else None
    with Signals() as signals:
        signals.on_hangup(tls)
        supervisor = Supervisor(config, webhooks.put if webhooks is not None else _ignore)
        front = Front(supervisor, config, signals.draining, webhooks)
        runner = make_runner(front.app)
        try:
            await runner.setup()
            on_start(await listen(runner, config, tls))
            supervisor.start()
            await _until_end(supervisor, signals, config.drain_s)
        finally:
            await supervisor.close()
            await runner.cleanup()
            if webhooks is not None:
                await webhooks.close(patience_s=_WEBHOOK_PATIENCE_S)
    return {**report_stats(supervisor.stats()), **supervisor.engine_report}


async def _until_end(supervisor: Supervisor, signals: Signals, drain_s: float) -> None:
    """Wait until all workers have ended: told to, drained, or dead for good."""
    telling = asyncio.ensure_future(_tell_the_end(supervisor, signals, drain_s))
    ended = asyncio.ensure_future(supervisor.until_ended())
    try:
        await asyncio.wait({telling, ended}, return_when=asyncio.FIRST_COMPLETED)
        supervisor.check()
    finally:
        for task in (telling, ended):
            task.cancel()
        await asyncio.gather(telling, ended, return_exceptions=True)


async def _tell_the_end(supervisor: Supervisor, signals: Signals, drain_s: float) -> None:
    stopping = asyncio.ensure_future(signals.stop.wait())
    draining = asyncio.ensure_future(signals.draining.wait())
    try:
        await asyncio.wait({stopping, draining}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            n_sessions = supervisor.directory.n_sessions
            log_event(_log, "draining", sessions=n_sessions, patience_s=drain_s)
            supervisor.drain()
            await asyncio.wait({stopping}, timeout=drain_s + _END_PATIENCE_S)
        supervisor.stop()
        await asyncio.sleep(_END_PATIENCE_S)
        log_event(_log, "workers_killed", level=logging.ERROR)
        supervisor.workers.kill()
        await supervisor.workers.until_ended()
    finally:
        for task in (stopping, draining):
            task.cancel()
        await asyncio.gather(stopping, draining, return_exceptions=True)


def _ignore(event: RelayEvent) -> None:
    """Nobody asked for it."""
