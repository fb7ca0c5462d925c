"""
Counters and histograms as trees of numbers, which cross a socket and add up.

    StreamStats --write_tree--> {"frames": {"received": 300, ...}, ...} --fill--> StreamStats

Whatever fields StreamStats has: a number is added, a table entry by entry.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import zip_longest
from typing import Any

from rtcodec.errors import RemoteProtocolError
from rtcodec.stats import Histogram

Tree = Any
"A number, a list of numbers, or a mapping of names to trees."

_MAX_DEPTH = 8


def write_tree(stats: Any) -> Tree:
    """Return figures as a tree."""
    if isinstance(stats, Histogram):
        return {"counts": list(stats.counts), "count": stats.count, "total": stats.total}
    if is_dataclass(stats):
        return {entry.name: write_tree(getattr(stats, entry.name)) for entry in fields(stats)}
    if isinstance(stats, Mapping):
        return {str(name): write_tree(value) for name, value in stats.items()}
    return stats


def add_trees(a: Tree, b: Tree, *, depth: int = _MAX_DEPTH) -> Tree:
    """
    Return the sum of two trees of one shape; what one of them lacks is nothing.

    Raises:
        RemoteProtocolError: If they are no such trees.
    """
    if depth == 0:
        raise RemoteProtocolError("figures are nested too deeply")
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return {
            name: add_trees(a[name], b[name], depth=depth - 1)
            if name in a and name in b
            else a.get(name, b.get(name))
            for name in {**a, **b}
        }
    if isinstance(a, list) and isinstance(b, list):
        pairs = zip_longest(a, b, fillvalue=0)
        return [add_trees(*pair, depth=depth - 1) for pair in pairs]
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a + b
    raise RemoteProtocolError("figures of two kinds cannot be added")


def fill(stats: Any, tree: Tree) -> None:
    """
    Put a tree's numbers into empty figures; what the figures do not have is left out.

    Raises:
        RemoteProtocolError: If it is a tree of something else.
    """
    if not isinstance(tree, Mapping):
        raise RemoteProtocolError("figures are malformed")
    try:
        for entry in fields(stats):
            if entry.name not in tree:
                continue
            value, given = getattr(stats, entry.name), tree[entry.name]
            if isinstance(value, Counter):
                value.update({str(name): int(count) for name, count in given.items()})
            elif isinstance(value, dict):
                for name in value.keys() & given.keys():
                    _fill_histogram(value[name], given[name])
            elif isinstance(value, Histogram):
                _fill_histogram(value, given)
            elif is_dataclass(value):
                fill(value, given)
            else:
                setattr(stats, entry.name, type(value)(given))
    except (TypeError, ValueError, KeyError, AttributeError):
        raise RemoteProtocolError("figures are malformed") from None


def _fill_histogram(histogram: Histogram, given: Mapping[str, Any]) -> None:
    counts = [int(count) for count in given["counts"]]
    if len(counts) != len(histogram.counts):
        raise ValueError("a histogram has other buckets")
    histogram.counts[:] = counts
    histogram.count, histogram.total = int(given["count"]), float(given["total"])
