"""
Several processes' metrics as one page: text in, text out.

Counters and histograms add up, those of processes that have died too: a sum that fell would look
like a restart of everything. Gauges add up but for those of which the largest counts, or the
smallest.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

LARGEST: Final = frozenset({"rtcodec_event_loop_lag_seconds", "rtcodec_ready"})
"Gauges of which the largest counts; so do those that end in _info."

SMALLEST: Final = frozenset({"rtcodec_narrowest_way_bits_per_second"})
"Gauges of which the smallest counts; a process that knows none has no sample."

_GAUGE: Final = "gauge"


@dataclass(slots=True)
class Family:
    """One metric, as `generate_latest` writes it."""

    head: list[str] = field(default_factory=list)
    "HELP and TYPE."

    kind: str = "untyped"
    samples: dict[str, float] = field(default_factory=dict)
    "Name with labels, as text -> value."


Page = dict[str, Family]
"Families by name, in order."


def read_page(text: str) -> Page:
    """Read what `generate_latest` writes; lines that are something else are left out."""
    page: Page = {}
    family = Family()
    for line in text.splitlines():
        if line.startswith("# "):
            _, word, name, *rest = line.split(" ", 3)
            if name not in page:
                page[name] = Family()
            family = page[name]
            family.head.append(line)
            if word == "TYPE" and rest:
                family.kind = rest[0]
        elif line:
            sample, _, value = line.rpartition(" ")
            try:
                family.samples[sample] = float(value)
            except ValueError:
                continue
    return page


def merge_pages(pages: Iterable[Page]) -> Page:
    """Return one page for all; the first that has a family says what it is."""
    merged: Page = {}
    for page in pages:
        for name, family in page.items():
            into = merged.setdefault(name, Family(family.head, family.kind))
            for sample, value in family.samples.items():
                there = into.samples.get(sample)
                into.samples[sample] = value if there is None else _joined(name, there, value)
    return merged


def lasting(page: Page) -> Page:
    """Return what stays of the page of a process that is gone: everything but gauges."""
    return {name: family for name, family in page.items() if family.kind != _GAUGE}


def write_page(page: Mapping[str, Family]) -> str:
    """Return a page as text."""
    lines: list[str] = []
    for family in page.values():
        lines += family.head
        lines += (f"{sample} {value!r}" for sample, value in family.samples.items())
    return "\n".join(lines) + "\n"


def _joined(name: str, a: float, b: float) -> float:
    if name in SMALLEST:
        return min(a, b)
    return max(a, b) if name in LARGEST or name.endswith("_info") else a + b
