"""
Answers that are not what the client hoped for: `application/problem+json`.

One line for people in `detail`. What an exception says is shown only where it
was written for that; whatever else happens is "internal error".
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from rtcodec.errors import RemoteProtocolError
from rtcodec.session.lobby import RelayFull, RoomTaken
from rtcodec_server.logs import log_event
from rtcodec_server.offer import Unprocessable
from rtcodec_server.recordings import CannotRecord
from rtcodec_server.room import UnknownSession
from rtcodec_server.via import LoopRefused

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REFUSED: Final = web.AppKey("refused", dict[int, int])
"Status -> requests that got it, of those worth counting."

_COUNTED: Final = frozenset({401, 403, 409, 429, 503})


class Problem(Exception):
    """An answer that is not what the client hoped for."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        """
        Args:
            status: HTTP status.
            detail: One line for people.
            headers: More headers; `_` stands for `-`.
        """
        super().__init__(detail)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into answers."""
    try:
        return await handler(request)
    except Problem as problem:
        return _answer(request, problem)
    except RoomTaken as error:
        return _answer(request, Problem(409, str(error)))
    except RelayFull as error:
        return _answer(request, Problem(503, str(error), Retry_After=str(error.retry_after_s)))
    except LoopRefused as error:
        return _answer(request, Problem(508, str(error)))
    except CannotRecord as error:
        return _answer(request, Problem(409, str(error)))
    except UnknownSession as error:
        return _answer(request, Problem(404, str(error)))
    except Unprocessable as error:
        return _answer(request, Problem(422, str(error)))
    except RemoteProtocolError as error:
        return _answer(request, Problem(400, str(error)))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _answer(request, Problem(error.status, (error.reason or "error").lower(), **headers))
    except Exception:
        _log.exception("request_failed", extra={"fields": _where(request)})
        return _answer(request, Problem(500, "internal error"))


def _answer(request: web.Request, problem: Problem) -> web.Response:
    detail = " ".join(str(problem).split())
    if problem.status in _COUNTED:
        refused = request.app[REFUSED]
        refused[problem.status] = refused.get(problem.status, 0) + 1
        log_event(_log, "request_refused", status=problem.status, detail=detail, **_where(request))
    body = {"type": "about:blank", "status": problem.status, "detail": detail}
    return web.Response(
        status=problem.status,
        text=json.dumps(body),
        content_type="application/problem+json",
        headers=problem.headers,
    )


def _where(request: web.Request) -> dict[str, Any]:
    """Say what was asked for: not the path itself, whose end may be a session's secret name."""
    resource = request.match_info.route.resource
    return {
        "method": request.method,
        "route": resource.canonical if resource is not None else None,
        "room": request.match_info.get("room"),
        "client": request.remote,
    }
