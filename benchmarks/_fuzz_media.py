"""What `fuzz` throws at the media path: RTP, RTCP, reports, payloads, connectivity checks."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any, Final

import aioice.stun
import numpy as np
from aiortc.codecs import depayload, get_encoder
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_RTPFB_NACK,
    HeaderExtensionsMap,
    RtcpByePacket,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
)
from av import VideoFrame

from benchmarks import _fuzz_bitstream
from rtcodec.bitstream import write_packet
from rtcodec.packet.depacketizer import Depacketizer
from rtcodec.packet.feedback import FrameReport, write_report
from rtcodec.packet.jitter_buffer import Arrival, FrameReleased, JitterBuffer
from rtcodec.packet.packetizer import Packetizer
from rtcodec.packet.payload import FrameTiming, Payload, read_payload
from rtcodec.packet.rtcp import read_rtcp
from rtcodec.packet.rtp_packet import read_rtp
from rtcodec.packet.video_size import read_frame_size
from rtcodec.webrtc.aiortc_sender import unpack_remb_fci


@cache
def _payloads() -> list[bytes]:
    packetizer = Packetizer()
    made = []
    for stream in _fuzz_bitstream.streams():
        for number, packets in enumerate(_fuzz_bitstream.packets_of(stream)):
            timing = FrameTiming(pts=number * 3000, received_us=number * 33_333)
            written = [write_packet(packet) for packet in packets]
            if written:
                made += packetizer.packetize(written, timing=timing, is_keyframe=not number)
    return made


class Latents:
    """A receiving end: what it is given stays with it, as in a call."""

    def __init__(self) -> None:
        self._buffer: JitterBuffer[Payload] = JitterBuffer()
        self._depacketizer = Depacketizer()
        self._now_us = 0

    def run(self, data: bytes) -> None:
        """Take eight bytes of RTP header and a payload."""
        seq, timestamp, marker = struct.unpack(">HIB", data[:7].ljust(7, b"\0"))
        payload = read_payload(data[7:])
        self._now_us += 3000
        place = (payload.index, payload.count)
        arrival = Arrival(seq, timestamp, bool(marker & 1), payload, place=place)
        self._buffer.receive(arrival, now_us=self._now_us)
        while (event := self._buffer.next_event()) is not None:
            if isinstance(event, FrameReleased):
                self._depacketizer.depacketize(event.items)


def arrivals() -> list[bytes]:
    return [struct.pack(">HIB", n, n // 3 * 3000, 1) + p for n, p in enumerate(_payloads())]


@cache
def video() -> dict[str, list[bytes]]:
    """Return RTP payloads of each codec, as a browser's would be."""
    found: dict[str, list[bytes]] = {}
    for name in ("VP8", "H264"):
        codec = RTCRtpCodecParameters(f"video/{name}", 90_000, payloadType=97)
        encoder: Any = get_encoder(codec)
        found[name] = []
        for number in range(3):
            picture = np.random.default_rng(number).integers(0, 255, (96 * 3 // 2, 128), np.uint8)
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number * 3000, _TIME_BASE
            found[name] += encoder.encode(frame, number == 0)[0]
    found["H264"].append(b"\x78\x00\x04\x67\x42\x00\x1f\x00\x02\x68\xce")  # STAP-A
    return found


_TIME_BASE: Final = Fraction(1, 90_000)


def run_video(name: str, read_payload: Callable[[bytes], bytes]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        read_frame_size(name, data)
        read_frame_size(name, read_payload(data))

    return run


def read_h264_payload(data: bytes) -> bytes:
    codec = RTCRtpCodecParameters("video/H264", 90_000, payloadType=97)
    return depayload(codec, data) if data else b""


_EXTENSIONS: Final = HeaderExtensionsMap()


def rtp() -> list[bytes]:
    return [
        RtpPacket(97, n & 1, n, n * 3000, 7, payload[:200]).serialize(_EXTENSIONS)
        for n, payload in enumerate(video()["VP8"][:8])
    ] + [b"\xb0\x61\x00\x01" + bytes(8) + b"\xbe\xde\x00\x02\x10\xff\x32abc\x00\x00\x00data\x02"]


def run_rtp(data: bytes) -> None:
    read_rtp(data, send_time_id=3, number_id=5)


def rtcp() -> list[bytes]:
    report = RtcpReceiverInfo(7, 3, 5, 9, 11, 13, 15)
    info = RtcpSenderInfo(1 << 40, 5, 6, 7)
    packets: list[Any] = [
        RtcpSrPacket(ssrc=1, sender_info=info, reports=[report]),
        RtcpRrPacket(ssrc=1, reports=[report] * 3),
        RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=7, lost=[*range(40)]),
        RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=7),
        RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=pack_remb_fci(900_000, [7, 8])),
        RtcpByePacket(sources=[7]),
    ]
    return [*map(bytes, packets), bytes(packets[1]) + bytes(packets[2])]


def run_rtcp(data: bytes) -> None:
    for part in read_rtcp(data):
        if part.is_feedback:
            assert part.media_ssrc < 1 << 32
        for packet in RtcpPacket.parse(part.data):
            if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
                try:
                    unpack_remb_fci(packet.fci)
                except ValueError:
                    continue


def reports() -> list[bytes]:
    reports = (FrameReport(7, 0xFFFFFFFE, 1, 9), FrameReport(65535, (1 << 256) - 1, 8, 0))
    return [write_report(report) for report in reports]


def stun() -> list[bytes]:
    message = aioice.stun.Message(
        message_method=aioice.stun.Method.BINDING, message_class=aioice.stun.Class.REQUEST
    )
    message.attributes |= {"USERNAME": "abcd:efgh", "PRIORITY": 1, "ICE-CONTROLLING": 5}
    bare = bytes(message)
    message.add_message_integrity(b"secret")
    answer = aioice.stun.Message(
        message_method=aioice.stun.Method.BINDING,
        message_class=aioice.stun.Class.RESPONSE,
        transaction_id=message.transaction_id,
    )
    answer.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.1", 9)
    return [bare, bytes(message), bytes(answer)]


def run_stun(data: bytes) -> None:
    aioice.stun.parse_message(data).check_message_integrity(b"secret")
