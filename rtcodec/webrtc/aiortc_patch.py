"""
Every touch of aiortc's private parts, and the check that they are still there.

Nothing else in the project names an attribute of aiortc or aioice that starts
with an underscore: this module and those it installs, one for each thing that
is mended (`aiortc_codec`, `aiortc_connection`, `aiortc_data`, `aiortc_receiver`,
`aiortc_sender`, `aiortc_sockets`, `aiortc_transport`). `install` is called before the first
connection; with any aiortc that does not look exactly as expected it raises
instead of going on.
"""

from collections.abc import Callable
from importlib.metadata import version
from types import CodeType, FunctionType
from typing import Final, cast

import aioice.ice
import aiortc.codecs
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
import aiortc.rtp
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport, RtpRouter
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtcsctptransport import RTCSctpTransport
from aiortc.rtp import HeaderExtensionsMap
from pylibsrtp import Session

from rtcodec.webrtc import transport_feedback
from rtcodec.webrtc.aiortc_certificate import create_ssl_context, stock_create_ssl_context
from rtcodec.webrtc.aiortc_codec import (
    LATENT_CODEC_NAME,
    LATENT_MIME_TYPE,
    LATENT_PAYLOAD_TYPE,
    latent_codecs,
    new_decoder,
    raise_bitrate_limits,
)
from rtcodec.webrtc.aiortc_connection import PeerConnection
from rtcodec.webrtc.aiortc_private import (
    CONNECTION,
    RECEIVER,
    SENDER,
    TRANSPORT,
    UnsupportedAiortc,
    rebind,
)
from rtcodec.webrtc.aiortc_receiver import (
    DecoderThread,
    Intake,
    ReceiverPort,
    decoder_worker,
)
from rtcodec.webrtc.aiortc_sender import (
    RTP_HISTORY_PACKETS,
    DirectSenderPort,
    PackEncoder,
    SenderPort,
    unpack_remb_fci,
)
from rtcodec.webrtc.aiortc_sockets import (
    LOOPBACK_ADDRESS,
    MAX_DATAGRAMS_WAITING,
    datagram_received,
    gathering,
    host_addresses,
    stock_datagram_received,
)
from rtcodec.webrtc.aiortc_transport import run_transport

__all__ = [
    "LATENT_CODEC_NAME",
    "LATENT_MIME_TYPE",
    "LATENT_PAYLOAD_TYPE",
    "LOOPBACK_ADDRESS",
    "MAX_DATAGRAMS_WAITING",
    "RTP_HISTORY_PACKETS",
    "SUPPORTED_AIORTC",
    "DecoderThread",
    "DirectSenderPort",
    "Intake",
    "PackEncoder",
    "PeerConnection",
    "ReceiverPort",
    "SenderPort",
    "UnsupportedAiortc",
    "check",
    "gathering",
    "install",
    "new_decoder",
    "raise_bitrate_limits",
]

SUPPORTED_AIORTC: Final = (1, 16)

_is_installed = False


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
    aiortc.codecs.CODECS["video"] += latent_codecs()
    transport_feedback.install()
    rebind(aiortc.rtcrtpsender, RTP_HISTORY_SIZE=RTP_HISTORY_PACKETS)
    rebind(aiortc.rtcrtpreceiver, decoder_worker=decoder_worker)
    for module in (aiortc.rtp, aiortc.rtcrtpsender):
        rebind(module, unpack_remb_fci=unpack_remb_fci)
    rebind(aioice.ice, get_host_addresses=host_addresses)
    aioice.ice.StunProtocol.datagram_received = datagram_received  # type: ignore[method-assign]
    setattr(RTCDtlsTransport, f"{TRANSPORT}__run", run_transport)
    RTCCertificate._create_ssl_context = create_ssl_context  # type: ignore[method-assign]
    _is_installed = True


