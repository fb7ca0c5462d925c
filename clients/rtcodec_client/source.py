"""
Where published pictures come from: a file, a camera or the scene we draw.

A source is an iterator of `SourceFrame`; it knows nothing of pacing. Reading
is blocking and belongs in a thread.

    INPUT                      becomes
    clip.mp4                   the file, at its own time stamps
    cine.dcm                   frames of DICOM, as a screen would show them
    camera, camera:/dev/video1 the webcam of this machine
    pattern:, pattern:640x360@30  the drawn scene
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import av

from rtcodec.errors import ConfigError, InputError
from rtcodec.media.picture import planes_of, rotated
from rtcodec.timebase import US_PER_S
from rtcodec.types import MAX_SIDE_PX, Planes
from rtcodec_client import dicom_source
from rtcodec_client.scene import Scene

_PATTERN = re.compile(r"pattern:(?:(\d+)x(\d+))?(?:@(\d+(?:\.\d+)?))?")
_PATTERN_SIDE_MAX_PX = 4096  # the scene keeps layers of several times this size in memory


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One picture and when it is due."""

    index: int
    "Counts from 0 without gaps."

    time_us: int
    "Time since the first frame; strictly increasing."

    planes: Planes


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How to read an input."""

    frame_rate: float | None = None
    "Play at this many frames per second, whatever the time stamps say."

    size: tuple[int, int] | None = None
    "Scale to (width, height)."

    seconds: float | None = None
    "Stop after this much of the source's own time."

    loop: bool = False
    "Start over at the end of a file."

    allow_burned_in: bool = False
    "Whether DICOM may have a name in its samples."


class Source:
    """
    An opened input.

    Iterating yields frames until the end; closing is safe at any time.
    """

    def __init__(
        self,
        name: str,
        frames: Iterator[tuple[int, Planes]],
        *,
        frame_rate: Fraction,
        live: bool,
        duration_s: float | None = None,
    ) -> None:
        self.name = name
        self.duration_s = duration_s
        "How long it will last, or None if that is not known before the end."
        self.frame_rate = frame_rate
        self.is_live = live
        "Whether frames arrive at their own pace (a camera) and cannot be read ahead."
        self._frames = frames

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, (time_us, planes) in enumerate(self._frames):
            yield SourceFrame(index, time_us, planes)


def parse_size(text: str) -> tuple[int, int]:
    """
    Read `640x360`.

    Raises:
        ConfigError: If it is not two numbers from 1 to 16384.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None or not all(1 <= int(side) <= MAX_SIDE_PX for side in match.groups()):
        raise ConfigError(f"{text!r} is not a size such as 640x360")
    return int(match[1]), int(match[2])


def open_source(text: str, options: SourceOptions) -> Source:
    """
    Open what the user named.

    Raises:
        InputError: If the file is missing, is not a video or has no frames;
            if there is no such camera.
        ConfigError: If a pattern or an option makes no sense, or DICOM cannot be read here.
    """
    if options.frame_rate is not None and not 0.1 <= options.frame_rate <= 1000:
        raise ConfigError(f"{options.frame_rate:g} frames per second is outside 0.1..1000")
    if options.seconds is not None and options.seconds <= 0:
        raise ConfigError(f"{options.seconds:g} seconds is not a duration")
    if text.startswith("pattern:"):
        return _open_pattern(text, options)
    if text == "camera" or text.startswith("camera:"):
        return _open_camera(text.partition(":")[2], options)
    return _open_file(text, options)


def _open_pattern(text: str, options: SourceOptions) -> Source:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a pattern such as pattern:640x360@30")
    width, height = int(match[1] or 640), int(match[2] or 360)
    width, height = options.size or (width, height)
    if not (1 <= width <= _PATTERN_SIDE_MAX_PX and 1 <= height <= _PATTERN_SIDE_MAX_PX):
        raise ConfigError(f"pattern of {width}x{height} is outside 1..{_PATTERN_SIDE_MAX_PX}")
    rate = options.frame_rate or float(match[3] or 30)
    if not 0.1 <= rate <= 1000:
        raise ConfigError(f"{rate:g} frames per second is outside 0.1..1000")
    scene = Scene(width, height, rate)
    frames = ((round(i * US_PER_S / rate), scene.planes(i)) for i in count())
    return Source(
        "the drawn scene",
        _until(frames, options.seconds),
        frame_rate=Fraction(rate).limit_denominator(1001),
        live=False,
        duration_s=options.seconds,
    )


def _open_camera(device: str, options: SourceOptions) -> Source:
    kind, default = {
        "linux": ("v4l2", "/dev/video0"),
        "darwin": ("avfoundation", "default"),
        "win32": ("dshow", "video=Integrated Camera"),
    }.get(sys.platform, ("v4l2", "/dev/video0"))
    width, height = options.size or (640, 360)
    rate = options.frame_rate or 30.0
    asked = {"video_size": f"{width}x{height}", "framerate": f"{rate:g}"}
    name = device or default
    try:
        container = av.open(name, format=kind, options=asked)
    except (OSError, ValueError) as error:
        raise InputError(f"camera {name}: {_reason(error)}") from error
    # The camera may round what was asked; only the time stamps are then ours to keep.
    return _from_container(
        container, f"camera {name}", replace(options, frame_rate=None), live=True
    )


