"""
A bounded ring of raw frames in a memory-mapped file, for measurements.

The relay (and the publisher) can leave there every frame they encode, so that
a subscriber on the same machine compares what it decoded with what went in,
and times the way between on one monotonic clock. Off unless asked for, never
part of the service: one writer, any number of readers, no locks. A slot that
is overwritten while it is read is noticed and reported as absent.

    file   = header (64 bytes), slots
    slot   = generation u64, frame_number u32, rtp_timestamp u32,
             width u32, height u32, received_us u64, sent_us u64, planes
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rtcodec.errors import ConfigError
from rtcodec.types import Planes

_MAGIC = b"RTCTAP01"
_FILE_HEADER = struct.Struct("<8sIQ")  # magic, slots, slot size in bytes
_FILE_HEADER_BYTES = 64
_SLOT_HEADER_BYTES = 64
_SLOT_DTYPE: list[tuple[str, str]] = [
    ("generation", "<u8"),
    ("frame_number", "<u4"),
    ("rtp_timestamp", "<u4"),
    ("width", "<u4"),
    ("height", "<u4"),
    ("received_us", "<u8"),
    ("sent_us", "<u8"),
]
_SLOTS_MAX = 4096
_SLOTS_MIN = 4
_BUDGET_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class TappedFrame:
    """One frame as it was when it was handed to an encoder."""

    frame_number: int
    "The number in the header of its bitstream packets, modulo 2**16."

    rtp_timestamp: int
    "The publisher's RTP time stamp, 90 kHz ticks modulo 2**32."

    received_us: int
    "When the writer had the frame, on the machine's monotonic clock."

    sent_us: int
    "When its last packet left the writer, or 0 while that has not happened."

    planes: Planes
    "A copy of the frame, 8-bit yuv420p."


def tap_path(directory: Path, name: str) -> Path:
    """Say where the ring of the room (or publisher) *name* lies."""
    return directory / f"{name}.tap"


def _plane_shapes(width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (height, width), ((height + 1) // 2, (width + 1) // 2)


def _frame_bytes(width: int, height: int) -> int:
    (h, w), (ch, cw) = _plane_shapes(width, height)
    return h * w + 2 * ch * cw


class _Ring:
    """
    The slots of one mapped file, as numpy views.

    The mapping ends with the last view of it and is never closed before: numpy does not keep a
    map from being closed under an `ndarray`, and another thread may still look at a slot.
    """

    def __init__(self, mapped: mmap.mmap, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.capacity_bytes = slot_bytes - _SLOT_HEADER_BYTES
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(mapped, dtype=np.uint8)
        self._slot_bytes = slot_bytes
        self.headers: npt.NDArray[Any] = np.ndarray(
            (slots,),
            dtype=np.dtype(_SLOT_DTYPE),
            buffer=self._bytes,
            offset=_FILE_HEADER_BYTES,
            strides=(slot_bytes,),
        )

    def pixels(self, slot: int) -> npt.NDArray[np.uint8]:
        """View the bytes of a slot's planes."""
        start = _FILE_HEADER_BYTES + slot * self._slot_bytes + _SLOT_HEADER_BYTES
        return self._bytes[start : start + self.capacity_bytes]


