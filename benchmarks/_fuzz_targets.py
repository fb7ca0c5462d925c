"""
Every parser of bytes from outside, with valid samples, and what it may answer nonsense with.

A target is called with bytes and returns, or raises one of its `allowed` exceptions; those are
what its callers catch. Anything else is a finding.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import re
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import aioice.stun
import jwt
import numpy as np
from aiortc import MediaStreamTrack
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
from aiortc.sdp import SessionDescription, candidate_from_sdp
from av import VideoFrame

from benchmarks import _fuzz_pictures, _fuzz_studies, _mutate
from benchmarks._web_decoder import MISSING, WebDecoder
from rtcodec.bitstream import RtcReader, read_packet, write_packet
from rtcodec.bitstream.packet import Packet
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.decoder import FrameDecoder, unpack_frame
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.conformance.exact import EXACT, ExactPainter, exact_bundle
from rtcodec.conformance.spatial import (
    copied_frame,
    spatial_header,
    spatial_packets,
    spatial_stream,
    whole_header,
)
from rtcodec.engine.null import NullEngine, null_bundle
from rtcodec.errors import (
    BitstreamError,
    ConfigError,
    InputError,
    RemoteProtocolError,
    RtcodecError,
)
from rtcodec.packet.depacketizer import Depacketizer
from rtcodec.packet.feedback import FrameReport, read_report, write_report
from rtcodec.packet.jitter_buffer import Arrival, FrameReleased, JitterBuffer
from rtcodec.packet.packetizer import Packetizer
from rtcodec.packet.payload import FrameTiming, Payload, read_payload
from rtcodec.packet.rtcp import read_rtcp
from rtcodec.packet.rtp_packet import read_rtp, read_vp8_payload
from rtcodec.packet.video_size import read_frame_size
from rtcodec.session.candidate import CandidatePolicy, filter_candidates
from rtcodec.session.message import check_room_name, read_ice_fragment
from rtcodec.types import Planes
from rtcodec.webrtc import add_latent_receiver, add_video_track, create_offer, new_connection
from rtcodec.webrtc.aiortc_sender import unpack_remb_fci
from rtcodec.webrtc.sdp import read_sdp
from rtcodec_client.load.relay_probe import read_metrics
from rtcodec_client.signalling import reason_of
from rtcodec_server.access import ALGORITHM, BadToken, Keyring
from rtcodec_server.config import ServerConfig
from rtcodec_server.offer import read_publisher_offer, read_subscriber_offer
from rtcodec_server.settings import read_config

VECTORS: Final = Path(__file__).parents[1] / "tests" / "conformance" / "vectors"
EXAMPLE: Final = Path(__file__).parents[1] / "server" / "config.example.toml"
KEYS: Final = {"main": "0123456789abcdef" * 4}
_NOW_S: Final = 1_800_000_000

Mutate = Callable[[bytes, Sequence[bytes], Random], bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """One parser."""

    name: str
    about: str
    corpus: Callable[[], list[bytes]]
    "Valid samples; called once."

    run: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    mutate: Mutate = _mutate.mutate_bytes


# ---------------------------------------------------------------------- signalling


@cache
def _offers() -> list[bytes]:
    async def make() -> list[str]:
        sdps = []
        for kind in ("VP8", "H264", ""):
            connection = new_connection()
            try:
                if kind:
                    add_video_track(connection, _Silent(), codecs=(kind,))
                else:
                    add_latent_receiver(connection)
                sdps.append(await create_offer(connection, models=["ab" * 8], loopback_only=True))
            finally:
                await connection.close()
        return sdps

    made = asyncio.run(make())
    audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:9\r\na=rtpmap:111 opus/48000/2\r\n"
    return [sdp.encode() for sdp in (*made, made[0] + audio)]


class _Silent(MediaStreamTrack):
    kind = "video"

    async def recv(self) -> VideoFrame:
        raise TypeError("this track is only offered, nobody reads it")


_POLICY: Final = CandidatePolicy()


def _text(data: bytes) -> str:
    """Decode as the HTTP handlers do; what they answer 400 to is not parsed."""
    return data.decode("utf-8", "replace")


def _run_sdp(data: bytes) -> None:
    text = _text(data)
    read_sdp(text)
    for read in (read_publisher_offer, read_subscriber_offer):
        try:
            read(text, model_id="ab" * 8)
        except RemoteProtocolError:
            continue
    filter_candidates(text, _POLICY)


def _run_sdp_in_aiortc(data: bytes) -> None:
    text = _text(data)
    read_publisher_offer(text, model_id="ab" * 8)
    SessionDescription.parse(filter_candidates(text, _POLICY))


_FRAGMENTS: Final = [
    b"\r\n".join(lines)
    for lines in (
        (
            b"a=ice-ufrag:EsAw",
            b"a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            b"m=audio 9 RTP/AVP 0",
            b"a=mid:0",
            b"a=candidate:1387 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw",
            b"a=candidate:3471 1 udp 2122194687 198.51.100.2 6176 typ srflx raddr 10.0.0.1 rport 9",
            b"a=candidate:4733 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
            b"a=end-of-candidates",
        ),
        (
            b"a=candidate:1 1 udp 1 2001:db8::1 9 typ host",
            b"a=candidate:1 1 udp 1 x-y.local 9 typ host",
        ),
    )
]


def _run_fragment(data: bytes) -> None:
    for candidate in read_ice_fragment(_text(data)).candidates:
        if _POLICY.permits(candidate.text):
            try:
                candidate_from_sdp(candidate.text)
            except (ValueError, IndexError, AssertionError):  # as `Peer.add_candidates`
                continue


# ---------------------------------------------------------------------- media


@cache
def _streams() -> list[bytes]:
    names = ("smallest", "odd_size", "described", "extensions", "references", "random_escapes",
             "times_and_color", "neural_n64_delta", "missing_slices", "spatial_delta",
             "across_delta")  # fmt: skip
    return [(VECTORS / name / "input.rtc").read_bytes() for name in names]


def _packets_of(stream: bytes) -> list[list[Packet]]:
    units = RtcReader(io.BytesIO(stream))
    return [[p for p in unit.packets if isinstance(p, Packet)] for unit in units]


@cache
def _payloads() -> list[bytes]:
    packetizer = Packetizer()
    made = []
    for stream in _streams():
        for number, packets in enumerate(_packets_of(stream)):
            timing = FrameTiming(pts=number * 3000, received_us=number * 33_333)
            written = [write_packet(packet) for packet in packets]
            if written:
                made += packetizer.packetize(written, timing=timing, is_keyframe=not number)
    return made


class _Latents:
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


def _arrivals() -> list[bytes]:
    return [struct.pack(">HIB", n, n // 3 * 3000, 1) + p for n, p in enumerate(_payloads())]


@cache
def _video() -> dict[str, list[bytes]]:
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


def _run_video(name: str, read_payload: Callable[[bytes], bytes]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        read_frame_size(name, data)
        read_frame_size(name, read_payload(data))

    return run


def _read_h264_payload(data: bytes) -> bytes:
    codec = RTCRtpCodecParameters("video/H264", 90_000, payloadType=97)
    return depayload(codec, data) if data else b""


_EXTENSIONS: Final = HeaderExtensionsMap()


def _rtp() -> list[bytes]:
    return [
        RtpPacket(97, n & 1, n, n * 3000, 7, payload[:200]).serialize(_EXTENSIONS)
        for n, payload in enumerate(_video()["VP8"][:8])
    ] + [b"\xb0\x61\x00\x01" + bytes(8) + b"\xbe\xde\x00\x02\x10\xff\x32abc\x00\x00\x00data\x02"]


def _run_rtp(data: bytes) -> None:
    read_rtp(data, send_time_id=3, number_id=5)


def _rtcp() -> list[bytes]:
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


def _run_rtcp(data: bytes) -> None:
    for part in read_rtcp(data):
        if part.is_feedback:
            assert part.media_ssrc < 1 << 32
        for packet in RtcpPacket.parse(part.data):
            if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
                try:
                    unpack_remb_fci(packet.fci)
                except ValueError:
                    continue


def _reports() -> list[bytes]:
    reports = (FrameReport(7, 0xFFFFFFFE, 1, 9), FrameReport(65535, (1 << 256) - 1, 8, 0))
    return [write_report(report) for report in reports]


def _stun() -> list[bytes]:
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


def _run_stun(data: bytes) -> None:
    aioice.stun.parse_message(data).check_message_integrity(b"secret")


# ---------------------------------------------------------------------- bitstream


def _run_container(data: bytes) -> None:
    for _ in RtcReader(io.BytesIO(data)):
        pass


def _bitstream_packets() -> list[bytes]:
    return [
        write_packet(packet)
        for stream in _streams()
        for packets in _packets_of(stream)
        for packet in packets
    ]


_SIZES: Final = {"null": (128, 128), "n64": (97, 70), "exact": (97, 70)}


def _run_slices(model: str) -> Callable[[bytes], None]:
    width, height = _SIZES[model]

    def run(data: bytes) -> None:
        bundle = _bundle(model)
        unpack_frame(
            [read_packet(data)],
            tables=bundle.entropy_tables,
            net=bundle.scale_net,
            width=width,
            height=height,
            delta=bundle.delta,
            spatial=bundle.spatial,
        )

    return run


@cache
def _exact_decoder() -> FrameDecoder:
    """Of the model whose frames need no networks; it keeps what it painted."""
    bundle = _bundle(EXACT)
    painter: Any = ExactPainter(bundle)  # the half of an engine that a decoder asks for
    return FrameDecoder(painter, bundle, *_SIZES[EXACT])


def _run_spatial(data: bytes) -> None:
    _exact_decoder().decode([read_packet(data)])


@cache
def _bundle(model: str) -> Bundle:
    made: dict[str, Callable[[], Bundle]] = {"null": null_bundle, EXACT: exact_bundle}
    return made[model]() if model in made else find_bundle(model)


def _intra_slices() -> list[bytes]:
    engine = NullEngine()
    packer = FramePacker(engine.bundle.entropy_tables, Slicing(slices=3, dispersed=True))
    encoder = FrameEncoder(engine, packer, *_SIZES["null"])
    made = []
    for number in range(4):
        width, height = _SIZES["null"]
        luma = np.random.default_rng(number).integers(0, 64 << number, (height, width))
        chroma = np.full((height // 2, width // 2), 90, np.uint8)
        planes = Planes((luma & 255).astype(np.uint8), chroma, chroma)
        coded = encoder.encode(planes, qp=number * 20, pts=number, keyframe=True)
        made += [write_packet(packet) for packet in coded.unit.packets]
    return made


def _delta_slices() -> list[bytes]:
    stream = (VECTORS / "neural_n64_delta" / "input.rtc").read_bytes()
    return [write_packet(packet) for packets in _packets_of(stream) for packet in packets]


def _spatial_slices() -> list[bytes]:
    """Packets of the vector of that size, and packets that say what no vector does."""
    stream = (VECTORS / "spatial_modes" / "input.rtc").read_bytes()
    made = [write_packet(packet) for packets in _packets_of(stream) for packet in packets]
    maker = spatial_stream(*_SIZES[EXACT])
    for number in range(4):
        header = spatial_header(number, qp=number * 20, lanes=1 << number)
        packets = spatial_packets(f"fuzz {number}", maker, header, 2, one_in=200, most=9)
        made += [write_packet(packet) for packet in packets]
        header = whole_header(number, qp=number * 20, lanes=1 << number)
        (whole,) = spatial_packets(f"fuzz whole {number}", maker, header, one_in=200, most=9)
        made.append(write_packet(whole))
        header = replace(header, has_copies=True)
        (copied,) = maker.code(copied_frame(f"fuzz {number}", *_SIZES[EXACT], header), header)
        made.append(write_packet(copied))
    return made


@cache
def _web_decoder() -> WebDecoder:
    return WebDecoder(find_bundle("n64"), _WORK)


def _run_web_decoder(data: bytes) -> None:
    """Decode a packet in node, from what the packets before it left."""
    _web_decoder().decode([data], size=_SIZES["n64"])


# ---------------------------------------------------------------------- files, tokens, documents

_MEMORY: Final = Path("/dev/shm")
_FOLDER: Final = tempfile.TemporaryDirectory(  # a million files on a disk take an hour
    prefix="rtcodec-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None
)
_WORK: Final = Path(_FOLDER.name)


def _models() -> list[bytes]:
    path = _WORK / "null.rtcm"
    null_bundle().save(path)
    return [path.read_bytes()]


def _mutate_model(sample: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Break the header of a safetensors file, whose size comes first, or anything."""
    if rng.random() < 0.3:
        return _mutate.mutate_bytes(sample, others, rng)
    size = int.from_bytes(sample[:8], "little")
    head = _mutate.mutate_document(sample[8 : 8 + size], [sample[8 : 8 + size]], rng)
    return len(head).to_bytes(8, "little") + head + sample[8 + size :]


