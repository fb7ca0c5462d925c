"""
What aiohttp says of bytes that are no HTTP request.

It quotes them, in the answer and with a traceback in the log: a header with a
token and one character too many would be there for everybody to read.
"""

import logging
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from rtcodec_server.logs import log_event

_log = logging.getLogger(__name__)
_stock_handle_error: Final = RequestHandler.handle_error


def install() -> None:
    """Answer malformed requests without quoting them, in this process; again is free."""
    RequestHandler.handle_error = _handle_error  # type: ignore[method-assign]


def _handle_error(
    self: RequestHandler,
    request: web.BaseRequest,
    status: int = 500,
    exc: BaseException | None = None,
    message: str | None = None,
) -> web.StreamResponse:
    if not isinstance(exc, HttpProcessingError):
        return _stock_handle_error(self, request, status, exc, message)
    log_event(_log, "request_malformed", status=status, client=request.remote)
    if request.writer.output_size > 0:
        raise ConnectionError("an answer is under way already")
    response = web.Response(status=status, text="malformed request\n")
    response.force_close()
    return response
