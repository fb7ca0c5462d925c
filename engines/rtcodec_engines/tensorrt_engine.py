"""
The `torch` engine with intra networks in TensorRT, where those were built and agree with torch.

Anything that is wrong with them is one line in the log, and torch does their work: `rtcodec engines
build` builds them, `rtcodec engines check` says what is wrong.
"""

import logging
from dataclasses import replace
from typing import Any

import torch

from rtcodec.bundle import Bundle
from rtcodec.engine.loader import EngineReport
from rtcodec.errors import ConfigError, EngineError
from rtcodec.models.parity import networks_of
from rtcodec_engines.batching import BUCKETS
from rtcodec_engines.best_frames import best_frames, switched_off
from rtcodec_engines.cuda import CudaDevice
from rtcodec_engines.device import Device, Fault, fault_of
from rtcodec_engines.plan_cache import PlanCache
from rtcodec_engines.tensor.frames import Frames
from rtcodec_engines.tensorrt_networks import TensorRtNetworks, load_networks, parity_problem
from rtcodec_engines.tensorrt_runtime import Runtime, TensorRtRuntime, tensorrt_library
from rtcodec_engines.torch_engine import STATES, TorchEngine

_log = logging.getLogger(__name__)


class TensorRtEngine(TorchEngine):
    """The `Engine` protocol; `info.name` says which of both runs the networks."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        device: Device | None = None,
        runtime: Runtime | None = None,
        cache: PlanCache | None = None,
        states: int = STATES,
    ) -> None:
        """
        Args:
            bundle: The model.
            threads: As for `TorchEngine`.
            device: As for `TorchEngine`.
            runtime: What runs plans; None for TensorRT.
            cache: Where they are; None for the usual folder.
            states: As for `TorchEngine`.
        """
        self.problem: str | None = None
        "Why torch runs the networks instead, if it does."

        def make(model: Bundle, where: Device) -> Frames:
            frames = best_frames(model, where)
            try:
                found = runtime or TensorRtRuntime()
                networks = checked_networks(model, where.torch_device, found, cache or PlanCache())
            except Exception as error:  # whatever its library does: torch does as well
                if fault_of(error) is Fault.GONE:
                    raise
                is_told = isinstance(error, ConfigError | EngineError)
                self.problem = str(error) if is_told else f"{type(error).__name__}: {error}"
                _log.warning("tensorrt is not used, torch is: %s", self.problem)
            else:
                frames.intra = networks
                self._library = found.library
            return frames

        graphs = "graphs" not in switched_off()
        super().__init__(
            bundle, threads=threads, device=device or CudaDevice(graphs=graphs), frames=make,
            states=states,
        )  # fmt: skip
        if self.problem is None:
            name, _, version = self._library.partition(" ")
            self.info = replace(
                self.info, name="tensorrt", versions={**self.info.versions, name: version}
            )

    @staticmethod
    def probe() -> EngineReport:
        """Say whether TensorRT loads and torch finds a GPU; engines may still have to be built."""
        versions = {"torch": str(torch.__version__)}
        try:
            versions["tensorrt"] = str(tensorrt_library().__version__)
        except ConfigError as error:
            return EngineReport("tensorrt", False, str(error), versions)
        if not torch.cuda.is_available():
            return EngineReport("tensorrt", False, "torch finds no CUDA device", versions)
        return EngineReport("tensorrt", True, torch.cuda.get_device_name(0), versions)


def checked_networks(
    bundle: Bundle, device: torch.device, runtime: Runtime, cache: PlanCache
) -> Any:
    """
    Load a model's engines and compare them with torch.

    Raises:
        ConfigError: If one was not built, is damaged, or of something else.
        EngineError: If the library does not take one, or it gives other numbers than torch.
    """
    networks: TensorRtNetworks = load_networks(
        bundle, networks_of(bundle).to(device), runtime, cache
    )
    gains = torch.tensor(bundle.gains, device=device)
    try:
        wrong = parity_problem(networks, gains, device, BUCKETS)
    except RuntimeError as error:
        raise EngineError(f"engines of {bundle.name} do not run: {error}") from error
    if wrong is not None:
        raise EngineError(f"engines of {bundle.name} give other numbers than torch: {wrong}")
    return networks
