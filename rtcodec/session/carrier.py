"""
What a subscriber has its latents carried in, if that is not a codec of their own.

    endpoint?carrier=vp8
    endpoint?carrier=data
"""

from collections.abc import Mapping
from enum import Enum

from rtcodec.errors import RemoteProtocolError


class Carrier(Enum):
    """How frames of latents travel to a subscriber."""

    OWN = "own"
    "As X-RTC-LATENT, which is negotiated."

    VP8 = "vp8"
    "Each as a VP8 key frame, which a browser hands to a page; reports come over a data channel."

    DATA = "data"
    "Payloads of X-RTC-LATENT as messages of a data channel, over which reports come as well."


def read_carrier_query(query: Mapping[str, str]) -> Carrier:
    """
    Read what the query of an endpoint's URL asks for; other parameters are ignored.

    Raises:
        RemoteProtocolError: If nothing is carried that way here.
    """
    text = query.get("carrier")
    if text is None:
        return Carrier.OWN
    if text not in (Carrier.VP8.value, Carrier.DATA.value):
        raise RemoteProtocolError("carrier is vp8, data or not given")
    return Carrier(text)
