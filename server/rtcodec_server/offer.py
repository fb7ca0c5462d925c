"""
What the relay wants of an offer, checked before anything is set up for it.

Malformed is `RemoteProtocolError`; well-formed but not for this endpoint is
`Unprocessable`.
"""

from rtcodec.errors import RemoteProtocolError
from rtcodec.webrtc import check_latent_offer, read_sdp
from rtcodec.webrtc.aiortc_patch import LATENT_CODEC_NAME
from rtcodec.webrtc.sdp import Description
from rtcodec.webrtc.video_receiver import VIDEO_CODECS


class Unprocessable(RemoteProtocolError):
    """The offer is well-formed, but not one that this endpoint can answer."""


def read_publisher_offer(offer: str) -> Description:
    """
    Read a WHIP offer, before anything is set up for it.

    Raises:
        Unprocessable: If there is not exactly one video section that sends VP8 or H.264.
        RemoteProtocolError: If the offer is malformed.
    """
    description = read_sdp(offer)
    _only_video(description, wanted=("sendonly", "sendrecv"), role="publisher")
    if not set(VIDEO_CODECS) & set(description.of_kind("video")[0].codecs):
        raise Unprocessable("the offer has neither VP8 nor H264 video")
    return description


def read_subscriber_offer(offer: str, *, model_id: str) -> Description:
    """
    Read a WHEP offer, before anything is set up for it.

    Raises:
        Unprocessable: If the peer cannot decode what the relay sends.
        RemoteProtocolError: If the offer is malformed.
    """
    description = read_sdp(offer)
    _only_video(description, wanted=("recvonly", "sendrecv"), role="subscriber")
    parameters = description.of_kind("video")[0].latent_parameters
    if parameters is None:
        raise Unprocessable(
            f"the offer does not have {LATENT_CODEC_NAME}, the only codec sent here"
        )
    try:
        check_latent_offer(parameters, model_id)
    except RemoteProtocolError as error:
        raise Unprocessable(str(error)) from error
    return description


def _only_video(description: Description, *, wanted: tuple[str, str], role: str) -> None:
    """Check that there is exactly one video section that goes the right way."""
    sections = description.of_kind("video")
    if len(sections) != 1:
        raise Unprocessable(f"the offer has {len(sections)} video sections, 1 is needed")
    if sections[0].direction not in wanted:
        raise Unprocessable(
            f"a {role} offers video {' or '.join(wanted)}, not {sections[0].direction}"
        )
