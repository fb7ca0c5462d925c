"""
An engine made ready before anybody waits for it.

What runs for the first time takes twice as long or more, and a call's first frames would come late
and push out the next.
"""

import asyncio

import numpy as np

from rtcodec.codec.reference import NewestReference
from rtcodec.types import Planes
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.frame_request import FrameRequest
from rtcodec_server.prediction import StreamPrediction

_WARM_FRAMES = 4
_PATIENCE_US = 60_000_000


async def warm(host: EngineHost, width: int, height: int) -> None:
    """Run frames of a size through all of a host: one to start from, and what follows it."""
    await host.get_ready(width, height)
    state = await host.open_state(width, height)
    predicted = host.info.references >= NewestReference.SLOTS
    prediction = StreamPrediction(host.info.references, ["nobody"]) if predicted else None
    for number in range(_WARM_FRAMES if predicted else 1):
        done = asyncio.Event()
        host.submit(
            FrameRequest(
                stream=-1,
                state=state,
                planes=moving_planes(width, height, number),
                qp=32,
                deadline_us=monotonic_us() + _PATIENCE_US,
                on_coded=lambda coded, done=done: done.set(),  # type: ignore[misc]
                on_dropped=lambda reason, done=done: done.set(),  # type: ignore[misc]
                on_psnr=lambda psnr: None,
                frame_number=number,
                prediction=prediction,
            )
        )
        await done.wait()
    host.close_stream(-1)
    await host.close_state(state)


def moving_planes(width: int, height: int, number: int) -> Planes:
    """Return picture *number* of a texture that moves: nothing is at rest, so everything runs."""
    rows, columns = np.ogrid[:height, :width]
    luma = (rows * rows // 5 + columns * (3 + rows // 16) + 3 * number) & 0xFF
    chroma = luma[::2, ::2] // 2 + 64
    return Planes(luma.astype(np.uint8), chroma.astype(np.uint8), chroma.astype(np.uint8))
