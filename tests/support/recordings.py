"""Recordings as tests look at them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.packet import Description, Packet, write_packet
from rtcodec.bitstream.sequence import SequenceHeader
from rtcodec.errors import BitstreamError
from rtcodec.timebase import RTP_TIME_BASE
from support.bitstreams import header_of, rtc_of, sequence_of


@dataclass(frozen=True)
class Recorded:
    """What is in a `.rtc` file, as far as it can be read."""

    sequence: SequenceHeader
    units: list[AccessUnit]
    problem: BitstreamError | None

    @property
    def frames(self) -> list[tuple[bytes, ...]]:
        """The packets of each frame."""
        return [tuple(map(write_packet, unit.packets)) for unit in self.units]

    @property
    def times(self) -> list[int]:
        """The time stamp of each frame."""
        return [unit.pts for unit in self.units]


def read_recording(source: Path | bytes) -> Recorded:
    """Read everything that is complete."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    reader = RtcReader(BytesIO(data))
    units: list[AccessUnit] = []
    try:
        units.extend(reader)
    except BitstreamError as error:
        return Recorded(reader.sequence, units, error)
    return Recorded(reader.sequence, units, None)


def a_recording(*, times: Sequence[int], keys: Collection[int], described: bool = True) -> bytes:
    """
    Make a recording of bytes that nobody can decode but everybody can carry.

    Args:
        times: Of its frames, 90 kHz ticks.
        keys: Which of them can be started from.
        described: Whether packets say what they are of, as those of a relay do.
    """
    sequence = replace(sequence_of(64, 48), time_base=RTP_TIME_BASE, frame_rate=None)
    description = Description(sequence.model_tag, sequence.geometry) if described else None
    units = []
    for number, pts in enumerate(times):
        header = replace(header_of(number, keyframe=number in keys), description=description)
        units.append(AccessUnit(pts, (Packet(header, b"frame %d" % number),)))
    return rtc_of(sequence, units)
