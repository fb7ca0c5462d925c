"""
Throw broken samples at every parser of bytes from outside, and keep what they did.

    python -m benchmarks.fuzz [TARGET...] [--cases N] [--seed S] [--output FILE]

A million cases each, an hour in all: valid samples, broken by their structure, the same for the
same seed. A case may end in one of the exceptions that callers catch; another one, more than a
second of processor time, a hundred megabytes of memory, or a process that dies is a finding, and
the exit code is 1. Each target runs in a process of its own.
`tests/property/test_fuzz.py` runs a few thousand of the same cases.
"""

from __future__ import annotations

import argparse
import json
import mmap
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final

from benchmarks._fuzz_targets import TARGETS, Target
from benchmarks.entropy import machine

OUTPUT: Final = Path(__file__).with_suffix(".json")
SEED: Final = 4
CASE_MAX_S: Final = 1.0
MEMORY_MAX_MB: Final = 100
_ADDRESS_SPACE: Final = 2 << 30
"Beyond what the process has when it starts: an allocation without bounds fails."

_KEPT: Final = 5
"Findings written down in full, of each kind."


class _Hang(BaseException):
    """A case takes too long."""


@dataclass(slots=True)
class Finding:
    """A case that went wrong."""

    case: int
    kind: str
    "The exception's name, hang, or died."

    text: str
    data: str
    "The case, hexadecimal, its beginning."


@dataclass(slots=True)
class Outcome:
    """What came of one target."""

    target: str
    cases: int = 0
    accepted: int = 0
    "Cases that were valid all the same."

    refused: dict[str, int] = field(default_factory=dict)
    "Allowed exception -> cases."

    findings: list[Finding] = field(default_factory=list)
    n_findings: int = 0
    slowest_us: int = 0
    slowest_case: int = 0
    slowest_bytes: int = 0
    memory_mb: float = 0.0
    "By which the process grew at its peak, from when the corpus was there."

    seconds: float = 0.0

    def note(self, case: int, kind: str, text: str, data: bytes) -> None:
        """Write down a finding, unless there are many like it."""
        self.n_findings += 1
        if sum(finding.kind == kind for finding in self.findings) < _KEPT:
            self.findings.append(Finding(case, kind, text[:500], data[:2000].hex()))


def make_case(target: Target, corpus: list[bytes], number: int, seed: int) -> bytes:
    """Return case *number*; the corpus itself comes first."""
    if number < len(corpus):
        return corpus[number]
    rng = Random((seed << 40) + number)
    return target.mutate(rng.choice(corpus), corpus, rng)


def fuzz(
    target: Target, cases: int, *, seed: int = SEED, progress: mmap.mmap | None = None
) -> Outcome:
    """
    Run *cases* cases in this process.

    Args:
        target: What to run.
        cases: How many.
        seed: Of all of them.
        progress: Gets the number of each case before it runs, eight bytes.
    """
    corpus = target.corpus()
    outcome = Outcome(target.name)
    for data in corpus:  # caches, lazy imports
        with suppress(Exception):
            target.run(data)
    started, before_kb = time.perf_counter(), _peak_kb()
    for number in range(cases):
        data = make_case(target, corpus, number, seed)
        if progress is not None:
            struct.pack_into("<Q", progress, 0, number)
        start_ns = time.process_time_ns()
        try:
            _run_case(target, data)
            outcome.accepted += 1
        except target.allowed as error:
            name = type(error).__name__
            outcome.refused[name] = outcome.refused.get(name, 0) + 1
        except (_Hang, Exception) as error:  # whatever it is, that is what is looked for
            kind = "hang" if isinstance(error, _Hang) else type(error).__name__
            outcome.note(number, kind, str(error), data)
        took_us = (time.process_time_ns() - start_ns) // 1000
        if took_us > outcome.slowest_us:
            outcome.slowest_us, outcome.slowest_case = took_us, number
            outcome.slowest_bytes = len(data)
    outcome.cases = cases
    outcome.seconds = round(time.perf_counter() - started, 1)
    outcome.memory_mb = round((_peak_kb() - before_kb) / 1024, 1)
    if outcome.memory_mb > MEMORY_MAX_MB:
        outcome.note(-1, "memory", f"{outcome.memory_mb} MB", b"")
    return outcome


