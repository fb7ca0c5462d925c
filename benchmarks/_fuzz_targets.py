"""
Every parser of bytes from outside, with valid samples, and what it may answer nonsense with.

A target is called with bytes and returns, or raises one of its `allowed` exceptions; those are
what its callers catch. Anything else is a finding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks import _fuzz_bitstream as bitstream
from benchmarks import _fuzz_documents as documents
from benchmarks import _fuzz_media as media
from benchmarks import _fuzz_pictures as pictures
from benchmarks import _fuzz_signalling as signalling
from benchmarks import _fuzz_studies as studies
from benchmarks import _mutate
from benchmarks._web_decoder import MISSING
from rtcodec.bitstream import read_packet
from rtcodec.errors import (
    BitstreamError,
    ConfigError,
    InputError,
    RemoteProtocolError,
    RtcodecError,
)
from rtcodec.packet.feedback import read_report
from rtcodec.packet.rtp_packet import read_vp8_payload
from rtcodec.session.message import check_room_name
from rtcodec_client.load.relay_probe import read_metrics
from rtcodec_client.signalling import reason_of
from rtcodec_server.access import BadToken

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


TARGETS: tuple[Target, ...] = (
    Target(
        "sdp",
        "read_sdp, the offers of WHIP and WHEP, their candidates",
        signalling.offers,
        signalling.run_sdp,
        (RemoteProtocolError,),
        _mutate.mutate_text,
    ),
    Target(
        "sdp_aiortc",
        "what of that goes on to aiortc's reader",
        signalling.offers,
        signalling.run_sdp_in_aiortc,
        (Exception,),  # all of it is answered with 400
        _mutate.mutate_text,
    ),
    Target(
        "fragment",
        "trickled candidates",
        lambda: signalling.FRAGMENTS,
        signalling.run_fragment,
        (RemoteProtocolError,),
        _mutate.mutate_text,
    ),
    Target(
        "room",
        "names of rooms",
        lambda: documents.NAMES,
        lambda data: check_room_name(signalling.as_text(data)),
        (RemoteProtocolError,),
        _mutate.mutate_text,
    ),
    Target(
        "token",
        "JSON web tokens: header, claims, signature",
        documents.tokens,
        documents.run_token,
        (BadToken,),
        documents.mutate_token,
    ),
    Target(
        "stun",
        "connectivity checks, in aioice",
        media.stun,
        media.run_stun,
        (ValueError, struct.error),
    ),
    Target("rtp", "RTP headers and extensions", media.rtp, media.run_rtp, (BitstreamError,)),
    Target(
        "rtcp",
        "compound RTCP; its packets and REMB, in aiortc",
        media.rtcp,
        media.run_rtcp,
        (BitstreamError, ValueError),
    ),
    Target("feedback", "reports of frames held", media.reports, read_report, (BitstreamError,)),
    Target(
        "latents",
        "our RTP payloads: jitter buffer, depacketiser",
        media.arrivals,
        media.Latents().run,
        (BitstreamError,),
    ),
    Target(
        "vp8",
        "VP8 payloads, sizes of pictures",
        lambda: media.video()["VP8"],
        media.run_video("VP8", read_vp8_payload),
        (BitstreamError,),
    ),
    Target(
        "h264",
        "H.264 payloads, parameter sets",
        lambda: media.video()["H264"],
        media.run_video("H264", media.read_h264_payload),
        (ValueError,),
    ),
    Target(
        "packet", "bitstream packets", bitstream.bitstream_packets, read_packet, (BitstreamError,)
    ),
    Target(
        "container", ".rtc files", bitstream.streams, bitstream.run_container, (BitstreamError,)
    ),
    Target(
        "slices",
        "entropy coded slices, intra",
        bitstream.intra_slices,
        bitstream.run_slices("null"),
        (BitstreamError,),
    ),
    Target(
        "slices_delta",
        "entropy coded slices of n64, delta frames",
        bitstream.delta_slices,
        bitstream.run_slices("n64"),
        (BitstreamError,),
    ),
    Target(
        "slices_spatial",
        "entropy coded slices of frames predicted from themselves, painted",
        bitstream.spatial_slices,
        bitstream.run_spatial,
        (BitstreamError,),
    ),
    Target(
        "model",
        ".rtcm files",
        documents.models,
        documents.run_model,
        (ConfigError,),
        documents.mutate_model,
    ),
    Target(
        "study_viewer",
        "what viewers of studies send, as the relay's queue heeds it",
        studies.viewer_messages,
        studies.run_viewer_message,
        (RemoteProtocolError,),
    ),
    Target(
        "study_relay",
        "what relays send of studies, as viewers keep and prove it",
        studies.relay_messages,
        studies.run_relay_message,
        (RemoteProtocolError, BitstreamError),
    ),
    Target(
        "config",
        "TOML settings",
        documents.configs,
        documents.run_config,
        (ConfigError,),
        _mutate.mutate_text,
    ),
    Target(
        "answer",
        "what a relay says why it refuses, as our clients read it",
        lambda: documents.ANSWERS,
        lambda data: reason_of(signalling.as_text(data)),
        (),
        _mutate.mutate_document,
    ),
    Target(
        "metrics",
        "a relay's metrics, as the load test reads them",
        lambda: documents.METRICS,
        lambda data: read_metrics(signalling.as_text(data)),
        (RtcodecError,),
        _mutate.mutate_text,
    ),
    Target(
        "exact",
        ".rtc files of exact pictures, decoded",
        pictures.exact_files,
        pictures.run_exact,
        (BitstreamError, InputError),
        pictures.mutate_exact,
    ),
    Target(
        "progressive",
        ".rtc files of progressive pictures, decoded",
        pictures.progressive_files,
        pictures.run_progressive,
        (BitstreamError,),
        pictures.mutate_progressive,
    ),
    Target(
        "multipart",
        "answers of DICOMweb",
        pictures.web_answers,
        pictures.run_web_answer,
        (InputError,),
    ),
)
if pictures.HAS_DICOM:
    TARGETS += (
        Target(
            "dicom",
            "DICOM files, decoded",
            pictures.dicom_files,
            pictures.run_dicom,
            (InputError, ConfigError),
            pictures.mutate_dicom,
        ),
    )
if MISSING is None:
    TARGETS += (
        Target(
            "browser",
            "packets of n64, in the decoder for browsers, in node",
            bitstream.delta_slices,
            bitstream.run_web_decoder,
            (BitstreamError,),
        ),
    )
