"""
What the system says of a process and of the machine: who used the processor, memory, descriptors.

From Linux's /proc; elsewhere there is nothing to be had, and the answer is None.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"  # man 5 proc_net: st


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """One look at a process."""

    cpu_s: float
    "Processor time since its start."

    rss_bytes: int
    n_fds: int | None
    "Open descriptors; None for somebody else's process."

    n_threads: int
    wait_s: float | None
    "Time that its threads were ready and waited for a core; of threads that are there now."


@dataclass(frozen=True, slots=True)
class MachineSample:
    """One look at all processor cores together."""

    busy_s: float
    "Time that was used by any process since the machine's start."

    stolen_s: float
    "Time that the host gave to other machines."


def sample_process(pid: int) -> ProcessSample | None:
    """Look at a process; None if it is gone, or the system does not tell."""
    folder = _PROC / str(pid)
    try:
        fields = (folder / "stat").read_text("ascii", errors="replace").rpartition(")")[2].split()
        rss_pages = int((folder / "statm").read_text("ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
    try:
        n_fds = len(os.listdir(folder / "fd"))
    except OSError:
        n_fds = None
    # man 5 proc_pid_stat: utime, stime and num_threads, counted after the name
    return ProcessSample(
        cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        rss_bytes=rss_pages * os.sysconf("SC_PAGE_SIZE"),
        n_fds=n_fds,
        n_threads=int(fields[17]),
        wait_s=_wait_s(folder),
    )


def sample_family(pid: int) -> ProcessSample | None:
    """Look at a process and those that it started, as one: a relay may have workers."""
    samples = [sample_process(member) for member in (pid, *_children(pid))]
    if samples[0] is None:
        return None
    there = [sample for sample in samples if sample is not None]
    fds = [sample.n_fds for sample in there if sample.n_fds is not None]
    waits = [sample.wait_s for sample in there if sample.wait_s is not None]
    return ProcessSample(
        cpu_s=sum(sample.cpu_s for sample in there),
        rss_bytes=sum(sample.rss_bytes for sample in there),
        n_fds=sum(fds) if len(fds) == len(there) else None,
        n_threads=sum(sample.n_threads for sample in there),
        wait_s=sum(waits) if len(waits) == len(there) else None,
    )


def _children(pid: int) -> list[int]:
    """Return the processes that *pid* started; none where the system does not tell."""
    children = []
    for entry in _PROC.glob("[0-9]*/stat"):
        try:
            parent = entry.read_text("ascii", errors="replace").rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            continue  # it has just ended
        if parent == str(pid):
            children.append(int(entry.parent.name))
    return children


def sample_machine() -> MachineSample | None:
    """Look at the machine's processor time."""
    try:
        words = (_PROC / "stat").read_text("ascii").split("\n", 1)[0].split()
        # man 5 proc_stat: user, nice, system, idle, iowait, irq, softirq, steal
        ticks = [int(word) for word in words[1:9]]
    except (OSError, ValueError):
        return None
    per_s = os.sysconf("SC_CLK_TCK")
    busy = sum(ticks[:3]) + sum(ticks[5:7])
    return MachineSample(busy_s=busy / per_s, stolen_s=ticks[7] / per_s)


def _wait_s(folder: Path) -> float | None:
    """Add up what the scheduler says of the threads; None where it says nothing."""
    try:
        tasks = [task / "schedstat" for task in (folder / "task").iterdir()]
    except OSError:
        return None
    waited_ns = 0
    for task in tasks:
        try:
            waited_ns += int(task.read_text("ascii").split()[1])
        except (OSError, IndexError, ValueError):  # the thread ended meanwhile
            continue
    return waited_ns / 1e9


def listener_of(port: int) -> int | None:
    """Find the process on this machine that listens on a TCP port, if we may look into it."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return None
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for folder in _PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            if any(os.readlink(entry) in sockets for entry in (folder / "fd").iterdir()):
                return int(folder.name)
        except OSError:  # somebody else's, or gone
            continue
    return None


def is_here(address: str) -> bool:
    """Whether an IPv4 address is one of this machine's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))  # the system lets nobody have another's address
        except OSError:
            return False
    return True


def _listening_inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / name).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
