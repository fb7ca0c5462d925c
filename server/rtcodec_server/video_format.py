"""Which of the ordinary codecs in an offer fits what our encoders make."""

from collections.abc import Mapping
from typing import Final

from aiortc.sdp import H264Profile, parse_h264_profile_level_id

from rtcodec.webrtc.sdp import Media

_OURS: Final = (H264Profile.PROFILE_CONSTRAINED_BASELINE, H264Profile.PROFILE_BASELINE)
_BASELINE: Final = "42e01f"
"What a missing profile-level-id stands for, as libwebrtc has it."


def can_decode(codec: str, fmtp: Mapping[str, str]) -> bool:
    """
    Return whether a peer that offers a codec with these parameters can decode ours.

    H.264 is cut into fragments and aggregates, which needs packetization-mode 1 (RFC 6184 6.3),
    and keeps to constrained baseline.
    """
    if codec != "H264":
        return True
    if fmtp.get("packetization-mode", "0") != "1":
        return False
    try:
        profile, _ = parse_h264_profile_level_id(fmtp.get("profile-level-id", _BASELINE))
    except ValueError:
        return False
    return profile in _OURS


def choose_codec(video: Media, allowed: tuple[str, ...]) -> str | None:
    """Return the codec that a viewer prefers of those that it can decode and we may make."""
    return next(
        (name for name, fmtp in video.formats if name in allowed and can_decode(name, fmtp)), None
    )
