"""
Reads a source in a thread, a bounded number of bytes ahead.

Keeps decoding (and drawing) off the moments at which frames are due.
"""

from __future__ import annotations

import threading
from collections import deque

from rtcodec_client.source import Source, SourceFrame


class ReadAhead:
    """
    A bounded buffer between a source and whoever plays it.

    At least one frame is always let in, so a tiny budget only means no
    reading ahead.
    """

    def __init__(self, source: Source, *, budget_bytes: int) -> None:
        self._source = source
        self._budget_bytes = 0 if source.is_live else budget_bytes
        self._frames: deque[SourceFrame] = deque()
        self._held_bytes = 0
        self._ended = False
        self._error: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._fill, name="read-ahead", daemon=True)
        self._thread.start()

    def wait_until_full(self) -> None:
        """Return when the budget is used up or the source has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._held_bytes >= self._budget_bytes)

    def peek(self) -> SourceFrame | None:
        """
        Look at the oldest frame without taking it; None at the end.

        Raises:
            InputError: If the source failed before its first frame.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._frames) or self._ended)
            if self._frames:
                return self._frames[0]
            if self._error is not None:
                raise self._error
            return None

    def next_frame(self) -> SourceFrame | None:
        """
        Take the oldest frame; None at the end.

        Raises:
            InputError: If the source failed; after the frames before that.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._frames) or self._ended)
            if self._frames:
                frame = self._frames.popleft()
                self._held_bytes -= _size_bytes(frame)
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Stop reading and forget what was read; a frame being read is finished first."""
        with self._changed:
            self._frames.clear()
            self._closed = True
            self._ended = True
            self._changed.notify_all()

    def _fill(self) -> None:
        try:
            for frame in self._source:
                with self._changed:
                    self._changed.wait_for(
                        lambda: (
                            self._closed
                            or not self._frames
                            or self._held_bytes < self._budget_bytes
                        )
                    )
                    if self._closed:
                        return
                    self._frames.append(frame)
                    self._held_bytes += _size_bytes(frame)
                    self._changed.notify_all()
        except BaseException as error:  # handed to whoever takes the next frame
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


def _size_bytes(frame: SourceFrame) -> int:
    planes = frame.planes
    return int(planes.y.nbytes + planes.u.nbytes + planes.v.nbytes)
