"""The receiving ends, packet by packet, without a network."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket

from rtcodec.codec.call_restorer import CallRestorer
from rtcodec.media.picture import frame_of, planes_of
from rtcodec.packet.feedback import FrameReport, write_report
from rtcodec.packet.packetizer import Packetizer
from rtcodec.packet.payload import FrameTiming
from rtcodec.packet.rtcp import PAYLOAD_FEEDBACK, TRANSPORT_FEEDBACK, read_rtcp
from rtcodec.packet.rtp_packet import RtpPacket
from rtcodec.types import Planes
from rtcodec.webrtc import LatentReceiver, QueueClosed, VideoReceiver, unix_us
from rtcodec.webrtc.aiortc_patch import new_decoder
from rtcodec.webrtc.aiortc_private import PORT
from rtcodec.webrtc.aiortc_receiver import MAX_SOURCES
from rtcodec.webrtc.clock import NTP_TO_UNIX_S
from support.relay import until

VP8, H264, LATENT = 97, 99, 103


class StandIn:
    """What the receivers touch of an RTCRtpReceiver."""

    def __init__(self) -> None:
        self.nacks: list[int] = []
        self.was_asked = asyncio.Event()
        self.plis = 0
        self.transport = SimpleNamespace(_rtp_router=SimpleNamespace(ssrc_table={}))
        self._RTCRtpReceiver__codecs = {
            VP8: RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90_000, payloadType=VP8),
            H264: RTCRtpCodecParameters(mimeType="video/H264", clockRate=90_000, payloadType=H264),
            LATENT: RTCRtpCodecParameters(
                mimeType="video/X-RTC-LATENT", clockRate=90_000, payloadType=LATENT
            ),
        }
        self._RTCRtpReceiver__remote_streams: dict[int, object] = {}
        self._RTCRtpReceiver__rtx_ssrc: dict[int, int] = {}
        self._RTCRtpReceiver__rtcp_ssrc = None

    def receive(self, packets: list[RtpPacket]) -> None:
        """Hand packets to the port that was put into this."""
        for each in packets:
            vars(self)[PORT].receive(each)

    async def _handle_rtcp_packet(self, packet: object) -> None:
        pass

    async def _send_rtcp_nack(self, ssrc: int, seqs: list[int]) -> None:
        self.nacks += seqs
        self.was_asked.set()

    async def _send_rtcp_pli(self, ssrc: int) -> None:
        self.plis += 1


def packet(
    seq: int, timestamp: int, payload: bytes, *, marker: bool, payload_type: int
) -> RtpPacket:
    return RtpPacket(payload_type, marker, seq & 0xFFFF, timestamp, 1, payload)


@pytest.fixture
async def video() -> AsyncIterator["VideoBench"]:
    bench = VideoBench()
    yield bench
    bench.stop()


class VideoBench:
    """A video receiver, its decoder thread, and a VP8 stream to feed it."""

    def __init__(self, restorer: CallRestorer | None = None) -> None:
        self.stand_in = StandIn()
        self.drops: list[str] = []
        receiver: Any = self.stand_in
        self.video = VideoReceiver(
            receiver, max_frames=100, on_drop=self.drops.append, restorer=restorer
        )
        self.decoder = receiver._RTCRtpReceiver__decoder_queue
        self.thread = threading.Thread(
            target=self.decoder.run, args=(asyncio.get_running_loop(),), daemon=True
        )
        self.thread.start()
        self._codec = av.CodecContext.create("libvpx", "w")
        assert isinstance(self._codec, av.VideoCodecContext)
        self._codec.width, self._codec.height, self._codec.pix_fmt = 64, 48, "yuv420p"
        self._codec.gop_size = 9999
        self._codec.options = {"deadline": "realtime", "lag-in-frames": "0"}
        self._seq = 65_533
        self._number = 0

    def stop(self) -> None:
        self.decoder.put(None)
        self.thread.join()
        self.video.close()

    def encode(self, *, keyframe: bool = False) -> list[RtpPacket]:
        """Return the next frame in three packets."""
        assert isinstance(self._codec, av.VideoCodecContext)
        picture = av.VideoFrame(64, 48, "yuv420p")
        for n, plane in enumerate(picture.planes):
            plane.update(bytes((self._number * 8 + n) & 0xFF for _ in range(plane.buffer_size)))
        picture.pts = self._number
        if keyframe:
            picture.pict_type = av.video.frame.PictureType.I
        data = b"".join(bytes(p) for p in self._codec.encode(picture))
        third = len(data) // 3 + 1
        parts = [data[i : i + third] for i in range(0, len(data), third)]
        packets = [
            packet(
                self._seq + n,
                self._number * 3000,
                bytes([0x10 if n == 0 else 0]) + part,
                marker=n == len(parts) - 1,
                payload_type=VP8,
            )
            for n, part in enumerate(parts)
        ]
        self._seq += len(parts)
        self._number += 1
        return packets

    def feed(self, packets: list[RtpPacket]) -> None:
        self.stand_in.receive(packets)


async def test_pictures_come_out_in_order_with_their_times(video: VideoBench) -> None:
    for _ in range(3):
        video.feed(video.encode())
    frames = [await asyncio.wait_for(video.video.recv(), 5) for _ in range(3)]
    assert [frame.pts for frame in frames] == [0, 3000, 6000]
    assert [frame.is_keyframe for frame in frames] == [True, False, False]
    assert all(f.arrived_us <= f.assembled_us <= f.decoded_us for f in frames)
    assert video.video.frames_received == 3
    assert video.drops == []
    assert video.stand_in.plis == 0


async def test_after_a_loss_nothing_is_shown_until_a_key_frame(video: VideoBench) -> None:
    video.feed(video.encode())
    del (damaged := video.encode())[1]
    video.feed(damaged)
    await until(lambda: video.stand_in.nacks)
    assert video.stand_in.nacks[0] == 65_533 + 4 & 0xFFFF
    video.feed(video.encode())
    await until(lambda: video.stand_in.plis == 1)
    assert video.drops == ["incomplete", "no_keyframe"]
    video.feed(video.encode(keyframe=True))
    video.feed(video.encode())
    pts = [(await asyncio.wait_for(video.video.recv(), 5)).pts for _ in range(3)]
    assert pts == [0, 9000, 12_000]
    assert video.video.frames_received == 5
    assert video.video.counters.pli_count == 1


async def test_a_frame_that_cannot_be_decoded_is_dropped_and_a_key_frame_asked_for(
    video: VideoBench,
) -> None:
    video.feed(video.encode())
    broken = packet(65_536, 3000, b"\x10\x00", marker=True, payload_type=VP8)
    video.feed([broken])
    await until(lambda: video.drops == ["decode_error"])
    await until(lambda: video.stand_in.plis == 1)
    assert (await video.video.recv()).pts == 0


class Inverting(CallRestorer):
    """One whose pictures can be told from those it was given, and that can be held up."""

    def __init__(self) -> None:
        self.codecs: set[str] = set()
        self.steps: list[float] = []
        self.may_go_on = threading.Event()

    def restore(self, planes: Planes, codec: str, step: float) -> Planes:
        self.codecs.add(codec)
        self.steps.append(step)
        assert self.may_go_on.wait(10)
        return Planes(255 - planes.y, planes.u, planes.v)


async def test_vp8_is_restored_by_its_step_unless_frames_wait() -> None:
    restorer = Inverting()
    bench = VideoBench(restorer)
    try:
        bench.feed(bench.encode())
        await until(lambda: restorer.steps)
        for _ in range(3):  # these come while the first one is still being restored
            bench.feed(bench.encode())
        await until(lambda: bench.video.frames_received == 4)
        restorer.may_go_on.set()
        frames = [await asyncio.wait_for(bench.video.recv(), 5) for _ in range(4)]
    finally:
        restorer.may_go_on.set()
        bench.stop()
    means = [float(planes_of(frame.picture).y.mean()) for frame in frames]
    assert [mean > 128 for mean in means] == [True, False, False, True]
    assert [frame.pts for frame in frames] == [0, 3000, 6000, 9000]
    assert all(2.0 <= step <= 142.0 for step in restorer.steps)
    assert restorer.codecs == {"vp8"}


async def test_h264_is_restored_by_what_its_decoder_says() -> None:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.options = {"tune": "zerolatency", "x264-params": "log-level=error:qp=30:ipratio=1"}
    picture = frame_of(Planes(*(np.full(s, 60, np.uint8) for s in ((48, 64), (24, 32), (24, 32)))))
    picture.pts = 0
    data = b"".join(bytes(each) for each in encoder.encode(picture))
    units = [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.rstrip(b"\0")]
    restorer = Inverting()
    restorer.may_go_on.set()
    bench = VideoBench(restorer)
    try:
        bench.feed(
            [
                packet(n, 0, unit, marker=n == len(units) - 1, payload_type=H264)
                for n, unit in enumerate(units)
            ]
        )
        frame = await asyncio.wait_for(bench.video.recv(), 5)
    finally:
        bench.stop()
    assert abs(float(planes_of(frame.picture).y.mean()) - 195) < 4
    assert restorer.codecs == {"h264"}
    assert restorer.steps == pytest.approx([20.0])  # 0.625 * 2 ** (30 / 6)


def test_vp8_comes_out_as_from_the_reference_decoder() -> None:
    encoder = av.CodecContext.create("libvpx", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 80, 56, "yuv420p"
    encoder.bit_rate, encoder.gop_size = 150_000, 8
    encoder.options = {"deadline": "realtime", "lag-in-frames": "0"}
    random = np.random.default_rng(1)
    scene = random.integers(0, 256, (84, 200), np.uint8)
    ours = new_decoder(RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90_000))
    reference = av.CodecContext.create("libvpx", "r")
    for n in range(20):
        picture = av.VideoFrame.from_ndarray(np.roll(scene, 3 * n)[:, :80].copy(), "yuv420p")
        picture.pts = n
        for coded in encoder.encode(picture):
            (made,) = ours.decode(JitterFrame(bytes(coded), n))
            (expected,) = reference.decode(av.Packet(bytes(coded)))
            assert isinstance(expected, av.VideoFrame)
            np.testing.assert_array_equal(made.to_ndarray(), expected.to_ndarray())


async def test_a_codec_that_does_not_start_costs_its_frames_only(
    video: VideoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [RuntimeError("no such decoder")]

    def moody_decoder(codec: RTCRtpCodecParameters) -> Any:
        if failures:
            raise failures.pop()
        return new_decoder(codec)

    monkeypatch.setattr("rtcodec.webrtc.video_receiver.new_decoder", moody_decoder)
    video.feed(video.encode())
    await until(lambda: video.drops == ["decode_error"])
    video.feed(video.encode(keyframe=True))
    assert (await asyncio.wait_for(video.video.recv(), 5)).pts == 3000


async def test_a_frame_cut_off_by_the_end_is_counted(video: VideoBench) -> None:
    video.feed(video.encode())
    await asyncio.wait_for(video.video.recv(), 5)
    video.feed(video.encode()[:2])
    video.video.close()
    assert video.video.frames_received == 2
    assert video.drops == ["incomplete"]


async def test_a_frame_cut_off_by_a_new_stream_is_counted(video: VideoBench) -> None:
    video.feed(video.encode()[:2])
    other = video.encode(keyframe=True)
    for each in other:
        each.ssrc = 2
    video.feed(other)
    assert video.drops == ["incomplete"]
    assert (await asyncio.wait_for(video.video.recv(), 5)).pts == 0  # the first that is whole
    assert video.video.frames_received == 2


async def test_what_comes_after_the_end_is_dropped_and_counted(video: VideoBench) -> None:
    video.feed(video.encode())
    await asyncio.wait_for(video.video.recv(), 5)
    video.decoder.put(None)
    video.thread.join()
    video.feed(video.encode())  # the loop has not heard of the end yet
    assert video.drops == ["closing"]
    with pytest.raises(QueueClosed):
        await asyncio.wait_for(video.video.recv(), 5)
    video.feed(video.encode())
    assert video.video.frames_received == 2


async def read_to_end(video: VideoReceiver) -> list[int]:
    """Return the times of all pictures, in frames of 3000 ticks."""
    seen = []
    with suppress(QueueClosed):
        while True:
            seen.append((await video.recv()).pts // 3000)
    return seen


async def test_who_leaves_has_the_frames_that_arrived_decoded_and_read(video: VideoBench) -> None:
    for _ in range(9):
        video.feed(video.encode())
    reading = asyncio.ensure_future(read_to_end(video.video))
    await video.video.settle()
    video.video.close()
    assert await reading == list(range(9))
    assert not video.drops


async def test_what_nobody_reads_at_the_end_is_not_waited_for(video: VideoBench) -> None:
    video.feed(video.encode())
    await asyncio.wait_for(video.video.settle(), 5)
    video.video.close()
    assert video.drops == ["closing"]


async def test_pictures_nobody_reads_are_superseded(video: VideoBench) -> None:
    for _ in range(120):
        video.feed(video.encode())
    await until(lambda: len(video.drops) >= 20)
    assert set(video.drops) <= {"superseded", "backlog"}
    video.video.close()
    assert video.video.frames_received == 120
    await until(lambda: len(video.drops) == 120)


async def test_the_capture_time_comes_from_sender_reports(video: VideoBench) -> None:
    now_us = unix_us()
    receiver = video.video
    assert receiver.capture_us(0, received_unix_us=now_us) is None
    ntp = ((now_us // 1_000_000 + NTP_TO_UNIX_S) << 32) + (now_us % 1_000_000 << 32) // 1_000_000
    info = RtcpSenderInfo(
        ntp_timestamp=ntp, rtp_timestamp=2**32 - 900, packet_count=1, octet_count=1
    )
    handle: Any = video.stand_in
    await handle._handle_rtcp_packet(RtcpSrPacket(ssrc=1, sender_info=info))
    assert receiver.last_heard_us is not None
    captured = receiver.capture_us(0, received_unix_us=now_us + 50_000)  # 10 ms later, wrapped
    assert captured == pytest.approx(now_us + 10_000, abs=2)
    assert (
        receiver.capture_us(0, received_unix_us=now_us) == now_us
    )  # clocks that disagree a little
    assert receiver.capture_us(0, received_unix_us=now_us - 10**6) is None
    assert receiver.capture_us(0, received_unix_us=now_us + 60 * 10**6) is None


# ---- latents


class LatentBench:
    """A latent receiver and a stream to feed it."""

    def __init__(self, max_frames: int = 4) -> None:
        self.stand_in = StandIn()
        receiver: Any = self.stand_in
        self.latents = LatentReceiver(receiver, max_frames=max_frames)
        self._packetizer = Packetizer()
        self._seq = 100
        self._number = 0

    def frame(self, *data: bytes) -> list[RtpPacket]:
        payloads = self._packetizer.packetize(
            data, timing=FrameTiming(pts=self._number * 3000, received_us=1), is_keyframe=True
        )
        packets = [
            packet(
                self._seq + n,
                self._number * 3000,
                payload,
                marker=n == len(payloads) - 1,
                payload_type=LATENT,
            )
            for n, payload in enumerate(payloads)
        ]
        self._seq += len(packets)
        self._number += 1
        return packets

    def feed(self, packets: list[RtpPacket]) -> None:
        self.stand_in.receive(packets)


async def test_latents_come_out_as_packets() -> None:
    bench = LatentBench()
    bench.feed(bench.frame(b"a" * 3000, b"b"))
    frame = await bench.latents.recv()
    assert frame.packets == (b"a" * 3000, b"b")
    assert frame.is_complete
    assert frame.timing is not None
    assert frame.timing.pts == 0
    assert bench.latents.bitstream_bytes == 3001


async def test_what_arrived_is_told_along_with_reports_of_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(us=1_000_000)
    for module in ("aiortc_receiver", "transport_feedback"):
        monkeypatch.setattr(f"rtcodec.webrtc.{module}.monotonic_us", lambda: clock.us)
    datagrams: list[list[int]] = []

    async def send(data: bytes) -> None:
        datagrams.append([part.type for part in read_rtcp(data)])

    bench = LatentBench()
    bench.stand_in.transport._send_rtp = send
    bench.stand_in._RTCRtpReceiver__rtcp_ssrc = 5  # type: ignore[assignment]
    report = write_report(FrameReport(1, held=1))
    for number in range(2):
        (one,) = bench.frame(b"a")
        one.number = number
        bench.feed([one])
        bench.latents.send_feedback(report)  # of what arrived there is time to speak
        clock.us += 50_000
        bench.latents.send_feedback(report)
        bench.latents.send_feedback(report)  # all is said
        clock.us += 50_000
    bench.latents.close()
    alone, together = [PAYLOAD_FEEDBACK], [TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK]
    assert datagrams == [alone, together, alone] * 2


async def test_what_is_no_payload_of_ours_is_counted_and_left_out() -> None:
    bench = LatentBench()
    bench.feed([packet(90, 0, b"junk", marker=True, payload_type=LATENT)])
    bench.feed([packet(91, 0, b"x", marker=True, payload_type=VP8)])
    bench.feed([packet(99, 0, b"", marker=False, payload_type=LATENT)])  # padding
    bench.feed(bench.frame(b"a"))
    assert (await bench.latents.recv()).packets == (b"a",)
    assert bench.latents.counters.packets_malformed == 2
    bench.latents.close()


async def test_at_the_end_what_is_held_can_still_be_read() -> None:
    bench = LatentBench()
    bench.feed(bench.frame(b"a"))
    bench.feed(bench.frame(b"b", b"c")[:1])
    bench.latents.close()
    assert [frame.packets async for frame in bench.latents] == [(b"a",), (b"b",)]
    with pytest.raises(QueueClosed):
        await bench.latents.recv()


async def test_frames_nobody_reads_are_pushed_out_and_counted() -> None:
    bench = LatentBench(max_frames=2)
    for _ in range(5):
        bench.feed(bench.frame(b"a"))
    assert (bench.latents.frames_received, bench.latents.frames_dropped) == (5, 3)
    assert (await bench.latents.recv()).number == 3


async def test_a_missing_tail_is_asked_for_on_a_timer() -> None:
    bench = LatentBench()
    bench.feed(bench.frame(b"a", b"b")[:1])
    async with asyncio.timeout(60):
        await bench.stand_in.was_asked.wait()  # and no longer: it is asked for again
    assert bench.stand_in.nacks == [101]
    bench.latents.close()


async def test_a_sender_that_changes_its_source_for_ever_is_not_followed(video: Any) -> None:
    handle = video.stand_in
    table = handle.transport._rtp_router.ssrc_table
    for ssrc in range(100):
        table[ssrc] = handle  # as aiortc does before it calls
        handle.receive([RtpPacket(VP8, False, 1, 2, ssrc, b"\x10\0")])
    assert len(handle._RTCRtpReceiver__remote_streams) == MAX_SOURCES
    assert len(table) == MAX_SOURCES
