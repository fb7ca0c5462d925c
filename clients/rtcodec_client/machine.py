"""What figures were measured on: hardware and versions, for reports."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rtcodec
from rtcodec.engine.api import EngineInfo

_PACKAGES = ("aiortc", "av", "numpy", "openvino", "onnxruntime")


def hardware(engine: EngineInfo | None = None) -> dict[str, Any]:
    """Return processor, cores this process may use, memory and the engine's device."""
    out: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    if engine is not None:
        out["device"] = engine.device
        out["precision"] = engine.precision
    return out


def versions(engine: EngineInfo | None = None) -> dict[str, str]:
    """Return the versions of rtcodec, Python and what matters beneath."""
    out = {"rtcodec": rtcodec.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    if engine is not None:
        out.update(engine.versions)
    return out


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    return round(pages / (1 << 30), 1)
