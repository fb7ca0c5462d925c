"""
Every touch of aiortc's private parts, and the check that they are still there.

Nothing else in the project names an attribute of aiortc or aioice that starts
with an underscore. `install` is called before the first connection; with any
aiortc that does not look exactly as expected it raises instead of going on.
"""

import asyncio
import contextvars
import queue
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, Protocol, cast

import aioice.ice
import aiortc.codecs
import aiortc.codecs.h264
import aiortc.codecs.vpx
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCRtpTransceiver,
)
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcdtlstransport import RTCDtlsTransport, State
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.rtcrtpparameters import RTCRtcpFeedback, RTCRtpCodecParameters
from aiortc.rtcrtpsender import random_sequence_number
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    HeaderExtensions,
    HeaderExtensionsMap,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    RtpPacket,
)
from aiortc.utils import random32

from rtcodec.errors import EngineError
from rtcodec.packet.packetizer import CutFrame
from rtcodec.packet.rtp_stream import ExtensionBlock, RetransmitAs, RtpStream
from rtcodec.webrtc.clock import unix_us, unix_us_to_ntp

SUPPORTED_AIORTC: Final = (1, 16)
LATENT_MIME_TYPE: Final = "video/X-RTC-LATENT"
LATENT_CODEC_NAME: Final = "X-RTC-LATENT"
LATENT_PAYLOAD_TYPE: Final = 103  # aiortc itself uses 96 to 102
RTP_HISTORY_PACKETS: Final = 1024
"Packets kept for retransmission; aiortc's 128 are a quarter of a second at 500 packets/s."

MAX_DATAGRAMS_WAITING: Final = 2048
"Datagrams that wait for DTLS and SRTP; aioice has no bound."

LOOPBACK_ADDRESS: Final = "127.0.0.1"

_CONNECTION: Final = "_RTCPeerConnection"
_RECEIVER: Final = "_RTCRtpReceiver"
_SENDER: Final = "_RTCRtpSender"
_TRANSPORT: Final = "_RTCDtlsTransport"


class UnsupportedAiortc(EngineError):
    """The aiortc that is installed is not the one this program was made for."""


class Intake(Protocol):
    """Takes the place of aiortc's jitter buffer for one receiver."""

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take one packet in order of arrival; return (send a PLI, None)."""


class DecoderThread(Protocol):
    """Takes the place of aiortc's queue of frames to decode."""

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Decode until stopped; called on the decoder's own thread."""


# ---------------------------------------------------------------- process wide

_is_installed = False
_loopback_only: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "rtcodec_loopback_only", default=False
)
_stock_host_addresses = aioice.ice.get_host_addresses
_stock_datagram_received = aioice.ice.StunProtocol.datagram_received
_stock_decoder_worker = aiortc.rtcrtpreceiver.decoder_worker


def install() -> None:
    """
    Register X-RTC-LATENT and the small repairs below; calling again is free.

    Raises:
        UnsupportedAiortc: If the installed aiortc or aioice differs from what
            this module was written against.
    """
    global _is_installed  # noqa: PLW0603 - aiortc's registries are global too
    if _is_installed:
        return
    check(version("aiortc"))
    aiortc.codecs.CODECS["video"] += _latent_codecs()
    _rebind(aiortc.rtcrtpsender, RTP_HISTORY_SIZE=RTP_HISTORY_PACKETS)
    _rebind(aiortc.rtcrtpreceiver, decoder_worker=_decoder_worker)
    _rebind(aioice.ice, get_host_addresses=_host_addresses)
    aioice.ice.StunProtocol.datagram_received = _datagram_received  # type: ignore[method-assign]
    _is_installed = True


def _rebind(module: ModuleType, **values: object) -> None:
    """Replace names of *module*, all of which must exist."""
    for name, value in values.items():
        if name not in vars(module):
            raise UnsupportedAiortc(f"{module.__name__} has no {name}")
        setattr(module, name, value)


