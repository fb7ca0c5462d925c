"""
Make aiortc connections and negotiate them, for relay and clients alike.

Candidates are gathered before an offer or answer is returned, so one exchange
over HTTP (WHIP, WHEP) is all it takes.
"""

import asyncio
from collections.abc import Sequence

from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)

from rtcodec.errors import RemoteProtocolError
from rtcodec.packet.jitter_buffer import JitterConfig
from rtcodec.webrtc.aiortc_patch import LATENT_CODEC_NAME, PeerConnection, gathering, install
from rtcodec.webrtc.latent_receiver import LatentReceiver
from rtcodec.webrtc.sdp import Description, read_sdp, with_exclusive_mux, write_latent_fmtp

GATHER_TIMEOUT_S = 5.0
"Longest wait for candidates; without STUN and TURN servers it takes milliseconds."


def new_connection(ice_servers: Sequence[str] = ()) -> RTCPeerConnection:
    """
    Make a connection that needs no server but those given.

    Args:
        ice_servers: `stun:` and `turn:` URLs.

    Raises:
        UnsupportedAiortc: If the installed aiortc is not the one we know.
    """
    install()
    return PeerConnection(
        RTCConfiguration(
            iceServers=[RTCIceServer(urls=url) for url in ice_servers],
            # Not MAX_BUNDLE: where the answerer's own video section comes second in the offer
            # (audio first, as browsers do), aiortc 1.16 then discards the only transport.
            bundlePolicy=RTCBundlePolicy.BALANCED,
        )
    )


def add_video_track(
    connection: RTCPeerConnection,
    track: MediaStreamTrack,
    *,
    codecs: Sequence[str] = ("VP8", "H264"),
) -> RTCRtpSender:
    """Send *track* with the first of *codecs* that the other side takes."""
    transceiver = connection.addTransceiver(track, direction="sendonly")
    known = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences(
        [codec for name in (*codecs, "rtx") for codec in known if codec.name == name]
    )
    return transceiver.sender


def add_latent_receiver(
    connection: RTCPeerConnection, *, max_frames: int = 2, config: JitterConfig | None = None
) -> "asyncio.Future[LatentReceiver]":
    """
    Ask for a latent stream in the next offer.

    Returns:
        Done once the answer was accepted; cancelled if the connection closes
        before.
    """
    transceiver = connection.addTransceiver("video", direction="recvonly")
    known = RTCRtpReceiver.getCapabilities("video")
    assert known is not None
    transceiver.setCodecPreferences(
        [codec for codec in known.codecs if codec.name in (LATENT_CODEC_NAME, "rtx")]
    )
    ready: asyncio.Future[LatentReceiver] = asyncio.get_running_loop().create_future()

    @connection.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        if track.kind == "video" and not ready.done():
            ready.set_result(
                LatentReceiver(transceiver.receiver, max_frames=max_frames, config=config)
            )

    @connection.on("connectionstatechange")
    def on_state() -> None:
        if connection.connectionState in ("closed", "failed"):
            if ready.done() and not ready.cancelled():
                ready.result().close()
            else:
                ready.cancel()

    return ready


async def create_offer(
    connection: RTCPeerConnection, *, models: Sequence[str] = (), loopback_only: bool = False
) -> str:
    """
    Return an offer with all candidates.

    Args:
        connection: With its tracks added.
        models: Ids of the models that can be decoded; none means any.
        loopback_only: Offer 127.0.0.1 and nothing else.
    """
    await _set_local(connection, loopback_only=loopback_only)
    return _finish(connection, models)


async def accept_answer(connection: RTCPeerConnection, sdp: str) -> Description:
    """
    Start the connection that *sdp* answers.

    Returns:
        What the answer says; the model is at `latent_parameters["model"]`.

    Raises:
        RemoteProtocolError: If it is not an answer to our offer.
    """
    return await _set_remote(connection, sdp, "answer")


async def accept_offer(connection: RTCPeerConnection, sdp: str) -> Description:
    """
    Take a remote offer; `create_answer` comes next.

    Raises:
        RemoteProtocolError: If it cannot be answered.
    """
    return await _set_remote(connection, sdp, "offer")


async def create_answer(
    connection: RTCPeerConnection, *, model: str | None = None, loopback_only: bool = False
) -> str:
    """
    Return the answer, with all candidates, and start the connection.

    Args:
        connection: After `accept_offer`.
        model: Id of the model whose latents will be sent.
        loopback_only: Offer 127.0.0.1 and nothing else.

    Raises:
        RemoteProtocolError: If the offer turns out to be one that cannot be answered.
        TimeoutError, OSError: If our own side cannot be set up.
    """
    try:
        await _set_local(connection, loopback_only=loopback_only)
    except (TimeoutError, OSError):
        raise
    except Exception as error:  # aiortc notices some of what is missing in an offer only here
        raise RemoteProtocolError(f"the offer cannot be answered: {_reason(error)}") from error
    return _finish(connection, [model] if model is not None else [])


async def _set_local(connection: RTCPeerConnection, *, loopback_only: bool) -> None:
    with gathering(loopback_only=loopback_only):
        await asyncio.wait_for(connection.setLocalDescription(), GATHER_TIMEOUT_S)


async def _set_remote(connection: RTCPeerConnection, sdp: str, kind: str) -> Description:
    description = read_sdp(sdp)
    try:
        await connection.setRemoteDescription(RTCSessionDescription(sdp=sdp, type=kind))
    except Exception as error:  # aiortc raises whatever its parser stumbles over
        raise RemoteProtocolError(f"the {kind} cannot be used: {_reason(error)}") from error
    return description


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _finish(connection: RTCPeerConnection, models: Sequence[str]) -> str:
    return with_exclusive_mux(write_latent_fmtp(connection.localDescription.sdp, list(models)))
