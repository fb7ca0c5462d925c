"""
Which form of the operations a GPU engine runs: Triton's kernels where they agree, else plain torch.

`RTCODEC_GPU_OFF` turns off what is in doubt: `graphs`, `kernels`, or both with a comma between.
"""

import logging
import os
from collections.abc import Callable

from rtcodec.bundle import Bundle
from rtcodec_engines.device import Device, Fault, fault_of
from rtcodec_engines.tensor.agreement import disagreement
from rtcodec_engines.tensor.frames import Frames

_log = logging.getLogger(__name__)

MakeFrames = Callable[[Bundle, Device], Frames]


def plain_frames(bundle: Bundle, device: Device) -> Frames:
    """The operations in plain torch."""
    return Frames(bundle, autocast=device.autocast).eval().to(device.torch_device)


def fused_frames(bundle: Bundle, device: Device) -> Frames:
    """The operations with kernels; ModuleNotFoundError without triton."""
    from rtcodec_engines.kernel.fused import FusedFrames

    return FusedFrames(bundle, autocast=device.autocast).eval().to(device.torch_device)


def best_frames(bundle: Bundle, device: Device, *, fused: MakeFrames | None = None) -> Frames:
    """
    The operations in the form that is fast, if it is there and right.

    Args:
        bundle: The model.
        device: Where.
        fused: What makes the fast form; None for kernels, on a GPU only.
    """
    plain = plain_frames(bundle, device)
    if fused is None and device.torch_device.type != "cuda":
        return plain
    try:
        found = (fused or fused_frames)(bundle, device)
        wrong = disagreement(found, plain, device.torch_device)
    except Exception as error:  # whatever a compiler does: plain torch does as well
        if fault_of(error) is not Fault.OTHER:
            raise
        found, wrong = plain, f"{type(error).__name__}: {error}".partition("\n")[0]
    if wrong is None:
        return found
    _log.warning("kernels are not used: %s", wrong)
    return plain


def switched_off() -> frozenset[str]:
    """What `RTCODEC_GPU_OFF` names."""
    return frozenset(filter(None, os.environ.get("RTCODEC_GPU_OFF", "").split(",")))
