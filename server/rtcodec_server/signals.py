"""What SIGTERM, SIGINT and SIGHUP mean to the relay."""

import asyncio
import logging
import signal
from typing import Self

from rtcodec.errors import ConfigError
from rtcodec_server.logs import log_event
from rtcodec_server.tls import Tls

_log = logging.getLogger(__name__)


class Signals:
    """Handlers for as long as the context is open; needs a running event loop."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        "Set by SIGINT, and by a second SIGTERM."
        self.draining = asyncio.Event()
        "Set by SIGTERM."
        self._loop = asyncio.get_running_loop()
        self._n_terminated = 0
        self._handled: list[signal.Signals] = []

    def __enter__(self) -> Self:
        self._loop.add_signal_handler(signal.SIGTERM, self._terminate)
        self._loop.add_signal_handler(signal.SIGINT, self.stop.set)
        self._handled += [signal.SIGTERM, signal.SIGINT]
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._handled:
            self._loop.remove_signal_handler(number)

    def on_hangup(self, tls: Tls | None) -> None:
        """Read the certificate again on SIGHUP; without one SIGHUP keeps its meaning."""
        if tls is not None:
            self._loop.add_signal_handler(signal.SIGHUP, _reload, tls)
            self._handled.append(signal.SIGHUP)

    def _terminate(self) -> None:
        # Counted here: whoever asked for draining over HTTP before has sent no signal yet.
        self._n_terminated += 1
        if self._n_terminated > 1:
            self.stop.set()
        self.draining.set()


def _reload(tls: Tls) -> None:
    try:
        tls.reload()
    except ConfigError as error:
        log_event(_log, "certificate_kept", level=logging.ERROR, problem=str(error))
    else:
        log_event(_log, "certificate_reloaded")
