"""What is said of copied parts, beside what a model's networks say of the rest."""

from dataclasses import replace

import numpy as np

from rtcodec.bitstream.copied import write_copied
from rtcodec.engine.api import EncodeOutput
from rtcodec.entropy.native import write_copies
from rtcodec.types import COPY_CHANNELS


def split_copies(output: EncodeOutput) -> tuple[bytes, EncodeOutput]:
    """Return the front of a frame's packet, empty without copies, and the frame without them."""
    if not output.has_copies:
        return b"", output
    copies = np.ascontiguousarray(output.symbols[-COPY_CHANNELS:].transpose(1, 2, 0))
    rest = replace(
        output,
        symbols=output.symbols[:-COPY_CHANNELS],
        indices=output.indices[:-COPY_CHANNELS],
        has_copies=False,
    )
    return write_copied(write_copies(copies)), rest
