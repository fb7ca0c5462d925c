"""
Train one tier on a folder of pictures and clips.

    rtcodec train --tier s128 --data DATA/train --validate DATA/dev/images --out runs/s128 --minutes 70

Runs on a CPU (float32, or bf16 where the CPU has it) and on a GPU (bf16, compiled), stops after --minutes of
training time in total, and resumes from runs/s128/last.safetensors when started again. Writes config.json,
metrics.jsonl (the curve), last.safetensors (weights, EMA and optimiser state) and ema.safetensors (what `rtcodec
export` takes).
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rtcodec.models.data import Crops, load_pictures, rgb_to_planes
from rtcodec.models.network import (
    QP_ANCHORS,
    QP_COUNT,
    SCALE_LEVELS,
    SCALE_MAX,
    SCALE_MIN,
    TIERS,
    Coded,
    Codec,
    pack_planes,
    qp_to_step,
    unpack_planes,
)
from rtcodec.models.optimiser import Muon

PLANE_WEIGHTS = (0.75, 0.125, 0.125)
"6:1:1, as PSNR is reported."


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Every knob of a run, with its reason."""

    tier: str = "s128"

    # data
    crop_px: int = 256
    "Side of the square crop; a multiple of 64. The z of a 256 crop is 4x4."
    batch: int = 8
    seed: int = 1

    # rate-distortion
    rate_factor: float = 10.0
    "lambda = rate_factor / step^2: 13 balances a uniform quantiser at high rate; less favours fewer bits."
    balance: float = 0.7
    "Samples weigh step^balance: at 0 the fine qp own the gradient, at 1 every qp counts by its relative rate."

    # optimiser
    muon_lr: float = 0.01
    "Peak rate for the 1x1 weights of the float networks."
    adam_lr: float = 1e-3
    "Peak rate for the rest; the linear paths and gains get a fifth."
    warm_up_steps: int = 100
    clip: float = 1.0
    ema: float = 0.999
    final_lr: float = 0.02
    "Part of the peak rate that the cosine ends on."

    # time
    minutes: float = 60.0
    "Training time in total over all resumed runs; the schedule follows it."
    save_every_s: float = 120.0
    validate_every_s: float = 420.0


def distortion(x_hat: Tensor, x: Tensor) -> Tensor:
    """
    Weighted geometric mean of the planes' MSE, [N], in squared 8-bit sample values.

    Its logarithm is the 6:1:1 mean of the planes' PSNR, so every plane's gain counts as reported.
    """
    logs = torch.zeros(x.shape[0], device=x.device)
    for plane_hat, plane, weight in zip(
        unpack_planes(x_hat), unpack_planes(x), PLANE_WEIGHTS, strict=True
    ):
        mse = ((plane_hat - plane).float() * 255.0).square().mean((1, 2, 3))
        logs = logs + weight * torch.log(mse + 0.3)
    return logs.exp()


