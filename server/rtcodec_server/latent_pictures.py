"""
Decodes a stream of latents for those who cannot, on a thread of its own.

Which frames may wait its queue says. Of live ones it is two: a newer one pushes the oldest out,
which is reported as not held, so that the sender predicts the next from a frame that is.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.errors import BitstreamError
from rtcodec.packet.feedback import FrameReport, FrameReporter
from rtcodec.types import Planes
from rtcodec.webrtc import monotonic_us
from rtcodec_server.frame_queue import FrameQueue, NewestFrames

_log = logging.getLogger(__name__)


class CodedPicture(Protocol):
    """A frame as it was coded: a `LatentFrame`, or one of a recording."""

    @property
    def packets(self) -> Sequence[bytes]:
        """Bitstream packets."""

    @property
    def is_keyframe(self) -> bool:
        """Whether a decoder may start here."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it is missing."""


def _ignore(*_: object) -> None:
    """Nobody asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCalls:
    """What is called on the event loop while latents are decoded."""

    on_ready: Callable[[], None] = _ignore
    "Frames are decoded from now on, from one on that can be started from."

    on_keyframe_needed: Callable[[], None] = _ignore
    "There is nothing to predict from."

    on_report: Callable[[FrameReport], None] = _ignore
    "Called with what is held."


@dataclass(frozen=True, slots=True)
class WaitingPicture:
    """A frame that waits for the decoder."""

    frame: CodedPicture
    pts: int
    is_shown: bool


class LatentPictures:
    """One stream's decoder; starts with a key frame once it is ready."""

    def __init__(
        self, decoder: PictureDecoder, queue: FrameQueue[WaitingPicture] | None = None
    ) -> None:
        """
        Args:
            decoder: Closed at the end.
            queue: Says which frames may wait; by default the two newest.
        """
        self.decoded = 0
        self.dropped = 0
        "Frames that newer ones overtook, that could not be decoded, or came before a key frame."
        self._decoder = decoder
        self._reporter = FrameReporter()
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._queue = NewestFrames[WaitingPicture]() if queue is None else queue
        self._size: tuple[int, int] | None = None
        self._is_ready = False
        self._has_started = False
        self._failures = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="latent-pictures", daemon=True)
        self._on_picture: Callable[[Planes, int], None] = _ignore
        self._on_busy: Callable[[int], None] = _ignore
        self._calls = PictureCalls()

    def start(
        self,
        size: tuple[int, int] | None,
        calls: PictureCalls,
        *,
        on_picture: Callable[[Planes, int], None],
        on_busy: Callable[[int], None] = _ignore,
    ) -> None:
        """
        Start the thread.

        Args:
            size: To get ready for, width and height, if it is known; that may take a second.
            calls: What to call on the event loop.
            on_picture: Called on the thread with every picture and its time stamp.
            on_busy: Called on the thread with the microseconds that each frame took.
        """
        self._on_picture, self._on_busy = on_picture, on_busy
        self._calls = calls
        self._size = size
        self._thread.start()

    def put(self, frame: CodedPicture, pts: int, *, is_shown: bool = True) -> None:
        """
        Decode a frame, unless newer ones overtake it; never waits.

        Args:
            frame: As it was coded.
            pts: 90 kHz ticks.
            is_shown: Whether its picture comes out; others only lean on it if not.
        """
        if not self._is_ready or not (self._has_started or frame.is_keyframe):
            self.dropped += 1
            return
        self._has_started = True
        with self._wake:
            self.dropped += self._queue.add(
                WaitingPicture(frame, pts, is_shown),
                size_bytes=sum(map(len, frame.packets)),
                is_keyframe=frame.is_keyframe,
            )
            self._wake.notify()

    def stop(self) -> None:
        """End soon; nothing comes out any more once the thread has noticed."""
        with self._wake:
            self._is_stopping = True
            self._queue.clear()
            self._wake.notify()

    def join(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    # ---- the thread

    def _run(self) -> None:
        try:
            if self._size is not None:
                self._decoder.warm(*self._size)
        except Exception as error:  # the first frame will say so again
            _log.error("the decoder of latents is not ready: %s", error)
        self._is_ready = True
        self._call(self._calls.on_ready)
        while (waiting := self._take()) is not None:
            started_us = monotonic_us()
            try:
                picture = self._decoder.decode(waiting.frame.packets)
            except BitstreamError as error:
                self.dropped += 1
                if error.unheld_frame is not None:
                    self._report(error.unheld_frame, is_held=False, concealed=1.0)
                self._call(self._calls.on_keyframe_needed)
                continue
            except Exception as error:  # whatever the device does, the next frame is tried
                self._failures += 1
                if self._failures & (self._failures - 1) == 0:  # 1, 2, 4, 8 ...
                    _log.error("decoding latents, failure %d: %s", self._failures, error)
                self.dropped += 1
                continue
            finally:
                self._on_busy(monotonic_us() - started_us)
            self.decoded += 1
            is_held = picture.is_complete and waiting.frame.is_complete
            self._report(picture.frame_number, is_held=is_held, concealed=picture.concealed)
            if waiting.is_shown:
                self._on_picture(picture.planes, waiting.pts)
        self._decoder.close()

    def _take(self) -> WaitingPicture | None:
        with self._wake:
            while not self._is_stopping:
                if (waiting := self._queue.take()) is not None:
                    return waiting
                self._wake.wait()
            return None

    def _report(self, number: int, *, is_held: bool, concealed: float) -> None:
        now_us = monotonic_us()
        self._reporter.decided(number, is_held=is_held, concealed=concealed, now_us=now_us)
        report = self._reporter.take_due(now_us=now_us)
        if report is not None:
            self._call(self._calls.on_report, report)

    def _call(self, action: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(action, *arguments)
        except RuntimeError:  # the loop is closed, nobody is left to hear it
            _log.debug("a decoder outlived its loop")
