"""A relay of several processes, and what to do to them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.command import relay_process
from support.relay import RelayClient, until

PATIENCE_S = 60.0
"For what takes a second or two when nobody else uses the machine."


@dataclass(frozen=True, slots=True)
class Crew:
    """The supervisor, and somebody to ask it."""

    supervisor: asyncio.subprocess.Process
    client: RelayClient
    url: str

    async def processes(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return what the supervisor says of its processes, those that are as *wanted*."""
        async with self.client.http.get("/api/processes") as response:
            assert response.status == 200
            everything = (await response.json())["processes"]
        return [p for p in everything if all(p[name] == value for name, value in wanted.items())]

    async def process(self, kind: str, slot: int = 0) -> dict[str, Any]:
        """Return what it says of one that is at work."""
        (found,) = await self.processes(kind=kind, slot=slot)
        return found

    async def worker_of(self, room: str) -> int:
        """Return the slot that has *room*."""
        async with self.client.http.get("/api/rooms") as response:
            rooms = (await response.json())["rooms"]
        (slot,) = [entry["worker"] for entry in rooms if entry["room"] == room]
        return int(slot)

    async def kill(self, kind: str, slot: int = 0, how: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process at work; return its id."""
        pid = int((await self.process(kind, slot))["pid"])
        os.kill(pid, how)
        return pid

    async def is_replaced(self, pid: int, kind: str, slot: int = 0) -> bool:
        """Return whether another process than *pid* is at work in its place."""
        return any(p["pid"] != pid for p in await self.processes(kind=kind, slot=slot))

    async def until_complete(self, kind: str, n_slots: int, *, spares: int) -> None:
        """Wait until all slots are taken and so many wait."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                up = await self.processes(kind=kind, state="up")
                spare = await self.processes(kind=kind, state="spare")
                if len(up) == n_slots and len(spare) == spares:
                    return
                await asyncio.sleep(0.05)

    async def metric(self, sample: str) -> float:
        """Return the value of a sample of `/metrics`, 0 if it is not there."""
        async with self.client.http.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(sample))


@asynccontextmanager
async def crew(*options: str) -> AsyncIterator[Crew]:
    """Run a relay with the stand-in engine in several processes."""
    async with relay_process(*options) as (process, url), RelayClient(url) as client:
        yield Crew(process, client, url)


async def eventually(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask until the answer is not nothing."""
    async with asyncio.timeout(PATIENCE_S):
        while not await ask():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def is_there(pid: int) -> bool:
    """Return whether a process runs; one that nobody waited for yet has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


async def until_gone(*pids: int) -> None:
    """Wait until none of them runs."""
    await until(lambda: not any(map(is_there, pids)), timeout_s=PATIENCE_S)


def descriptors_of(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def children_of(pid: int) -> list[int]:
    """Return the processes that *pid* started and that still run."""
    children = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid and is_there(int(entry.name)):
                children.append(int(entry.name))
    return children
