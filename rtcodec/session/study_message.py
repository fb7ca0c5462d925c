"""
Messages of a study's data channel (docs/studies.md): bytes to dataclasses and back.

    type u8 | fields

Both sides read with this. What a message is about, and whether it makes sense now, is the reader's
business. No clock, no I/O.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from rtcodec.bitstream.cursor import Cursor, write_varint
from rtcodec.bitstream.exact_format import ALL_STEPS
from rtcodec.errors import BitstreamError, Corrupt, RemoteProtocolError

CHANNEL_LABEL: Final = "study"
VIEWER_MAX_BYTES: Final = 16384
RELAY_MAX_BYTES: Final = 65536
VERSION_BYTES: Final = 8
"Of a file: the first of its SHA-256."

REQUEST_MAX: Final = 2**31 - 1
INSTANCE_MAX: Final = 2**24 - 1
FILE_MAX_BYTES: Final = 2**40
_FRAME_MAX: Final = 2**24
_SIDE_MAX: Final = 65535
_REGION, _PREVIEW = 1, 2


class Quality(IntEnum):
    """What a viewer shows of frames, as it says."""

    PREVIEW = 1
    COARSE = 2
    VERIFIED = 3
    NOT_VERIFIED = 4


@dataclass(frozen=True, slots=True)
class Request:
    """What a viewer wants."""

    number: int
    instance: int
    priority: int
    "0 first, to 255."

    steps: int
    "0 to ALL_STEPS: as far as the picture has them; 0: heads alone."

    preview: bool
    first_frame: int
    frames: int
    "0: all from the first."

    region: tuple[int, int, int, int] | None = None
    "x, y, width, height in samples."


@dataclass(frozen=True, slots=True)
class Cancel:
    """A viewer wants nothing more of a request."""

    number: int


@dataclass(frozen=True, slots=True)
class Have:
    """What a viewer holds already."""

    instance: int
    version: bytes
    ranges: tuple[tuple[int, int], ...]
    "(start, end) in the file, in order."


@dataclass(frozen=True, slots=True)
class WantFallback:
    """A frame did not come out as it must."""

    instance: int
    frame: int


@dataclass(frozen=True, slots=True)
class Status:
    """What a viewer shows."""

    instance: int
    first_frame: int
    frames: int
    quality: Quality


FromViewer = Request | Cancel | Have | WantFallback | Status


@dataclass(frozen=True, slots=True)
class Listing:
    """All instances, or some of them, or one that has changed."""

    fields: Mapping[str, Any]
    is_whole: bool
    "Whether it is a LIST, and not one INSTANCE."


@dataclass(frozen=True, slots=True)
class Index:
    """How long the parts of a file are."""

    instance: int
    header_bytes: int
    frame_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """A still of the neural codec."""

    instance: int
    frame: int
    width: int
    height: int
    packets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """Ranges of a file."""

    instance: int
    parts: tuple[tuple[int, bytes], ...]
    "Offset and bytes of each."


@dataclass(frozen=True, slots=True)
class Fallback:
    """A part of a frame that is coded otherwise, a file of its own."""

    instance: int
    frame: int
    total_bytes: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """All that a request named has been sent."""

    number: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something cannot be done."""

    fields: Mapping[str, Any]


FromRelay = Listing | Index | Preview | Data | Fallback | Done | Refusal

_REQUEST, _CANCEL, _HAVE, _WANT_FALLBACK, _STATUS = 0x01, 0x02, 0x03, 0x04, 0x05
_LIST, _INSTANCE, _INDEX, _PREVIEW_TYPE = 0x81, 0x82, 0x83, 0x84
_DATA, _FALLBACK, _DONE, _ERROR = 0x85, 0x86, 0x87, 0x88


def write_from_viewer(message: FromViewer) -> bytes:
    """Write a message of a viewer; `read_from_viewer` is the inverse."""
    match message:
        case Request():
            return _write_request(message)
        case Cancel():
            return _written(_CANCEL, message.number)
        case Have():
            gaps: list[int] = []
            last = 0
            for start, end in message.ranges:
                gaps += (start - last, end - start)
                last = end
            return _written(_HAVE, message.instance) + message.version + _varints(gaps)
        case WantFallback():
            return _written(_WANT_FALLBACK, message.instance, message.frame)
        case _:
            place = (message.instance, message.first_frame, message.frames)
            return _written(_STATUS, *place) + bytes([message.quality])


