"""
Break valid samples, as whoever wants to break a parser would.

Seeded: case i of a corpus is the same every time. Binary samples lose, gain and repeat parts, and
get numbers that are one too many; text does so by lines and words; documents by their values.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Final

MAX_BYTES: Final = 1 << 17
"A case does not grow beyond this: every parser is given less."

EDGES: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_WORDS: Final = (
    "", "-1", "0", "1e999", "99999999999999999999", "x", "*/*", "\u00e9", "\u2028", "\x00", "%s",
    "[" * 3000,
    "255.255.255.255", "::1", "fe80::1%eth0", "a" * 300, "=", ";", ",", "/", ":", " ", "NaN",
)  # fmt: skip
_VALUES: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 1 << 64, 1e308, float("nan"), float("inf"), "", "x" * 300, [], {}, [[[]]],
    {"a": {"b": []}}, "\ud800",
)  # fmt: skip


def mutate_bytes(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return *sample*, broken in one to four places; *others* lend it parts."""
    data = bytearray(sample)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(9)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif what == 1 and data:
            data[at % len(data)] = rng.randrange(256)
        elif what == 2:
            del data[at:]
        elif what == 3:
            del data[at : at + rng.randrange(1, 17)]
        elif what == 4:
            data[at:at] = rng.randbytes(rng.randrange(1, 17))
        elif what == 5:
            data[at:at] = data[at : at + rng.randrange(1, 65)]
        elif what == 6:  # a number: the places where sizes and counts may be
            size = rng.choice((1, 2, 4))
            data[at : at + size] = (rng.choice(EDGES) & ((1 << 8 * size) - 1)).to_bytes(size)
        elif what == 7:
            data += rng.randbytes(rng.choice((1, 4, 64, 2000)))
        else:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at:] = other[start:]
    return bytes(data[:MAX_BYTES])


def mutate_text(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return *sample* with lines and words that are gone, repeated, swapped or something else."""
    if rng.random() < 0.15:
        return mutate_bytes(sample, others, rng)
    lines = sample.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        what = rng.randrange(8)
        if what == 0 and len(lines) > 1:
            del lines[at]
        elif what == 1:
            lines[at:at] = [rng.choice(lines)] * rng.choice((1, 1, 2, 40))
        elif what == 2:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        elif what == 3:
            parts = re.split(r"([ :=/;,])", lines[at])
            parts[rng.randrange(len(parts))] = rng.choice(_WORDS)
            lines[at] = "".join(parts)
        elif what == 4:
            lines[at] = re.sub(r"\d+", lambda _: str(rng.choice(EDGES)), lines[at])
        elif what == 5:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif what == 6:
            place = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + rng.choice(_WORDS) + lines[at][place:]
        else:
            theirs = rng.choice(others).decode("utf-8", "surrogateescape").split("\n")
            lines[at] = rng.choice(theirs)
    return "\n".join(lines).encode("utf-8", "surrogateescape")[:MAX_BYTES]


def mutate_document(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return JSON with values that are gone or of another kind, or JSON no more."""
    chance = rng.random()
    if chance < 0.01:
        return deep_document(rng)
    if chance < 0.2:
        return mutate_text(sample, others, rng)
    root = [json.loads(sample)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        place: Any = root
        key: Any = 0
        while isinstance(place[key], dict | list) and place[key] and rng.random() < 0.85:
            place = place[key]
            key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if place is not root and rng.random() < 0.25:
            del place[key]
        else:
            place[key] = deepcopy(rng.choice(_VALUES))
    return json.dumps(root[0]).encode("utf-8", "surrogatepass")


def deep_document(rng: random.Random) -> bytes:
    """Return JSON that is nested deeper than any reader should follow."""
    depth = rng.choice((10, 1000, 60_000))
    return b"[" * depth + (b"]" * depth if rng.random() < 0.5 else b"")
