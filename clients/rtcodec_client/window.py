"""
Shows pictures in a window, in a process of its own.

Pictures go to it as PPM images over a pipe, newest wins: a slow display never
holds a decoder up. Run as a module, this file is that process; it needs
tkinter, which most Pythons have, and a display.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Any

from rtcodec.errors import ConfigError
from rtcodec.media.picture import rgb_of
from rtcodec.types import Planes

_LENGTH = struct.Struct("<I")
_POLL_MS = 5


class Window:
    """
    A window on the desktop.

    Raises:
        ConfigError: If this machine has no display, or Python no tkinter.
    """

    def __init__(self, title: str) -> None:
        check_display()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rtcodec_client.window", title], stdin=subprocess.PIPE
        )
        self._newest: Planes | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._feed, name="window", daemon=True)
        self._thread.start()

    def show(self, planes: Planes) -> None:
        """Show a picture soon, unless a newer one comes first."""
        with self._changed:
            self._newest = planes
            self._changed.notify()

    @property
    def is_open(self) -> bool:
        """Whether the user has not closed it."""
        return self._process.poll() is None

    def close(self) -> None:
        """Close the window."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._process.wait(timeout=10)

    def _feed(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # asked for above
        try:
            while (planes := self._take()) is not None:
                data = _ppm(planes)
                pipe.write(_LENGTH.pack(len(data)) + data)
                pipe.flush()
        except OSError:  # the user closed the window
            pass
        finally:
            with suppress(OSError):
                pipe.close()

    def _take(self) -> Planes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._closing)
            planes, self._newest = self._newest, None
            return None if self._closing else planes


def check_display() -> None:
    """
    Raise a ConfigError that says what is missing, if no window can be shown.

    Raises:
        ConfigError: If there is no display or no tkinter.
    """
    if sys.platform not in ("darwin", "win32") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise ConfigError("--show needs a display, and there is none here; use --output FILE")
    if importlib.util.find_spec("tkinter") is None:
        raise ConfigError("--show needs tkinter, which this Python lacks; use --output FILE")


def _ppm(planes: Planes) -> bytes:
    header = f"P6 {planes.width} {planes.height} 255\n".encode("ascii")
    return header + rgb_of(planes).tobytes()


def _read_picture(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return pipe.read(_LENGTH.unpack(head)[0])


def main(title: str) -> None:
    """Show what comes on standard input until it ends or the user closes the window."""
    import tkinter

    root = tkinter.Tk()
    root.title(title)
    label = tkinter.Label(root, borderwidth=0)
    label.pack()
    state: dict[str, Any] = {"newest": None, "ended": False}

    def read() -> None:
        while (data := _read_picture(sys.stdin.buffer)) is not None:
            state["newest"] = data
        state["ended"] = True

    def paint() -> None:
        data, state["newest"] = state["newest"], None
        if data is not None:
            state["image"] = tkinter.PhotoImage(data=data)
            label.configure(image=state["image"])
        if state["ended"]:
            root.destroy()
        else:
            root.after(_POLL_MS, paint)

    threading.Thread(target=read, daemon=True).start()
    root.after(_POLL_MS, paint)
    root.mainloop()


if __name__ == "__main__":
    main(sys.argv[1])