def _open_file(text: str, options: SourceOptions) -> Source:
    if "://" not in text and not Path(text).exists():
        raise InputError(f"{text}: no such file")
    if Path(text).is_dir():
        raise InputError(f"{text}: is a directory, not a video")
    if Path(text).suffix.lower() in dicom_source.SUFFIXES:
        return _open_cine(text, options)
    try:
        container = av.open(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{text}: not a video: {_reason(error)}") from error
    return _from_container(container, text, options, live=False)


def _open_cine(text: str, options: SourceOptions) -> Source:
    cine = dicom_source.read_cine(Path(text), allow_burned_in=options.allow_burned_in)
    rate = Fraction(options.frame_rate or cine.rate).limit_denominator(1001)
    numbers = count() if options.loop else range(cine.count)
    frames = (
        (round(number * US_PER_S / rate), _prepare(cine.frame(number % cine.count), options.size))
        for number in numbers
    )
    lasts_s = None if options.loop else cine.count / float(rate)
    known_s = [seconds for seconds in (lasts_s, options.seconds) if seconds is not None]
    return Source(
        text,
        _until(frames, options.seconds),
        frame_rate=rate,
        live=False,
        duration_s=min(known_s, default=None),
    )


def _from_container(
    container: av.container.InputContainer, name: str, options: SourceOptions, *, live: bool
) -> Source:
    if not container.streams.video:
        container.close()
        raise InputError(f"{name}: no video in it")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    rate = Fraction(stream.average_rate or stream.guessed_rate or 30)
    if options.frame_rate is not None:
        rate = Fraction(options.frame_rate).limit_denominator(1001)
    frames = _read(container, name, options, rate)
    try:
        first = next(frames)
    except StopIteration:
        raise InputError(f"{name}: no frames in it") from None
    return Source(
        name,
        _until(_chain(first, frames), options.seconds),
        frame_rate=rate,
        live=live,
        duration_s=_duration_s(container, stream, options, rate),
    )


def _duration_s(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    options: SourceOptions,
    rate: Fraction,
) -> float | None:
    """What the container says, as far as it can be believed and applies."""
    seconds = container.duration / 1e6 if container.duration else None
    if options.frame_rate is not None:
        frames = stream.frames  # 0 where the container does not count them, as Matroska
        if not frames and seconds is not None and stream.average_rate:
            frames = round(seconds * stream.average_rate)
        seconds = frames / float(rate) if frames else None
    if options.loop or seconds is None:
        return options.seconds
    return min(seconds, options.seconds) if options.seconds is not None else seconds


def _read(
    container: av.container.InputContainer, name: str, options: SourceOptions, rate: Fraction
) -> Iterator[tuple[int, Planes]]:
    """Decode, retime, and start over if asked to; closes the container."""
    frame_us = round(US_PER_S / rate)
    last_us = -1
    try:
        while True:
            first: Fraction | None = None
            offset_us = 0 if last_us < 0 else last_us + frame_us
            for frame in _decode(container, name):
                if options.frame_rate is not None:
                    time_us = 0 if last_us < 0 else last_us + frame_us
                else:
                    now = _time_of(frame)
                    first = now if first is None else first
                    since_first = None if now is None or first is None else now - first
                    fallback = last_us + frame_us if last_us >= 0 else 0
                    time_us = (
                        fallback
                        if since_first is None
                        else (offset_us + round(since_first * US_PER_S))
                    )
                    if time_us <= last_us:  # broken time stamps: keep the order
                        time_us = fallback
                last_us = time_us
                yield time_us, _prepare(frame, options.size)
            if not options.loop or last_us < 0:
                return
            container.seek(0)
    finally:
        container.close()


def _decode(container: av.container.InputContainer, name: str) -> Iterator[av.VideoFrame]:
    try:
        yield from container.decode(video=0)
    except av.FFmpegError as error:
        raise InputError(f"{name}: cannot be decoded: {_reason(error)}") from error


def _time_of(frame: av.VideoFrame) -> Fraction | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * frame.time_base


def _prepare(frame: av.VideoFrame, size: tuple[int, int] | None) -> Planes:
    quarter_turns = round(frame.rotation / 90) % 4
    if size is not None and quarter_turns % 2:
        size = size[1], size[0]
    if size is not None and size != (frame.width, frame.height):
        frame = frame.reformat(width=size[0], height=size[1], format="yuv420p")
    if frame.width > MAX_SIDE_PX or frame.height > MAX_SIDE_PX:
        raise InputError(f"{frame.width}x{frame.height} is larger than {MAX_SIDE_PX} a side")
    planes = planes_of(frame)
    return rotated(planes, quarter_turns) if quarter_turns else planes


def _until(
    frames: Iterator[tuple[int, Planes]], seconds: float | None
) -> Iterator[tuple[int, Planes]]:
    for time_us, planes in frames:
        if seconds is not None and time_us >= seconds * US_PER_S:
            return
        yield time_us, planes


def _chain(
    first: tuple[int, Planes], rest: Iterator[tuple[int, Planes]]
) -> Iterator[tuple[int, Planes]]:
    yield first
    yield from rest


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).splitlines()[0].lower()
