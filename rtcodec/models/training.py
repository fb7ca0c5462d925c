"""
What every training shares: the step, the averages, and the files it stops and resumes by.

    config.json        the settings
    metrics.jsonl      the curve
    last.safetensors   weights net/*, averages ema/*, optimiser state opt/<which>/<parameter>/*
    ema.safetensors    averaged weights, which are what is exported

What is trained, and for what, is a subclass's: `Run` codecs, `RestorerRun` restorers.
"""

import os
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rtcodec.errors import InputError
from rtcodec.models.config import TrainConfig
from rtcodec.models.optimiser import build_optimisers, schedule

CHECKPOINT = "last.safetensors"
AVERAGES = "ema.safetensors"

Saved = tuple[dict[str, str], dict[str, Tensor]]
"Facts (`step`, `elapsed_s` and what else is said of the networks) and tensors of a file."


class Training(ABC):
    """
    The state of a training; `advance` is one step, `save` and a new one on its folder resume.

    Raises:
        InputError: If *saved* does not fit the network.
    """

    def __init__(
        self,
        net: nn.Module,
        config: TrainConfig,
        out: Path,
        device: torch.device,
        saved: Saved | None,
        *,
        compiled: bool | None = None,
    ) -> None:
        """
        Args:
            net: With its first weights, on the CPU.
            config: The settings.
            out: Folder of the files; it exists.
            device: Where to train.
            saved: What `saved_in` read of *out*: it goes on from there.
            compiled: Whether to use `torch.compile`; by default on CUDA only.
        """
        self.net, self.config, self.out, self.device = net, config, out, device
        self.step, self.elapsed_s = 0, 0.0
        if saved is not None:
            self._load_weights(saved[1])
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

    @abstractmethod
    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """What one step makes smaller, a scalar, and figures for the log."""

    @abstractmethod
    def averaged(self) -> nn.Module:
        """The network with averaged weights, as it is exported."""

    @property
    def facts(self) -> dict[str, str]:
        """What files say of the networks, besides `step` and `elapsed_s`."""
        return {}

    def advance(self, progress: float) -> dict[str, float]:
        """One optimiser step at *progress* 0..1 of the run; returns figures for the log."""
        config = self.config
        rate = schedule(progress, self.step, config)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group.setdefault("peak", group["lr"])
                group["lr"] = group["peak"] * rate
        loss, figures = self.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), config.clip)
        if torch.isfinite(norm):
            for optimiser in self.optimisers:
                optimiser.step()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        self._average()
        self.step += 1
        return figures | {"norm": norm.item(), "rate": rate}

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, parameter in self.net.named_parameters():
            self.averages[name].lerp_(parameter, 1 - decay)

    def save(self) -> None:
        """Write the checkpoint and the averages, each by rename."""
        state: dict[str, Tensor] = {f"net/{k}": v for k, v in self.net.state_dict().items()}
        state |= {f"ema/{k}": v for k, v in self.averages.items()}
        for i, optimiser in enumerate(self.optimisers):
            for j, values in optimiser.state_dict()["state"].items():
                state |= {f"opt/{i}/{j}/{k}": v for k, v in values.items() if isinstance(v, Tensor)}
        facts = {"step": str(self.step), "elapsed_s": str(self.elapsed_s), **self.facts}
        write = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
        averages = {k[4:]: v for k, v in write.items() if k.startswith("ema/")}
        for name, tensors in ((CHECKPOINT, write), (AVERAGES, averages)):
            part = self.out / f"{name.partition('.')[0]}.part"
            save_file(tensors, part, metadata=facts)
            os.replace(part, self.out / name)

    def _load_weights(self, state: dict[str, Tensor]) -> None:
        """The first half of resuming: which weights there are decides what is optimised."""
        try:
            self.net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net/")})
        except RuntimeError as error:
            path = self.out / CHECKPOINT
            raise InputError(f"{path}: not a checkpoint: {first_line(error)}") from None

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


def read_saved(path: Path) -> Saved:
    """
    Read a file that `Training.save` wrote.

    Raises:
        InputError: If it is missing or is not one.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as handle:  # type: ignore[no-untyped-call]
            facts = dict(handle.metadata() or {})
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a checkpoint: {first_line(error)}") from None
    if not {"step", "elapsed_s"} <= facts.keys():
        raise InputError(f"{path}: not written by rtcodec train")
    return facts, state


def resumed(out: Path) -> tuple[int, float]:
    """Steps and seconds that the checkpoint in *out* has behind it; zeros without one."""
    if not (out / CHECKPOINT).exists():
        return 0, 0.0
    facts, _ = read_saved(out / CHECKPOINT)
    return int(facts["step"]), float(facts["elapsed_s"])


def cpu_has_bf16() -> bool:
    """Whether bf16 products are in hardware; emulated ones are slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def first_line(error: BaseException) -> str:
    """What an error says, but for its further lines."""
    return str(error).strip().partition("\n")[0]
