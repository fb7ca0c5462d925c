"""
VMAF of a video's luma and motion, where this FFmpeg was built with libvmaf.

    planes --two buffers--> libvmaf filter --its log, JSON--> a figure per frame

The wheels of PyAV usually come without it: `why_not` says so, and the figures
stay empty. The filter tells its results only in a file, which is temporary.
"""

import json
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import av.filter

from rtcodec.media.writer import planes_to_frame
from rtcodec.types import Planes

FILTER = "libvmaf"

_TIME_BASE = Fraction(1, 25)  # any; both videos have it


def why_not() -> str | None:
    """Return why there is no VMAF here, or None if there is."""
    if FILTER in av.filter.filters_available:
        return None
    return f"this FFmpeg has no {FILTER}"


class Comparator:
    """Two videos through a filter that compares them and writes a log."""

    def __init__(self, width: int, height: int, name: str, **options: str) -> None:
        """
        Args:
            width: Of both videos, in pixels.
            height: Of both videos, in pixels.
            name: Of a filter that takes the decoded video, then the reference.
            options: Of the filter.
        """
        self._graph = av.filter.Graph()
        self._n_frames = 0
        pixels = av.VideoFormat("yuv420p", width, height)
        self._inputs = [
            self._graph.add_buffer(width=width, height=height, format=pixels, time_base=_TIME_BASE)
            for _ in range(2)
        ]
        comparison = self._graph.add(name, **options)
        self._sink = self._graph.add("buffersink")
        for number, source in enumerate(self._inputs):
            source.link_to(comparison, 0, number)
        comparison.link_to(self._sink)
        self._graph.configure()

    def add(self, reference: Planes, decoded: Planes) -> None:
        """Compare the next frame."""
        for source, planes in zip(self._inputs, (decoded, reference), strict=True):
            frame = planes_to_frame(planes)
            frame.pts = self._n_frames
            frame.time_base = _TIME_BASE
            source.push(frame)
        self._n_frames += 1
        self._drain()

    def close(self) -> None:
        """End the videos and let go of the filter, which then has written its log."""
        for source in self._inputs:
            source.push(None)
        self._drain()
        self._inputs.clear()
        del self._sink, self._graph

    def _drain(self) -> None:
        try:
            while True:
                self._sink.pull()
        except (av.BlockingIOError, av.EOFError):
            return


class Vmaf:
    """VMAF (model v0.6.1) of one video; exists only where `why_not` gives no reason."""

    def __init__(self, width: int, height: int) -> None:
        """
        Args:
            width: In pixels.
            height: In pixels.

        Raises:
            FFmpegError: If the filter does not take the size.
        """
        self._folder = TemporaryDirectory(prefix="rtcodec-vmaf-")
        self._log = Path(self._folder.name) / "log.json"
        self._comparator = Comparator(
            width, height, FILTER, log_fmt="json", log_path=str(self._log), n_threads="1"
        )

    def add(self, reference: Planes, decoded: Planes) -> None:
        """Compare the next frame."""
        self._comparator.add(reference, decoded)

    def finish(self) -> list[float]:
        """Return each frame's figure, 0 to 100."""
        self._comparator.close()
        with self._folder:
            return read_log(self._log.read_text(encoding="utf-8"))


def read_log(text: str) -> list[float]:
    """Return each frame's VMAF from the filter's log in JSON."""
    return [float(frame["metrics"]["vmaf"]) for frame in json.loads(text)["frames"]]
