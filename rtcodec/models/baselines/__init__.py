"""
Architectures of the literature that ours is compared with, trained and coded as ours is.

    mlp         patches through a multilayer perceptron, one factorised prior
    cae         strided convolutions that overlap, the same prior
    hyperprior  those convolutions; means and scales of latents are told by hyper-latents

All have our planes, quantiser, gains by qp, loss, optimisers and `.rtc` files, so what differs is
what the name says. Sizes follow a tier's: about as many products a pixel as ours of that tier.
"""

from collections.abc import Callable, Mapping
from typing import Final

from rtcodec.models.baselines.autoencoder import Autoencoder
from rtcodec.models.baselines.cae import ConvolutionalAnalysis, ConvolutionalSynthesis
from rtcodec.models.baselines.factorised import Factorised
from rtcodec.models.baselines.hyperprior import Hyperprior
from rtcodec.models.baselines.mlp import PatchAnalysis, PatchSynthesis
from rtcodec.models.tier import Tier


def _mlp(tier: Tier) -> Autoencoder:
    return Factorised(tier, PatchAnalysis(tier), PatchSynthesis(tier))


def _cae(tier: Tier) -> Autoencoder:
    return Factorised(tier, ConvolutionalAnalysis(tier), ConvolutionalSynthesis(tier))


def _hyperprior(tier: Tier) -> Autoencoder:
    return Hyperprior(tier, ConvolutionalAnalysis(tier), ConvolutionalSynthesis(tier))


BASELINES: Final[Mapping[str, Callable[[Tier], Autoencoder]]] = {
    "mlp": _mlp,
    "cae": _cae,
    "hyperprior": _hyperprior,
}
"Architectures by the name that `rtcodec train --arch` has for them."
