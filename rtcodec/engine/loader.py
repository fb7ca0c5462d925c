"""
Finds engines by name without knowing them: dotted paths, imported when asked for.

rtcodec never imports its engines; shells ask here. Configuration comes in as arguments.
"""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from socket import socket
from typing import Any, Final, Protocol

from rtcodec.bundle import Bundle
from rtcodec.engine.api import Engine
from rtcodec.errors import ConfigError

ENGINES: Final[Mapping[str, str]] = {
    "openvino": "rtcodec_engines.openvino_engine:OpenVinoEngine",
    "onnxruntime": "rtcodec_engines.onnxruntime_engine:OnnxRuntimeEngine",
}
"Those of CPUs: name to class, which takes (bundle, threads=N) and has a static `probe()`."

GPU_ENGINES: Final[Mapping[str, str]] = {
    "torch": "rtcodec_engines.torch_engine:TorchEngine",
    "tensorrt": "rtcodec_engines.tensorrt_engine:TensorRtEngine",
}
"Those of NVIDIA GPUs. Without one nothing of them is imported: torch alone takes seconds."

EXTRAS: Final[Mapping[str, str]] = {"torch": "torch", "tensorrt": "tensorrt"}
"What to install for an engine; `cpu` for the others."

GPU_FILES: Final = ("/dev/nvidiactl", "/dev/dxg")
"Files that are there where NVIDIA's driver is; the second one under WSL."

REMOTE: Final = "rtcodec_engines.remote_engine:RemoteEngine"
"Takes (bundle); an engine that another process has."

ENGINE_PROCESS: Final = "rtcodec_engines.engine_process"
"The module to run as that process."

AUTO: Final = "auto"
ENGINE_NAMES: Final = (AUTO, *ENGINES, *GPU_ENGINES)


@dataclass(frozen=True, slots=True)
class EngineReport:
    """Whether an engine can run on this machine."""

    name: str
    usable: bool

    reason: str
    "Why not, or what it would run on, in one line."

    versions: Mapping[str, str] = field(default_factory=dict)
    "Of its libraries."


class AttachableEngine(Engine, Protocol):
    """An engine in another process, which may be replaced while this one goes on."""

    restarts: int
    "Times that it was replaced."

    def attach(self, about: Mapping[str, Any], ends: Sequence[socket]) -> None:
        """Use the process that says *about* of itself, over our *ends* of its connections."""

    def wait_attached(self) -> None:
        """Block until the first is there; EngineError if it will not do."""


def remote_engine(bundle: Bundle) -> AttachableEngine:
    """Return an engine for a process that runs *bundle*; it has to be attached."""
    engine: AttachableEngine = _attribute(REMOTE)(bundle)
    return engine


def open_engine(name: str, bundle: Bundle, *, threads: int = 1) -> Engine:
    """
    Start an engine.

    Args:
        name: One of `ENGINE_NAMES`; `auto` is torch where it has a GPU, else the first usable one
            of the CPU's.
        bundle: The model to run.
        threads: For one frame.

    Raises:
        ConfigError: If the name is unknown or its library is not installed.
        EngineError: If it does not start.
    """
    if name != AUTO:
        engine: Engine = _engine_class(name)(bundle, threads=threads)
        return engine
    unusable = []
    for candidate in (
        *(("torch",) if has_gpu() else ()),
        *ENGINES,
    ):  # one at a time: to probe an engine is to import its library
        report = probe_engine(candidate)
        if report.usable:
            return open_engine(candidate, bundle, threads=threads)
        unusable.append(f"{candidate}: {report.reason}")
    raise ConfigError(f"no engine is usable: {'; '.join(unusable)}")


def probe_engine(name: str) -> EngineReport:
    """Say whether an engine can run here; never raises for one that there is."""
    if name in GPU_ENGINES and not has_gpu():
        return EngineReport(name, False, "no NVIDIA driver here")
    try:
        report: EngineReport = _engine_class(name).probe()
    except ConfigError as error:
        return EngineReport(name, False, str(error))
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return EngineReport(name, False, text)
    return report


def has_gpu() -> bool:
    """Whether an NVIDIA driver is there; looks at files, loads nothing."""
    return any(os.path.exists(path) for path in GPU_FILES)


def _engine_class(name: str) -> Any:
    path = ENGINES.get(name) or GPU_ENGINES.get(name)
    if path is None:
        raise ConfigError(f"unknown engine {name!r}; there are {', '.join(ENGINE_NAMES)}")
    try:
        return _attribute(path)
    except ModuleNotFoundError as error:
        missing = (error.name or path).partition(".")[0]
        extra = EXTRAS.get(name, "cpu")
        raise ConfigError(
            f"engine {name} needs {missing}, which is not installed: pip install 'rtcodec[{extra}]'"
        ) from None


def _attribute(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