def _run_model(data: bytes) -> None:
    path = _WORK / "case.rtcm"
    path.write_bytes(data)
    bundle = Bundle.load(path)
    _ = bundle.entropy_tables, bundle.scale_net, bundle.delta


def _configs() -> list[bytes]:
    text = EXAMPLE.read_text("utf-8")
    set_all = "\n".join(
        line[2:] if line.startswith("# ") and " = " in line else line for line in text.split("\n")
    )
    set_all = set_all.replace("put 64 hexadecimal digits here", KEYS["main"])
    top, *tables = re.split(r"\n(?=\[)", set_all)
    lines = [line for line in top.split("\n") if " = " in line]
    chunks = ["\n".join(lines[start : start + 8]) for start in range(0, len(lines), 8)]
    return [chunk.encode() for chunk in (*chunks, *tables)]


def _run_config(data: bytes) -> None:
    path = _WORK / "case.toml"
    path.write_bytes(data)
    ServerConfig(**read_config(path))


_KEYRING: Final = Keyring(KEYS)


_CLAIMS: Final = json.dumps(
    [
        {"alg": ALGORITHM, "kid": "main", "typ": "JWT"},
        {"room": "a*", "publish": True, "exp": _NOW_S + 60, "nbf": 1.5, "iss": "x"},
    ]
).encode()


