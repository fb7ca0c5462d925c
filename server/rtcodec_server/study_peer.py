"""
One viewer of studies: its data channel, what it asked for, and what goes to it next.

    channel ─▶ messages ─▶ queue ─▶ one message at a time, when the one before has left

What is asked for now goes before all that has not left; no more than a round trip's worth ever
waits in SCTP.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

from rtcodec.errors import RemoteProtocolError, RtcodecError
from rtcodec.session.study_message import (
    VIEWER_MAX_BYTES,
    Cancel,
    Data,
    Done,
    Fallback,
    FromRelay,
    FromViewer,
    Have,
    Index,
    Listing,
    Quality,
    Refusal,
    Request,
    Status,
    WantFallback,
    listing_messages,
    read_from_viewer,
    write_from_relay,
)
from rtcodec.session.study_queue import (
    Piece,
    RequestDone,
    SendIndex,
    SendPreview,
    SendRanges,
    StudyFile,
    StudyQueue,
    Unwanted,
)
from rtcodec.webrtc.aiortc_data import MessageChannel
from rtcodec.webrtc.sdp import Description
from rtcodec_server.logs import log_event
from rtcodec_server.peer import Peer, PeerSetup
from rtcodec_server.study_audit import WORDS
from rtcodec_server.study_file import make_fallback
from rtcodec_server.study_library import Instance, StudyLibrary

_log = logging.getLogger(__name__)

CODEC: Final = "study"
MESSAGE_BYTES: Final = 4 * 1160 - 8
"Of ranges in one message: four chunks of aiortc's SCTP, with type and number."

MAX_FALLBACKS: Final = 256
"Of one session: each takes the relay's processor a moment."

MAX_SHOWN: Final = 100_000
"Lines of the audit that one session may cause by what it says it shows; then it ends."

_FALLBACK_PART_BYTES: Final = 4 * 1160 - 32


class StudyPeer(Peer):
    """Sends the pictures of a room to one viewer."""

    def __init__(
        self,
        library: StudyLibrary,
        instances: Sequence[Instance],
        setup: PeerSetup,
        *,
        room: str,
        session: str,
        subject: str | None,
    ) -> None:
        """
        Args:
            library: Prepares them.
            instances: Those of the room, in order.
            setup: How the peer connects.
            room: Where they are.
            session: The part of the session's name that is shown.
            subject: Of the viewer's token.
        """
        super().__init__(setup)
        self._library = library
        self._instances = tuple(instances)
        self._files: dict[int, StudyFile] = {}
        self._room = room
        self._note = partial(library.audit.note, subject=subject, room=room, session=session)
        self._on_misuse = setup.on_lost
        self._queue = StudyQueue()
        self._fallbacks: list[Fallback] = []
        self._n_fallbacks = 0
        self._sent_bytes = 0
        self._n_requests = 0
        self._n_shown = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._channel = MessageChannel(
            self.connection,
            max_bytes=VIEWER_MAX_BYTES,
            on_message=self._hear,
            on_misuse=setup.on_lost,
        )
        self._channel.on_open = self._begin
        self._channel.on_sent = self._channel.on_acknowledged = self._pump

    @property
    def last_heard_us(self) -> int | None:
        """When the viewer last sent a message."""
        return self._channel.last_heard_us

    def report(self) -> dict[str, Any]:
        """Return what was asked for and sent."""
        round_trip_s = self._channel.round_trip_s
        return {
            "state": self.connection.connectionState,
            "codec": CODEC,
            "requests": self._n_requests,
            "sent_bytes": self._sent_bytes,
            "fallbacks": self._n_fallbacks,
            "round_trip_ms": None if round_trip_s is None else round(1000 * round_trip_s, 1),
        }

    async def negotiate(self, offer: str, description: Description) -> str:
        """
        Answer an offer of a data channel.

        Raises:
            RemoteProtocolError: If it cannot be answered.
        """
        answer = await self._negotiate(offer, description, None)
        self._channel.guard()
        self._channel.limit_delay()
        return answer

    async def close(self) -> None:
        """Send nothing more and close the connection."""
        for instance in self._instances:
            instance.listeners.discard(self._tell)
        for task in self._tasks:
            task.cancel()
        await super().close()
        self._channel.close()

    # ---- going out

    def _begin(self) -> None:
        described = [instance.describe() for instance in self._instances]
        for message in listing_messages(self._room, described):
            self._send(message)

    def _tell(self, instance: Instance) -> None:
        """Tell of an instance that was asked for and has changed, and what can be sent by now."""
        number = instance.number
        if instance.is_preview_known:
            self._queue.set_preview(number, exists=instance.preview is not None)
        if instance.file is not None and number not in self._files:
            self._files[number] = instance.file
            try:
                self._queue.set_file(number, instance.file)
            except Unwanted as error:
                self._refuse(error.code, str(error), **error.about)
        fields = instance.describe(self._files.get(number))
        self._send(Listing(fields, is_whole=False))
        if instance.state == "failed":
            for request in self._queue.drop_instance(number):
                self._refuse("failed", instance.reason or "", instance=number, request=request)
        self._pump()

    def _pump(self) -> None:
        """Send what is next as long as nothing waits."""
        while self._channel.has_room:
            if self._fallbacks:
                self._send(self._fallbacks.pop(0))
                continue
            try:
                ahead = self._channel.has_spare_room  # else what is asked for next waits for it
                piece = self._queue.next_piece(MESSAGE_BYTES, ahead=ahead)
            except Unwanted as error:
                self._refuse(error.code, str(error), **error.about)
                continue
            if piece is None:
                return
            self._send(self._message_of(piece))
            if isinstance(piece, SendPreview):
                self._run(self._channel.push())

    def _message_of(self, piece: Piece) -> FromRelay:
        match piece:
            case SendPreview(instance):
                preview = self._instances[instance].preview
                assert preview is not None  # the queue was told so
                self._library.stats.previews += 1
                return preview
            case SendIndex(instance):
                file = self._files[instance]
                return Index(instance, file.header_bytes, file.frame_bytes)
            case SendRanges(instance, ranges):
                data = self._files[instance].data
                return Data(
                    instance, tuple((start, bytes(data[start:end])) for start, end in ranges)
                )
            case RequestDone(number):
                return Done(number)

    def _send(self, message: FromRelay) -> None:
        data = write_from_relay(message)
        try:
            self._channel.send(data)
        except ConnectionError:  # it is closing: whoever minds hears of it from the connection
            return
        self._sent_bytes += len(data)
        self._library.stats.sent_bytes += len(data)

    def _refuse(self, code: str, detail: str, **about: int) -> None:
        self._send(Refusal({"code": code, "detail": detail, **about}))

    # ---- coming in

    def _hear(self, data: bytes) -> None:
        try:
            self._act(read_from_viewer(data))
        except Unwanted as error:
            self._refuse(error.code, str(error), **error.about)
        except RemoteProtocolError as error:
            self._refuse("malformed", str(error))
            self._on_misuse()
            return
        self._pump()

    def _act(self, message: FromViewer) -> None:
        if isinstance(message, Cancel):
            self._queue.cancel(message.number)
            return
        if message.instance >= len(self._instances):
            raise Unwanted("unknown", f"no instance {message.instance}", instance=message.instance)
        instance = self._instances[message.instance]
        match message:
            case Request():
                self._request(message, instance)
            case Have():
                self._queue.have(message)
            case WantFallback():
                self._alarm(message, instance)
            case Status():
                self._n_shown += 1
                if self._n_shown > MAX_SHOWN:
                    raise RemoteProtocolError("too much is said to be shown")
                self._note(
                    "shown",
                    instance=instance.picture.id,
                    first_frame=message.first_frame,
                    frames=message.frames,
                    quality=self._words(message, instance),
                )

    def _words(self, status: Status, instance: Instance) -> str:
        if status.quality is not Quality.VERIFIED:
            return WORDS[status.quality]
        most = instance.about.get("max_error", 0)
        return f"within {most}, verified" if most else "lossless, verified"

    def _request(self, request: Request, instance: Instance) -> None:
        self._n_requests += 1
        self._library.stats.requests += 1
        self._queue.add(request)
        self._note(
            "requested",
            instance=instance.picture.id,
            first_frame=request.first_frame,
            frames=request.frames,
            steps=request.steps,
        )
        self._library.want(instance)
        self._learn(instance)

    def _learn(self, instance: Instance) -> None:
        """Hear of an instance from now on, and what there is of it."""
        if self._tell not in instance.listeners:
            instance.listeners.add(self._tell)
            self._tell(instance)

    def _alarm(self, message: WantFallback, instance: Instance) -> None:
        file = self._files.get(message.instance)
        if file is None or message.frame >= file.header.frames:
            raise Unwanted("unknown", f"no frame {message.frame}", instance=message.instance)
        self._library.stats.alarms += 1
        picture, frame = instance.picture.id, message.frame
        log_event(_log, "study_alarm", level=logging.WARNING, instance=picture, frame=frame)
        self._note("alarm", instance=picture, first_frame=frame, frames=1)
        if self._n_fallbacks >= MAX_FALLBACKS:
            raise Unwanted("busy", f"more than {MAX_FALLBACKS} frames otherwise")
        self._n_fallbacks += 1
        self._run(self._fall_back(file, message.instance, message.frame))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fall_back(self, file: StudyFile, instance: int, frame: int) -> None:
        try:
            data = await asyncio.to_thread(make_fallback, file, frame)
        except RtcodecError as error:
            log_event(_log, "study_fallback_failed", level=logging.ERROR, frame=frame)
            self._refuse("failed", str(error), instance=instance)
            return
        self._library.stats.fallbacks += 1
        for offset in range(0, len(data), _FALLBACK_PART_BYTES):
            part = data[offset : offset + _FALLBACK_PART_BYTES]
            self._fallbacks.append(Fallback(instance, frame, len(data), offset, part))
        self._pump()