def read_from_viewer(data: bytes) -> FromViewer:
    """
    Read a message of a viewer.

    Raises:
        RemoteProtocolError: If it is none.
    """
    if len(data) > VIEWER_MAX_BYTES:
        raise RemoteProtocolError(f"a message of a study is longer than {VIEWER_MAX_BYTES} bytes")
    try:
        cursor = Cursor(data, bounded=True)
        message = _read_from_viewer(cursor)
        cursor.end("message")
    except BitstreamError as error:
        raise RemoteProtocolError(f"a message of a study: {error}") from None
    return message


def _read_from_viewer(cursor: Cursor) -> FromViewer:
    kind = cursor.u8("type")
    if kind == _REQUEST:
        return _read_request(cursor)
    if kind == _CANCEL:
        return Cancel(cursor.varint("request", limit=REQUEST_MAX))
    instance = cursor.varint("instance", limit=INSTANCE_MAX)
    if kind == _HAVE:
        return _read_have(cursor, instance)
    if kind == _WANT_FALLBACK:
        return WantFallback(instance, cursor.varint("frame", limit=_FRAME_MAX))
    if kind == _STATUS:
        first, count = (cursor.varint(name, limit=_FRAME_MAX) for name in ("first", "frames"))
        quality = cursor.u8("quality")
        if quality not in tuple(Quality):
            raise Corrupt(f"quality {quality}", offset=cursor.offset - 1)
        return Status(instance, first, count, Quality(quality))
    raise Corrupt(f"type {kind:#04x}", offset=0)


def _write_request(request: Request) -> bytes:
    flags = (_REGION if request.region else 0) | (_PREVIEW if request.preview else 0)
    head = _written(_REQUEST, request.number, request.instance)
    head += bytes([request.priority, request.steps, flags])
    return head + _varints([request.first_frame, request.frames, *(request.region or ())])


def _read_request(cursor: Cursor) -> Request:
    number = cursor.varint("request", limit=REQUEST_MAX)
    instance = cursor.varint("instance", limit=INSTANCE_MAX)
    priority, steps, flags = (cursor.u8(name) for name in ("priority", "steps", "flags"))
    if steps > ALL_STEPS or flags & ~(_REGION | _PREVIEW):
        raise Corrupt(f"{steps} steps, flags {flags:#04x}", offset=cursor.offset - 2)
    first, count = (cursor.varint(name, limit=_FRAME_MAX) for name in ("first", "frames"))
    region = None
    if flags & _REGION:
        x, y, width, height = (
            cursor.varint(name, limit=_SIDE_MAX) for name in ("x", "y", "width", "height")
        )
        region = x, y, width, height
    return Request(number, instance, priority, steps, bool(flags & _PREVIEW), first, count, region)


def _read_have(cursor: Cursor, instance: int) -> Have:
    version = cursor.raw("version", VERSION_BYTES)
    ranges, last = [], 0
    while cursor.remaining:
        start = last + cursor.varint("gap", limit=FILE_MAX_BYTES)
        last = start + cursor.varint("size", limit=FILE_MAX_BYTES)
        ranges.append((start, last))
    return Have(instance, version, tuple(ranges))


def write_from_relay(message: FromRelay) -> bytes:
    """Write a message of the relay; `read_from_relay` is the inverse."""
    match message:
        case Listing():
            return bytes([_LIST if message.is_whole else _INSTANCE]) + _json(message.fields)
        case Index():
            counts = (message.header_bytes, len(message.frame_bytes), *message.frame_bytes)
            return _written(_INDEX, message.instance, *counts)
        case Preview():
            sides = b"".join(side.to_bytes(2, "big") for side in (message.width, message.height))
            packets = b"".join(write_varint(len(p)) + p for p in message.packets)
            return _written(_PREVIEW_TYPE, message.instance, message.frame) + sides + packets
        case Data():
            parts = (_varints((offset, len(part))) + part for offset, part in message.parts)
            return _written(_DATA, message.instance) + b"".join(parts)
        case Fallback():
            place = (message.instance, message.frame, message.total_bytes, message.offset)
            return _written(_FALLBACK, *place) + message.data
        case Done():
            return _written(_DONE, message.number)
        case _:
            return bytes([_ERROR]) + _json(message.fields)


