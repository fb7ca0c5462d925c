"""One training of a codec's networks, for rate and distortion."""

from collections import deque
from pathlib import Path

import torch
from torch import Tensor

from rtcodec.bundle import SUFFIX
from rtcodec.errors import InputError
from rtcodec.models.baselines import BASELINES
from rtcodec.models.baselines.autoencoder import Autoencoder
from rtcodec.models.config import ARCH, OURS, TrainConfig
from rtcodec.models.data import Crops
from rtcodec.models.delta import DeltaCodec
from rtcodec.models.layer import is_int8
from rtcodec.models.loss import rate_distortion
from rtcodec.models.network import Codec, Coded, pack_planes
from rtcodec.models.rounding import Case, round_scale_network
from rtcodec.models.start import set_ranges, start
from rtcodec.models.supply import Supply
from rtcodec.models.thaw import NETWORKS, thaw_kind
from rtcodec.models.tier import TIERS
from rtcodec.models.training import CHECKPOINT, Saved, Training, read_saved

CASES = 8
"Batches that averaged scale networks are rounded for."


Networks = Codec | DeltaCodec | Autoencoder


class Run(Training):
    """
    A training of the networks of one kind of frames.

    Raises:
        InputError: If the checkpoint in *out*, or *init*, does not fit the tier.
    """

    net: Networks

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        supply: Supply,
        device: torch.device,
        *,
        crops: Crops | None = None,
        init: Path | None = None,
        compiled: bool | None = None,
    ) -> None:
        """
        Args:
            config: The settings.
            out: Folder of the run's files; it exists.
            supply: Training batches, of the kind that *config* trains on.
            device: Where to train.
            crops: What intra networks that start from nothing fit their transform to.
            init: Weights to start from where *out* has no checkpoint: an `ema.safetensors`, or
                the `.rtcm` of a model of the tier.
            compiled: See `Training`.
        """
        self.supply = supply
        self._cases: deque[Case] = deque(maxlen=CASES)
        self._coded: Coded | None = None
        net = build_networks(config.tier, config.kind, config.arch)
        saved = saved_in(out, config)
        if saved is None:
            net = _begun(net, config, crops, init)
            if config.int8 and isinstance(net, Codec) and not is_int8(net):
                set_ranges(net, supply)
        super().__init__(net, config, out, device, saved, compiled=compiled)

    @property
    def facts(self) -> dict[str, str]:
        return {"tier": self.config.tier, "kind": self.config.kind, ARCH: self.config.arch}

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        inputs = [on_device(tensor, self.device) for tensor in self.supply.next()]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            coded = self._coded = self.forward(*inputs)
        self._cases.append((coded.z.detach().cpu(), inputs[-1].cpu()))
        return rate_distortion(coded, inputs[0], inputs[-1], self.config)

    def advance(self, progress: float) -> dict[str, float]:
        figures = super().advance(progress)
        assert self._coded is not None
        self.supply.done(self._coded.x_hat, self._coded.symbols.detach())
        self._coded = None  # with it goes what gradients were kept of
        return figures

    def averaged(self) -> Networks:
        """The network with averaged weights, rounded as `rtcodec export` does it."""
        net = build_networks(self.config.tier, self.config.kind, self.config.arch)
        net.load_state_dict(self.averages)
        if self._cases and net.scale_network is not None:
            round_scale_network(net.scale_network, self._cases)
        net = net.to(self.device)
        if isinstance(net, DeltaCodec) and isinstance(self.net, DeltaCodec):
            net.costs.follow(self.net.costs)
        return net


def _begun(net: Networks, config: TrainConfig, crops: Crops | None, init: Path | None) -> Networks:
    """The networks with the first weights of a new run."""
    if init is not None and init.suffix == SUFFIX:
        return thaw_kind(init, net.tier, config.kind)
    if init is not None:
        net.load_state_dict(read_averages(init, config.tier, config.arch)[0])
    elif isinstance(net, Codec):
        assert crops is not None
        start(net, crops, as_transform=config.transform_start)
    elif isinstance(net, Autoencoder):
        assert crops is not None
        net.begin(pack_planes(*crops.batch(64)))
    return net


def build_networks(tier: str, kind: str, arch: str = OURS) -> Networks:
    """New networks of one kind, `intra`, `delta` or `spatial`, or of a baseline."""
    return NETWORKS[kind](TIERS[tier]) if arch == OURS else BASELINES[arch](TIERS[tier])


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """*tensor* where the networks are; pictures with their channels last."""
    tensor = tensor.to(device)
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def saved_in(out: Path, config: TrainConfig) -> Saved | None:
    """The checkpoint of a folder, if there is one; InputError as `read_tensors`."""
    path = out / CHECKPOINT
    return read_tensors(path, config.tier, config.kind, config.arch) if path.exists() else None


def read_tensors(
    path: Path, tier: str | None = None, kind: str | None = None, arch: str | None = None
) -> Saved:
    """
    The facts (`step`, `elapsed_s`, `tier`, `kind`, `arch`) and tensors of a file of a run.

    Raises:
        InputError: If the file is missing, is not one, or is of another tier than *tier*, of
            another kind of frames than *kind*, or of another architecture than *arch*.
    """
    facts, state = read_saved(path)
    if facts.get("tier") not in TIERS:
        raise InputError(f"{path}: not written by rtcodec train")
    if tier is not None and facts["tier"] != tier:
        raise InputError(f"{path}: of tier {facts['tier']}, not {tier}")
    own_kind, own_arch = facts.setdefault("kind", "intra"), facts.setdefault(ARCH, OURS)
    if kind is not None and own_kind != kind:
        raise InputError(f"{path}: of {own_kind} frames, not {kind}")
    if arch is not None and own_arch != arch:
        raise InputError(f"{path}: of architecture {own_arch}, not {arch}")
    return facts, state


def read_averages(
    path: Path, tier: str | None = None, arch: str | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """
    Averaged weights by state-dict name, and the facts, of an `ema.safetensors`.

    Raises:
        InputError: As `read_tensors`, or if names or shapes do not fit the tier.
    """
    facts, state = read_tensors(path, tier, arch=arch)
    try:
        build_networks(facts["tier"], facts["kind"], facts[ARCH]).load_state_dict(state)
    except (KeyError, RuntimeError):
        raise InputError(f"{path}: its weights do not fit tier {facts['tier']}") from None
    return state, facts
