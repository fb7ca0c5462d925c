"""
Drive a jitter buffer from aiortc's packets and an event loop's timers.

The shell around `rtcodec.packet.jitter_buffer`: packet or deadline in, events
out, NACK and PLI sent. What a released frame means is left to the subclass.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

from aiortc import RTCRtpReceiver

from rtcodec.packet.jitter_buffer import (
    Arrival,
    FrameReleased,
    JitterBuffer,
    JitterConfig,
    NacksDue,
    PacketsLost,
)
from rtcodec.packet.rtp_packet import RtpPacket
from rtcodec.stats import ReceiveCounters
from rtcodec.webrtc.aiortc_patch import DecoderThread, ReceiverPort
from rtcodec.webrtc.clock import monotonic_us, ntp_to_unix_us

Item = TypeVar("Item")

PLI_INTERVAL_US: Final = 500_000
"Shortest time between two requests for a key frame."

_CAPTURE_AGE_MAX_US: Final = 10_000_000
_CLOCK_ERROR_US: Final = 200_000
"A frame that seems to come from the future by less than this was taken just now."

_RTP_HALF: Final = 1 << 31


class Intake(ABC, Generic[Item]):
    """Receives the RTP packets of one aiortc receiver, in place of its own buffer."""

    def __init__(
        self, receiver: RTCRtpReceiver, *, config: JitterConfig, decoder: DecoderThread
    ) -> None:
        """Take over *receiver*; call it in the connection's `track` event."""
        self.counters = ReceiveCounters()
        self.last_heard_us: int | None = None
        "When the last packet or sender report arrived, monotonic microseconds."
        self._config = config
        self._buffer: JitterBuffer[Item] = JitterBuffer(config)
        self._buffer.counters = self.counters
        self._ssrc: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._pli_allowed_us = 0
        self._sender_report: tuple[int, int] | None = None
        self._port = ReceiverPort(receiver, intake=self, decoder=decoder)
        self._port.on_sender_report = self._on_sender_report

    # ---- for aiortc

    def take(self, packet: RtpPacket, codec: str, data: bytes, *, now_us: int) -> None:
        """
        Take one packet, in order of arrival.

        Args:
            packet: As it came; of a retransmission what it holds.
            codec: Its name.
            data: Its payload without that codec's header.
            now_us: When it came.
        """
        if self._is_closed:
            return
        self.last_heard_us = now_us
        if packet.ssrc != self._ssrc:
            self._buffer.end()  # another stream: what is held of the last will not be completed
            self._drain(now_us)
            self._ssrc = packet.ssrc
            self._buffer = JitterBuffer(self._config)
            self._buffer.counters = self.counters
        arrival = self._read(packet, codec, data)
        if arrival is not None:
            self._buffer.receive(arrival, now_us=now_us)
            self._drain(now_us)

    # ---- for the owner

    @property
    def rtt_us(self) -> int | None:
        """Time from a NACK to its packet, or None before the first loss."""
        return self._buffer.rtt_us

    def request_keyframe(self) -> None:
        """Send a PLI, unless one was sent within the last half second."""
        now_us = monotonic_us()
        if self._ssrc is not None and now_us >= self._pli_allowed_us and not self._is_closed:
            self._pli_allowed_us = now_us + PLI_INTERVAL_US
            self.counters.pli_count += 1
            self._port.send_pli(self._ssrc)

    def send_feedback(self, data: bytes) -> None:
        """Send application layer feedback to the sender, once there is one."""
        if self._ssrc is not None and not self._is_closed:
            self._port.send_feedback(self._ssrc, data)

    def capture_us(self, rtp_timestamp: int, *, received_unix_us: int) -> int | None:
        """
        Return when the sender took a frame, Unix microseconds, if it said so.

        Right as far as the two machines' clocks agree; what cannot be right is
        answered with None.
        """
        if self._sender_report is None:
            return None
        ntp, reported_timestamp = self._sender_report
        ticks = (rtp_timestamp - reported_timestamp + _RTP_HALF) % (2 * _RTP_HALF) - _RTP_HALF
        capture_us = ntp_to_unix_us(ntp) + ticks * 100 // 9
        age_us = received_unix_us - capture_us
        if not -_CLOCK_ERROR_US <= age_us <= _CAPTURE_AGE_MAX_US:
            return None
        return min(capture_us, received_unix_us)

    def finish(self) -> None:
        """Release what is held, whole or not: nothing more will come."""
        if not self._is_closed:
            self._buffer.end()
            self._drain(monotonic_us())

    def close(self) -> None:
        """Stop; nothing is released any more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- for the subclass

    @abstractmethod
    def _read(self, packet: RtpPacket, codec: str, data: bytes) -> Arrival[Item] | None:
        """Return what the jitter buffer needs to know, or None to drop the packet; see `take`."""

    @abstractmethod
    def _release(self, frame: FrameReleased[Item]) -> None:
        """Deal with a frame that left the buffer."""

    def _lose(self, n_packets: int) -> None:
        """Deal with packets that were given up."""

    # ---- inside

    def _drain(self, now_us: int) -> None:
        while (event := self._buffer.next_event()) is not None:
            if isinstance(event, FrameReleased):
                self._release(event)
            elif isinstance(event, NacksDue):
                assert self._ssrc is not None
                self._port.send_nack(self._ssrc, event.seqs)
            elif isinstance(event, PacketsLost):
                self._lose(event.n_packets)
        self._set_timer(now_us)

    def _set_timer(self, now_us: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_us = self._buffer.deadline_us
        if deadline_us is not None and not self._is_closed:
            delay_s = max(deadline_us - now_us, 0) / 1e6
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        now_us = monotonic_us()
        self._buffer.advance(now_us=now_us)
        self._drain(now_us)

    def _on_sender_report(self, ntp: int, rtp_timestamp: int) -> None:
        self._sender_report = (ntp, rtp_timestamp)
        self.last_heard_us = monotonic_us()
