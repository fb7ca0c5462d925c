"""
The private side of aiortc's data channels: small messages from the peer, and nothing more.

aiortc's SCTP keeps whatever comes out of order, in as many streams as there are, for as long as
the peer likes, and lets malformed chunks end the connection's task. Here a peer that does more
than send small messages on one channel is given up.
"""

import logging
from collections.abc import Callable
from typing import Final

from aiortc import RTCDataChannel, RTCPeerConnection
from aiortc.rtcsctptransport import RTCSctpTransport

_log = logging.getLogger(__name__)

MAX_HELD_CHUNKS: Final = 256
"What may wait for chunks before it; reports are lost rather than sent again."

MAX_STREAMS: Final = 2
_MAX_DATAGRAM_BYTES: Final = 2048


class MessageChannel:
    """Takes the messages of the one data channel that a peer may open."""

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
        connection.on("datachannel", self._open)

    def guard(self) -> None:
        """Bound what the peer can make aiortc keep."""
        sctp = self._connection.sctp
        if sctp is None:
            return
        handle = sctp._handle_data

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

    def close(self) -> None:
        """Hear nothing more; drops what was put into aiortc."""
        self._is_given_up = True
        if self._connection.sctp is not None:
            vars(self._connection.sctp).pop("_handle_data", None)
        if self._channel is not None:
            self._channel.remove_all_listeners()
            self._channel = None

    def _open(self, channel: RTCDataChannel) -> None:
        if self._channel is not None:
            self._give_up()
            return
        self._channel = channel
        channel.on("message", self._take)

    def _take(self, message: bytes | str) -> None:
        if isinstance(message, bytes) and len(message) <= self._max_bytes:
            self._on_message(message)

    def _give_up(self) -> None:
        if not self._is_given_up:
            self._is_given_up = True
            self._on_misuse()


def _held_chunks(sctp: RTCSctpTransport) -> int:
    held = sum(len(stream.reassembly) for stream in sctp._inbound_streams.values())
    return held + len(sctp._sack_misordered) + len(sctp._sack_duplicates)
