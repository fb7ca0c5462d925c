"""
One training run: networks, optimisers, averages, and the files it stops and resumes by.

    config.json        the settings
    metrics.jsonl      the curve
    last.safetensors   weights net/*, averages ema/*, optimiser state opt/<which>/<parameter>/*
    ema.safetensors    averaged weights: what `rtcodec export` takes
"""

import os
from collections import deque
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rtcodec.bundle import SUFFIX
from rtcodec.errors import InputError
from rtcodec.models.config import TrainConfig
from rtcodec.models.data import Crops
from rtcodec.models.delta import DeltaCodec
from rtcodec.models.layer import is_int8
from rtcodec.models.loss import rate_distortion
from rtcodec.models.network import Codec
from rtcodec.models.optimiser import build_optimisers, schedule
from rtcodec.models.rounding import Case, round_scale_network
from rtcodec.models.start import set_ranges, start_as_transform
from rtcodec.models.supply import Supply
from rtcodec.models.thaw import NETWORKS, thaw_kind
from rtcodec.models.tier import TIERS

CHECKPOINT = "last.safetensors"
AVERAGES = "ema.safetensors"

CASES = 8
"Batches that averaged scale networks are rounded for."


class Run:
    """
    The state of a run; `advance` is one step, `save` and a new `Run` on the same folder resume.

    Raises:
        InputError: If the checkpoint in *out*, or *init*, does not fit the tier.
    """

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
            compiled: Whether to use `torch.compile`; by default on CUDA only.
        """
        self.config, self.out, self.device = config, out, device
        self.supply = supply
        self.net = build_networks(config.tier, config.kind)
        self.step, self.elapsed_s = 0, 0.0
        self._cases: deque[Case] = deque(maxlen=CASES)
        checkpoint = out / CHECKPOINT
        saved = read_tensors(checkpoint, config.tier, config.kind) if checkpoint.exists() else None
        if saved is None:
            self._begin(crops, init)
            if config.int8 and isinstance(self.net, Codec) and not is_int8(self.net):
                set_ranges(self.net, supply)
        else:
            self._load_weights(checkpoint, saved[1])
        self.net = self.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimisers = build_optimisers(self.net, config)
        self.averages = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        if saved is not None:
            self._load_rest(*saved)
        on_cuda = device.type == "cuda"
        self.bf16 = on_cuda or cpu_has_bf16()
        wants_compiled = on_cuda if compiled is None else compiled
        self.forward = torch.compile(self.net) if wants_compiled else self.net
        if on_cuda:
            torch.set_float32_matmul_precision("high")

    def _begin(self, crops: Crops | None, init: Path | None) -> None:
        """The first weights of a new run."""
        if init is not None and init.suffix == SUFFIX:
            self.net = thaw_kind(init, self.net.tier, self.config.kind)
        elif init is not None:
            self.net.load_state_dict(read_averages(init, self.config.tier)[0])
        elif isinstance(self.net, Codec):
            assert crops is not None
            start_as_transform(self.net, crops)

    def advance(self, progress: float) -> dict[str, float]:
        """One optimiser step at *progress* 0..1 of the run; returns figures for the log."""
        config = self.config
        rate = schedule(progress, self.step, config)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group.setdefault("peak", group["lr"])
                group["lr"] = group["peak"] * rate
        inputs = [on_device(tensor, self.device) for tensor in self.supply.next()]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            coded = self.forward(*inputs)
        loss, figures = rate_distortion(coded, inputs[0], inputs[-1], config)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), config.clip)
        if torch.isfinite(norm):
            for optimiser in self.optimisers:
                optimiser.step()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        self.supply.done(coded.x_hat, coded.symbols.detach())
        self._cases.append((coded.z.detach().cpu(), inputs[-1].cpu()))
        self._average()
        self.step += 1
        return figures | {"norm": norm.item(), "rate": rate}

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, parameter in self.net.named_parameters():
            self.averages[name].lerp_(parameter, 1 - decay)

    def averaged(self) -> Codec | DeltaCodec:
        """The network with averaged weights, rounded as `rtcodec export` does it."""
        net = build_networks(self.config.tier, self.config.kind)
        net.load_state_dict(self.averages)
        if self._cases:
            round_scale_network(net.scale_network, self._cases)
        net = net.to(self.device)
        if isinstance(net, DeltaCodec) and isinstance(self.net, DeltaCodec):
            net.costs.follow(self.net.costs)
        return net

    def save(self) -> None:
        """Write the checkpoint and the averages, each by rename."""
        state: dict[str, Tensor] = {f"net/{k}": v for k, v in self.net.state_dict().items()}
        state |= {f"ema/{k}": v for k, v in self.averages.items()}
        for i, optimiser in enumerate(self.optimisers):
            for j, values in optimiser.state_dict()["state"].items():
                state |= {f"opt/{i}/{j}/{k}": v for k, v in values.items() if isinstance(v, Tensor)}
        facts = {"step": str(self.step), "elapsed_s": str(self.elapsed_s), "tier": self.config.tier}
        facts["kind"] = self.config.kind
        write = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
        averages = {k[4:]: v for k, v in write.items() if k.startswith("ema/")}
        for name, tensors in ((CHECKPOINT, write), (AVERAGES, averages)):
            part = self.out / f"{name.partition('.')[0]}.part"
            save_file(tensors, part, metadata=facts)
            os.replace(part, self.out / name)

    def _load_weights(self, path: Path, state: dict[str, Tensor]) -> None:
        """The first half of resuming: which weights there are decides what is optimised."""
        try:
            self.net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net/")})
        except RuntimeError as error:
            raise InputError(f"{path}: not a checkpoint: {_first_line(error)}") from None

    def _load_rest(self, facts: dict[str, str], state: dict[str, Tensor]) -> None:
        self.step, self.elapsed_s = int(facts["step"]), float(facts["elapsed_s"])
        self.averages = {k[4:]: v.to(self.device) for k, v in state.items() if k.startswith("ema/")}
        for i, optimiser in enumerate(self.optimisers):
            own = optimiser.state_dict()
            for key, value in state.items():
                parts = key.split("/")
                if parts[0] == "opt" and int(parts[1]) == i:
                    own["state"].setdefault(int(parts[2]), {})[parts[3]] = value
            optimiser.load_state_dict(own)


def build_networks(tier: str, kind: str) -> Codec | DeltaCodec:
    """New networks of one kind: `intra`, `delta` or `spatial`."""
    return NETWORKS[kind](TIERS[tier])


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """*tensor* where the networks are; pictures with their channels last."""
    tensor = tensor.to(device)
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def read_tensors(
    path: Path, tier: str | None = None, kind: str | None = None
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """
    The facts (`step`, `elapsed_s`, `tier`, `kind`) and tensors of a file that `Run.save` wrote.

    Raises:
        InputError: If the file is missing, is not one, or is of another tier than *tier* or of
            another kind of frames than *kind*.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as handle:  # type: ignore[no-untyped-call]
            facts = dict(handle.metadata() or {})
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a checkpoint: {_first_line(error)}") from None
    if not {"step", "elapsed_s", "tier"} <= facts.keys() or facts["tier"] not in TIERS:
        raise InputError(f"{path}: not written by rtcodec train")
    if tier is not None and facts["tier"] != tier:
        raise InputError(f"{path}: of tier {facts['tier']}, not {tier}")
    own = facts.setdefault("kind", "intra")
    if kind is not None and own != kind:
        raise InputError(f"{path}: of {own} frames, not {kind}")
    return facts, state


def read_averages(path: Path, tier: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """
    Averaged weights by state-dict name, and the facts, of an `ema.safetensors`.

    Raises:
        InputError: As `read_tensors`, or if names or shapes do not fit the tier.
    """
    facts, state = read_tensors(path, tier)
    try:
        build_networks(facts["tier"], facts["kind"]).load_state_dict(state)
    except (KeyError, RuntimeError):
        raise InputError(f"{path}: its weights do not fit tier {facts['tier']}") from None
    return state, facts


def cpu_has_bf16() -> bool:
    """Whether bf16 products are in hardware; emulated ones are slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