class FrameTapWriter:
    """
    Writes frames into a ring; the newest overwrite the oldest.

    The file appears with the first frame, and anew (under the same name) when
    a larger frame arrives.
    """

    def __init__(self, directory: Path, name: str, *, slots: int = 64) -> None:
        """
        Args:
            directory: An existing folder.
            name: The room; becomes the file's name.
            slots: Frames kept, 4 to 4096; fewer if they would take over 64 MB.

        Raises:
            ConfigError: If *slots* is out of range or *directory* is missing.
        """
        if not _SLOTS_MIN <= slots <= _SLOTS_MAX:
            raise ConfigError(f"tap of {slots} slots is outside {_SLOTS_MIN}..{_SLOTS_MAX}")
        if not directory.is_dir():
            raise ConfigError(f"{directory}: no such directory for the frame tap")
        self._path = tap_path(directory, name)
        self._slots = slots
        self._ring: _Ring | None = None

    def put(
        self, *, frame_number: int, rtp_timestamp: int, received_us: int, planes: Planes
    ) -> None:
        """Keep a copy of *planes* under its number."""
        size = _frame_bytes(planes.width, planes.height)
        ring = self._ring
        if ring is None or ring.capacity_bytes < size:
            ring = self._ring = self._create(size)
        slot = frame_number % ring.slots
        header = ring.headers[slot]
        header["generation"] += 1  # odd: being written
        pixels = ring.pixels(slot)
        position = 0
        for plane in (planes.y, planes.u, planes.v):
            pixels[position : position + plane.size].reshape(plane.shape)[...] = plane
            position += plane.size
        header["frame_number"] = frame_number & 0xFFFF
        header["rtp_timestamp"] = rtp_timestamp & 0xFFFFFFFF
        header["width"], header["height"] = planes.width, planes.height
        header["received_us"], header["sent_us"] = received_us, 0
        header["generation"] += 1

    def mark_sent(self, frame_number: int, *, sent_us: int) -> None:
        """Note when a frame's last packet left; nothing if it is gone. For any thread."""
        ring = self._ring
        if ring is None:
            return
        header = ring.headers[frame_number % ring.slots]
        if header["frame_number"] == frame_number & 0xFFFF and header["sent_us"] == 0:
            header["sent_us"] = sent_us

    def close(self) -> None:
        """Let go of the ring; the file stays for readers."""
        self._ring = None

    def _create(self, frame_bytes: int) -> _Ring:
        slot_bytes = _SLOT_HEADER_BYTES + -(-frame_bytes // 64) * 64
        slots = min(self._slots, max(_SLOTS_MIN, _BUDGET_BYTES // slot_bytes))
        total = _FILE_HEADER_BYTES + slots * slot_bytes
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("w+b") as file:
            file.truncate(total)
            file.write(_FILE_HEADER.pack(_MAGIC, slots, slot_bytes))
            file.flush()
            mapped = mmap.mmap(file.fileno(), total)
        partial.replace(self._path)
        return _Ring(mapped, slots, slot_bytes)


class FrameTapReader:
    """
    Looks frames up in a ring that another process writes.

    Opens the file when it first exists and again when the writer replaced it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ring: _Ring | None = None
        self._identity: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def by_frame_number(self, frame_number: int) -> TappedFrame | None:
        """Find a frame by its bitstream number, or None if it is not there."""
        return self._find("frame_number", frame_number & 0xFFFF)

    def by_rtp_timestamp(self, rtp_timestamp: int) -> TappedFrame | None:
        """Find a frame by the publisher's RTP time stamp, or None."""
        return self._find("rtp_timestamp", rtp_timestamp & 0xFFFFFFFF)

    def close(self) -> None:
        """Let go of the ring."""
        self._ring = self._identity = None

    def _find(self, field: str, value: int) -> TappedFrame | None:
        ring = self._current()
        if ring is None:
            return None
        slots = np.flatnonzero((ring.headers[field] == value) & (ring.headers["generation"] != 0))
        for slot in slots:
            frame = _read_slot(ring, int(slot))
            if frame is not None and getattr(frame, field) == value:
                return frame
        return None

    def _current(self) -> _Ring | None:
        try:
            stat = self._path.stat()
        except OSError:
            self.close()
            return None
        identity = (stat.st_dev, stat.st_ino)
        if identity != self._identity:
            self.close()
            self._ring = _open_ring(self._path)
            self._identity = identity
        return self._ring


def _open_ring(path: Path) -> _Ring:
    with path.open("rb") as file:
        header = file.read(_FILE_HEADER.size)
        file.seek(0, os.SEEK_END)
        size = file.tell()
        if len(header) < _FILE_HEADER.size or header[:8] != _MAGIC:
            raise ConfigError(f"{path}: not a frame tap")
        _, slots, slot_bytes = _FILE_HEADER.unpack(header)
        shape_ok = 1 <= slots <= _SLOTS_MAX and slot_bytes > _SLOT_HEADER_BYTES
        if not shape_ok or size != _FILE_HEADER_BYTES + slots * slot_bytes:
            raise ConfigError(f"{path}: damaged frame tap")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _Ring(mapped, slots, slot_bytes)


def _read_slot(ring: _Ring, slot: int) -> TappedFrame | None:
    header = ring.headers[slot].copy()
    width, height = int(header["width"]), int(header["height"])
    torn = int(header["generation"]) % 2 == 1
    if torn or not 0 < _frame_bytes(width, height) <= ring.capacity_bytes:
        return None
    luma, chroma = _plane_shapes(width, height)
    pixels = ring.pixels(slot)[: _frame_bytes(width, height)].copy()
    if int(ring.headers[slot]["generation"]) != int(header["generation"]):
        return None  # overwritten while it was copied
    n_luma, n_chroma = luma[0] * luma[1], chroma[0] * chroma[1]
    return TappedFrame(
        frame_number=int(header["frame_number"]),
        rtp_timestamp=int(header["rtp_timestamp"]),
        received_us=int(header["received_us"]),
        sent_us=int(header["sent_us"]),
        planes=Planes(
            y=pixels[:n_luma].reshape(luma),
            u=pixels[n_luma : n_luma + n_chroma].reshape(chroma),
            v=pixels[n_luma + n_chroma :].reshape(chroma),
        ),
    )
