"""A real-time process keeps the interpreter's pauses away."""

import gc
import sys

from rtcodec.calm import SWITCH_INTERVAL_S, calm_interpreter


def test_what_lives_is_frozen_and_threads_take_short_turns() -> None:
    interval_s = sys.getswitchinterval()
    try:
        calm_interpreter()
        assert gc.get_freeze_count() > 0
        assert abs(sys.getswitchinterval() - SWITCH_INTERVAL_S) < 1e-6
    finally:
        sys.setswitchinterval(interval_s)
        gc.unfreeze()