def check(aiortc_version: str) -> None:
    """
    Compare aiortc and aioice with what this module relies on.

    Raises:
        UnsupportedAiortc: Naming every difference.
    """
    problems = [
        f"{owner.__qualname__} does not use {name}"
        for owner, names in _RELIED_ON
        for name in names
        if name not in _names_used(cast(FunctionType, owner).__code__)
    ]
    major, minor = (int(part) for part in aiortc_version.split(".")[:2])
    if (major, minor) != SUPPORTED_AIORTC:
        problems.insert(0, f"aiortc is {aiortc_version}, not 1.16")
    taken = {codec.payloadType for codec in aiortc.codecs.CODECS["video"]}
    if not _is_installed and taken & {LATENT_PAYLOAD_TYPE, LATENT_PAYLOAD_TYPE + 1}:
        problems.append(f"payload type {LATENT_PAYLOAD_TYPE} is taken")
    if problems:
        raise UnsupportedAiortc("cannot work with this aiortc: " + "; ".join(problems))


def _names_used(code: CodeType) -> set[str]:
    names = {*code.co_names, *code.co_varnames}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names_used(constant)
    return names


def _private(cls: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{cls}__{name}" for name in names)


_RELIED_ON: Final[tuple[tuple[Callable[..., object], tuple[str, ...]], ...]] = (
    (
        RTCRtpReceiver.__init__,
        _private(_RECEIVER, "jitter_buffer", "nack_generator", "decoder_queue", "decoder_thread"),
    ),
    (
        RTCRtpReceiver._handle_rtp_packet,
        (
            *_private(_RECEIVER, "jitter_buffer", "nack_generator", "codecs", "decoder_error"),
            "_data",
            "depayload",
            "unwrap_rtx",
            "_send_rtcp_pli",
        ),
    ),
    (
        RTCRtpReceiver.receive,
        (*_private(_RECEIVER, "decoder_queue", "decoder_error"), "decoder_worker", "_queue"),
    ),
    (RTCRtpReceiver._send_rtcp_nack, ("media_ssrc", "lost")),
    (
        RTCRtpReceiver._send_rtcp_pli,
        ("media_ssrc", *_private(_RECEIVER, "rtcp_ssrc"), "_send_rtcp"),
    ),
    (
        RTCRtpSender._next_encoded_frame,
        (*_private(_SENDER, "encoder"), "recv", "pack"),
    ),
    (
        RTCRtpSender._handle_rtcp_packet,
        (*_private(_SENDER, "encoder"), "_send_keyframe", "target_bitrate", "_retransmit"),
    ),
    (RTCRtpSender._retransmit, ("RTP_HISTORY_SIZE",)),
    (
        RTCRtpSender._run_rtp,
        (
            *_private(
                _SENDER,
                *("rtp_started", "rtp_exited", "track", "encoder", "mid", "ntp_timestamp"),
                *("rtp_timestamp", "octet_count", "packet_count", "rtp_header_extensions_map"),
            ),
            *("RTP_HISTORY_SIZE", "_send_rtp", "_ssrc", "random_sequence_number"),
        ),
    ),
    (RTCRtpSender._retransmit, ("_rtx_ssrc", *_private(_SENDER, "rtx_payload_type"))),
    (RTCRtpSender._next_encoded_frame, ("_enabled",)),
    (RTCRtpSender.send, ("_run_rtp", *_private(_SENDER, "rtx_payload_type", "mid"))),
    (RTCRtpSender._run_rtcp, _private(_SENDER, "ntp_timestamp", "packet_count")),
    (
        RTCDtlsTransport._send_rtp,
        (
            *_private(_TRANSPORT, "tx_bytes", "tx_packets"),
            *("_state", "CONNECTED", "_tx_srtp", "protect", "_send"),
        ),
    ),
    (RTCIceTransport.__init__, ("_connection", "_send")),
    (aioice.ice.Connection.sendto, ("_nominated", "protocol", "send_data", "remote_addr")),
    (RTCPeerConnection.setLocalDescription, _private(_CONNECTION, "connect")),
    (RTCPeerConnection.setRemoteDescription, _private(_CONNECTION, "connect")),
    (aioice.ice.Connection.gather_candidates, ("get_host_addresses",)),
    (aioice.ice.Connection.data_received, ("_queue", "put_nowait")),
    (_stock_datagram_received, ("receiver", "data_received", "local_candidate", "component")),
    (aioice.ice.Connection._find_pair, ("_check_list", "protocol")),
    (aioice.ice.Connection.close, ("_check_list", "_nominated", "_protocols")),
)
"Functions and the names they must use for the patches below to have their effect."


def _latent_codecs() -> list[RTCRtpCodecParameters]:
    return [
        RTCRtpCodecParameters(
            mimeType=LATENT_MIME_TYPE,
            clockRate=90_000,
            payloadType=LATENT_PAYLOAD_TYPE,
            rtcpFeedback=[
                RTCRtcpFeedback(type="nack"),
                RTCRtcpFeedback(type="nack", parameter="pli"),
                RTCRtcpFeedback(type="goog-remb"),
            ],
            parameters={"v": "1"},
        ),
        RTCRtpCodecParameters(
            mimeType="video/rtx",
            clockRate=90_000,
            payloadType=LATENT_PAYLOAD_TYPE + 1,
            parameters={"apt": LATENT_PAYLOAD_TYPE},
        ),
    ]


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Return the addresses to offer as ICE host candidates, 127.0.0.1 among them."""
    if _loopback_only.get():
        return [LOOPBACK_ADDRESS]
    addresses = _stock_host_addresses(use_ipv4, use_ipv6)
    return [*addresses, LOOPBACK_ADDRESS] if use_ipv4 else addresses


@contextmanager
def gathering(*, loopback_only: bool) -> Iterator[None]:
    """Choose the host candidates of connections that gather inside this context."""
    token = _loopback_only.set(loopback_only)
    try:
        yield
    finally:
        _loopback_only.reset(token)


def _datagram_received(
    self: aioice.ice.StunProtocol, data: bytes | str, addr: tuple[Any, ...]
) -> None:
    """
    Take a datagram, if it is a check or comes from where one was exchanged with.

    aioice hands DTLS and RTP on from any address: whoever finds the port could
    end a handshake with an alert of his own, or fill a queue without end.
    """
    is_check = len(data) > 0 and cast(bytes, data)[0] <= 3  # RFC 7983 7
    if not is_check:
        if not _is_peer(self, (addr[0], addr[1])):
            return
        if self.receiver._queue.qsize() < MAX_DATAGRAMS_WAITING:  # no need to try it as STUN
            self.receiver.data_received(cast(bytes, data), self.local_candidate.component)
        return
    _stock_datagram_received(self, data, addr)


def _is_peer(protocol: aioice.ice.StunProtocol, address: tuple[str, int]) -> bool:
    """Return whether an address is of a candidate pair: offered, or found by a signed check."""
    known: set[tuple[str, int]] = vars(protocol).setdefault("rtcodec_peers", set())
    if address not in known and any(
        pair.protocol is protocol and pair.remote_addr == address
        for pair in protocol.receiver._check_list
    ):
        known.add(address)
    return address in known


def _decoder_worker(
    loop: asyncio.AbstractEventLoop,
    input_q: Any,
    output_q: Any,
    decode_error: threading.Event,
) -> None:
    if isinstance(input_q, queue.Queue):
        _stock_decoder_worker(loop, input_q, output_q, decode_error)
    else:
        input_q.run(loop)


def raise_bitrate_limits(*, start_bps: int, max_bps: int) -> None:
    """Replace the bit rates that aiortc's own VP8 and H.264 encoders are held to."""
    for module in (aiortc.codecs.vpx, aiortc.codecs.h264):
        lowest_bps = min(vars(module)["MIN_BITRATE"], start_bps)
        _rebind(module, DEFAULT_BITRATE=start_bps, MAX_BITRATE=max_bps, MIN_BITRATE=lowest_bps)


# ------------------------------------------------------------------ connection


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
            await asyncio.wait(self._connecting)
        transports = {t for part in self.getTransceivers() for t in _transports(part)}
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
    for name in ("_send_keyframe", "_handle_rtcp_packet", "_run_rtp", "_retransmit"):
        vars(sender).pop(name, None)
    setattr(sender, f"{_SENDER}__encoder", None)


def _release_receiver(receiver: RTCRtpReceiver) -> None:
    """Drop what `ReceiverPort` put into a receiver."""
    vars(receiver).pop("_handle_rtcp_packet", None)
    for name in ("jitter_buffer", "nack_generator", "decoder_queue"):
        setattr(receiver, f"{_RECEIVER}__{name}", None)


def _release_transport(transport: RTCDtlsTransport) -> None:
    """Drop a transport's way back to its connection, and the pairs of its sockets."""
    transport.remove_all_listeners()
    ice = transport.transport._connection
    for kept in (ice._nominated, ice._check_list, ice._protocols):
        kept.clear()


# -------------------------------------------------------------------- receiver


class _NoNacks:
    """Stands in for aiortc's NACK generator; the intake asks by itself."""

    def add(self, packet: RtpPacket) -> bool:
        return False


class ReceiverPort:
    """
    The private side of one aiortc receiver.

    Made in the connection's `track` event, before any packet can arrive.
    """

    def __init__(self, receiver: RTCRtpReceiver, *, intake: Intake, decoder: DecoderThread) -> None:
        self._receiver = receiver
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_sender_report: Callable[[int, int], None] = lambda ntp, rtp_timestamp: None
        "Called with the NTP time and RTP time stamp of every sender report."
        setattr(receiver, f"{_RECEIVER}__jitter_buffer", intake)
        setattr(receiver, f"{_RECEIVER}__nack_generator", _NoNacks())
        setattr(receiver, f"{_RECEIVER}__decoder_queue", decoder)
        self._handle_rtcp = receiver._handle_rtcp_packet
        receiver._handle_rtcp_packet = self._on_rtcp  # type: ignore[method-assign]

    def codec(self, payload_type: int) -> RTCRtpCodecParameters:
        """Return the negotiated codec of a payload type that a packet came with."""
        codecs: dict[int, RTCRtpCodecParameters] = getattr(self._receiver, f"{_RECEIVER}__codecs")
        return codecs[payload_type]

    def send_nack(self, ssrc: int, seqs: tuple[int, ...]) -> None:
        """Ask for packets again."""
        self._spawn(self._receiver._send_rtcp_nack(ssrc, list(seqs)))

    def send_pli(self, ssrc: int) -> None:
        """Ask for a key frame."""
        self._spawn(self._receiver._send_rtcp_pli(ssrc))

    def send_feedback(self, ssrc: int, data: bytes) -> None:
        """Send application layer feedback on a stream (RFC 4585 6.4)."""
        own_ssrc: int | None = getattr(self._receiver, f"{_RECEIVER}__rtcp_ssrc")
        if own_ssrc is not None:
            packet = RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=own_ssrc, media_ssrc=ssrc, fci=data)
            self._spawn(self._receiver._send_rtcp(packet))

    def _spawn(self, action: Awaitable[None]) -> None:
        task = asyncio.ensure_future(action)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_rtcp(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            info = packet.sender_info
            self.on_sender_report(info.ntp_timestamp, info.rtp_timestamp)
        await self._handle_rtcp(packet)


def payload_data(packet: RtpPacket) -> bytes:
    """Return the codec data of a packet that aiortc has taken the payload header off."""
    return packet._data  # type: ignore[attr-defined, no-any-return]


def new_decoder(codec: RTCRtpCodecParameters) -> Any:
    """
    Return aiortc's decoder for *codec*, made to decode on the calling thread.

    With the default thread count a 360p frame costs 1.0 ms of CPU and 2.3 ms
    of wall time instead of 0.8 and 0.8, and H.264 comes out late by a frame
    for each thread.
    """
    decoder: Any = aiortc.codecs.get_decoder(codec)
    context = getattr(decoder, "codec", None)
    if context is not None and context.type == "video":
        context.thread_count = 1
        context.flags |= 1 << 19  # AV_CODEC_FLAG_LOW_DELAY
    return decoder


# ---------------------------------------------------------------------- sender


class PackEncoder(Protocol):
    """Takes the place of aiortc's encoder for one sender."""

    target_bitrate: int
    "Set by every REMB, bits per second."

    def pack(self, packet: Any) -> tuple[list[bytes], int]:
        """Return the RTP payloads and the time stamp of what the track gave."""


class SenderPort:
    """The private side of one aiortc sender."""

    def __init__(
        self,
        sender: RTCRtpSender,
        *,
        encoder: PackEncoder,
        on_pli: Callable[[], None],
        on_nack: Callable[[int], None],
        on_rtcp: Callable[[], None],
        on_feedback: Callable[[bytes], bool] = lambda data: False,
    ) -> None:
        """
        Take over *sender* before it starts.

        Args:
            sender: Of a transceiver whose track gives what *encoder* packs.
            encoder: Packs frames and hears of REMB.
            on_pli: Called for every PLI and FIR.
            on_nack: Called with how many packets a NACK asked for.
            on_rtcp: Called for every RTCP packet from the receiver.
            on_feedback: Called with application layer feedback (RFC 4585 6.4); says whether
                that was for it. What was not goes to aiortc, which looks for REMB.
        """
        self._on_nack = on_nack
        self._on_feedback = on_feedback
        self._on_rtcp_packet = on_rtcp
        self._sender = sender
        self._handle_rtcp = sender._handle_rtcp_packet
        setattr(sender, f"{_SENDER}__encoder", encoder)
        sender._send_keyframe = on_pli  # type: ignore[method-assign]
        sender._handle_rtcp_packet = self._on_rtcp  # type: ignore[method-assign]

    def last_rtp_timestamp(self) -> int | None:
        """Return the RTP time stamp last sent, 32 bits, or None before the first."""
        if not getattr(self._sender, f"{_SENDER}__packet_count"):
            return None
        return int(getattr(self._sender, f"{_SENDER}__rtp_timestamp"))

    async def _on_rtcp(self, packet: AnyRtcpPacket) -> None:
        if not isinstance(packet, RtcpByePacket):
            self._on_rtcp_packet()
        if isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
            self._on_nack(len(packet.lost))
        if (
            isinstance(packet, RtcpPsfbPacket)
            and packet.fmt == RTCP_PSFB_APP
            and self._on_feedback(packet.fci)
        ):
            return
        await self._handle_rtcp(packet)


class DirectSenderPort(SenderPort):
    """
    The private side of one aiortc sender whose RTP is sent here, not by aiortc.

    aiortc asks a track for one frame after the other, in a task of each sender, and makes an
    object, a dictionary of extensions and six nested coroutines of every packet: that costs four
    times what encrypting and sending it does. Here a frame goes out in the call that brings it.
    RTCP, retransmission's requests and statistics stay aiortc's.
    """

    def __init__(
        self,
        sender: RTCRtpSender,
        *,
        encoder: PackEncoder,
        on_start: Callable[[], None],
        on_pli: Callable[[], None],
        on_nack: Callable[[int], None],
        on_rtcp: Callable[[], None],
        on_feedback: Callable[[bytes], bool],
    ) -> None:
        """
        Take over *sender* before it starts.

        Args:
            sender: Of a transceiver with a track, which is stopped at the end.
            encoder: Hears of REMB; never packs anything.
            on_start: Called when frames can be sent.
            on_pli: As in `SenderPort`, like the others.
            on_nack: See there.
            on_rtcp: See there.
            on_feedback: See there.
        """
        super().__init__(
            sender,
            encoder=encoder,
            on_pli=on_pli,
            on_nack=on_nack,
            on_rtcp=on_rtcp,
            on_feedback=on_feedback,
        )
        self._on_start = on_start
        self._state = vars(sender)
        self._stream: RtpStream | None = None
        sender._run_rtp = self._run  # type: ignore[method-assign]
        sender._retransmit = self._retransmit  # type: ignore[method-assign]

    @property
    def is_running(self) -> bool:
        """Whether frames can be sent."""
        return self._stream is not None

    def send(self, frame: CutFrame, *, delivery: int, pts: int) -> None:
        """
        Send one frame now.

        Args:
            frame: Its payloads.
            delivery: Frames sent to this receiver before, modulo 2**16.
            pts: 90 kHz ticks.

        Raises:
            ConnectionError: If the connection is gone.
        """
        stream = self._stream
        if stream is None or not self._sender._enabled:
            raise ConnectionError("the sender does not run")
        ntp = unix_us_to_ntp(unix_us())
        self._transmit(stream.write_frame(frame, delivery=delivery, pts=pts, ntp=ntp))
        self._state[f"{_SENDER}__ntp_timestamp"] = ntp
        self._state[f"{_SENDER}__rtp_timestamp"] = stream.timestamp
        self._state[f"{_SENDER}__packet_count"] = stream.n_packets
        self._state[f"{_SENDER}__octet_count"] = stream.n_bytes

    def _transmit(self, packets: Iterable[bytes]) -> None:
        """Do what `RTCDtlsTransport._send_rtp` and all that it calls do, without coroutines."""
        transport = self._sender.transport
        pair = transport.transport._connection._nominated.get(1)
        if transport._state is not State.CONNECTED or pair is None:
            raise ConnectionError("not connected")
        protect, protocol, address = transport._tx_srtp.protect, pair.protocol, pair.remote_addr
        counters = vars(transport)
        for packet in packets:
            data = protect(packet)
            with suppress(StopIteration):  # it never waits: no datagram socket does
                protocol.send_data(data, address).send(None)
            counters[f"{_TRANSPORT}__tx_bytes"] += len(data)
            counters[f"{_TRANSPORT}__tx_packets"] += 1

    async def _retransmit(self, sequence_number: int) -> None:
        packet = None
        if self._stream is not None:
            packet = self._stream.write_again(sequence_number)
        if packet is not None:
            self._transmit([packet])

    async def _run(self, codec: RTCRtpCodecParameters) -> None:
        """Stand in for aiortc's task of the sender: start, wait for its end, clean up."""
        self._state[f"{_SENDER}__rtp_started"].set()
        try:
            self._stream = self._new_stream(codec)
            self._on_start()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        finally:
            self._stream = None
            if self._sender.track is not None:
                self._sender.track.stop()
                self._state[f"{_SENDER}__track"] = None
            self._state[f"{_SENDER}__encoder"] = None
            self._state[f"{_SENDER}__rtp_exited"].set()

    def _new_stream(self, codec: RTCRtpCodecParameters) -> RtpStream:
        rtx_type = self._state[f"{_SENDER}__rtx_payload_type"]
        assert codec.payloadType is not None  # negotiated
        return RtpStream(
            payload_type=codec.payloadType,
            ssrc=self._sender._ssrc,
            first_seq=random_sequence_number(),
            timestamp_origin=random32(),
            extensions=_extension_block(
                self._state[f"{_SENDER}__rtp_header_extensions_map"],
                self._state[f"{_SENDER}__mid"],
            ),
            rtx=None if rtx_type is None else RetransmitAs(rtx_type, self._sender._rtx_ssrc),
            first_rtx_seq=random_sequence_number(),
            history_packets=RTP_HISTORY_PACKETS,
        )


def _extension_block(known: HeaderExtensionsMap, mid: str | None) -> ExtensionBlock:
    """Let aiortc write the extensions twice: where they differ is the time."""
    blocks = []
    for time in (0, 0xFFFFFF):
        profile, value = known.set(HeaderExtensions(mid=mid, abs_send_time=time))
        head = struct.pack("!HH", profile, len(value) // 4) if value else b""
        blocks.append(head + value)
    early, late = blocks
    at = next((i for i, pair in enumerate(zip(early, late, strict=True)) if len({*pair}) > 1), None)
    if at is None:
        return ExtensionBlock(early)
    return ExtensionBlock(early[:at], early[at + 3 :], has_time=True)
