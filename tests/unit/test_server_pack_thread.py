"""A thread that does one thing after the other."""

import threading
import weakref

from rtcodec_server.pack_thread import PackThread


def test_things_are_done_in_order_and_all_before_the_end() -> None:
    done: list[int] = []
    thread = PackThread("pack")
    for n in range(100):
        thread.submit(done.append, n)
    thread.close()
    assert done == [*range(100)]


def test_it_says_how_much_waits() -> None:
    began, may_go = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        may_go.wait()

    thread = PackThread("pack")
    thread.submit(wait)
    began.wait()
    assert len(thread) == 0
    thread.submit(lambda: None)
    thread.submit(lambda: None)
    assert len(thread) == 2
    may_go.set()
    thread.close()


def test_what_is_done_is_let_go() -> None:
    class Frame:
        pass

    gone = threading.Event()
    frame = Frame()
    weakref.finalize(frame, gone.set)
    thread = PackThread("pack")
    thread.submit(lambda _: None, frame)
    del frame
    assert gone.wait(30)
    thread.close()
