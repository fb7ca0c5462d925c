"""
A run's files in small parts, for machines from which only small files come back.

    bring_back   config, curve and averages as they are, the rest of the checkpoint in parts
    join         the checkpoint from the parts and the averages
"""

import os
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rtcodec.errors import InputError
from rtcodec.models.training import AVERAGES, CHECKPOINT

PART_BYTES = 15 << 20
PARTS = "resume.*.safetensors"


def bring_back(run: Path, out: Path, *, part_bytes: int = PART_BYTES) -> None:
    """
    Copy what there is of a run to *out*.

    Args:
        run: Folder written by `Run.save`.
        out: Another folder.
        part_bytes: Most bytes of tensors in a part, unless one tensor is larger.
    """
    for name in ("config.json", "metrics.jsonl", AVERAGES):
        if (run / name).is_file():
            (out / name).write_bytes((run / name).read_bytes())
    if not (run / CHECKPOINT).is_file():
        return
    parts: list[dict[str, Tensor]] = [{}]
    used = 0
    with safe_open(run / CHECKPOINT, "pt") as file:  # type: ignore[no-untyped-call]
        facts = file.metadata()
        for key in file.keys():  # noqa: SIM118
            if key.startswith("ema/"):
                continue  # they are in AVERAGES
            tensor = file.get_tensor(key)
            used += tensor.nbytes
            if used > part_bytes and parts[-1]:
                parts.append({})
                used = tensor.nbytes
            parts[-1][key] = tensor
    for i, part in enumerate(parts):
        save_file(part, out / PARTS.replace("*", f"{i:03d}"), metadata=facts)


def join(folder: Path) -> Path:
    """
    Write the checkpoint that `bring_back` took apart, and return its path.

    Raises:
        InputError: If there are no parts or no averages in *folder*.
    """
    parts = sorted(folder.glob(PARTS))
    if not parts or not (folder / AVERAGES).is_file():
        raise InputError(f"{folder}: no {PARTS} and {AVERAGES} in it")
    tensors = {f"ema/{key}": value for key, value in load_file(folder / AVERAGES).items()}
    for part in parts:
        tensors |= load_file(part)
    with safe_open(parts[0], "pt") as file:  # type: ignore[no-untyped-call]
        facts = file.metadata()
    partial = folder / f".{CHECKPOINT}.partial"
    save_file(tensors, partial, metadata=facts)
    os.replace(partial, folder / CHECKPOINT)
    return folder / CHECKPOINT
