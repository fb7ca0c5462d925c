"""
An engine for several worker processes.

    worker ==connections==> a thread each --> gathering --> engine
                              pixels are read where the worker wrote them

A worker's states are its own, and end with its last connection. Whatever a worker says ends at
worst that worker's connection.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from socket import SHUT_RDWR, socket
from typing import Final

import numpy as np

from rtcodec.bundle import Bundle
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, Engine, StateId
from rtcodec.errors import EngineError, LocalProtocolError, RemoteProtocolError
from rtcodec.process import receive_packet
from rtcodec.types import Planes
from rtcodec_engines.engine_wire import (
    MAX_PACKET_BYTES,
    CloseRequest,
    CodedEntry,
    DecodeEntry,
    EncodeEntry,
    OpenRequest,
    Request,
    read_request,
    write_coded,
    write_done,
    write_failed,
    write_opened,
)
from rtcodec_engines.frame_slot import FrameSlot, SlotForm, copy_planes
from rtcodec_engines.gathering import Gathering

_END_PATIENCE_S: Final = 5.0


class EngineServer:
    """Runs what workers ask for on one engine."""

    def __init__(self, engine: Engine, bundle: Bundle, *, lanes: int, max_batch: int) -> None:
        """
        Args:
            engine: Does the work; closed with the server.
            bundle: What it runs.
            lanes: How many calls it may have at a time, unless it makes batches of them.
            max_batch: Frames of different workers that run together, likewise.
        """
        self.engine = engine
        self.bundle = bundle
        self.encode: Callable[[list[EncodeJob]], list[EncodeOutput]]
        "On several threads at a time."
        if engine.info.batched:  # it gathers what comes by itself
            self.encode = self._run
        else:
            self.encode = Gathering(self._run, lanes=lanes, max_jobs=max_batch)
        self.failures_in_row = 0
        "Calls that the engine has failed since one that it did not."
        self._started_s: dict[int, float] = {}  # thread -> when its call began
        self._clients: set[_Client] = set()
        self._lock = threading.Lock()

    @property
    def n_states(self) -> int:
        """Streams that workers have open."""
        with self._lock:
            return sum(len(client.states) for client in self._clients)

    @property
    def busy_s(self) -> float:
        """How long the oldest call goes on already; a device that hangs never ends one."""
        now_s = time.monotonic()
        return now_s - min(self._started_s.copy().values(), default=now_s)

    def serve(self, ends: Sequence[socket]) -> None:
        """Answer a worker on its connections, SOCK_SEQPACKET and blocking, until they end."""
        client = _Client(self, ends)
        with self._lock:
            self._clients.add(client)
        client.start()

    def forget(self, client: "_Client") -> None:
        """Note that a worker has gone."""
        with self._lock:
            self._clients.discard(client)

    def end_clients(self) -> None:
        """End all connections, and forget what was open over them."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.end()

    def close(self) -> None:
        """End all connections, then the engine."""
        self.end_clients()
        self.engine.close()

    def _run(self, jobs: list[EncodeJob]) -> list[EncodeOutput]:
        self._started_s[threading.get_ident()] = time.monotonic()
        try:
            outputs = list(self.engine.encode(jobs))
            self.failures_in_row = 0
            return outputs
        except LocalProtocolError:  # the caller's fault
            raise
        except Exception:
            self.failures_in_row += 1
            raise
        finally:
            del self._started_s[threading.get_ident()]


