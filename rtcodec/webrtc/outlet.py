"""
Let the packets of a latent stream out to the socket when it is their turn.

    frame --> RtpStream --> Pacer --> number, time --> SRTP, socket
    NACK  ------^ retransmissions first

The shell around `rtcodec.packet.pacer`: an event loop's timer, a clock. Knows nothing of aiortc.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from rtcodec.packet.pacer import Pacer
from rtcodec.packet.packetizer import CutFrame, CutPayload, write_payload_head
from rtcodec.packet.parity import MEDIA_PART, ParityPolicy, make_parities, write_parity
from rtcodec.packet.retransmit import RetransmitGate
from rtcodec.packet.rtp_stream import Outgoing, RtpStream
from rtcodec.timebase import RTP_TIME_BASE, ticks_to_us
from rtcodec.webrtc.clock import monotonic_us, unix_us, unix_us_to_ntp
from rtcodec.webrtc.transport_feedback import SendSide

_log = logging.getLogger(__name__)

_INTERVAL_US: Final = 33_333  # until time stamps tell
_INTERVAL_RANGE_US: Final = (8_000, 100_000)

Write = Callable[..., bytes]
"`RtpStream.write` or `write_again`."

OnLeft = Callable[[bool], None]
"Called with whether a frame has left when it is known."


def _no_number(size_bytes: int, *, now_us: int) -> int:
    return 0


class Outlet:
    """Sends one stream; belongs to the event loop."""

    def __init__(
        self,
        stream: RtpStream,
        way: SendSide,
        *,
        transmit: Callable[[list[bytes]], None],
    ) -> None:
        """
        Args:
            stream: Of the packets.
            way: Numbers them, and knows what the way carries.
            transmit: Encrypts packets and hands them to the socket; raises ConnectionError.
        """
        self.stream = stream
        self.ntp = 0
        "When the last frame was given, 64 bits."
        self._way = way
        self._number = way.number if stream.has_numbers else _no_number
        self._transmit = transmit
        self._pacer: Pacer[tuple[Outgoing, bool]] = Pacer()
        self._leaving: deque[OnLeft] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._last_pts: int | None = None
        self._interval_us = _INTERVAL_US
        self._interval_ticks: int | None = None
        self._gate = RetransmitGate()
        self._parity = ParityPolicy()
        self.n_parities = 0
        "Parities sent so far."

    def send(self, frame: CutFrame, *, delivery: int, pts: int, on_left: OnLeft) -> None:
        """
        Send a frame, its first packets now.

        Args:
            frame: Its payloads.
            delivery: Frames sent to this receiver before, modulo 2**16.
            pts: 90 kHz ticks.
            on_left: Called when its last packet has left, or cannot: perhaps before this returns.

        Raises:
            ConnectionError: If the connection is gone; *on_left* is not called then.
        """
        self._note_interval(pts)
        now_us, self.ntp = monotonic_us(), unix_us_to_ntp(unix_us())
        packets = self.stream.lay_out(frame, delivery=delivery, pts=pts)
        self._pacer.estimate_bps = bps = self._way.bps
        may_protect = frame.takes_parities and bps is not None and self.stream.has_rtx
        parities = self._parities(packets, now_us) if may_protect else []
        sizes = frame.sizes_bytes
        self._gate.note_sent(sum(sizes))
        if not parities and self._pacer.pass_frame(
            sizes, interval_us=self._interval_us, now_us=now_us
        ):
            write, number, ntp = self.stream.write, self._number, self.ntp
            self._transmit(
                [
                    write(packet, ntp=ntp, number=number(size, now_us=now_us))
                    for packet, size in zip(packets, sizes, strict=True)
                ]
            )
            on_left(True)
            return
        waiting = [((packet, False), size) for packet, size in zip(packets, sizes, strict=True)]
        waiting += [((packet, True), packet.size_bytes) for packet in parities]
        self._leaving.append(on_left)
        self._pacer.add_frame(waiting, interval_us=self._interval_us, now_us=now_us)
        try:
            self._let_out(now_us)
        except BaseException:
            if self._leaving and self._leaving[-1] is on_left:
                self._leaving.pop()
            self.close()
            raise
        self._set_timer(now_us)

    @property
    def media_bps(self) -> int | None:
        """What the way carries beside parities; None if nothing was heard of it lately."""
        bps = self._way.bps
        if bps is None or not self._parity.is_active(now_us=monotonic_us()):
            return bps
        return int(MEDIA_PART * bps)

    def send_again(self, seq: int) -> None:
        """
        Send a packet again that the receiver misses, if `RetransmitGate` lets it.

        Raises:
            ConnectionError: If the connection is gone.
        """
        packet = self.stream.kept(seq)
        now_us = monotonic_us()
        rtt_us = self._way.estimator.rtt_us or 0
        if packet is None or not self._gate.may(
            seq, packet.size_bytes, rtt_us=rtt_us, now_us=now_us
        ):
            return
        self._pacer.add_again((packet, True), packet.size_bytes, now_us=now_us)
        try:
            self._let_out(now_us)
        except ConnectionError:
            self.close()  # what was taken is lost, the ends of frames among it
            raise
        self._set_timer(now_us)

    def close(self) -> None:
        """Send nothing more; frames that have not left are reported."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pacer.clear()
        while self._leaving:
            self._leaving.popleft()(False)

    def _parities(self, packets: list[Outgoing], now_us: int) -> list[Outgoing]:
        """Return what protects a frame: in the stream of retransmissions, in place of one."""
        estimator = self._way.estimator
        groups = self._parity.groups(
            len(packets), loss=estimator.loss, rtt_us=estimator.rtt_us, now_us=now_us
        )
        if not groups:
            return []
        first = packets[0]
        payloads = [
            write_payload_head(packet.payload, packet.delivery) + packet.payload.rest
            for packet in packets
        ]
        self.n_parities += groups
        made = map(write_parity, make_parities(payloads, first.seq, groups))
        return [
            Outgoing(
                first.seq,
                first.timestamp,
                0,
                int.from_bytes(data[1:3], "big"),  # where payloads have their delivery number
                CutPayload(data[:1], data[3:]),
            )
            for data in made
        ]

    def _let_out(self, now_us: int) -> None:
        taken = self._pacer.take(now_us=now_us)
        if not taken:
            return
        stream = self.stream
        self._put_out(
            [(packet, stream.write_again if again else stream.write) for packet, again in taken],
            now_us,
        )
        for packet, is_again in taken:
            if packet.ends_frame and not is_again:
                self._leaving.popleft()(True)

    def _put_out(self, packets: Sequence[tuple[Outgoing, Write]], now_us: int) -> None:
        """Number packets, write them and hand them to the socket."""
        ntp = unix_us_to_ntp(unix_us())
        self._transmit(
            [
                write(packet, ntp=ntp, number=self._number(packet.size_bytes, now_us=now_us))
                for packet, write in packets
            ]
        )

    def _set_timer(self, now_us: int) -> None:
        if self._timer is not None or (due_us := self._pacer.deadline_us) is None:
            return
        delay_s = max(due_us - now_us, 0) / 1e6
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now_us = monotonic_us()
        try:
            self._let_out(now_us)
        except ConnectionError:
            self.close()
        except Exception:  # one receiver's trouble must not become that of the others
            _log.exception("packets could not be sent")
            self.close()
        else:
            self._set_timer(now_us)

    def _note_interval(self, pts: int) -> None:
        last, self._last_pts = self._last_pts, pts
        if last is not None and pts - last != self._interval_ticks:
            self._interval_ticks = pts - last
            least_us, most_us = _INTERVAL_RANGE_US
            interval_us = ticks_to_us(self._interval_ticks, RTP_TIME_BASE)
            self._interval_us = min(max(interval_us, least_us), most_us)
