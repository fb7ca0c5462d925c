"""Read the body of a request: bounded in size and time, text of the type that is asked for."""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from rtcodec_server.problem import Problem

_BODY_TIMEOUT_S: Final = 10.0


async def read_text(request: web.Request, content_type: str, limit_bytes: int) -> str:
    """
    Return the body as text.

    Raises:
        Problem: If it is of another type, too long, too slow, malformed or no UTF-8.
    """
    if request.content_type != content_type:
        raise Problem(
            415, f"the content type is {content_type}, not {request.content_type}",
            Accept=content_type,
        )  # fmt: skip
    body = await read_bytes(request, limit_bytes)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(400, "the body is not UTF-8") from None


async def read_bytes(request: web.Request, limit_bytes: int) -> bytes:
    """
    Return the body.

    Raises:
        Problem: If it is too long, too slow or malformed.
    """
    too_large = Problem(413, f"the body is longer than {limit_bytes} bytes")
    if (request.content_length or 0) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit_bytes:
                    raise too_large
    except TimeoutError:
        raise Problem(408, f"the body did not come within {_BODY_TIMEOUT_S:g} s") from None
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise Problem(400, "the body is malformed") from None
    return bytes(body)
