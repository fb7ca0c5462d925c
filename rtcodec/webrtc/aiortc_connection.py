"""
A connection of aiortc that ends as a whole.
"""

import asyncio

from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCRtpTransceiver,
)
from aiortc.rtcdtlstransport import RTCDtlsTransport

from rtcodec.webrtc.aiortc_private import PORT, RECEIVER, SENDER

_CANCEL_EVERY_S = 0.5


class PeerConnection(RTCPeerConnection):
    """
    A connection that leaves nothing behind when it is closed, on its way up or later.

    aiortc closes beside its own task that connects, which then goes on: consent checks of a
    socket that is closed, a receiver started after it was stopped. And what is closed refers to
    itself, so that it stays until the garbage collector comes: those references are dropped.
    """

    def __init__(self, configuration: RTCConfiguration | None = None) -> None:
        super().__init__(configuration)
        self._connecting: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop connecting, then close; returns when nothing of it runs any more."""
        while self._connecting:
            for task in self._connecting:
                task.cancel()
            # and again: where a datagram of the handshake comes in the same moment, wait_for of
            # Python 3.11 returns it and forgets that it was cancelled
            await asyncio.wait(self._connecting, timeout=_CANCEL_EVERY_S)
        transports = {t for part in self.getTransceivers() for t in _transports(part)}
        if self.sctp is not None:  # of its own, where there is no transceiver
            transports.add(self.sctp.transport)
        await super().close()
        for transceiver in self.getTransceivers():
            _release_sender(transceiver.sender)
            _release_receiver(transceiver.receiver)
        for transport in transports:
            _release_transport(transport)

    async def _RTCPeerConnection__connect(self) -> None:  # noqa: N802 - a private name of aiortc
        task = asyncio.current_task()
        assert task is not None  # aiortc makes one for this and waits for it nowhere
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        await super()._RTCPeerConnection__connect()  # type: ignore[misc]


def _transports(transceiver: RTCRtpTransceiver) -> tuple[RTCDtlsTransport, ...]:
    found = (transceiver.sender.transport, transceiver.receiver.transport)
    return tuple(transport for transport in found if transport is not None)


def _release_sender(sender: RTCRtpSender) -> None:
    """Drop what `SenderPort` and `DirectSenderPort` put over the methods of a sender."""
    for name in (PORT, "_send_keyframe", "_handle_rtcp_packet", "_run_rtp", "_retransmit"):
        vars(sender).pop(name, None)
    setattr(sender, f"{SENDER}__encoder", None)


def _release_receiver(receiver: RTCRtpReceiver) -> None:
    """Drop what `ReceiverPort` put into a receiver."""
    vars(receiver).pop("_handle_rtcp_packet", None)
    if (port := vars(receiver).pop(PORT, None)) is not None:
        port.close()
    setattr(receiver, f"{RECEIVER}__decoder_queue", None)


def _release_transport(transport: RTCDtlsTransport) -> None:
    """Drop a transport's way back to its connection, and the pairs of its sockets."""
    transport.remove_all_listeners()
    ice = transport.transport._connection
    for kept in (ice._nominated, ice._check_list, ice._protocols):
        kept.clear()
