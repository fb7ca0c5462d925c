"""
pylibsrtp's sessions, called without letting go of the interpreter.

A packet takes libsrtp 2 us. pylibsrtp lets other threads have the interpreter for that long, and
the event loop then waits until they give it back: half a millisecond, or two changes of thread.
Only for the event loop's thread: all sessions share a buffer.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Final

import pylibsrtp
from pylibsrtp import Session
from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found]

MAX_PACKET_BYTES: Final = 1500
"What a datagram may hold; longer packets are refused."

_ROOM_BYTES: Final = 2048  # what encryption adds is 160 at most


_buffer: Final = bytearray(_ROOM_BYTES)
_view: Final = memoryview(_buffer)
_held: Final = (ctypes.c_char * _ROOM_BYTES).from_buffer(_buffer)
_at: Final = ctypes.addressof(_held)
_size: Final = ctypes.c_int()
_at_size: Final = ctypes.addressof(_size)

_Call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def _function(name: str) -> Callable[[int, int, int], int]:
    """Return a function of libsrtp: session, packet in place, its size in place -> status."""
    called: Callable[[int, int, int], int] = _Call(_address(ffi.addressof(lib, name)))
    return called


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


_protect: Final = _function("srtp_protect")
_unprotect: Final = _function("srtp_unprotect")
_unprotect_rtcp: Final = _function("srtp_unprotect_rtcp")


class QuickSession:
    """One direction of a transport, for as long as its `Session` is."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._at_session = _address(session._srtp[0])

    def protect(self, packet: bytes) -> bytes:
        """Encrypt RTP; raises as `Session.protect`."""
        return self._process(_protect, packet)

    def unprotect(self, packet: bytes) -> bytes:
        """Decrypt RTP; raises as `Session.unprotect`."""
        return self._process(_unprotect, packet)

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        """Decrypt RTCP; raises as `Session.unprotect_rtcp`."""
        return self._process(_unprotect_rtcp, packet)

    def _process(self, function: Callable[[int, int, int], int], data: bytes) -> bytes:
        n_bytes = len(data)
        if n_bytes > MAX_PACKET_BYTES:
            raise ValueError("packet is too long")
        _view[:n_bytes] = data
        _size.value = n_bytes
        if status := function(self._at_session, _at, _at_size):
            raise pylibsrtp.Error(pylibsrtp.ERRORS[status])
        return bytes(_view[: _size.value])