def _run_case(target: Target, data: bytes) -> None:
    signal.setitimer(signal.ITIMER_PROF, CASE_MAX_S)  # of its own: this machine may be busy
    try:
        target.run(data)
    except RecursionError as error:
        raise AssertionError("recursion without bounds") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


def _on_alarm(number: int, frame: FrameType | None) -> None:
    raise _Hang(f"more than {CASE_MAX_S:g} s of processor time")


def catch_hangs(handler: Handler = _on_alarm) -> Handler:
    """Let an alarm end a case that takes too long, on the main thread; return who had it before."""
    return signal.signal(signal.SIGPROF, handler)


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# ---------------------------------------------------------------------- processes


def run_apart(target: Target, cases: int, seed: int) -> Outcome:
    """Run a target in a process of its own; its death is a finding."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(8))
        file.flush()
        words = [target.name, "--cases", str(cases), "--seed", str(seed), "--progress", file.name]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.fuzz", *words],
            capture_output=True, check=False, text=True,
        )  # fmt: skip
        if done.returncode == 0:
            document = json.loads(done.stdout)
            findings = [Finding(**finding) for finding in document.pop("findings")]
            return Outcome(**{**document, "findings": findings})
        (case,) = struct.unpack("<Q", Path(file.name).read_bytes())
    outcome = Outcome(target.name, cases=case)
    data = make_case(target, target.corpus(), case, seed)
    outcome.note(case, "died", f"exit code {done.returncode}: {done.stderr[-400:]}", data)
    return outcome


def _child(target: Target, cases: int, seed: int, progress: Path) -> int:
    catch_hangs()
    with Path("/proc/self/statm").open() as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]  # for children that need more
    resource.setrlimit(resource.RLIMIT_AS, (size + _ADDRESS_SPACE, hard))
    with progress.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        outcome = fuzz(target, cases, seed=seed, progress=shared)
    print(json.dumps(asdict(outcome)))
    return 0


def main() -> int:
    """Run the targets named, or all; print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    known = {target.name: target for target in TARGETS}
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(known))
    parser.add_argument("--cases", type=int, default=1_000_000, help="of each target")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = [name for name in args.targets if name not in known]
    if unknown:
        print(f"no target {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in args.targets or known]
    if args.progress is not None:
        return _child(chosen[0], args.cases, args.seed, args.progress)
    facts = machine()
    document: dict[str, Any] = json.loads(args.output.read_text()) if args.output.exists() else {}
    rows: dict[str, Any] = document.get("targets", {})
    n_findings = 0
    for target in chosen:
        outcome = run_apart(target, args.cases, args.seed)
        n_findings += outcome.n_findings
        rows[target.name] = {"about": target.about, **asdict(outcome), "commit": facts["commit"]}
        print(line_of(outcome), flush=True)
        document = {
            "command": "python -m benchmarks.fuzz", "machine": facts, "seed": args.seed,
            "targets": {name: rows[name] for name in known if name in rows},
        }  # fmt: skip
        args.output.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return 1 if n_findings else 0


def line_of(outcome: Outcome) -> str:
    """Say what came of a target in one line."""
    kinds = Counter(finding.kind for finding in outcome.findings)
    return (
        f"{outcome.target:<13}{outcome.cases:>8} cases, {outcome.accepted:>7} accepted, slowest "
        f"{outcome.slowest_us / 1000:6.1f} ms, +{outcome.memory_mb:5.1f} MB, "
        f"{outcome.seconds:6.0f} s, {outcome.n_findings} findings {', '.join(kinds)}"
    )


if __name__ == "__main__":
    sys.exit(main())
