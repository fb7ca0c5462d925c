"""What `fuzz` throws at files, tokens and documents: models, settings, what relays answer."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import jwt

from benchmarks import _fuzz_folder, _mutate
from rtcodec.bundle import Bundle
from rtcodec.engine.null import null_bundle
from rtcodec_server.access import ALGORITHM, Keyring
from rtcodec_server.config import ServerConfig
from rtcodec_server.settings import read_config

EXAMPLE: Final = Path(__file__).parents[1] / "server" / "config.example.toml"
KEYS: Final = {"main": "0123456789abcdef" * 4}
_NOW_S: Final = 1_800_000_000


def models() -> list[bytes]:
    path = _fuzz_folder.WORK / "null.rtcm"
    null_bundle().save(path)
    return [path.read_bytes()]


def mutate_model(sample: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Break the header of a safetensors file, whose size comes first, or anything."""
    if rng.random() < 0.3:
        return _mutate.mutate_bytes(sample, others, rng)
    size = int.from_bytes(sample[:8], "little")
    head = _mutate.mutate_document(sample[8 : 8 + size], [sample[8 : 8 + size]], rng)
    return len(head).to_bytes(8, "little") + head + sample[8 + size :]


def run_model(data: bytes) -> None:
    path = _fuzz_folder.WORK / "case.rtcm"
    path.write_bytes(data)
    bundle = Bundle.load(path)
    _ = bundle.entropy_tables, bundle.scale_net, bundle.delta


def configs() -> list[bytes]:
    text = EXAMPLE.read_text("utf-8")
    set_all = "\n".join(
        line[2:] if line.startswith("# ") and " = " in line else line for line in text.split("\n")
    )
    set_all = set_all.replace("put 64 hexadecimal digits here", KEYS["main"])
    top, *tables = re.split(r"\n(?=\[)", set_all)
    lines = [line for line in top.split("\n") if " = " in line]
    chunks = ["\n".join(lines[start : start + 8]) for start in range(0, len(lines), 8)]
    return [chunk.encode() for chunk in (*chunks, *tables)]


def run_config(data: bytes) -> None:
    path = _fuzz_folder.WORK / "case.toml"
    path.write_bytes(data)
    ServerConfig(**read_config(path))


_KEYRING: Final = Keyring(KEYS)


_CLAIMS: Final = json.dumps(
    [
        {"alg": ALGORITHM, "kid": "main", "typ": "JWT"},
        {"room": "a*", "publish": True, "exp": _NOW_S + 60, "nbf": 1.5, "iss": "x"},
    ]
).encode()


def _sign(header: object, claims: object) -> bytes:
    """Make a token of whatever there is, rightly signed."""
    parts = (json.dumps(part).encode("utf-8", "surrogatepass") for part in (header, claims))
    unsigned = b".".join(map(jwt.utils.base64url_encode, parts))
    signature = hmac.digest(KEYS["main"].encode(), unsigned, "sha256")
    return unsigned + b"." + jwt.utils.base64url_encode(signature)


def tokens() -> list[bytes]:
    return [_sign(*json.loads(_CLAIMS))]


def mutate_token(sample: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Break header and claims and sign them all the same, or break the token."""
    if rng.random() < 0.3:
        return _mutate.mutate_text(sample, others, rng)
    try:
        header, claims = json.loads(_mutate.mutate_document(_CLAIMS, [_CLAIMS], rng))
    except (ValueError, TypeError, RecursionError):  # no pair of anything any more
        return _sign(json.loads(_CLAIMS)[0], [None])
    return _sign(header, claims)


def run_token(data: bytes) -> None:
    _KEYRING.verify(data.decode("latin-1"), now_s=_NOW_S)


METRICS: Final = [
    (
        b'# HELP x y\n# TYPE rtcodec_frames_total counter\nrtcodec_frames_total{event="dropped",'
        b'reason="late"} 5.0\nrtcodec_event_loop_lag_seconds 1e-3\n'
        b'rtcodec_frame_latency_seconds_bucket{le="+Inf",stage="total"} 300.0\n'
    )
]

ANSWERS: Final = [
    b'{"type": "about:blank", "title": "too many requests", "status": 429, "detail": "wait 3 s"}',
    b'{"error": {"code": 4}, "message": "no"}',
]

NAMES: Final = [b"standup", b"a.b-c_D9", b"x" * 64]
