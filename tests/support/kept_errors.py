"""What errors leave behind once they were handled."""

import gc
import weakref
from collections.abc import Callable
from contextlib import suppress


def is_freed(call: Callable[[], object], kind: type[Exception]) -> bool:
    """
    Return whether the error that a call raises is gone as soon as nobody has it.

    Without the collector: a process that is calm (`rtcodec.calm`) has garbage that it never sees.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        left = _raised_by(call, kind)
        return left() is None
    finally:
        if was_enabled:
            gc.enable()


def _raised_by(call: Callable[[], object], kind: type[Exception]) -> "weakref.ref[Exception]":
    with suppress(kind):
        try:
            call()
        except kind as error:
            return weakref.ref(error)
    raise AssertionError(f"no {kind.__name__} was raised")
