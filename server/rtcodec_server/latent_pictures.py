"""
Decodes a stream of latents for those who cannot, on a thread of its own.

Two frames may wait; a newer one pushes the oldest out, which is reported as not held, so that the
sender predicts the next from a frame that is.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable

from rtcodec.codec.picture_decoder import DecodedPicture, PictureDecoder
from rtcodec.errors import BitstreamError
from rtcodec.packet.feedback import FrameReport, FrameReporter
from rtcodec.types import Planes
from rtcodec.webrtc import LatentFrame, monotonic_us

_log = logging.getLogger(__name__)

_MAX_WAITING = 2


class LatentPictures:
    """One stream's decoder; once it is ready it asks for a key frame, and starts with that."""

    def __init__(self, decoder: PictureDecoder) -> None:
        """
        Args:
            decoder: Closed at the end.
        """
        self.decoded = 0
        self.dropped = 0
        "Frames that newer ones overtook, that could not be decoded, or came before a key frame."
        self._decoder = decoder
        self._reporter = FrameReporter()
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._frames: deque[tuple[LatentFrame, int]] = deque()
        self._size: tuple[int, int] | None = None
        self._is_ready = False
        self._has_started = False
        self._failures = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="latent-pictures", daemon=True)
        self._on_picture: Callable[[Planes, int], None] = lambda planes, pts: None
        self._on_report: Callable[[FrameReport], None] = lambda report: None
        self._on_keyframe_needed: Callable[[], None] = lambda: None

    def start(
        self,
        size: tuple[int, int] | None,
        *,
        on_picture: Callable[[Planes, int], None],
        on_report: Callable[[FrameReport], None],
        on_keyframe_needed: Callable[[], None],
    ) -> None:
        """
        Start the thread.

        Args:
            size: To get ready for, width and height, if it is known; that may take a second.
            on_picture: Called on the thread with every picture and its time stamp.
            on_report: Called on the event loop with what is held.
            on_keyframe_needed: Called on the event loop when there is nothing to predict from.
        """
        self._on_picture = on_picture
        self._on_report = on_report
        self._on_keyframe_needed = on_keyframe_needed
        self._size = size
        self._thread.start()

    def put(self, frame: LatentFrame, pts: int) -> None:
        """Decode a frame, unless newer ones overtake it; never waits."""
        if not self._is_ready or not (self._has_started or frame.is_keyframe):
            self.dropped += 1
            return
        self._has_started = True
        with self._wake:
            while len(self._frames) >= _MAX_WAITING:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append((frame, pts))
            self._wake.notify()

    def stop(self) -> None:
        """End soon; nothing comes out any more once the thread has noticed."""
        with self._wake:
            self._is_stopping = True
            self._frames.clear()
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
        self._call(self._on_keyframe_needed)
        while (task := self._take()) is not None:
            frame, pts = task
            try:
                picture = self._decoder.decode(frame.packets)
            except BitstreamError:
                self.dropped += 1
                self._call(self._on_keyframe_needed)
                continue
            except Exception as error:  # whatever the device does, the next frame is tried
                self._failures += 1
                if self._failures & (self._failures - 1) == 0:  # 1, 2, 4, 8 ...
                    _log.error("decoding latents, failure %d: %s", self._failures, error)
                self.dropped += 1
                continue
            self.decoded += 1
            self._report(frame, picture)
            self._on_picture(picture.planes, pts)
        self._decoder.close()

    def _take(self) -> tuple[LatentFrame, int] | None:
        with self._wake:
            while not self._frames and not self._is_stopping:
                self._wake.wait()
            return None if self._is_stopping else self._frames.popleft()

    def _report(self, frame: LatentFrame, picture: DecodedPicture) -> None:
        now_us = monotonic_us()
        self._reporter.decided(
            picture.frame_number,
            is_held=picture.is_complete and frame.is_complete,
            concealed=picture.concealed,
            now_us=now_us,
        )
        report = self._reporter.take_due(now_us=now_us)
        if report is not None:
            self._call(self._on_report, report)

    def _call(self, action: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(action, *arguments)
        except RuntimeError:  # the loop is closed, nobody is left to hear it
            _log.debug("a decoder outlived its loop")
