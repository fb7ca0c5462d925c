"""
Read what an offer says and adjust the answers that aiortc writes.

Only what the relay decides by; aiortc reads the rest. Text from outside is
bounded here before aiortc sees it.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from rtcodec.errors import RemoteProtocolError
from rtcodec.webrtc.aiortc_patch import LATENT_CODEC_NAME

MAX_SDP_BYTES: Final = 64 * 1024
MAX_SDP_LINES: Final = 2000
MAX_LINE_CHARS: Final = 2048
MAX_SDP_MEDIA: Final = 8
MAX_SDP_CANDIDATES: Final = 32
MAX_REPEATS: Final = 128
"Lines of one attribute in one section; there are as many payload types."

_MAX_REPEATS: Final = {"a=rtcp-fb": 512}  # browsers send half a dozen for each codec

# Nothing that str.splitlines, which aiortc reads with, takes for the end of a line: what is
# looked for here at the start of lines would be there for aiortc and not for us.
_TEXT: Final = r"[a-z]=[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]"
_LINE: Final = re.compile(f"{_TEXT}*")
_LINES: Final = re.compile(
    f"{_TEXT}{{0,{MAX_LINE_CHARS - 2}}}(?:\n{_TEXT}{{0,{MAX_LINE_CHARS - 2}}})*"
)
_MODEL: Final = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True, slots=True)
class Media:
    """One m= section."""

    kind: str
    "audio, video or application."

    codecs: tuple[str, ...]
    "Encoding names of its rtpmap lines, upper case, in order; rtx included."

    direction: str
    "sendrecv, sendonly, recvonly or inactive."

    latent_parameters: dict[str, str] | None
    "fmtp of X-RTC-LATENT; None if the codec is not offered."

    formats: tuple[tuple[str, dict[str, str]], ...] = ()
    "Encoding name and fmtp of each payload type that has a name, those preferred first."


@dataclass(frozen=True, slots=True)
class Description:
    """What an offer or an answer says."""

    media: tuple[Media, ...]
    ice_ufrag: str | None
    "Of the first section that has one."

    def of_kind(self, kind: str) -> tuple[Media, ...]:
        """Return the sections of *kind*."""
        return tuple(media for media in self.media if media.kind == kind)


def read_sdp(text: str) -> Description:
    """
    Read an SDP as far as the relay decides by it.

    Raises:
        RemoteProtocolError: If it is not an SDP, or too large to be one of ours.
    """
    if len(text) > MAX_SDP_BYTES:
        raise RemoteProtocolError(f"the SDP is longer than {MAX_SDP_BYTES} bytes")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines or lines[0] != "v=0":
        raise RemoteProtocolError("the SDP does not start with v=0")
    if len(lines) > MAX_SDP_LINES:
        raise RemoteProtocolError(f"the SDP has more than {MAX_SDP_LINES} lines")
    if not _LINES.fullmatch("\n".join(lines)):
        _find_malformed(lines)
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    if len(starts) > MAX_SDP_MEDIA:
        raise RemoteProtocolError(f"the SDP has more than {MAX_SDP_MEDIA} media sections")
    if sum(line.startswith("a=candidate:") for line in lines) > MAX_SDP_CANDIDATES:
        raise RemoteProtocolError(f"the SDP has more than {MAX_SDP_CANDIDATES} candidates")
    sections = [lines[start:end] for start, end in pairwise([*starts, len(lines)])]
    for section in sections:
        _check_repeats(section)
    session_direction = _direction(lines[: starts[0] if starts else len(lines)], "sendrecv")
    ufrags = [line[12:] for line in lines if line.startswith("a=ice-ufrag:")]
    return Description(
        media=tuple(_read_media(section, session_direction) for section in sections),
        ice_ufrag=ufrags[0] if ufrags else None,
    )


def _find_malformed(lines: list[str]) -> None:
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_CHARS:
            raise RemoteProtocolError(f"line {number} is longer than {MAX_LINE_CHARS} characters")
        if not _LINE.fullmatch(line):
            raise RemoteProtocolError(f"line {number} of the SDP is malformed")
    raise AssertionError("a line is malformed and none is")


def _check_repeats(section: list[str]) -> None:
    """Bound what aiortc compares with each other: 1900 rtpmap lines would take it 0.3 s."""
    counts: dict[str, int] = {}
    for line in section:
        name = line[: line.find(":")] if ":" in line else line
        counts[name] = counts.get(name, 0) + 1
    for name, n_lines in counts.items():
        if n_lines > _MAX_REPEATS.get(name, MAX_REPEATS):
            raise RemoteProtocolError(f"the SDP has {n_lines} lines {name[:20]}: in one section")


def _read_media(section: list[str], session_direction: str) -> Media:
    kind = section[0][2:].split(" ")[0]
    names: dict[str, str] = {}
    fmtp: dict[str, str] = {}
    for line in section:
        if line.startswith("a=rtpmap:"):
            payload_type, _, description = line[9:].partition(" ")
            names[payload_type] = description.split("/")[0].upper()
        elif line.startswith("a=fmtp:"):
            payload_type, _, parameters = line[7:].partition(" ")
            fmtp[payload_type] = parameters
    latent = next((pt for pt, name in names.items() if name == LATENT_CODEC_NAME), None)
    preferred = dict.fromkeys(pt for pt in section[0].split(" ")[3:] if pt in names)
    return Media(
        kind=kind,
        codecs=tuple(names.values()),
        direction=_direction(section, session_direction),
        latent_parameters=_read_fmtp(fmtp.get(latent, "")) if latent is not None else None,
        formats=tuple((names[pt], _read_fmtp(fmtp.get(pt, ""))) for pt in preferred),
    )


def _direction(lines: list[str], default: str) -> str:
    for line in lines:
        if line in ("a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"):
            return line[2:]
    return default


def _read_fmtp(text: str) -> dict[str, str]:
    parameters = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        if name:
            parameters[name.lower()] = value
    return parameters


def write_latent_fmtp(sdp: str, models: list[str]) -> str:
    """
    Return *sdp* with the models named at X-RTC-LATENT: `v=1;model=<id>[,<id>]`.

    Args:
        sdp: As aiortc wrote it.
        models: Model ids, hex; an offer names all that can be decoded, an
            answer the one that will be sent.
    """
    if not models:
        return sdp
    pattern = rf"^a=rtpmap:(\d+) {re.escape(LATENT_CODEC_NAME)}/90000\r$"
    for match in re.finditer(pattern, sdp, re.MULTILINE):
        line = f"a=fmtp:{match[1]} v=1"
        sdp = re.sub(
            rf"^{line}[^\r\n]*\r$", f"{line};model={','.join(models)}\r", sdp, flags=re.MULTILINE
        )
    return sdp


def with_exclusive_mux(sdp: str) -> str:
    """Return *sdp* with `a=rtcp-mux-only` beside each `a=rtcp-mux`. # RFC 9725 4.4"""
    if "a=rtcp-mux-only" in sdp:
        return sdp
    return sdp.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-mux-only\r\n")


def check_latent_offer(parameters: dict[str, str], model_id: str) -> None:
    """
    Check that whoever offers X-RTC-LATENT can decode *model_id*.

    An offer without `model` is from a peer that loads whatever the answer names.

    Raises:
        RemoteProtocolError: If the version or the models do not fit.
    """
    version = parameters.get("v", "1")
    if version != "1":
        raise RemoteProtocolError(f"{LATENT_CODEC_NAME} version {version} is not spoken here, 1 is")
    offered = [model for model in parameters.get("model", "").lower().split(",") if model]
    if offered and not any(is_same_model(model, model_id) for model in offered):
        raise RemoteProtocolError(
            f"this relay has model {model_id}, which is not among those offered: "
            f"{', '.join(offered)[:200]}"
        )


def is_same_model(one: str, other: str) -> bool:
    """Compare two model ids, either of which may be cut to 16 hex digits or more."""
    one, other = one.lower(), other.lower()
    if not (_MODEL.fullmatch(one) and _MODEL.fullmatch(other)):
        return one == other != ""
    n_digits = min(len(one), len(other))
    return one[:n_digits] == other[:n_digits]
