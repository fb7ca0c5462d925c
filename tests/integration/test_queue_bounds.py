"""
No queue of the media path holds more than two frames, whatever is too slow; but one.

    packets -> jitter buffer -> (1) decoder -> (2) pictures -> (3) while the engine gets ready
        -> (4) scheduler -> engine -> (5) entropy coder -> (6) until a connection stands -> sockets
        -> (7) until a subscriber reads;    engine -> (8) measurement of PSNR

The jitter buffer holds packets for as long as it hopes for others, and no longer. (1) is bounded by
60, since each of its frames is needed for the next: bursts pass through it whole, and on a machine
out of processor some wait. Every other one has places for one or two.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rtcodec.bundle import Bundle
from rtcodec.codec.encoder import FramePacker
from rtcodec.engine.api import EncodeJob, EncodeOutput, Engine
from rtcodec.engine.null import NullEngine
from rtcodec.engine.scheduler import DeadlineScheduler
from rtcodec.webrtc import LatentSender
from rtcodec.webrtc.newest import NewestQueue
from rtcodec.webrtc.video_receiver import MAX_BACKLOG_FRAMES, _DecoderThread
from rtcodec_server.app import running_server
from rtcodec_server.config import ServerConfig
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.stream import Stream
from support.relay import MovingTrack, RelayClient, until

FRAMES_MAX = 2


class SlowEngine(NullEngine):
    """Takes its time for each batch."""

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        self._pause_s = pause_s

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        time.sleep(self._pause_s)
        return super().encode(jobs)


Maxima = dict[str, int]


@pytest.fixture
def maxima(monkeypatch: pytest.MonkeyPatch) -> Maxima:
    """Watch every queue: name -> the most frames that one of its kind ever held for one stream."""
    seen: Maxima = defaultdict(int)

    def watch(cls: type, method: str, measure: Callable[[Any], dict[str, int]]) -> None:
        stock = getattr(cls, method)

        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = stock(self, *args, **kwargs)
            for name, held in measure(self).items():
                seen[name] = max(seen[name], held)
            return result

        monkeypatch.setattr(cls, method, watched)

    def of_host(host: EngineHost) -> dict[str, int]:
        waiting: dict[int, int] = defaultdict(int)
        for request in list(host._requests.values()):
            waiting[request[0].stream] += 1
        return {
            "4 scheduler": max(waiting.values(), default=0),
            "5 entropy coder": max(map(len, host._pack_threads)),
            "8 measurement": len(host._measurements),  # of one stream in these tests
        }

    watch(_DecoderThread, "put", lambda queue: {"1 decoder": len(queue)})
    watch(NewestQueue, "put", lambda queue: {f"{_owner(queue)}": len(queue)})
    watch(Stream, "put", lambda stream: {"3 starting": int(stream._waiting is not None)})
    watch(EngineHost, "submit", of_host)
    watch(EngineHost, "_encode", of_host)
    watch(DeadlineScheduler, "submit", lambda scheduler: {"4 jobs": scheduler.waiting})
    watch(LatentSender, "send", lambda sender: {"6 sender": len(sender._queue)})
    return seen


def _owner(queue: NewestQueue[Any]) -> str:
    is_picture = queue._items and hasattr(queue._items[0], "picture")
    return "2 pictures" if is_picture else "7 reader"


@pytest.mark.parametrize("slow", ["engine", "entropy coder", "both", "reader", "event loop"])
async def test_no_queue_holds_more_than_two_frames(
    slow: str, maxima: Maxima, monkeypatch: pytest.MonkeyPatch
) -> None:
    if slow in ("entropy coder", "both"):
        stock = FramePacker.pack

        def pack(self: FramePacker, *args: Any) -> Any:
            time.sleep(0.06)
            return stock(self, *args)

        monkeypatch.setattr(FramePacker, "pack", pack)

    def engine(config: ServerConfig) -> tuple[Engine, Bundle]:
        made = SlowEngine(0.06 if slow in ("engine", "both") else 0.0)
        return made, made.bundle

    config = ServerConfig(port=0, engine="null", psnr="auto", warm=())
    async with running_server(config, engine_factory=engine) as server:
        await server.ready
        async with RelayClient(server.url) as client:
            watch = await client.watch("room", max_frames=FRAMES_MAX)
            if slow == "reader":
                watch.task.cancel()
            await client.publish("room", MovingTrack(160, 96, fps=60))
            frames = server.relay.stats.frames
            await until(lambda: frames.encoded >= 3)
            if slow == "event loop":
                for _ in range(5):
                    time.sleep(0.2)  # noqa: ASYNC251 - it is to stand still
                    await asyncio.sleep(0.02)
            n_received = frames.received
            await until(lambda: frames.received >= n_received + 60)
            if slow == "reader":
                assert watch.receiver.frames_dropped > 20
            elif slow != "event loop":
                assert frames.dropped["superseded"] > 10
            assert frames.in_flight <= 4
    assert maxima.pop("1 decoder") <= MAX_BACKLOG_FRAMES
    assert {name: held for name, held in maxima.items() if held > FRAMES_MAX} == {}
    assert set(maxima) >= {"2 pictures", "3 starting", "4 scheduler", "6 sender"}
    assert maxima["5 entropy coder"] + maxima["7 reader"] >= (slow != "event loop")
