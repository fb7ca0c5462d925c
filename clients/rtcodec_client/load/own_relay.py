"""A relay of our own for a test: `rtcodec serve` as a child, with room for all peers."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rtcodec.errors import EngineError
from rtcodec_client.child import Child

_ADDRESS: Final = re.compile(r"http://[^\s:]+:\d+")
_START_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRelay:
    """How to serve."""

    model: str | None = None
    engine: str = "auto"
    qp: int | None = None
    psnr: str = "auto"
    "Which frames it measures."

    admission: float = 0.0
    "Part of what its engine carries that streams may ask for; 0: what is too much is to be seen."

    threads: int = 1
    "Of its engine."

    cores: tuple[int, ...] = ()
    "Processor cores it may use; empty for all."

    async def start(self, work: Path, *, size: tuple[int, int], n_peers: int) -> tuple[Child, str]:
        """
        Start it and return it with its address.

        Args:
            work: Folder for its settings and its log.
            size: Of the frames, to get ready for.
            n_peers: Places that are needed.

        Raises:
            RtcodecError: If it does not start.
        """
        config = work / "relay.toml"
        config.write_text(self._settings(size, n_peers), "utf-8")
        log = work / "relay.log"
        relay = await Child.start("relay", ["serve", "--config", str(config)], log)
        if self.cores:
            os.sched_setaffinity(relay.pid, self.cores)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not (match := _ADDRESS.search(relay.said())):
                    relay.check_running()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await relay.stop()
            raise EngineError(f"the relay did not start within {_START_TIMEOUT_S:g} s") from None
        except BaseException:
            await relay.stop()
            raise
        return relay, match.group()

    def _settings(self, size: tuple[int, int], n_peers: int) -> str:
        values: dict[str, str | int] = {
            "host": "127.0.0.1", "port": 0, "engine": self.engine, "threads": self.threads,
            "psnr": self.psnr, "drain_s": 0,  # who is left then is a peer that died
        }  # fmt: skip
        if self.model is not None:
            values["model"] = self.model
        if self.qp is not None:
            values["qp"] = self.qp
        places = 2 * n_peers + 64  # churn, and those that are on their way out
        limits = dict.fromkeys(("max_rooms", "max_subscribers_per_room", "max_sessions"), places)
        return "\n".join(
            [
                *_lines(values),
                f'warm = ["{size[0]}x{size[1]}"]',
                "[limits]",
                *_lines(limits),
                "[admission]",
                f"limit = {self.admission:g}",
                f"shed = {json.dumps(self.admission > 0)}",
                "",
            ]
        )


def _lines(values: dict[str, str | int] | dict[str, int]) -> Sequence[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]
