"""
What the relay wants of an offer, checked before anything is set up for it.

Malformed is `RemoteProtocolError`; well-formed but not for this endpoint is
`Unprocessable`.
"""

from rtcodec.errors import RemoteProtocolError
from rtcodec.session.carrier import Carrier
from rtcodec.webrtc import check_latent_offer, read_sdp
from rtcodec.webrtc.aiortc_patch import LATENT_CODEC_NAME
from rtcodec.webrtc.sdp import Description
from rtcodec.webrtc.video_receiver import VIDEO_CODECS
from rtcodec_server.video_format import choose_codec


class Unprocessable(RemoteProtocolError):
    """The offer is well-formed, but not one that this endpoint can answer."""


def read_publisher_offer(offer: str, *, model_id: str) -> Description:
    """
    Read a WHIP offer, before anything is set up for it.

    Args:
        offer: The SDP.
        model_id: Of the only model whose latents may come.

    Raises:
        Unprocessable: If there is not exactly one video section that sends VP8 or H.264, or
            latents of the model.
        RemoteProtocolError: If the offer is malformed.
    """
    description = read_sdp(offer)
    _only_video(description, wanted=("sendonly", "sendrecv"), role="publisher")
    video = description.of_kind("video")[0]
    if video.latent_parameters is not None:
        _check_model(video.latent_parameters, model_id)
    elif not set(VIDEO_CODECS) & set(video.codecs):
        raise Unprocessable("the offer has neither VP8 nor H264 video")
    return description


def read_subscriber_offer(
    offer: str,
    *,
    model_id: str,
    ordinary: tuple[str, ...] = (),
    carrier: Carrier = Carrier.OWN,
) -> Description:
    """
    Read a WHEP offer, before anything is set up for it.

    Args:
        offer: The SDP.
        model_id: Of the model whose latents are sent.
        ordinary: Codecs that can be made for a peer that does not offer ours.
        carrier: What it asked for its latents to be carried in.

    Raises:
        Unprocessable: If the peer cannot decode what the relay sends, or cannot have it so.
        RemoteProtocolError: If the offer is malformed.
    """
    description = read_sdp(offer)
    if carrier is Carrier.DATA:
        _only_channel(description, "latents")
        return description
    n_channels = 0 if carrier is Carrier.OWN else 1
    wanted = ("recvonly", "sendrecv")
    _only_video(description, wanted=wanted, role="subscriber", n_channels=n_channels)
    video = description.of_kind("video")[0]
    if carrier is Carrier.VP8:
        if "VP8" not in video.codecs:
            raise Unprocessable("latents are to be carried in VP8, which the offer does not have")
        return description
    parameters = video.latent_parameters
    if parameters is None and choose_codec(video, ordinary) is not None:
        return description
    if parameters is None:
        sent = ", ".join((LATENT_CODEC_NAME, *ordinary))
        raise Unprocessable(f"the offer has none of the codecs sent here: {sent}")
    _check_model(parameters, model_id)
    return description


def read_study_offer(offer: str) -> Description:
    """
    Read the offer of a viewer of studies, before anything is set up for it.

    Raises:
        Unprocessable: If there is anything but one section for data channels.
        RemoteProtocolError: If the offer is malformed.
    """
    description = read_sdp(offer)
    _only_channel(description, "studies")
    return description


def _check_model(parameters: dict[str, str], model_id: str) -> None:
    try:
        check_latent_offer(parameters, model_id)
    except RemoteProtocolError as error:
        raise Unprocessable(str(error)) from error


def _only_channel(description: Description, what: str) -> None:
    """Check that data channels are all that is offered."""
    if [media.kind for media in description.media] != ["application"]:
        raise Unprocessable(
            f"{what} are to come over a data channel, and the offer has more or less"
        )


def _only_video(
    description: Description, *, wanted: tuple[str, str], role: str, n_channels: int = 0
) -> None:
    """Check that there is exactly one video section that goes the right way."""
    n_offered = len(description.of_kind("application"))
    if n_offered > n_channels:
        raise Unprocessable("the offer has a data channel, for which there is no use here")
    if n_offered < n_channels:
        raise Unprocessable("the offer has no data channel, which reports of frames come over")
    sections = description.of_kind("video")
    if len(sections) != 1:
        raise Unprocessable(f"the offer has {len(sections)} video sections, 1 is needed")
    if sections[0].direction not in wanted:
        raise Unprocessable(
            f"a {role} offers video {' or '.join(wanted)}, not {sections[0].direction}"
        )
