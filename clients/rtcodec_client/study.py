"""
A viewer of studies: asks, keeps what comes, proves it, and tells a next session what it has.

    channel ─▶ LIST ─▶ HAVE, REQUEST ─▶ ranges ─▶ proof ─▶ STATUS
                                                     └─▶ alarm, FALLBACK
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from aiortc import RTCDataChannel
from aiortc.exceptions import InvalidStateError

from rtcodec.bitstream.exact_format import ALL_STEPS
from rtcodec.errors import BitstreamError, RemoteProtocolError
from rtcodec.exact.frame import Samples
from rtcodec.exact.partial import PartialPicture, prove_fallback
from rtcodec.session.study_message import (
    CHANNEL_LABEL,
    Data,
    Done,
    Fallback,
    FromViewer,
    Have,
    Index,
    Listing,
    Preview,
    Quality,
    Refusal,
    Request,
    Status,
    WantFallback,
    read_from_relay,
    write_from_viewer,
)
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_client.connection import RelayConnection
from rtcodec_client.study_store import HeldPicture, StudyStore

_RANGES_IN_ONE: Final = 1000  # of a HAVE: 14 bytes each, at most
_PICTURE_MAX_BYTES: Final = 1 << 32


class StudySession:
    """One connection to the studies of a room. Belongs to the event loop."""

    def __init__(self, connection: RelayConnection, store: StudyStore) -> None:
        """
        Put the channel on a connection; enter its `established` afterwards.

        Args:
            connection: With nothing on it.
            store: Gets what comes; may hold what came before.
        """
        self.store = store
        self.pictures: list[HeldPicture] = []
        "Of the room, by number."

        self.listed = asyncio.Event()
        "Set when all of them are known."

        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        "Fails when the relay sends what makes no sense."

        self.on_change: Callable[[HeldPicture], None] = lambda picture: None
        "Called when something of a picture has come, or was made of it."

        self.done: set[int] = set()
        "Requests of which all has come."

        self.refusals: list[Mapping[str, Any]] = []
        self.heard_us = monotonic_us()
        "When the relay last sent something, monotonic."

        self._connection = connection
        self._n_requests = 0
        self._told: set[int] = set()
        self._begun: set[tuple[int, int]] = set()
        self._fallbacks: dict[tuple[int, int], bytearray] = {}
        self._proving: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._channel: RTCDataChannel = connection.peer.createDataChannel(CHANNEL_LABEL)
        self._channel.on("message", self._hear)

    def request(
        self,
        picture: HeldPicture,
        *,
        steps: int = ALL_STEPS,
        priority: int = 1,
        preview: bool = False,
        frames: tuple[int, int] = (0, 0),
        region: tuple[int, int, int, int] | None = None,
    ) -> int:
        """
        Ask for a picture or a part of it, but for what is held.

        Args:
            picture: Of this session.
            steps: Up to which.
            priority: 0 first; of equals the newest.
            preview: Whether the preview should come first.
            frames: The first and how many; 0: all.
            region: x, y, width, height in samples.

        Returns:
            The request's number.
        """
        self._tell_held(picture)
        self._n_requests += 1
        asked = Request(self._n_requests, picture.number, priority, steps, preview, *frames, region)
        self._send(asked)
        return self._n_requests

    def tell(self, picture: HeldPicture, first_frame: int, frames: int, quality: Quality) -> None:
        """Tell the relay, for its audit, what is shown."""
        self._send(Status(picture.number, first_frame, frames, quality))

    async def close(self) -> None:
        """Hear nothing more, and finish the proofs under way."""
        self._channel.remove_all_listeners()
        await asyncio.gather(*self._proving, return_exceptions=True)
        if not self.failed.done():
            self.failed.cancel()

    def _send(self, message: FromViewer) -> None:
        with suppress(InvalidStateError):  # it has gone: whoever minds hears of it elsewhere
            self._channel.send(write_from_viewer(message))

    def _tell_held(self, picture: HeldPicture) -> None:
        """Say what is held of a picture, once in a session and before it is asked for."""
        if picture.number in self._told:
            return
        self._told.add(picture.number)
        ranges = [] if picture.part is None else list(picture.part.held)
        for first in range(0, len(ranges), _RANGES_IN_ONE):
            some = tuple(ranges[first : first + _RANGES_IN_ONE])
            self._send(Have(picture.number, picture.version, some))

    # ---- what comes

    def _hear(self, data: bytes | str) -> None:
        self.heard_us = monotonic_us()
        self._connection.note_alive()
        if isinstance(data, str) or self.failed.done():
            return
        self.store.received_bytes += len(data)
        try:
            self._act(data)
        except RemoteProtocolError as error:
            self.failed.set_exception(error)
        except (BitstreamError, LookupError, TypeError, ValueError) as error:
            words = f"the relay sent what makes no sense ({type(error).__name__})"
            self.failed.set_exception(RemoteProtocolError(words))

    def _act(self, data: bytes) -> None:
        match read_from_relay(data):
            case Listing(fields, is_whole):
                for about in fields["instances"] if is_whole else [fields]:
                    self._describe(about)
                if is_whole and len(self.pictures) >= fields["count"]:
                    self.listed.set()
            case Index(instance, header_bytes, frame_bytes):
                picture = self.pictures[instance]
                if header_bytes + sum(frame_bytes) > _PICTURE_MAX_BYTES:
                    raise RemoteProtocolError("a picture is too large")
                if picture.part is None:
                    picture.part = PartialPicture(header_bytes, frame_bytes)
                for frame in range(picture.part.n_frames):  # held from before, if any is
                    self._prove_whole(picture, picture.part, frame)
            case Preview(instance) as preview:
                picture = self.pictures[instance]
                picture.preview, picture.preview_us = preview, self.heard_us
                self.on_change(picture)
            case Data(instance, parts):
                self._put(self.pictures[instance], parts)
            case Fallback() as part:
                self._take_fallback(part)
            case Done(number):
                self.done.add(number)
            case Refusal(fields):
                self._refused(fields)

    def _describe(self, about: Mapping[str, Any]) -> None:
        number = about["number"]
        if number == len(self.pictures):
            self.pictures.append(self.store.of(str(about["id"])))
        picture = self.pictures[number]
        picture.number, picture.about = number, dict(about)
        picture.problem = str(about["reason"]) if about["state"] == "failed" else None
        if "version" in about:
            picture.renew(bytes.fromhex(about["version"]))
        self.on_change(picture)

    def _refused(self, fields: Mapping[str, Any]) -> None:
        self.refusals.append(fields)
        if fields.get("code") == "changed" and "instance" in fields:
            self.pictures[fields["instance"]].renew(b"")

    def _put(self, picture: HeldPicture, parts: tuple[tuple[int, bytes], ...]) -> None:
        part = picture.part
        if part is None:
            raise RemoteProtocolError("ranges of a picture without its index")
        for offset, data in parts:
            part.put(offset, data)
        for frame in sorted({part.frame_at(offset) for offset, _ in parts}):
            if 0 <= frame < part.n_frames:
                self._prove_whole(picture, part, frame)
        self.on_change(picture)

    def _take_fallback(self, message: Fallback) -> None:
        key = message.instance, message.frame
        held = self._fallbacks.setdefault(key, bytearray())
        if message.offset != len(held) or message.total_bytes > _PICTURE_MAX_BYTES:
            raise RemoteProtocolError("parts of a fallback are out of order")
        held += message.data
        if len(held) >= message.total_bytes:
            del self._fallbacks[key]
            picture = self.pictures[message.instance]
            self._start(self._prove_otherwise(picture, message.frame, bytes(held)))

    # ---- proofs

    def _prove_whole(self, picture: HeldPicture, part: PartialPicture, frame: int) -> None:
        """Prove a frame, if it is whole and this was not begun in this session."""
        key = picture.number, frame
        is_new = key not in self._begun and frame not in picture.quality
        header = part.header()
        if is_new and header is not None and part.steps(frame) == header.steps:
            self._begun.add(key)
            self._start(self._prove(picture, part, frame))

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._proving.add(task)
        task.add_done_callback(self._proving.discard)

    async def _prove(self, picture: HeldPicture, part: PartialPicture, frame: int) -> None:
        async with self._one_at_a_time:
            if frame in picture.quality or picture.part is not part:
                return
            try:
                samples = await asyncio.to_thread(part.prove, frame)
            except BitstreamError:
                self.store.alarms += 1
                self._send(WantFallback(picture.number, frame))
                return
            self._judge(picture, frame, samples)

    async def _prove_otherwise(self, picture: HeldPicture, frame: int, data: bytes) -> None:
        part = picture.part
        samples = None
        with suppress(BitstreamError):
            header = None if part is None else part.header()
            head = None if part is None else part.head(frame)
            if header is not None and head is not None:
                samples = await asyncio.to_thread(prove_fallback, data, header, head)
                picture.otherwise.add(frame)
        self._judge(picture, frame, samples)

    def _judge(self, picture: HeldPicture, frame: int, samples: Samples | None) -> None:
        quality = Quality.NOT_VERIFIED if samples is None else Quality.VERIFIED
        picture.quality[frame] = quality
        if samples is not None:
            picture.samples[frame] = samples
        self.tell(picture, frame, 1, quality)
        self.on_change(picture)