def read_from_relay(data: bytes) -> FromRelay | None:
    """
    Read a message of the relay; None for a type of a later version.

    Raises:
        RemoteProtocolError: If it is malformed.
    """
    try:
        cursor = Cursor(data, bounded=True)
        return _read_from_relay(cursor)
    except BitstreamError as error:
        raise RemoteProtocolError(f"a message of a study: {error}") from None


def _read_from_relay(cursor: Cursor) -> FromRelay | None:
    kind = cursor.u8("type")
    if kind in (_LIST, _INSTANCE):
        return Listing(_read_json(cursor), is_whole=kind == _LIST)
    if kind == _ERROR:
        return Refusal(_read_json(cursor))
    if kind == _DONE:
        return Done(cursor.varint("request", limit=REQUEST_MAX))
    if kind not in (_INDEX, _PREVIEW_TYPE, _DATA, _FALLBACK):
        return None
    instance = cursor.varint("instance", limit=INSTANCE_MAX)
    if kind == _INDEX:
        header_bytes = cursor.varint("header_bytes", limit=FILE_MAX_BYTES)
        count = cursor.varint("frames", limit=min(_FRAME_MAX, cursor.remaining))
        sizes = tuple(cursor.varint("frame_bytes", limit=FILE_MAX_BYTES) for _ in range(count))
        return Index(instance, header_bytes, sizes)
    if kind == _PREVIEW_TYPE:
        frame = cursor.varint("frame", limit=_FRAME_MAX)
        width, height = cursor.u16("width"), cursor.u16("height")
        packets = []
        while cursor.remaining:
            packets.append(cursor.raw("packet", cursor.varint("size", limit=cursor.remaining)))
        return Preview(instance, frame, width, height, tuple(packets))
    if kind == _DATA:
        parts = []
        while cursor.remaining:
            offset = cursor.varint("offset", limit=FILE_MAX_BYTES)
            size = cursor.varint("size", limit=cursor.remaining)
            parts.append((offset, cursor.raw("bytes", size)))
        return Data(instance, tuple(parts))
    frame = cursor.varint("frame", limit=_FRAME_MAX)
    total, offset = (cursor.varint(name, limit=FILE_MAX_BYTES) for name in ("total", "offset"))
    return Fallback(instance, frame, total, offset, cursor.raw("bytes", cursor.remaining))


def listing_messages(room: str, instances: Sequence[Mapping[str, Any]]) -> Iterable[Listing]:
    """Cut a list of instances into messages that are not too long; at least one."""
    some: list[Mapping[str, Any]] = []
    size = first = 0

    def message() -> Listing:
        head = {"room": room, "count": len(instances), "first": first}
        return Listing({**head, "instances": some}, is_whole=True)

    for number, instance in enumerate(instances):
        more = len(_json(instance)) + 1
        if some and size + more > RELAY_MAX_BYTES // 2:
            yield message()
            some, size, first = [], 0, number
        some.append(instance)
        size += more
    yield message()


def _written(kind: int, *numbers: int) -> bytes:
    return bytes([kind]) + _varints(numbers)


def _varints(numbers: Iterable[int]) -> bytes:
    return b"".join(write_varint(number) for number in numbers)


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()


def _read_json(cursor: Cursor) -> Mapping[str, Any]:
    at = cursor.offset
    try:
        fields = json.loads(cursor.raw("json", cursor.remaining))
    except (ValueError, RecursionError):
        raise Corrupt("not JSON", offset=at) from None
    if not isinstance(fields, dict):
        raise Corrupt("not a JSON object", offset=at)
    return fields
