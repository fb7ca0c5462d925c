"""
The private side of aiortc's data channels: one of them, small messages, and nothing more.

aiortc's SCTP keeps whatever comes out of order, in as many streams as there are, for as long as
the peer likes, as it does what is never acknowledged, and lets malformed chunks end the
connection's task. Here a peer that does more than send small messages on one channel, and say what
of ours it got, is given up.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiortc import RTCDataChannel, RTCPeerConnection
from aiortc.exceptions import InvalidStateError
from aiortc.rtcsctptransport import RTCSctpTransport, SackChunk

from rtcodec.webrtc.aiortc_window import DelayWindow
from rtcodec.webrtc.clock import monotonic_us

_log = logging.getLogger(__name__)

MAX_HELD_CHUNKS: Final = 256
"What may wait for chunks before it; reports are lost rather than sent again."

MAX_UNACKNOWLEDGED_CHUNKS: Final = 1024
"Of ours: a second and a quarter at 8 Mb/s. aiortc's window never lets so many out unheard."

MAX_STREAMS: Final = 2
_MAX_DATAGRAM_BYTES: Final = 2048


def _ignore() -> None:
    pass


class MessageChannel:
    """The one data channel that a peer may open, both ways."""

    def __init__(
        self,
        connection: RTCPeerConnection,
        *,
        max_bytes: int,
        on_message: Callable[[bytes], object],
        on_misuse: Callable[[], None],
    ) -> None:
        """
        Wait for the channel; `guard` comes with the answer, before anything can arrive.

        Args:
            connection: Whose offer has a section for data channels.
            max_bytes: Longest message that is taken; others are ignored.
            on_message: Called with every binary message.
            on_misuse: Called once, when the peer asks for more than there is.
        """
        self._connection = connection
        self._max_bytes = max_bytes
        self._on_message = on_message
        self._on_misuse = on_misuse
        self._channel: RTCDataChannel | None = None
        self._is_given_up = False
        self._window: DelayWindow | None = None
        self.on_open: Callable[[], None] = _ignore
        "Called when there is a channel."

        self.on_sent: Callable[[], None] = _ignore
        "Called when everything that was given to `send` has left, but for one message at most."

        self.on_acknowledged: Callable[[], None] = _ignore
        "Called whenever the peer says what it got."

        self.last_heard_us: int | None = None
        "When the peer opened the channel or last sent a message, monotonic microseconds."

        connection.on("datachannel", self._open)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._channel is not None and self._channel.readyState == "open"

    @property
    def has_room(self) -> bool:
        """Whether nothing that was given to `send` waits, but for one message at most."""
        channel = None if self._is_given_up else self._channel
        return channel is not None and channel.readyState == "open" and not channel.bufferedAmount

    @property
    def has_spare_room(self) -> bool:
        """Whether a message more would make none wait that comes after it; see `limit_delay`."""
        return self.has_room and not (self._window is not None and self._window.is_half_full)

    def send(self, message: bytes) -> None:
        """
        Send a message when SCTP's window lets it.

        Raises:
            ConnectionError: If there is no open channel, or the peer does not acknowledge.
        """
        if self._channel is None or self._is_given_up:
            raise ConnectionError("no data channel")
        if len(self._channel.transport._sent_queue) > MAX_UNACKNOWLEDGED_CHUNKS:
            self._give_up()
            raise ConnectionError("the peer acknowledges nothing")
        try:
            self._channel.send(message)
        except InvalidStateError:
            raise ConnectionError("the data channel is not open") from None

    def limit_delay(self) -> None:
        """Let no more be under way than the way carries, beside what waits here."""
        if self._connection.sctp is not None and self._window is None:
            self._window = DelayWindow(self._connection.sctp)

    @property
    def round_trip_s(self) -> float | None:
        """The shortest round trip of `limit_delay`, or None before the first."""
        return None if self._window is None else self._window.round_trip_s

    async def push(self) -> None:
        """Let as much of a long message out at once as the window lets; see `limit_delay`."""
        if self._window is not None:
            await asyncio.sleep(0)  # the message was given to aiortc's own task
            await self._window.push()

    def guard(self) -> None:
        """Bound what the peer can make aiortc keep."""
        sctp = self._connection.sctp
        if sctp is None:
            return
        handle, receive_sack = sctp._handle_data, sctp._receive_sack_chunk

        async def receive_sack_bounded(chunk: SackChunk) -> None:
            # aiortc walks through all that is said to have come: half a million in each datagram
            if any(last > MAX_UNACKNOWLEDGED_CHUNKS or last < first for first, last in chunk.gaps):
                self._give_up()
            else:
                await receive_sack(chunk)
                self.on_acknowledged()

        async def handle_bounded(data: bytes) -> None:
            if self._is_given_up or len(data) > _MAX_DATAGRAM_BYTES:
                return
            try:
                await handle(data)
            except ConnectionError:
                raise
            except Exception as error:  # an assertion, an index, text that is none
                _log.debug("data from a peer: %r", error)
                self._give_up()
            if _held_chunks(sctp) > MAX_HELD_CHUNKS or len(sctp._inbound_streams) > MAX_STREAMS:
                self._give_up()

        sctp._handle_data = handle_bounded  # type: ignore[method-assign]
        sctp._receive_sack_chunk = receive_sack_bounded  # type: ignore[method-assign]

    def close(self) -> None:
        """Hear nothing more; drops what was put into aiortc."""
        self._is_given_up = True
        self.on_open = self.on_sent = self.on_acknowledged = _ignore
        if self._window is not None:
            self._window.release()
        if self._connection.sctp is not None:
            for name in ("_handle_data", "_receive_sack_chunk"):
                vars(self._connection.sctp).pop(name, None)
        if self._channel is not None:
            self._channel.remove_all_listeners()
            self._channel = None

    def _open(self, channel: RTCDataChannel) -> None:
        if self._channel is not None:
            self._give_up()
            return
        self._channel = channel
        self.last_heard_us = monotonic_us()
        channel.on("message", self._take)
        channel.on("bufferedamountlow", lambda: self.on_sent())
        channel.on("close", self._give_up)
        self.on_open()

    def _take(self, message: bytes | str) -> None:
        self.last_heard_us = monotonic_us()
        if isinstance(message, bytes) and len(message) <= self._max_bytes:
            self._on_message(message)

    def _give_up(self) -> None:
        if not self._is_given_up:
            self._is_given_up = True
            self._on_misuse()


def _held_chunks(sctp: RTCSctpTransport) -> int:
    held = sum(len(stream.reassembly) for stream in sctp._inbound_streams.values())
    return held + len(sctp._sack_misordered) + len(sctp._sack_duplicates)
