"""
What integration tests share.

A leak is charged to the test that made it, not to the one in which it was noticed.
"""

import gc
from collections.abc import Iterator

import pytest

from rtcodec.webrtc import LatentSender, OutgoingFrame
from rtcodec.webrtc.aiortc_patch import DirectSenderPort
from rtcodec.webrtc.data_port import DataPort


@pytest.fixture(scope="session", autouse=True)
def _modules_are_no_litter() -> Iterator[None]:
    """Keep what was imported so far out of the collections below: they take a tenth of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _no_litter(_modules_are_no_litter: None) -> Iterator[None]:
    """
    Collect what the test left, once its event loop is gone.

    A socket or a transport that nobody closed then warns, and a warning is an error.
    """
    yield
    gc.collect()


@pytest.fixture
def first_lost(monkeypatch: pytest.MonkeyPatch) -> list[OutgoingFrame]:
    """Lose the first frame that any subscriber is sent, as a network does: nobody is told."""
    lost: list[OutgoingFrame] = []
    send_now = LatentSender._send_now

    def send(self: LatentSender, port: DirectSenderPort | DataPort, frame: OutgoingFrame) -> None:
        if lost:
            send_now(self, port, frame)
        else:
            lost.append(frame)

    monkeypatch.setattr(LatentSender, "_send_now", send)
    return lost