def check(aiortc_version: str) -> None:
    """
    Compare aiortc and aioice with what this module relies on.

    Raises:
        UnsupportedAiortc: Naming every difference.
    """
    problems = [
        f"{owner.__qualname__} does not use {name}"
        for owner, names in (*_RELIED_ON, *transport_feedback.RELIED_ON)
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
        _private(RECEIVER, "decoder_queue", "codecs", "remote_streams", "rtx_ssrc"),
    ),
    (
        RTCRtpReceiver._handle_rtp_packet,
        (
            *_private(RECEIVER, "codecs", "remote_streams", "rtx_ssrc"),
            *("depayload", "unwrap_rtx", "StreamStatistics", "clockRate", "add"),
        ),
    ),
    (
        RTCRtpReceiver.receive,
        (*_private(RECEIVER, "decoder_queue", "decoder_error"), "decoder_worker", "_queue"),
    ),
    (RTCRtpReceiver._send_rtcp_nack, ("media_ssrc", "lost")),
    (
        RTCRtpReceiver._send_rtcp_pli,
        ("media_ssrc", *_private(RECEIVER, "rtcp_ssrc"), "_send_rtcp"),
    ),
    (
        RTCRtpSender._next_encoded_frame,
        (*_private(SENDER, "encoder"), "recv", "pack"),
    ),
    (
        RTCRtpSender._handle_rtcp_packet,
        (*_private(SENDER, "encoder"), "_send_keyframe", "target_bitrate", "_retransmit"),
    ),
    (RTCRtpSender._retransmit, ("RTP_HISTORY_SIZE",)),
    (
        RTCRtpSender._run_rtp,
        (
            *_private(
                SENDER,
                *("rtp_started", "rtp_exited", "track", "encoder", "mid", "ntp_timestamp"),
                *("rtp_timestamp", "octet_count", "packet_count", "rtp_header_extensions_map"),
            ),
            *("RTP_HISTORY_SIZE", "_send_rtp", "_ssrc", "random_sequence_number"),
        ),
    ),
    (RTCRtpSender._retransmit, ("_rtx_ssrc", *_private(SENDER, "rtx_payload_type"))),
    (RTCRtpSender._next_encoded_frame, ("_enabled",)),
    (RTCRtpSender.send, ("_run_rtp", *_private(SENDER, "rtx_payload_type", "mid"))),
    (RTCRtpSender._run_rtcp, _private(SENDER, "ntp_timestamp", "packet_count")),
    (
        RTCDtlsTransport._send_rtp,
        (
            *_private(TRANSPORT, "tx_bytes", "tx_packets"),
            *("_state", "CONNECTED", "_tx_srtp", "protect", "_send"),
        ),
    ),
    (RTCDtlsTransport.start, ("_create_ssl_context",)),
    (stock_create_ssl_context, ("set_cipher_list",)),
    (RTCDtlsTransport.start, _private(TRANSPORT, "run")),
    (
        RTCDtlsTransport._recv_next,
        (*_private(TRANSPORT, "rx_bytes", "rx_packets"), *("_rx_srtp", "unprotect", "is_rtcp")),
    ),
    (
        RTCDtlsTransport._handle_rtp_data,
        ("_rtp_header_extensions_map", "_rtp_router", "_handle_rtp_packet", "arrival_time_ms"),
    ),
    (RTCDtlsTransport._handle_rtcp_data, ("route_rtcp", "_handle_rtcp_packet")),
    (
        HeaderExtensionsMap.configure,
        ("_HeaderExtensionsMap__ids", "abs_send_time", "transport_sequence_number"),
    ),
    (vars(Session)["_Session__process"], ("_srtp", "_cdata", "len_p")),
    (StreamStatistics.add, ("sequence_number", "timestamp")),
    (RtpRouter.route_rtp, ("ssrc_table", "ssrc", "payload_type")),
    (RtpRouter.route_rtcp, ("unpack_remb_fci", "senders", "media_ssrc")),
    (RTCRtpSender._handle_rtcp_packet, ("unpack_remb_fci",)),
    (RTCIceTransport.__init__, ("_connection", "_send")),
    (aioice.ice.Connection.sendto, ("_nominated", "protocol", "send_data", "remote_addr")),
    (RTCPeerConnection.setLocalDescription, _private(CONNECTION, "connect")),
    (RTCPeerConnection.setRemoteDescription, _private(CONNECTION, "connect")),
    (aioice.ice.Connection.gather_candidates, ("get_host_addresses",)),
    (aioice.ice.Connection.data_received, ("_queue", "put_nowait")),
    (aioice.ice.Connection.recvfrom, ("_queue", "get")),
    (stock_datagram_received, ("receiver", "data_received", "local_candidate", "component")),
    (aioice.ice.Connection._find_pair, ("_check_list", "protocol")),
    (aioice.ice.Connection.close, ("_check_list", "_nominated", "_protocols")),
    (RTCDtlsTransport._recv_next, ("_data_receiver", "_handle_data")),
    (RTCSctpTransport._mark_received, ("_sack_misordered", "_sack_duplicates")),
    (RTCSctpTransport._receive_data_chunk, ("_get_inbound_stream", "add_chunk", "pop_messages")),
    (RTCSctpTransport._get_inbound_stream, ("_inbound_streams",)),
    (RTCSctpTransport._receive_chunk, ("_receive_sack_chunk",)),
    (RTCSctpTransport._receive_sack_chunk, ("gaps", "_sent_queue")),
    (RTCSctpTransport._transmit, ("_sent_queue", "_outbound_queue")),
    (RTCSctpTransport._data_channel_flush, ("_outbound_queue", "_addBufferedAmount")),
    (RTCSctpTransport._receive_sack_chunk, ("_update_rto", "_cwnd", "_ssthresh")),
    (RTCSctpTransport._transmit, ("_flight_size", "_cwnd")),
)
"Functions and the names they must use for the patches below to have their effect."
