"""
Frames of clips as a viewer of our own codec sees them, beside what they were.

A clip is played to and fro, first a finer frame alone as calls begin; then delta frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rtcodec.bitstream.packet import Packet
from rtcodec.bundle import Bundle
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.reference import NewestReference, live_intra_qp
from rtcodec.codec.slicing import Slicing
from rtcodec.codec.tile_qp import TileQp
from rtcodec.engine.api import Engine
from rtcodec.types import Planes


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """One frame before and after."""

    clean: Planes
    shown: Planes

    qps: TileQp
    "At which qp each of its tiles was last coded."

    size_bytes: int
    "Of its packets' payloads."


def shown_frames(
    engine: Engine,
    bundle: Bundle,
    clip: Sequence[Planes],
    *,
    qp: int,
    played: int,
    every: int,
    neural: bool,
) -> Iterator[ShownFrame]:
    """
    Code a clip and decode it again.

    Args:
        engine: Runs the model.
        bundle: That model, which has delta frames.
        clip: Frames in order, of one size.
        qp: Of delta frames.
        played: How many frames to code.
        every: Each how manieth is yielded; the first one, which stands alone, is.
        neural: Whether networks code that.
    """
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(slices=1),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    width, height = clip[0].width, clip[0].height
    references = NewestReference()
    encoder = FrameEncoder(engine, packer, width, height, references=references, neural=neural)
    decoder = FrameDecoder(engine, bundle, width, height, references=references.SLOTS)
    there_and_back = [*clip, *clip[-2:0:-1]]
    try:
        for number in range(played):
            planes = there_and_back[number % len(there_and_back)]
            of_frame = live_intra_qp(qp, first=True) if number == 0 else qp
            coded = encoder.encode(planes, qp=of_frame, pts=number, keyframe=number == 0)
            decoded = decoder.decode(coded.unit.packets)
            if number % every == 0:
                slices = (p for p in coded.unit.packets if isinstance(p, Packet))
                size_bytes = sum(len(packet.payload) for packet in slices)
                yield ShownFrame(planes, decoded.planes, decoded.qps, size_bytes)
    finally:
        encoder.close()
        decoder.close()
