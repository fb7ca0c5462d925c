"""How the cores are shared out: workers run at the same time, so none may take them all."""

import os
from collections.abc import Mapping
from typing import Final

from rtcodec_server.config import ServerConfig

_DEVICES: Final = "CUDA_VISIBLE_DEVICES"


def n_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def worker_share(config: ServerConfig) -> int:
    """Return the threads of each worker's own engine, for one frame."""
    return config.threads or max(1, n_cores() // max(1, config.workers))


def engine_share(config: ServerConfig) -> tuple[int, int]:
    """Return how many calls each engine process runs at a time, and the threads of each call."""
    cores = max(1, n_cores() // config.engine_processes)
    lanes = max(1, min(config.workers, cores))
    if config.threads:
        lanes = max(1, min(lanes, cores // config.threads))
    return lanes, config.threads or max(1, cores // lanes)


def devices(n_engines: int, environ: Mapping[str, str]) -> list[str]:
    """Return what each engine process should see as `CUDA_VISIBLE_DEVICES`: one device each."""
    named = [name.strip() for name in environ.get(_DEVICES, "").split(",") if name.strip()]
    names = named or [str(number) for number in range(n_engines)]
    return [names[number % len(names)] for number in range(n_engines)]
