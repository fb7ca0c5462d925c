"""How the cores are shared out: workers run at the same time, so none may take them all."""

import os

from rtcodec_server.config import ServerConfig


def n_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def worker_share(config: ServerConfig) -> int:
    """Return the threads of each worker's own engine, for one frame."""
    return config.threads or max(1, n_cores() // max(1, config.workers))


def engine_share(config: ServerConfig) -> tuple[int, int]:
    """Return how many calls the engine process runs at a time, and the threads of each."""
    lanes = max(1, min(config.workers, n_cores()))
    if config.threads:
        lanes = max(1, min(lanes, n_cores() // config.threads))
    return lanes, config.threads or max(1, n_cores() // lanes)
