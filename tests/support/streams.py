"""A short stream as a relay would send it, from the stand-in engine."""

from collections.abc import Sequence
from dataclasses import dataclass

from rtcodec.bitstream.packet import Description, Geometry, Packet, write_packet
from rtcodec.bitstream.sequence import model_tag
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.null import NullEngine
from rtcodec.types import LayerId, Planes
from support.pictures import picture


@dataclass(frozen=True, slots=True)
class CodedFrame:
    """One frame as a relay sends it, and what a subscriber should see."""

    packets: tuple[bytes, ...]
    decoded: Planes


def coded_frames(
    engine: NullEngine, count: int, size: tuple[int, int], *, packet_bytes: int = 400, rung: int = 0
) -> Sequence[CodedFrame]:
    """Encode *count* pictures of *size* at a rung, in packets of at most *packet_bytes*."""
    description = Description(model_tag(engine.info.model_id), Geometry(*size))
    packer = FramePacker(
        engine.bundle.entropy_tables, Slicing(target_bytes=packet_bytes, dispersed=True)
    )
    encoder = FrameEncoder(engine, packer, *size, description=description, layer=LayerId(rung))
    frames = []
    for index in range(count):
        coded = encoder.encode(
            picture(*size, index), qp=20, pts=index * 3000, keyframe=index == 0, reconstruct=True
        )
        packets = tuple(
            write_packet(packet) for packet in coded.unit.packets if isinstance(packet, Packet)
        )
        assert coded.output.reconstruction is not None
        frames.append(CodedFrame(packets, coded.output.reconstruction))
    encoder.close()
    return frames
