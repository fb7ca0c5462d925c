"""Every knob of a training run, with its reason. No torch."""

from dataclasses import dataclass
from typing import Final

ARCH: Final = "arch"
"What checkpoints and cards of models call the architecture."

OURS: Final = "rtcodec"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What decides a run, besides its data."""

    arch: str = OURS
    "Architecture: ours, or one of `rtcodec.models.baselines`."
    tier: str = "s128"
    "Sizes; a baseline takes about as many products a pixel as ours of it."
    delta: bool = False
    "Train the networks of delta frames instead of those of intra frames."
    spatial: bool = False
    "Train those of frames that are predicted from themselves."

    # data
    crop_px: int = 256
    "Side of the square crop; a multiple of 64. The z of a 256 crop is 4x4."
    batch: int = 8
    "Crops per step."
    seed: int = 1
    "Of the first weights, the crops, the noise and the drawn screens."
    screens: int = 120
    "Screens drawn by code beside the pictures: real ones under a free licence are few."

    # rate-distortion
    rate_factor: float = 10.0
    """lambda = rate_factor / step^2: 13 balances a uniform quantiser at high rate; less favours
    fewer bits."""

    delta_rate_factor: float = 16.0
    """The same for delta frames: what is right now is predicted from later, so distortion counts
    for more. With 10 quality would sink from frame to frame."""

    # start
    transform_start: bool = True
    "Whether our linear paths start as a transform; else they are random, as all others are."

    # arithmetic
    int8: bool = False
    "Train the trunks through the rounding of 8-bit integers: the last part of a training."

    # optimiser
    muon_lr: float = 0.01
    "Peak rate for the 1x1 weights of the float networks."
    adam_lr: float = 1e-3
    "Peak rate for the rest; the linear paths and gains get a fifth."
    rate: float = 1.0
    """Part of both peaks that this run has: 0.4 where trained weights are trained on, which the
    full rates undo for hours."""
    warm_up_steps: int = 100
    clip: float = 1.0
    "Largest norm of the gradient."
    ema: float = 0.999
    "Decay of the averaged weights, which are what is exported."
    final_lr: float = 0.02
    "Part of the peak rate that the cosine ends on."

    # time
    minutes: float = 60.0
    "Training time in total over all resumed runs; the schedule follows it."
    save_every_s: float = 120.0
    validate_every_s: float = 420.0

    @property
    def kind(self) -> str:
        """Which frames the networks are of."""
        return "delta" if self.delta else "spatial" if self.spatial else "intra"