def rate_distortion(
    coded: Coded, x: Tensor, qp: Tensor, config: TrainConfig
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one batch, and figures for the log."""
    pixels = x.shape[2] * x.shape[3] * 256
    step = qp_to_step(qp.float())
    d = distortion(coded.x_hat, x)
    bpp = (coded.bits_y + coded.bits_z) / pixels
    loss = ((step / 20.0) ** config.balance * (bpp + config.rate_factor / step.square() * d)).mean()
    return loss, {
        "loss": loss.item(),
        "bpp": bpp.mean().item(),
        "bpp_z": (coded.bits_z / pixels).mean().item(),
        "mse": d.mean().item(),
        "skipped": (coded.index < 1).float().mean().item(),
    }


def build_optimisers(net: Codec, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the 1x1 weights of the float networks, AdamW for everything else."""
    muon, gentle, rest = [], [], []
    for name, parameter in net.named_parameters():
        if "linear." in name or "_gain." in name:
            gentle.append(parameter)
        elif (
            parameter.ndim == 4
            and parameter.shape[2] == 1
            and parameter.shape[1] > 1
            and "scale_network" not in name
        ):
            muon.append(parameter)
        else:
            rest.append(parameter)
    adam = torch.optim.AdamW(
        [{"params": rest, "lr": config.adam_lr}, {"params": gentle, "lr": config.adam_lr / 5}],
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )
    return [Muon(muon, lr=config.muon_lr, momentum=0.95), adam]


@torch.no_grad()
def principal_components(crops: Crops, latents: int) -> Tensor:
    """The *latents* strongest principal directions [latents, 384] of 16x16 YUV420 blocks."""
    second = torch.zeros(384, 384, dtype=torch.float64)
    for _ in range(24):
        x = pack_planes(*crops.batch(16))
        blocks = x.permute(0, 2, 3, 1).reshape(-1, 384).double()
        second += blocks.T @ blocks
    _, vectors = torch.linalg.eigh(second)
    return vectors.flip(1)[:, :latents].T.float().contiguous()


@torch.no_grad()
def start_as_transform(net: Codec, crops: Crops) -> None:
    """Set the linear paths to the PCA and its transpose, and the scale indices to what its latents need."""
    basis = principal_components(crops, net.tier.latents)
    net.analysis.linear.weight.copy_(basis[:, :, None, None])
    net.synthesis.linear.weight.copy_(basis.T[:, :, None, None])
    x = pack_planes(*crops.batch(64))
    for anchor in range(QP_ANCHORS):
        qp = torch.full((1,), anchor * (QP_COUNT - 1) / (QP_ANCHORS - 1))
        _, gain, _, _, _ = net.gains(qp)
        latents = net.analysis.linear(x) * gain[:, :, None, None]
        scale = latents.abs().mean((0, 2, 3)) / (
            2 * math.log(2)
        )  # of a logistic with this mean modulus
        index = torch.log(scale / SCALE_MIN) / math.log(SCALE_MAX / SCALE_MIN) * (SCALE_LEVELS - 1)
        net.scale_network.bias3[anchor] = (
            index.clamp(0, SCALE_LEVELS - 1) / net.scale_network.BIAS_UNIT
        )


def schedule(progress: float, step: int, config: TrainConfig) -> float:
    """Part of the peak rate at *progress* 0..1 of the run: warm-up, then cosine."""
    cosine = config.final_lr + (1 - config.final_lr) * 0.5 * (
        1 + math.cos(math.pi * min(progress, 1.0))
    )
    return cosine * min(1.0, (step + 1) / config.warm_up_steps)


class Validation:
    """Estimated rate and PSNR of the rounded codec on centre crops of a folder's images."""

    QPS = (4, 14, 24, 34, 44, 54, 62)

    def __init__(self, folder: Path, *, side: int = 512) -> None:
        from PIL import Image

        self._pictures = []
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() != ".png":
                continue
            with Image.open(path) as image:
                planes = rgb_to_planes(np.asarray(image.convert("RGB")))
            h, w = (min(side, s // 64 * 64) for s in planes[0].shape)
            top, left = ((s - c) // 4 * 2 for s, c in zip(planes[0].shape, (h, w), strict=True))
            cropped = [
                torch.from_numpy(
                    p[top // s : (top + h) // s, left // s : (left + w) // s].astype(np.float32)
                )
                / 255.0
                - 0.5
                for p, s in zip(planes, (1, 2, 2), strict=True)
            ]
            self._pictures.append(pack_planes(*(p[None, None] for p in cropped)))

    @torch.no_grad()
    def __call__(self, net: Codec) -> list[dict[str, float]]:
        """Mean bits per pixel and mean 6:1:1 PSNR (dB) for each of QPS."""
        device = next(net.parameters()).device
        net.eval()
        rows = []
        for qp in self.QPS:
            bpps, psnrs = [], []
            for picture in self._pictures:
                x = picture.to(device)
                coded = net(x, torch.full((1,), qp, device=device))
                bpps.append((coded.bits_y + coded.bits_z).item() / (x.shape[2] * x.shape[3] * 256))
                psnrs.append(weighted_psnr(coded.x_hat, x))
            rows.append({"qp": qp, "bpp": float(np.mean(bpps)), "psnr": float(np.mean(psnrs))})
        net.train()
        return rows


def weighted_psnr(x_hat: Tensor, x: Tensor) -> float:
    """6:1:1 mean of the planes' PSNR in dB, on 8-bit rounded samples."""
    total = 0.0
    for plane_hat, plane, weight in zip(
        unpack_planes(x_hat), unpack_planes(x), PLANE_WEIGHTS, strict=True
    ):
        rounded = ((plane_hat.float() + 0.5) * 255).round().clamp(0, 255)
        mse = (rounded - (plane.float() + 0.5) * 255).square().mean().item()
        total += weight * 10 * math.log10(255**2 / max(mse, 1e-3))
    return total


class Run:
    """One training run: networks, optimisers, averages and their files."""

    def __init__(self, config: TrainConfig, out: Path, crops: Crops, device: torch.device) -> None:
        self.config, self.out, self.crops, self.device = config, out, crops, device
        self.net = Codec(TIERS[config.tier])
        self.step, self.elapsed_s = 0, 0.0
        checkpoint = out / "last.safetensors"
        if not checkpoint.exists():
            start_as_transform(self.net, crops)
        self.net = self.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimisers = build_optimisers(self.net, config)
        self.averages = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        if checkpoint.exists():
            self.load(checkpoint)
        self.bf16 = device.type == "cuda" or cpu_has_bf16()
        self.forward = torch.compile(self.net) if device.type == "cuda" else self.net
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")

    def advance(self, progress: float) -> dict[str, float]:
        """One optimiser step."""
        config = self.config
        rate = schedule(progress, self.step, config)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group.setdefault("peak", group["lr"])
                group["lr"] = group["peak"] * rate
        x = pack_planes(*(p.to(self.device) for p in self.crops.batch(config.batch)))
        x = x.to(memory_format=torch.channels_last)
        qp = torch.rand(config.batch, device=self.device) * (QP_COUNT - 1)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            coded = self.forward(x, qp)
        loss, figures = rate_distortion(coded, x, qp, config)
        loss.backward()
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

    def averaged(self) -> Codec:
        """The network with averaged weights."""
        net = Codec(self.net.tier).to(self.device)
        net.load_state_dict(self.averages)
        return net

    def save(self) -> None:
        """Write last.safetensors and ema.safetensors, each by rename."""
        state: dict[str, Tensor] = {f"net/{k}": v for k, v in self.net.state_dict().items()}
        state |= {f"ema/{k}": v for k, v in self.averages.items()}
        for i, optimiser in enumerate(self.optimisers):
            for j, values in optimiser.state_dict()["state"].items():
                state |= {f"opt/{i}/{j}/{k}": v for k, v in values.items() if isinstance(v, Tensor)}
        facts = {"step": str(self.step), "elapsed_s": str(self.elapsed_s), "tier": self.config.tier}
        write = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
        for name, tensors in (
            ("last", write),
            ("ema", {k[4:]: v for k, v in write.items() if k.startswith("ema/")}),
        ):
            part = self.out / f"{name}.part"
            save_file(tensors, part, metadata=facts)
            os.replace(part, self.out / f"{name}.safetensors")

    def load(self, path: Path) -> None:
        """Resume from `save`."""
        from safetensors import safe_open

        with safe_open(path, "pt") as handle:  # type: ignore[no-untyped-call]
            facts = handle.metadata()
        self.step, self.elapsed_s = int(facts["step"]), float(facts["elapsed_s"])
        state = load_file(path)
        self.net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net/")})
        self.averages = {k[4:]: v.to(self.device) for k, v in state.items() if k.startswith("ema/")}
        for i, optimiser in enumerate(self.optimisers):
            own = optimiser.state_dict()
            for key, value in state.items():
                parts = key.split("/")
                if parts[0] == "opt" and int(parts[1]) == i:
                    own["state"].setdefault(int(parts[2]), {})[parts[3]] = value
            optimiser.load_state_dict(own)


def cpu_has_bf16() -> bool:
    """Whether bf16 multiplications are in hardware; emulated ones are slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def train(
    config: TrainConfig, data: Path, validate: Path | None, out: Path, device: torch.device
) -> None:
    """Train until *config.minutes* are used up; safe to kill and start again."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=2))
    torch.manual_seed(config.seed)
    crops = Crops(load_pictures(data), size=config.crop_px, seed=config.seed + int(time.time()))
    validation = Validation(validate) if validate else None
    run = Run(config, out, crops, device)
    with (out / "metrics.jsonl").open("a") as log:
        for row in _loop(run, config, validation):
            print(json.dumps(row), file=log, flush=True)
            print(
                " ".join(
                    f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
                ),
                flush=True,
            )


def _loop(
    run: Run, config: TrainConfig, validation: Validation | None
) -> Iterator[dict[str, object]]:
    budget_s = config.minutes * 60
    saved = validated = run.elapsed_s
    means: dict[str, float] = {}
    while run.elapsed_s < budget_s:
        begun = time.monotonic()
        figures = run.advance(run.elapsed_s / budget_s)
        run.elapsed_s += time.monotonic() - begun
        means = {k: 0.98 * means.get(k, v) + 0.02 * v for k, v in figures.items()}
        if run.step % 50 == 0:
            yield {"step": run.step, "elapsed_s": round(run.elapsed_s, 1), **means}
        if run.elapsed_s - saved > config.save_every_s:
            run.save()
            saved = run.elapsed_s
        if validation and run.elapsed_s - validated > config.validate_every_s:
            yield {
                "step": run.step,
                "elapsed_s": round(run.elapsed_s, 1),
                "validation": validation(run.averaged()),
            }
            validated = run.elapsed_s
    run.save()
    if validation:
        yield {
            "step": run.step,
            "elapsed_s": round(run.elapsed_s, 1),
            "validation": validation(run.averaged()),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec train`."""
    parser.add_argument(
        "--tier", choices=sorted(TIERS), default="s128", help="model size (default s128)"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with images/ and video/, or a packed .npz"
    )
    parser.add_argument("--validate", type=Path, help="folder of PNG images for the curve")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run; resumed if it exists"
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="training time in total (default 60)"
    )
    parser.add_argument("--batch", type=int, default=8, help="crops per step (default 8)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec train`."""
    if args.threads:
        torch.set_num_threads(args.threads)
    name = (
        args.device if args.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    )
    config = TrainConfig(tier=args.tier, minutes=args.minutes, batch=args.batch)
    train(config, args.data, args.validate, args.out, torch.device(name))
    return 0


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    raise SystemExit(run(_parser.parse_args()))
