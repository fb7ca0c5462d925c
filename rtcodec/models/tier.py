"""
The sizes of each model and the numbers that all models share. No torch.

Dimensions, here and in every module beside it: N batch, M latent channels, C trunk channels, Cz
hyper-latent channels, P channels of the mean network, h16 w16 = H/16 W/16 and so on.
"""

from dataclasses import dataclass

from rtcodec.engine.blocks import BLOCK_SAMPLES

QP_COUNT = 64
QP_ANCHORS = 8
"Per-qp vectors are learned at this many anchors and interpolated linearly between them."

Z_LIMIT = 15
"Hyper-latents are -15..15."

SCALE_LEVELS = 64
SCALE_MIN, SCALE_MAX = 0.07, 150.0
"""Logistic scale at index 0 and 63; log-linear between. Below 0.07 fewer than one latent in a
thousand is not zero: index 0 is skipped, and its speed is worth more than those."""

PIXEL_CHANNELS = BLOCK_SAMPLES
"Samples of one 16x16 block in 4:2:0: 256 + 64 + 64."

BYTE_WEIGHT_LIMIT = 63
"""Of integer weights for bytes up to 255: CPUs without VNNI add pairs of products in 16 bits, and
2 * 255 * 127 would be cut to 32767 there."""

TILE_SIDE = 4
"Places at 1/16 on a side of a tile, which has one z at 1/64."

TILE_PLACES = TILE_SIDE**2

DELTA_LIKELY_OFFSET = 0.2
"What delta latents are rounded with before their scales are known: a usual one of those after."

ANCHOR = 1
"Row and column, in a tile, of the place whose latents are coded first."

ANCHORED = 8
"Latents, the first ones, whose error at the anchor tells of the rest of the tile: the DCs and kin."


@dataclass(frozen=True, slots=True)
class Tier:
    """The sizes that make one model."""

    name: str
    channels: int
    "C, channels of the trunks at 1/16."

    latents: int
    "M, latent channels at 1/16."

    hyper_latents: int
    "Cz, hyper-latent channels at 1/64."

    encoder_blocks: int
    decoder_blocks: int
    prior: int
    "P, channels of the mean network at 1/16."

    @property
    def dims(self) -> dict[str, int]:
        """The sizes as a bundle and the graphs name them."""
        return {
            "C": self.channels,
            "M": self.latents,
            "Cz": self.hyper_latents,
            "P": self.prior,
            "encoder_blocks": self.encoder_blocks,
            "decoder_blocks": self.decoder_blocks,
        }

    @property
    def gain_sizes(self) -> tuple[int, int, int, int, int]:
        """Lengths of the gain vectors: encoder trunk, encoder, decoder, decoder trunk, head."""
        return self.channels, self.latents, self.latents, self.channels, self.channels


TIERS = {
    "n64": Tier("n64", 128, 192, 96, 2, 3, 64),
    "s128": Tier("s128", 160, 320, 128, 2, 3, 96),
    "m256": Tier("m256", 256, 320, 160, 6, 8, 128),
}


def tier_from_dims(name: str, dims: dict[str, int]) -> Tier:
    """Invert `Tier.dims`."""
    return Tier(
        name,
        channels=dims["C"],
        latents=dims["M"],
        hyper_latents=dims["Cz"],
        encoder_blocks=dims["encoder_blocks"],
        decoder_blocks=dims["decoder_blocks"],
        prior=dims["P"],
    )
