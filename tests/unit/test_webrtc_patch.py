"""aiortc's private parts are checked before they are touched."""

from collections.abc import Callable

import aiortc.codecs
import aiortc.rtcrtpreceiver
import pytest

from rtcodec.webrtc import aiortc_patch
from rtcodec.webrtc.aiortc_patch import LATENT_PAYLOAD_TYPE, UnsupportedAiortc, check, install


def test_installing_twice_registers_the_codec_once() -> None:
    install()
    install()
    types = [codec.payloadType for codec in aiortc.codecs.CODECS["video"]]
    assert types.count(LATENT_PAYLOAD_TYPE) == types.count(LATENT_PAYLOAD_TYPE + 1) == 1


@pytest.mark.parametrize("version", ["1.15.0", "1.17.0", "2.0.0"])
def test_another_aiortc_is_refused_loudly(version: str) -> None:
    with pytest.raises(UnsupportedAiortc, match=f"aiortc is {version}, not 1.16"):
        check(version)


def test_this_aiortc_is_accepted() -> None:
    check("1.16.0")
    check("1.16.9")


def test_a_private_name_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def add() -> None:
        """Use nothing."""

    changed: tuple[tuple[Callable[..., object], tuple[str, ...]], ...] = ((add, ("_gone",)),)
    monkeypatch.setattr(aiortc_patch, "_RELIED_ON", changed)
    with pytest.raises(UnsupportedAiortc, match=r"add does not use _gone"):
        check("1.16.0")


def test_bit_rate_limits_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    import aiortc.codecs.h264 as h264
    import aiortc.codecs.vpx as vpx

    for module in (h264, vpx):
        for name in ("DEFAULT_BITRATE", "MIN_BITRATE", "MAX_BITRATE"):
            monkeypatch.setattr(module, name, getattr(module, name))
    aiortc_patch.raise_bitrate_limits(start_bps=100_000, max_bps=9_000_000)
    assert (vpx.DEFAULT_BITRATE, vpx.MIN_BITRATE, vpx.MAX_BITRATE) == (100_000, 100_000, 9_000_000)
    assert h264.MIN_BITRATE == 100_000
