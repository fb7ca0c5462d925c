"""
The engine process: one engine, for the workers that a supervisor tells of.

    start {engine, model, ...} -> ready {what runs} | failed {why}
    client + descriptors       a worker's connections
    stop                       the end; so is the end of the control channel

Not for people: `rtcodec serve` starts it. Signals are for the supervisor, whose workers need this
process to the last frame.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.calm import calm_interpreter
from rtcodec.engine.api import Engine
from rtcodec.engine.loader import WarmableEngine, open_engine
from rtcodec.engine.null import NullEngine
from rtcodec.errors import RemoteProtocolError, RtcodecError
from rtcodec.process import ControlChannel, Message, adopt_channel
from rtcodec_engines.engine_server import EngineServer
from rtcodec_engines.engine_wire import write_info

HEARTBEAT_S: Final = 0.25
MAX_FAILURES: Final = 5
"Calls in a row that an engine may fail."


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the supervisor wants."""

    engine: str
    model: str
    threads: int
    lanes: int
    max_batch: int
    warm: tuple[tuple[int, int], ...]
    hang_s: float
    "A call that takes longer will never end."

    device: str | None = None
    "What it should see as `CUDA_VISIBLE_DEVICES`; None for whatever there is."

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "EngineSettings":
        """
        Read them from a message.

        Raises:
            RemoteProtocolError: If it is not what it should be.
        """
        try:
            return cls(
                engine=str(fields["engine"]),
                model=str(fields["model"]),
                threads=max(1, int(fields["threads"])),
                lanes=max(1, int(fields["lanes"])),
                max_batch=max(1, int(fields["max_batch"])),
                hang_s=float(fields["hang_s"]),
                warm=tuple((int(width), int(height)) for width, height in fields["warm"]),
                device=None if fields.get("device") is None else str(fields["device"]),
            )
        except (KeyError, TypeError, ValueError):
            raise RemoteProtocolError("the engine's settings are malformed") from None


class EngineProcess:
    """What the supervisor's messages do."""

    def __init__(self, end: socket.socket) -> None:
        self._stopping = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._server: EngineServer | None = None
        self._hang_s = 0.0
        self._channel = ControlChannel(
            end,
            on_message=self._on_message,
            on_close=lambda: os._exit(1),  # nobody is left to serve, and nothing to put in order
        )

    async def run(self) -> None:
        """Go on until told to stop."""
        while not self._stopping.is_set():
            if self._server is not None and self._server.busy_s > self._hang_s:
                os._exit(1)  # the device hangs, and the thread with it: nothing else would end
            if self._server is not None and self._server.failures_in_row >= MAX_FAILURES:
                os._exit(1)  # a new process may find the device again
            n_states = self._server.n_states if self._server is not None else 0
            self._channel.send("report", states=n_states)
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._stopping.wait()
            except TimeoutError:
                pass
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._server is not None:
            await asyncio.to_thread(self._server.close)
        self._channel.close()

    def _on_message(self, kind: str, fields: Message, descriptors: list[int]) -> None:
        ends = [socket.socket(fileno=number) for number in descriptors]
        if kind == "start" and self._starting is None:
            self._starting = asyncio.ensure_future(self._start(fields))
        elif kind == "client" and self._server is not None and ends:
            for end in ends:
                end.setblocking(True)
            self._server.serve(ends)
            return
        elif kind == "stop":
            self._stopping.set()
        for end in ends:
            end.close()

    async def _start(self, fields: Message) -> None:
        try:
            settings = EngineSettings.read(fields)
            engine, bundle = await asyncio.to_thread(_load, settings)
        except RtcodecError as error:
            self._channel.send("failed", error=type(error).__name__, message=str(error))
            return
        self._hang_s = settings.hang_s
        self._server = EngineServer(
            engine, bundle, lanes=settings.lanes, max_batch=settings.max_batch
        )
        calm_interpreter()
        self._channel.send("ready", about=write_info(engine.info))


def _load(settings: EngineSettings) -> tuple[Engine, Bundle]:
    if settings.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.device  # libraries are not loaded yet
    if settings.engine == "null":
        null = NullEngine()
        return null, null.bundle
    bundle = find_bundle(settings.model)
    engine = open_engine(settings.engine, bundle, threads=settings.threads)
    for size in settings.warm:
        if isinstance(engine, WarmableEngine):
            engine.warm_up(*size)
        else:
            engine.close_state(engine.open_state(*size))
    return engine, bundle


async def _main(end: socket.socket) -> None:
    await EngineProcess(end).run()


def main() -> None:
    """Serve the supervisor that started this process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(_main(adopt_channel()))


if __name__ == "__main__":
    main()
