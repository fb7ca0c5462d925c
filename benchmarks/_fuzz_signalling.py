"""What `fuzz` throws at offers, candidates and names, as HTTP handlers hand them on."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Final

from aiortc import MediaStreamTrack
from aiortc.sdp import SessionDescription, candidate_from_sdp
from av import VideoFrame

from rtcodec.errors import (
    RemoteProtocolError,
)
from rtcodec.session.candidate import CandidatePolicy, filter_candidates
from rtcodec.session.message import read_ice_fragment
from rtcodec.webrtc import add_latent_receiver, add_video_track, create_offer, new_connection
from rtcodec.webrtc.sdp import read_sdp
from rtcodec_server.offer import read_publisher_offer, read_subscriber_offer


@cache
def offers() -> list[bytes]:
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


def as_text(data: bytes) -> str:
    """Decode as the HTTP handlers do; what they answer 400 to is not parsed."""
    return data.decode("utf-8", "replace")


def run_sdp(data: bytes) -> None:
    text = as_text(data)
    read_sdp(text)
    for read in (read_publisher_offer, read_subscriber_offer):
        try:
            read(text, model_id="ab" * 8)
        except RemoteProtocolError:
            continue
    filter_candidates(text, _POLICY)


def run_sdp_in_aiortc(data: bytes) -> None:
    text = as_text(data)
    read_publisher_offer(text, model_id="ab" * 8)
    SessionDescription.parse(filter_candidates(text, _POLICY))


FRAGMENTS: Final = [
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


def run_fragment(data: bytes) -> None:
    for candidate in read_ice_fragment(as_text(data)).candidates:
        if _POLICY.permits(candidate.text):
            try:
                candidate_from_sdp(candidate.text)
            except (ValueError, IndexError, AssertionError):  # as `Peer.add_candidates`
                continue
