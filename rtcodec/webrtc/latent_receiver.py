"""
Receive frames of X-RTC-LATENT from an aiortc receiver.

No decoding here: what comes out are the bitstream packets that arrived.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiortc import RTCRtpReceiver

from rtcodec.errors import BitstreamError
from rtcodec.packet.depacketizer import Depacketizer
from rtcodec.packet.jitter_buffer import Arrival, FrameReleased, JitterConfig
from rtcodec.packet.parity import MARK, ParityBuffer, read_parity
from rtcodec.packet.payload import FrameTiming, Payload, read_payload
from rtcodec.packet.rtp_packet import RtpPacket
from rtcodec.webrtc.aiortc_patch import LATENT_CODEC_NAME
from rtcodec.webrtc.intake import Intake
from rtcodec.webrtc.newest import NewestQueue, QueueClosed

_PARITY_MARK = bytes((MARK,))


@dataclass(frozen=True, slots=True)
class LatentFrame:
    """One frame as it came out of the network."""

    number: int
    "Frames sent to us before this one; gaps are lost frames."

    packets: tuple[bytes, ...]
    "Whole bitstream packets in sending order; fewer than were sent if some were lost."

    is_keyframe: bool
    "Whether a decoder may start here."

    rtp_timestamp: int
    "RTP time stamp, 32 bits: 90 kHz ticks with an origin of the sender's choice."

    timing: FrameTiming | None
    "The publisher's pts and the relay's stages; None if the first payload was lost."

    n_payloads: int
    "RTP payloads sent."

    n_payloads_missing: int
    "RTP payloads that did not arrive in time."

    n_frames_lost_before: int
    "Frames lost whole between the previous frame and this one."

    arrived_us: int
    "When the first packet of it arrived, monotonic microseconds."

    released_us: int
    "When the last packet of it arrived, monotonic microseconds."

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return self.n_payloads_missing == 0


class _EndOnly:
    """Stands where aiortc's decoder thread reads: latents need no thread."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._ended = threading.Event()

    def put(self, task: object) -> None:
        """Take aiortc's end of stream; there are no other tasks."""
        if task is None:
            self._ended.set()

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the end of the stream."""
        self._ended.wait()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._on_end)


class LatentReceiver(Intake[Payload]):
    """
    The receiving end of a latent stream.

        async for frame in receiver: ...

    At most *max_frames* wait to be read; the oldest is pushed out and counted
    in `frames_dropped`. So frames sent = frames read + frames_lost +
    frames_dropped, once the stream has ended and been read to its end (a loss
    at the very end shows only in what the sender reports).
    """

    def __init__(
        self,
        receiver: RTCRtpReceiver,
        *,
        max_frames: int = 2,
        config: JitterConfig | None = None,
    ) -> None:
        """Take over *receiver*; call it in the connection's `track` event."""
        super().__init__(receiver, config=config or JitterConfig(), decoder=_EndOnly(self._end))
        self.frames_received = 0
        "Frames of which at least one payload arrived."
        self.frames_lost = 0
        "Frames of which nothing arrived, as far as later frames show."
        self.frames_dropped = 0
        "Frames that nobody read in time."
        self.bitstream_bytes = 0
        "Bytes of whole bitstream packets received."
        self.packets_rebuilt = 0
        "Packets made of others and their parity."
        self._parities: ParityBuffer | None = None
        self._depacketizer = Depacketizer()
        self._queue: NewestQueue[LatentFrame] = NewestQueue(max_frames, on_drop=self._on_drop)

    def take(self, packet: RtpPacket, codec: str, data: bytes, *, now_us: int) -> None:
        """Take one packet, and those that it lets us rebuild."""
        if packet.payload[:1] == _PARITY_MARK:
            self._take_parity(packet, now_us)
            return
        super().take(packet, codec, data, now_us=now_us)
        if self._parities is not None and packet.payload:
            self._take_rebuilt(
                packet, self._parities.add_payload(packet.sequence_number, packet.payload), now_us
            )

    def widen(self, n_frames: int) -> None:
        """Let up to *n_frames* wait for a while; as `NewestQueue.widen`."""
        self._queue.widen(n_frames)

    async def recv(self) -> LatentFrame:
        """
        Wait for the next frame.

        Raises:
            QueueClosed: When the stream has ended.
        """
        return await self._queue.get()

    async def __aiter__(self) -> AsyncIterator[LatentFrame]:
        """Yield frames until the stream ends."""
        while True:
            try:
                frame = await self._queue.get()
            except QueueClosed:
                return
            yield frame

    def close(self) -> None:
        """End the stream; frames already received, whole or not, can still be read."""
        self.finish()
        super().close()
        self._queue.close()

    def _end(self) -> None:
        self.close()

    def _on_drop(self, frame: LatentFrame) -> None:
        self.frames_dropped += 1

    def _read(self, packet: RtpPacket, codec: str, data: bytes) -> Arrival[Payload] | None:
        if codec != LATENT_CODEC_NAME:
            self.counters.packets_malformed += 1
            return None
        payload = None
        if packet.payload:
            try:
                payload = read_payload(packet.payload)
            except BitstreamError:
                self.counters.packets_malformed += 1
                return None
        return Arrival(
            seq=packet.sequence_number,
            timestamp=packet.timestamp,
            marker=packet.marker,
            item=payload,
            place=(payload.index, payload.count) if payload is not None else None,
        )

    def _take_parity(self, packet: RtpPacket, now_us: int) -> None:
        try:
            parity = read_parity(packet.payload)
        except BitstreamError:
            self.counters.packets_malformed += 1
            return
        if self._parities is None:
            self._parities = ParityBuffer()  # from the first parity on; what came before is unknown
            return
        self._take_rebuilt(packet, self._parities.add_parity(parity), now_us)

    def _take_rebuilt(
        self, beside: RtpPacket, rebuilt: tuple[int, bytes] | None, now_us: int
    ) -> None:
        """Take a payload in that was rebuilt of others of the frame of the packet *beside*."""
        if rebuilt is None:
            return
        self.packets_rebuilt += 1
        seq, payload = rebuilt
        made = RtpPacket(beside.payload_type, False, seq, beside.timestamp, beside.ssrc, payload)
        super().take(made, LATENT_CODEC_NAME, payload, now_us=now_us)

    def _release(self, frame: FrameReleased[Payload]) -> None:
        received = self._depacketizer.depacketize(frame.items)
        if received is None:
            self.counters.packets_late += len(frame.items)
            return
        self.frames_received += 1
        self.frames_lost += received.n_frames_lost_before
        self.bitstream_bytes += sum(map(len, received.packets))
        self._queue.put(
            LatentFrame(
                number=received.number,
                packets=received.packets,
                is_keyframe=received.is_keyframe,
                rtp_timestamp=frame.timestamp,
                timing=received.timing,
                n_payloads=received.n_payloads,
                n_payloads_missing=received.n_payloads_missing,
                n_frames_lost_before=received.n_frames_lost_before,
                arrived_us=frame.first_us,
                released_us=frame.last_us,
            )
        )
