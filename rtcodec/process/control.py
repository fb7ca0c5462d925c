"""
Messages between a supervisor and a child: JSON objects with descriptors beside them.

    {"kind": "http"} + [descriptor]      one packet of a SOCK_SEQPACKET pair each

Who reads a message checks what is in it. Nothing here blocks: what the other side does not take
waits in a bounded queue, and a queue that is full is a broken channel.
"""

import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from rtcodec.errors import RemoteProtocolError
from rtcodec.process.packet import receive_packet

MAX_MESSAGE_BYTES: Final = 192 * 1024
"Below the send buffer that every Linux gives without asking."

MAX_DESCRIPTORS: Final = 16
MAX_WAITING: Final = 512

Message = dict[str, Any]
"A JSON object; `kind` says what of."


def write_message(kind: str, fields: Message) -> bytes:
    """
    Return a message as bytes.

    Raises:
        ValueError: If it is too long.
    """
    data = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message {kind!r} of {len(data)} bytes")
    return data


def read_message(data: bytes) -> tuple[str, Message]:
    """
    Return kind and fields of a message.

    Raises:
        RemoteProtocolError: If it is none.
    """
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("a control message is not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise RemoteProtocolError("a control message has no kind")
    return message.pop("kind"), message


class ControlChannel:
    """One end of the pair. Belongs to the event loop."""

    def __init__(
        self,
        end: socket.socket,
        *,
        on_message: Callable[[str, Message, list[int]], None],
        on_close: Callable[[], None],
    ) -> None:
        """
        Args:
            end: SOCK_SEQPACKET; belongs to the channel from now on.
            on_message: Gets kind, fields and descriptors, which it has to close.
            on_close: Called once, when the other side has gone or talks nonsense.
        """
        self._end = end
        self._on_message = on_message
        self._on_close = on_close
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        end.setblocking(False)
        self._loop.add_reader(end.fileno(), self._read)

    def send(self, kind: str, *descriptors: int, **fields: Any) -> None:
        """Send a message; the descriptors are copied, the caller keeps its own."""
        data = write_message(kind, fields)
        if self._is_closed:
            return
        if not self._waiting and self._put(data, descriptors):
            return
        if len(self._waiting) >= MAX_WAITING:
            self._break()
            return
        if not self._waiting:
            self._loop.add_writer(self._end.fileno(), self._flush)
        self._waiting.append((data, [os.dup(number) for number in descriptors]))

    def hear_out(self) -> None:
        """Hear what the other side, which has ended, said last, and close."""
        while not self._is_closed and self._read():
            pass
        self.close()

    def close(self) -> None:
        """Hear and say nothing more."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._end.fileno())
        self._loop.remove_writer(self._end.fileno())
        while self._waiting:
            _close_all(self._waiting.popleft()[1])
        self._end.close()

    def _put(self, data: bytes, descriptors: Sequence[int]) -> bool:
        """Try to send at once; say whether that worked, or never will."""
        try:
            socket.send_fds(self._end, [data], descriptors)
        except BlockingIOError:
            return False
        except OSError:
            self._loop.call_soon(self._break)
        return True

    def _flush(self) -> None:
        while self._waiting and self._put(*self._waiting[0]):
            _close_all(self._waiting.popleft()[1])
        if not self._waiting and not self._is_closed:
            self._loop.remove_writer(self._end.fileno())

    def _read(self) -> bool:
        """Take one message in; say whether there may be another."""
        try:
            data, descriptors, is_cut = receive_packet(
                self._end, MAX_MESSAGE_BYTES, MAX_DESCRIPTORS
            )
        except BlockingIOError:
            return False
        except OSError:
            self._break()
            return False
        try:
            if not data or is_cut:
                raise RemoteProtocolError("the channel ended, or a message was cut")
            kind, fields = read_message(data)
        except RemoteProtocolError:
            _close_all(descriptors)
            self._break()
            return False
        self._on_message(kind, fields, descriptors)
        return True

    def _break(self) -> None:
        if not self._is_closed:
            self.close()
            self._on_close()


def _close_all(descriptors: Sequence[int]) -> None:
    for number in descriptors:
        os.close(number)
