"""
Which layer of a stream a subscriber wants, if it wants to choose.

    endpoint?rung=1&temporal=0        POST {"rid": "1", "temporalLayerId": 0} to a layer resource

Read from the query of a WHEP endpoint and from the body of the draft's Video Layer Selection
extension # draft-ietf-wish-whep 4.9.2. Bounded, and with one exception type: whatever is wrong is
the peer's fault.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rtcodec.errors import RemoteProtocolError
from rtcodec.session.ladder import Rung

MAX_REQUEST_BYTES: Final = 1024

FULL_RATE: Final = 1
"The highest temporal layer: every frame."

HALF_RATE: Final = 0
"The lowest: every other frame, where that is asked for."

_NUMBERS: Final = {
    "spatialLayerId", "temporalLayerId", "maxSpatialLayerId", "maxTemporalLayerId",
    "maxWidth", "maxHeight",
}  # fmt: skip
_TEXTS: Final = {"mediaId", "rid", "encodingId"}


@dataclass(frozen=True, slots=True)
class LayerWish:
    """What a subscriber asked for; without any of it the relay chooses."""

    rung: int | None = None
    "Gets this one and no other; one that the stream does not have is its last."

    max_temporal: int = FULL_RATE
    "Gets no frame of a higher temporal layer."

    max_width: int | None = None
    max_height: int | None = None
    "Gets no larger picture, unless all are."

    def allowed(self, rungs: Sequence[Rung]) -> tuple[Rung, ...]:
        """Return the rungs to choose from, finest first, at least one of *rungs*."""
        if self.rung is not None:
            return (rungs[min(self.rung, len(rungs) - 1)],)
        fitting = tuple(rung for rung in rungs if self._fits(rung))
        return fitting or (rungs[-1],)

    def _fits(self, rung: Rung) -> bool:
        return (self.max_width is None or rung.width <= self.max_width) and (
            self.max_height is None or rung.height <= self.max_height
        )


ANY_LAYER: Final = LayerWish()


def read_layer_query(query: Mapping[str, str]) -> LayerWish:
    """
    Read what the query of an endpoint's URL asks for; other parameters are ignored.

    Raises:
        RemoteProtocolError: If a value is out of range.
    """
    rung, temporal = query.get("rung"), query.get("temporal")
    return LayerWish(
        rung=None if rung is None else _digit(rung, "rung", most=2),
        max_temporal=FULL_RATE if temporal is None else _digit(temporal, "temporal", most=1),
    )


def read_layer_request(text: str) -> LayerWish:
    """
    Read the body of a POST to a session's layer resource; what the draft does not know is ignored.

    Raises:
        RemoteProtocolError: If it is not such an object, or asks for what no stream has.
    """
    document = _read_object(text)
    if document.get("mediaId", "0") not in ("", "0"):
        raise RemoteProtocolError("mediaId: there is one media section, 0")
    for name in ("spatialLayerId", "maxSpatialLayerId"):
        if document.get(name, 0) != 0:
            raise RemoteProtocolError(f"{name}: an encoding has one spatial layer, 0")
    rid = document.get("rid", document.get("encodingId"))  # the name of earlier drafts
    temporal = min(
        document.get("temporalLayerId", FULL_RATE), document.get("maxTemporalLayerId", FULL_RATE)
    )
    return LayerWish(
        rung=None if rid is None else _digit(rid, "rid", most=2),
        max_temporal=min(temporal, FULL_RATE),
        max_width=document.get("maxWidth"),
        max_height=document.get("maxHeight"),
    )


def _read_object(text: str) -> dict[str, Any]:
    if len(text) > MAX_REQUEST_BYTES:
        raise RemoteProtocolError(f"the request is longer than {MAX_REQUEST_BYTES} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("the request is not JSON") from None
    if not isinstance(document, dict):
        raise RemoteProtocolError("the request is not a JSON object")
    for name, value in document.items():
        if name in _NUMBERS and (type(value) is not int or not 0 <= value < 1 << 31):
            raise RemoteProtocolError(f"{name} is not a whole number from 0 on")
        if name in _TEXTS and not isinstance(value, str):
            raise RemoteProtocolError(f"{name} is not a string")
    return document


def _digit(text: str, name: str, *, most: int) -> int:
    if len(text) != 1 or not "0" <= text <= str(most):
        raise RemoteProtocolError(f"{name} is a number from 0 to {most}")
    return int(text)
