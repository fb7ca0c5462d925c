"""
Finds engines by name without knowing them: dotted paths, imported when asked for.

rtcodec never imports its engines; shells ask here. Configuration comes in as arguments.
"""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from socket import socket
from typing import Any, Final, Protocol, runtime_checkable

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

GROUP: Final = "rtcodec_engines.engine_group:EngineGroup"
MEMBER: Final = "rtcodec_engines.engine_group:Member"

FALLBACKS: Final = tuple(ENGINES)
"Engines that need no device but the CPU, best first. They do not hang."

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


@runtime_checkable
class AttachableEngine(Engine, Protocol):
    """An engine in another process, which may be replaced while this one goes on."""

    restarts: int
    "Times that it was replaced."

    given_up: str | None
    "Why there will be no process any more, once that is so."

    @property
    def is_attached(self) -> bool:
        """Whether the process is there, as far as is known."""

    def attach(self, about: Mapping[str, Any], ends: Sequence[socket]) -> None:
        """Use the process that says *about* of itself, over our *ends* of its connections."""

    def give_up(self, why: str) -> None:
        """Note that there will be no process any more."""

    def wait_attached(self) -> None:
        """Block until the first is there; EngineError if it will not do, or never comes."""


@runtime_checkable
class WarmableEngine(Engine, Protocol):
    """One that gets ready for a size in more than one step: batch by batch, if nobody asks."""

    def warm_up(self, width: int, height: int) -> None:
        """Get ready for all batches of a size; may take minutes."""


@runtime_checkable
class GroupedEngine(Engine, Protocol):
    """Several engines as one; streams of one that is gone start again on another."""

    streams_moved: int
    "Times that one did."

    @property
    def n_members(self) -> int:
        """Engines, those that are gone too."""

    @property
    def n_up(self) -> int:
        """Those that can be asked."""


def group_engines(
    engines: Sequence[Engine],
    *,
    hang_s: float | None = None,
    fallback: Callable[[], Engine] | None = None,
    on_change: Callable[[str, str], None] = lambda what, about: None,
) -> GroupedEngine:
    """
    Return several engines as one.

    Args:
        engines: Of one model; closed with the group.
        hang_s: A call that takes longer will never end; None for engines that cannot hang.
        fallback: Makes an engine for when none of them is left.
        on_change: Told `out` and why, or `fallback` and its name; on any thread.
    """
    members = [_attribute(MEMBER)(engine, hang_s=hang_s) for engine in engines]
    group: GroupedEngine = _attribute(GROUP)(members, fallback=fallback, on_change=on_change)
    return group


def open_fallback(name: str, bundle: Bundle, *, threads: int, but: str) -> Engine:
    """
    Start an engine in the place of one that failed.

    Args:
        name: Of an engine; `auto` is the first of `FALLBACKS` that is usable.
        bundle: The model to run.
        threads: For one frame.
        but: The engine that failed.

    Raises:
        ConfigError, EngineError: If there is none, or it does not start.
    """
    if name != AUTO:
        return open_engine(name, bundle, threads=threads)
    for candidate in FALLBACKS:
        if candidate != but and probe_engine(candidate).usable:
            return open_engine(candidate, bundle, threads=threads)
    raise ConfigError(f"no engine but {but} is usable")


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