def _sign(header: object, claims: object) -> bytes:
    """Make a token of whatever there is, rightly signed."""
    parts = (json.dumps(part).encode("utf-8", "surrogatepass") for part in (header, claims))
    unsigned = b".".join(map(jwt.utils.base64url_encode, parts))
    signature = hmac.digest(KEYS["main"].encode(), unsigned, "sha256")
    return unsigned + b"." + jwt.utils.base64url_encode(signature)


def _tokens() -> list[bytes]:
    return [_sign(*json.loads(_CLAIMS))]


def _mutate_token(sample: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Break header and claims and sign them all the same, or break the token."""
    if rng.random() < 0.3:
        return _mutate.mutate_text(sample, others, rng)
    try:
        header, claims = json.loads(_mutate.mutate_document(_CLAIMS, [_CLAIMS], rng))
    except (ValueError, TypeError, RecursionError):  # no pair of anything any more
        return _sign(json.loads(_CLAIMS)[0], [None])
    return _sign(header, claims)


def _run_token(data: bytes) -> None:
    _KEYRING.verify(data.decode("latin-1"), now_s=_NOW_S)


_METRICS: Final = [
    (
        b'# HELP x y\n# TYPE rtcodec_frames_total counter\nrtcodec_frames_total{event="dropped",'
        b'reason="late"} 5.0\nrtcodec_event_loop_lag_seconds 1e-3\n'
        b'rtcodec_frame_latency_seconds_bucket{le="+Inf",stage="total"} 300.0\n'
    )
]

_ANSWERS: Final = [
    b'{"type": "about:blank", "title": "too many requests", "status": 429, "detail": "wait 3 s"}',
    b'{"error": {"code": 4}, "message": "no"}',
]

_NAMES: Final = [b"standup", b"a.b-c_D9", b"x" * 64]


TARGETS: tuple[Target, ...] = (
    Target("sdp", "read_sdp, the offers of WHIP and WHEP, their candidates", _offers, _run_sdp,
           (RemoteProtocolError,), _mutate.mutate_text),
    Target("sdp_aiortc", "what of that goes on to aiortc's reader", _offers, _run_sdp_in_aiortc,
           (Exception,), _mutate.mutate_text),  # all of it is answered with 400
    Target("fragment", "trickled candidates", lambda: _FRAGMENTS, _run_fragment,
           (RemoteProtocolError,), _mutate.mutate_text),
    Target("room", "names of rooms", lambda: _NAMES, lambda data: check_room_name(_text(data)),
           (RemoteProtocolError,), _mutate.mutate_text),
    Target("token", "JSON web tokens: header, claims, signature", _tokens, _run_token,
           (BadToken,), _mutate_token),
    Target("stun", "connectivity checks, in aioice", _stun, _run_stun,
           (ValueError, struct.error)),
    Target("rtp", "RTP headers and extensions", _rtp, _run_rtp, (BitstreamError,)),
    Target("rtcp", "compound RTCP; its packets and REMB, in aiortc", _rtcp, _run_rtcp,
           (BitstreamError, ValueError)),
    Target("feedback", "reports of frames held", _reports, read_report, (BitstreamError,)),
    Target("latents", "our RTP payloads: jitter buffer, depacketiser", _arrivals, _Latents().run,
           (BitstreamError,)),
    Target("vp8", "VP8 payloads, sizes of pictures", lambda: _video()["VP8"],
           _run_video("VP8", read_vp8_payload),
           (BitstreamError,)),
    Target("h264", "H.264 payloads, parameter sets", lambda: _video()["H264"],
           _run_video("H264", _read_h264_payload),
           (ValueError,)),
    Target("packet", "bitstream packets", _bitstream_packets, read_packet, (BitstreamError,)),
    Target("container", ".rtc files", _streams, _run_container, (BitstreamError,)),
    Target("slices", "entropy coded slices, intra", _intra_slices,
           _run_slices("null"), (BitstreamError,)),
    Target("slices_delta", "entropy coded slices of n64, delta frames", _delta_slices,
           _run_slices("n64"), (BitstreamError,)),
    Target("slices_spatial", "entropy coded slices of frames predicted from themselves, painted",
           _spatial_slices, _run_spatial, (BitstreamError,)),
    Target("model", ".rtcm files", _models, _run_model, (ConfigError,), _mutate_model),
    Target("study_viewer", "what viewers of studies send, as the relay's queue heeds it",
           _fuzz_studies.viewer_messages, _fuzz_studies.run_viewer_message,
           (RemoteProtocolError,)),
    Target("study_relay", "what relays send of studies, as viewers keep and prove it",
           _fuzz_studies.relay_messages, _fuzz_studies.run_relay_message,
           (RemoteProtocolError, BitstreamError)),
    Target("config", "TOML settings", _configs, _run_config, (ConfigError,), _mutate.mutate_text),
    Target("answer", "what a relay says why it refuses, as our clients read it", lambda: _ANSWERS,
           lambda data: reason_of(_text(data)), (), _mutate.mutate_document),
    Target("metrics", "a relay's metrics, as the load test reads them", lambda: _METRICS,
           lambda data: read_metrics(_text(data)), (RtcodecError,), _mutate.mutate_text),
    Target("exact", ".rtc files of exact pictures, decoded", _fuzz_pictures.exact_files,
           _fuzz_pictures.run_exact, (BitstreamError, InputError), _fuzz_pictures.mutate_exact),
    Target("progressive", ".rtc files of progressive pictures, decoded",
           _fuzz_pictures.progressive_files, _fuzz_pictures.run_progressive, (BitstreamError,),
           _fuzz_pictures.mutate_progressive),
    Target("multipart", "answers of DICOMweb", _fuzz_pictures.web_answers,
           _fuzz_pictures.run_web_answer, (InputError,)),
)  # fmt: skip
if _fuzz_pictures.HAS_DICOM:
    TARGETS += (
        Target(
            "dicom",
            "DICOM files, decoded",
            _fuzz_pictures.dicom_files,
            _fuzz_pictures.run_dicom,
            (InputError, ConfigError),
            _fuzz_pictures.mutate_dicom,
        ),
    )
if MISSING is None:
    TARGETS += (
        Target(
            "browser",
            "packets of n64, in the decoder for browsers, in node",
            _delta_slices,
            _run_web_decoder,
            (BitstreamError,),
        ),
    )
