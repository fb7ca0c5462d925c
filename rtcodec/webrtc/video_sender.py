"""
Send frames of an ordinary codec, VP8 or H.264, through an aiortc sender.

What others have encoded and cut goes out; a receiver starts at a key frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from aiortc import RTCPeerConnection

from rtcodec.packet.packetizer import CutFrame
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.pushed_track import PushedTrack


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One encoded picture, cut into payloads once for all its receivers."""

    cut: CutFrame
    pts: int
    "90 kHz ticks; becomes the RTP time stamp, with an offset."

    is_keyframe: bool


class VideoSender(PushedTrack):
    """
    A track that carries encoded video; all methods belong to the event loop's thread.

    Nothing waits here: a frame that cannot be sent is dropped, and the receiver then needs a key
    frame, as it does at the start. `counters.frames_dropped` holds those that were of no use.
    """

    def __init__(
        self,
        codec: str,
        *,
        on_keyframe_needed: Callable[[], None],
        on_nack: Callable[[int], None] = lambda n_packets: None,
        on_pli: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            codec: `VP8` or `H264`.
            on_keyframe_needed: Called when the receiver cannot go on without one.
            on_nack: Called with how many packets a NACK asked for.
            on_pli: Called when the receiver asks for a key frame, before *on_keyframe_needed*.
        """
        super().__init__(on_nack=on_nack)
        self.codec = codec
        self._on_keyframe_needed = on_keyframe_needed
        self._on_pli = on_pli
        self._needs_keyframe = True

    def attach(self, connection: RTCPeerConnection) -> None:
        """Add this track, and only its codec, to *connection*; `install` comes first."""
        self._attach(
            connection,
            self.codec,
            on_start=self._on_keyframe_needed,
            on_pli=self._ask_keyframe,
            on_feedback=lambda data: False,
        )

    def send(self, frame: VideoFrame) -> None:
        """Send *frame* if the receiver can make something of it; never blocks, never raises."""
        port = self._port
        if port is None or not port.is_running or (self._needs_keyframe and not frame.is_keyframe):
            self.counters.frames_dropped += 1
            return
        try:
            self._needs_keyframe = False  # before it may come out that this one did not leave
            port.send(
                frame.cut, delivery=0, pts=frame.pts, on_left=partial(self._note_left, frame.cut)
            )
        except ConnectionError:
            self._note_left(frame.cut, has_left=False)

    def _note_left(self, cut: CutFrame, has_left: bool) -> None:
        counters = self.counters
        if not has_left:
            counters.frames_dropped += 1
            self._needs_keyframe = True
            return
        counters.frames_sent += 1
        counters.bitstream_bytes += cut.bitstream_bytes
        counters.payload_bytes += cut.payload_bytes
        counters.last_sent_us = monotonic_us()

    def _ask_keyframe(self) -> None:
        self.counters.pli_count += 1
        self._on_pli()
        self._on_keyframe_needed()
