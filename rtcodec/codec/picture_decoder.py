"""
Bitstream packets as they came over the network, to planes.

Opens the frame decoder for whatever size and rung the packets say, anew when
one changes: what was decoded of another rung is of no use to this one.
Blocking; belongs to one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from rtcodec.bitstream.packet import Description, Extension, Packet, PacketHeader, read_packet
from rtcodec.bitstream.sequence import MAX_REFERENCES
from rtcodec.bundle import Bundle
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.tile_qp import TileQp
from rtcodec.engine.api import Engine
from rtcodec.errors import BitstreamError, Corrupt, EngineError, LocalProtocolError, Truncated
from rtcodec.types import Planes

DECODED_PIXELS_MAX = 4096 * 2304
"A frame that claims to be larger is refused: sizes from the network are only claims."

_ANY_RUNG = -1
"Of a decoder that was opened before a frame said its rung."


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """One frame, decoded as far as it came through."""

    planes: Planes
    is_complete: bool
    "Whether nothing is missing in it, nor in what it was predicted from."

    packets: tuple[Packet | Extension, ...]
    "What it was decoded from."

    description: Description

    qps: TileQp
    "At which qp each of its tiles was last coded."

    frame_number: int
    "Of the bitstream, modulo 65536: counts the frames that the relay encoded."

    concealed: float = 0.0
    "Share of its tiles that did not come and were made up, 0 to 1."

    rung: int = 0
    "Which coding of the stream it is of, 0 the finest."


class PictureDecoder:
    """
    Decodes the frames of one stream.

    Args:
        engine: Runs the model.
        bundle: That model.
        pixels_max: Largest frame taken, width times height.
    """

    def __init__(
        self, engine: Engine, bundle: Bundle, *, pixels_max: int = DECODED_PIXELS_MAX
    ) -> None:
        self._engine = engine
        self._bundle = bundle
        self._pixels_max = pixels_max
        self._opened: tuple[int, int, int] | None = None  # width, height, rung
        self._decoder: FrameDecoder | None = None

    def warm(self, width: int, height: int) -> None:
        """Get ready for frames of a size; may take a second, which the first frame then saves."""
        self._decoder_for(width, height, rung=None)

    def prepare(self, width: int, height: int) -> None:
        """
        Let the engine get ready for a size that frames may change to.

        For any thread; a size that is not decoded, or that the engine refuses, is left for later.
        """
        if 0 < width * height <= self._pixels_max:
            with suppress(EngineError, LocalProtocolError):  # such as one that is closed by now
                self._engine.close_state(self._engine.open_state(width, height))

    def is_ready_for(self, packets: Sequence[bytes]) -> bool:
        """Return whether `decode` has to open no decoder for a frame before it begins."""
        header = _first_described(_parse(packets)[0])
        if header is None or header.description is None:
            return True  # it will be refused
        geometry, rung = header.description.geometry, header.layer.rung
        wanted = geometry.width, geometry.height
        return self._opened in ((*wanted, rung), (*wanted, _ANY_RUNG))

    def decode(self, packets: Sequence[bytes]) -> DecodedPicture:
        """
        Decode one frame; what is missing or damaged is painted from zeros.

        Raises:
            BitstreamError: If nothing of it can be decoded.
            EngineError: If the device failed.
        """
        parsed, problem = _parse(packets)
        header = _first_described(parsed)
        if header is None or header.description is None:
            try:
                raise problem or Truncated("no packet of the frame says its size", offset=0)
            finally:
                del problem
        described, rung = header.description, header.layer.rung
        geometry = described.geometry
        decoded = self._decoder_for(geometry.width, geometry.height, rung).decode(parsed)
        is_complete = problem is None and decoded.whole
        number = decoded.frame.header.frame_number
        concealed = 1.0 - float(decoded.frame.present.mean())
        return DecodedPicture(
            decoded.planes,
            is_complete,
            tuple(parsed),
            described,
            decoded.qps,
            number,
            concealed,
            rung,
        )

    def close(self) -> None:
        """Let go of the engine's state."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None
            self._opened = None

    def _decoder_for(self, width: int, height: int, rung: int | None) -> FrameDecoder:
        """Return the decoder of a size and rung; one got ready for *rung* None suits any."""
        wanted = (width, height, _ANY_RUNG if rung is None else rung)
        if self._decoder is not None and self._opened == (width, height, _ANY_RUNG):
            self._opened = wanted
        if self._decoder is None or wanted != self._opened:
            if width * height > self._pixels_max:
                raise Corrupt(f"a frame of {width}x{height} is more than we take", offset=0)
            self.close()
            self._decoder = FrameDecoder(
                self._engine, self._bundle, width, height, references=MAX_REFERENCES
            )
            self._opened = wanted
        return self._decoder


def _first_described(parsed: Sequence[Packet | Extension]) -> PacketHeader | None:
    """Return the first header that says what the frame is of."""
    headers = (packet.header for packet in parsed if isinstance(packet, Packet))
    return next((header for header in headers if header.description), None)


def _parse(
    packets: Sequence[bytes],
) -> tuple[list[Packet | Extension], BitstreamError | None]:
    """Parse what parses; return the first problem beside it."""
    parsed: list[Packet | Extension] = []
    problem: BitstreamError | None = None
    for data in packets:
        try:
            parsed.append(read_packet(data))
        except BitstreamError as error:
            problem = problem or error.with_traceback(None)
    return parsed, problem
