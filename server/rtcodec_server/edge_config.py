"""What goes to and comes from beyond our own codec and rooms: `[legacy]` and `[forward]`."""

from dataclasses import dataclass, field
from typing import Final

from rtcodec_server.config_check import check, is_http

ORDINARY_CODECS: Final = ("VP8", "H264")
"What can be made for subscribers that lack our codec."


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyConfig:
    """What subscribers without our codec get."""

    codecs: tuple[str, ...] = ORDINARY_CODECS
    "VP8, H264 or both; with none such subscribers are refused."

    bitrate_kbps: int = 1500
    "Most that one of them is sent."

    follow_remb: bool = True
    "Whether the narrowest way among those who share an encoder lowers its rate."

    keyframe_interval_ms: int = 500
    "Least time between two key frames that they ask for."

    def __post_init__(self) -> None:
        for codec in self.codecs:
            check(codec in ORDINARY_CODECS, f"{codec!r} is none of {', '.join(ORDINARY_CODECS)}")
        kbps = self.bitrate_kbps
        check(100 <= kbps <= 10**5, f"{kbps} kb/s of ordinary video is outside 100 to 100000")
        check(self.keyframe_interval_ms >= 0, f"a key frame each {self.keyframe_interval_ms} ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardConfig:
    """Where a room's latents come from, instead of a publisher."""

    url: str
    "WHEP endpoint of another relay."

    token: str | None = field(default=None, repr=False)
    "Bearer token for it."

    def __post_init__(self) -> None:
        check(is_http(self.url), "what is forwarded is not at an http or https URL")
