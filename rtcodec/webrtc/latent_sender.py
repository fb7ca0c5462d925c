"""
Send frames of X-RTC-LATENT through an aiortc sender.

Bitstream packets in, RTP out; nothing is encoded here.
"""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiortc import RTCPeerConnection

from rtcodec.errors import BitstreamError
from rtcodec.packet.feedback import KEYFRAME_REQUEST, REPORT_NAME, FrameReport, read_report
from rtcodec.packet.packetizer import CutFrame
from rtcodec.session.carrier import Carrier
from rtcodec.webrtc.aiortc_data import MessageChannel
from rtcodec.webrtc.aiortc_patch import LATENT_CODEC_NAME, DirectSenderPort
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.data_port import DataPort
from rtcodec.webrtc.outgoing_frame import OutgoingFrame
from rtcodec.webrtc.pushed_track import PushedTrack

_log = logging.getLogger(__name__)


REMB_HOLDS_US: Final = 5_000_000
"How long a REMB limits what transport-wide feedback says; receivers repeat it every second."


def _ignore(*_: object) -> None:
    pass


class LatentSender(PushedTrack):
    """
    A track that carries latents; newest wins.

    Frames are sent as they come, large ones spread over half a frame interval. Until the
    connection stands, and while a data channel is not done with the frame before, at most
    *max_frames* wait; a new one pushes the oldest out. All methods belong to the event loop's
    thread.
    """

    def __init__(
        self,
        *,
        carrier: Carrier = Carrier.OWN,
        max_frames: int = 2,
        on_open: Callable[[], None] = _ignore,
        on_sent: Callable[[OutgoingFrame, int], None] = _ignore,
        on_dropped: Callable[[OutgoingFrame], None] = _ignore,
        on_pli: Callable[[], None] = _ignore,
        on_remb: Callable[[int], None] = _ignore,
        on_nack: Callable[[int], None] = _ignore,
        on_report: Callable[[FrameReport], None] = _ignore,
    ) -> None:
        """
        Start with an empty queue.

        Args:
            carrier: What frames travel in.
            max_frames: Frames that may wait.
            on_open: Called once, when the first frame can be sent.
            on_sent: Called with a frame and the monotonic time in microseconds
                when its last packet had been given to the socket, mostly from within `send`.
            on_dropped: Called with every frame that will not be sent.
            on_pli: Called when the receiver wants a key frame.
            on_remb: Called with the receiver's estimate in bits per second.
            on_nack: Called with how many packets a NACK asked for.
            on_report: Called with what the receiver says of the frames it holds.
        """
        super().__init__(on_nack=on_nack)
        self.carrier = carrier
        self._on_open = on_open
        self._on_sent = on_sent
        self._on_dropped = on_dropped
        self._on_pli = on_pli
        self._on_remb = on_remb
        self._on_report = on_report
        self._queue: deque[OutgoingFrame] = deque()
        self._max_waiting = max_frames
        self._is_closed = False
        self.is_open = False
        "Whether a frame could ever be sent: before that any would come too late to be of use."
        self._remb_us = 0
        self._n_deliveries = 0

    @property
    def available_bps(self) -> int | None:
        """
        What the way to the receiver carries beside parities, bits per second; None if unknown.

        As transport-wide feedback of the last seconds has it, but no more than a REMB of them
        allows; without feedback the receiver's last REMB.
        """
        bps = None if self._port is None else self._port.media_bps
        remb_bps = self.counters.remb_bps
        if bps is None or remb_bps is None:
            return remb_bps if bps is None else bps
        is_fresh = monotonic_us() - self._remb_us < REMB_HOLDS_US
        return min(bps, remb_bps) if is_fresh else bps

    def report_way(self) -> dict[str, Any] | None:
        """Return what transport-wide feedback told so far as JSON values; None if none came."""
        return None if self._port is None else self._port.report_way()

    def attach(self, connection: RTCPeerConnection) -> None:
        """
        Add this track, and only its codec, to *connection*; `install` comes first.

        Where a data channel carries latents, `attach_channel` takes this one's place.
        """
        self._attach(
            connection,
            "VP8" if self.carrier is Carrier.VP8 else LATENT_CODEC_NAME,
            on_start=self._heed_ready,
            on_pli=self._heed_pli,
            on_feedback=self._read_report,
        )

    def attach_channel(self, channel: MessageChannel) -> None:
        """Send through the data channel that the peer will open."""
        self._port = DataPort(channel, on_ready=self._heed_ready)

    def send(self, frame: OutgoingFrame) -> None:
        """Send *frame*, or let it wait for the connection; never blocks, never raises."""
        if self._is_closed:
            self._drop(frame)
        elif self._port is not None and self._port.is_running:
            while self._queue:  # its receiver slept: what waited is older
                self._drop(self._queue.popleft())
            self._send_now(self._port, frame)
        else:
            while len(self._queue) >= self._max_waiting:
                self._drop(self._queue.popleft())
            self._queue.append(frame)

    def hear(self, message: bytes) -> None:
        """Take a report or a request that came beside RTCP; anything else only says: still here."""
        self._note_rtcp()
        if message == KEYFRAME_REQUEST:
            self._count_pli()
        else:
            self._read_report(message)

    def close(self) -> None:
        """Send nothing more; what waits is dropped and reported."""
        self._is_closed = True
        while self._queue:
            self._drop(self._queue.popleft())

    def stop(self) -> None:
        """End the track; aiortc calls it when the sender stops."""
        self.close()
        super().stop()

    # ---- inside

    def _heed_ready(self) -> None:
        if not self.is_open:
            self.is_open = True
            self._on_open()
        self._send_waiting()

    def _heed_remb(self, bps: int) -> None:
        self._remb_us = monotonic_us()
        self._on_remb(bps)

    def _send_waiting(self) -> None:
        while self._queue and self._port is not None and self._port.is_running:
            self._send_now(self._port, self._queue.popleft())

    def _send_now(self, port: DirectSenderPort | DataPort, frame: OutgoingFrame) -> None:
        delivery = self._n_deliveries
        self._n_deliveries += 1  # before `send`, which may say that the frame has left
        try:
            cut = frame.cut_for(self.carrier)
            port.send(
                cut,
                delivery=delivery & 0xFFFF,
                pts=frame.pts,
                on_left=lambda has_left: self._note_left(frame, cut, has_left),
            )
        except ConnectionError:
            self._n_deliveries = delivery
            self._drop(frame)
        except Exception:  # one subscriber's trouble must not become that of the others
            _log.exception("a frame could not be sent")
            self._drop(frame)
            self.close()

    def _note_left(self, frame: OutgoingFrame, cut: CutFrame, has_left: bool) -> None:
        if not has_left:
            self._drop(frame)
            return
        counters = self.counters
        counters.frames_sent += 1
        counters.bitstream_bytes += cut.bitstream_bytes
        counters.payload_bytes += cut.payload_bytes
        counters.last_sent_us = monotonic_us()
        self._on_sent(frame, counters.last_sent_us)

    def _drop(self, frame: OutgoingFrame) -> None:
        self.counters.frames_dropped += 1
        self._on_dropped(frame)

    def _heed_pli(self) -> None:
        """Let a PLI pass, but from a browser, which sends one whenever no frame came for 200 ms."""
        if self.carrier is Carrier.OWN:
            self._count_pli()

    def _count_pli(self) -> None:
        self.counters.pli_count += 1
        self._on_pli()

    def _read_report(self, data: bytes) -> bool:
        """Take what may be a report of frames; say whether it is one, well formed or not."""
        if not data.startswith(REPORT_NAME):
            return False
        with suppress(BitstreamError):
            report = read_report(data)
            self.counters.report_count += 1
            self._on_report(report)
        return True
