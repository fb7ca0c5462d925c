"""Muon (Jordan et al., 2024), momentum made orthogonal, and which weights it gets."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rtcodec.models.config import OURS, TrainConfig


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix to *matrix* [R, K], by quintic Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; for weights [O, I, 1, 1] of hidden layers."""

    def __init__(self, params: Iterable[nn.Parameter], *, lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight.grad)
                velocity = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad.add(velocity, alpha=group["momentum"]).flatten(1)
                rows, columns = update.shape
                scale = max(1.0, rows / columns) ** 0.5
                weight.add_(orthogonalise(update).view_as(weight), alpha=-group["lr"] * scale)


SCALE_NETWORK_RATES = {
    "scale_network.layer1.weight": 0.5,
    "scale_network.layer2.weight": 0.1,
    "scale_network.layer3.weight": 0.015,
}
"""Parts of AdamW's rate for the scale network. Its activations go up to 255 and are all positive:
at the full rate one step moves an index by ten, and every training made trained weights worse."""


def build_optimisers(net: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """
    Muon for the 1x1 weights of our float networks, AdamW for everything else.

    Baselines have AdamW alone, as in their papers: making their large matrices orthogonal takes
    longer than all else of a step.
    """
    muon: list[nn.Parameter] = []
    rest: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in net.named_parameters():
        is_1x1 = parameter.ndim == 4 and parameter.shape[2] == 1 and parameter.shape[1] > 1
        is_ours = config.arch == OURS
        if any(part in name for part in ("linear.", "_gain.", ".anchor_")):
            rest.setdefault(0.2, []).append(parameter)
        elif is_ours and is_1x1 and "scale_network" not in name:
            muon.append(parameter)
        else:
            rest.setdefault(SCALE_NETWORK_RATES.get(name, 1.0), []).append(parameter)
    adam = torch.optim.AdamW(
        [{"params": some, "lr": config.adam_lr * part} for part, some in rest.items()],
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )
    return [Muon(muon, lr=config.muon_lr, momentum=0.95), adam] if muon else [adam]


def schedule(progress: float, step: int, config: TrainConfig) -> float:
    """Part of the peak rates at *progress* 0..1 of the run: warm-up, then cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    part = config.final_lr + (1 - config.final_lr) * cosine
    return config.rate * part * min(1.0, (step + 1) / config.warm_up_steps)
