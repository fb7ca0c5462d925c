"""
Keep a real-time process free of the interpreter's own pauses.

A full collection walks every object of every module that was imported: 30 ms and more beside
OpenVINO, which is a frame. Two threads that compute would each hold the interpreter for 5 ms.
"""

import gc
import sys

SWITCH_INTERVAL_S = 0.0005
"""How long one thread may keep the interpreter from another. With Python's 5 ms, a timer of the
event loop beside a busy thread is 5 ms late at the median; with this, 0.1 ms."""


def calm_interpreter() -> None:
    """
    Call once, when what the process needs is loaded: what lives now is never walked again.

    Nor is it freed, once it is garbage in a cycle. Of those only one kind is made all the time: an
    error that was kept and is raised later is held by the frame that its traceback holds. Whoever
    raises one lets go of it.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
