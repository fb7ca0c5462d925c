"""
X-RTC-LATENT among aiortc's codecs, and what is mended of its own VP8 and H.264.
"""

from typing import Any, Final

import aiortc.codecs
import aiortc.codecs.h264
import aiortc.codecs.vpx
import av
from aiortc.rtcrtpparameters import RTCRtcpFeedback, RTCRtpCodecParameters

from rtcodec.webrtc.aiortc_private import rebind

LATENT_MIME_TYPE: Final = "video/X-RTC-LATENT"
LATENT_CODEC_NAME: Final = "X-RTC-LATENT"
LATENT_PAYLOAD_TYPE: Final = 103  # aiortc itself uses 96 to 102


def latent_codecs() -> list[RTCRtpCodecParameters]:
    """Return our codec and its retransmission, as aiortc registers them."""
    return [
        RTCRtpCodecParameters(
            mimeType=LATENT_MIME_TYPE,
            clockRate=90_000,
            payloadType=LATENT_PAYLOAD_TYPE,
            rtcpFeedback=[
                RTCRtcpFeedback(type="nack"),
                RTCRtcpFeedback(type="nack", parameter="pli"),
                RTCRtcpFeedback(type="goog-remb"),
            ],
            parameters={"v": "1"},
        ),
        RTCRtpCodecParameters(
            mimeType="video/rtx",
            clockRate=90_000,
            payloadType=LATENT_PAYLOAD_TYPE + 1,
            parameters={"apt": LATENT_PAYLOAD_TYPE},
        ),
    ]


def new_decoder(codec: RTCRtpCodecParameters) -> Any:
    """
    Return aiortc's decoder for *codec*, made to decode on the calling thread.

    With the default thread count a 360p frame costs 1.0 ms of CPU and 2.3 ms
    of wall time instead of 0.8 and 0.8, and H.264 comes out late by a frame
    for each thread. FFmpeg's own VP8 makes the same pictures as libvpx, which
    aiortc takes, in two thirds of its time, and copies none.
    """
    decoder: Any = aiortc.codecs.get_decoder(codec)
    if isinstance(decoder, aiortc.codecs.vpx.Vp8Decoder):
        decoder.codec = av.CodecContext.create("vp8", "r")
    context = getattr(decoder, "codec", None)
    if context is not None and context.type == "video":
        context.thread_count = 1
        context.flags |= 1 << 19  # AV_CODEC_FLAG_LOW_DELAY
    return decoder


def raise_bitrate_limits(*, start_bps: int, max_bps: int) -> None:
    """Replace the bit rates that aiortc's own VP8 and H.264 encoders are held to."""
    for module in (aiortc.codecs.vpx, aiortc.codecs.h264):
        lowest_bps = min(vars(module)["MIN_BITRATE"], start_bps)
        rebind(module, DEFAULT_BITRATE=start_bps, MAX_BITRATE=max_bps, MIN_BITRATE=lowest_bps)
