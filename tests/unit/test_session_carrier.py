"""What latents are carried in, as an endpoint's URL says it."""

import pytest

from rtcodec.errors import RemoteProtocolError
from rtcodec.session.carrier import Carrier, read_carrier_query


def test_a_subscriber_gets_our_codec_unless_it_asks_for_another() -> None:
    assert read_carrier_query({}) is Carrier.OWN
    assert read_carrier_query({"rung": "1"}) is Carrier.OWN
    assert read_carrier_query({"carrier": "vp8", "rung": "1"}) is Carrier.VP8
    assert read_carrier_query({"carrier": "data"}) is Carrier.DATA


@pytest.mark.parametrize("text", ["", "own", "VP8", "h264", "vp8,own"])
def test_what_nothing_is_carried_in_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="vp8"):
        read_carrier_query({"carrier": text})
