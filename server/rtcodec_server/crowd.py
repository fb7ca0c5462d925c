"""
How many HTTP connections there may be at once, and how long an answer may wait to be read.

aiohttp has a limit for neither: whoever opens connections and reads nothing would take every
descriptor of the process, and with them the sockets of media.
"""

import asyncio
import logging
import socket
from typing import Final, cast

from aiohttp.web_protocol import RequestHandler

from rtcodec_server.logs import log_event

_log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 512
"Beyond them a connection is closed as soon as it stands; requests are short."

UNREAD_MS: Final = 20_000
"A connection whose peer acknowledges, or has room for, nothing for so long is gone."

_stock_connection_made: Final = RequestHandler.connection_made


def install() -> None:
    """Keep to the limits, in this process; again is free."""
    RequestHandler.connection_made = _connection_made  # type: ignore[method-assign]


def _connection_made(self: RequestHandler, transport: asyncio.BaseTransport) -> None:
    _stock_connection_made(self, transport)
    manager = self._manager
    if manager is not None and len(manager.connections) > MAX_CONNECTIONS:
        log_event(_log, "connection_refused", open=MAX_CONNECTIONS)
        cast(asyncio.Transport, transport).abort()  # uvloop's are none by inheritance
        return
    peer = transport.get_extra_info("socket")
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