class _Client:
    """One worker's connections and streams."""

    def __init__(self, server: EngineServer, ends: Sequence[socket]) -> None:
        self.states: dict[int, FrameSlot] = {}
        self._server = server
        self._ends = ends
        self._n_open = len(ends)
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._serve, args=(end,), name="client", daemon=True)
            for end in ends
        ]

    def start(self) -> None:
        """Begin to answer."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End the connections and wait until nothing is asked of the engine any more."""
        for end in self._ends:
            with suppress(OSError):  # it ended by itself
                end.shutdown(SHUT_RDWR)
        for thread in self._threads:
            thread.join(_END_PATIENCE_S)

    def _serve(self, end: socket) -> None:
        try:
            with end:
                while self._answer_next(end):
                    pass
        except (OSError, RemoteProtocolError):
            pass  # the worker has gone, or talks nonsense
        with self._lock:
            self._n_open -= 1
            is_last = self._n_open == 0
        if is_last:
            self._leave()

    def _leave(self) -> None:
        for state in self.states:
            self._server.engine.close_state(StateId(state))
        self.states.clear()
        self._server.forget(self)

    def _answer_next(self, end: socket) -> bool:
        data, descriptors, _ = receive_packet(end, MAX_PACKET_BYTES, 1)
        try:
            if not data:
                return False
            request = read_request(data)
            end.send(self._answer(request, descriptors))
        finally:
            for number in descriptors:
                os.close(number)
        return True

    def _answer(self, request: Request, descriptors: Sequence[int]) -> bytes:
        try:
            if isinstance(request, OpenRequest):
                return write_opened(self._open(request, descriptors))
            if isinstance(request, CloseRequest):
                return self._close(request.state)
            if isinstance(request[0], EncodeEntry):
                return self._encode([e for e in request if isinstance(e, EncodeEntry)])
            return self._decode([e for e in request if isinstance(e, DecodeEntry)])
        except Exception as error:  # whatever the engine does, its process goes on
            return write_failed(error)

    def _open(self, request: OpenRequest, descriptors: Sequence[int]) -> int:
        if len(descriptors) != 1:
            raise LocalProtocolError("no memory came with the request")
        form = SlotForm.of(self._server.bundle, request.width, request.height)
        slot = FrameSlot(form, descriptors[0])
        state = self._server.engine.open_state(request.width, request.height)
        self.states[state] = slot
        return state

    def _close(self, state: int) -> bytes:
        if self.states.pop(state, None) is not None:
            self._server.engine.close_state(StateId(state))
        return write_done()

    def _encode(self, entries: Sequence[EncodeEntry]) -> bytes:
        slots = self._slots(entries)
        jobs = [
            EncodeJob(
                StateId(entry.state),
                slot.source,
                entry.qp,
                reference=entry.reference,
                store=entry.store,
                reconstruct=entry.reconstruct,
                neural=entry.neural,
                across_tiles=entry.across_tiles,
                thorough=entry.thorough,
            )
            for entry, slot in zip(entries, slots, strict=True)
        ]
        outputs = self._server.encode(jobs)
        if len(outputs) != len(jobs):
            raise EngineError(f"{len(outputs)} outputs for {len(jobs)} frames")
        return write_coded([_put(*pair) for pair in zip(outputs, slots, strict=True)])

    def _decode(self, entries: Sequence[DecodeEntry]) -> bytes:
        slots = self._slots(entries)
        jobs = [
            DecodeJob(
                StateId(entry.state),
                slot.z(entry.z_channels),
                slot.symbols(entry.channels, channels_last=entry.channels_last),
                entry.qp,
                slot.form.width,
                slot.form.height,
                reference=entry.reference,
                store=entry.store,
                spatial=entry.spatial,
                across_tiles=entry.across_tiles,
            )
            for entry, slot in zip(entries, slots, strict=True)
        ]
        pictures: list[Planes] = self._server.engine.decode(jobs)
        for picture, slot in zip(pictures, slots, strict=True):
            copy_planes(picture, slot.picture)
        return write_done()

    def _slots(self, entries: Sequence[EncodeEntry] | Sequence[DecodeEntry]) -> list[FrameSlot]:
        if len({entry.state for entry in entries}) < len(entries):
            raise LocalProtocolError("two frames of one stream at a time")
        try:
            return [self.states[entry.state] for entry in entries]
        except KeyError as error:
            raise LocalProtocolError(f"state {error} is not open") from None


def _put(output: EncodeOutput, slot: FrameSlot) -> CodedEntry:
    """Write what an engine returned where the worker reads it."""
    how = CodedEntry.of(output)
    np.copyto(slot.z(how.z_channels), output.z)
    np.copyto(slot.symbols(how.channels, channels_last=how.symbols_last), output.symbols)
    np.copyto(slot.indices(how.channels, channels_last=how.indices_last), output.indices)
    if output.reconstruction is not None:
        copy_planes(output.reconstruction, slot.picture)
    return how
