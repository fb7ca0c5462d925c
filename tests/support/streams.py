"""Short streams: of any engine, and as a relay would send one of the stand-in."""

from collections.abc import Sequence
from dataclasses import dataclass

from rtcodec.bitstream.packet import Description, Geometry, Packet, write_packet
from rtcodec.bitstream.sequence import model_tag
from rtcodec.bundle import Bundle
from rtcodec.codec.encoder import EncodedFrame, FrameEncoder, FramePacker
from rtcodec.codec.reference import NewestReference
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import Engine
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


def coded_stream(
    engine: Engine,
    bundle: Bundle,
    frames: Sequence[Planes],
    *,
    slices: int = 1,
    neural: bool = False,
) -> list[EncodedFrame]:
    """Encode a key frame, and frames that follow from it, all of one size."""
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(slices=slices, dispersed=slices > 1),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    size = frames[0].width, frames[0].height
    encoder = FrameEncoder(engine, packer, *size, references=NewestReference(), neural=neural)
    coded = [
        encoder.encode(planes, qp=20, pts=t, keyframe=t == 0, reconstruct=True)
        for t, planes in enumerate(frames)
    ]
    encoder.close()
    return coded
