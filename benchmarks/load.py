"""
Load a relay on this machine with `rtcodec loadtest` and keep what it found.

    python -m benchmarks.load [fanout] [ingest] [admission] [viewers] [churn] [soak] [loss] [steps]

fanout   1 publisher and 1, 10, 50, 100 counting subscribers: time from relay in to subscriber
ingest   publishers of 360p, each watched by one, that one core holds: null engine, one that costs
         nothing
admission  publishers of 360p to a relay on one core, each watched, two decoded: as many as its
         admission takes by its self-test, and half as many again; camera to decoded picture,
         to be within the deadline of a frame at p99
viewers  100 subscribers of one 360p stream, at 30 and at 10 frames per second
churn    joins and leaves for five minutes: memory, descriptors, threads and tasks at the end
soak     four rooms of two subscribers each, RTCODEC_SOAK_S seconds (180): the same
loss     0 to 30 % each way of subscribers of 320x180 at 15 per second, with 20 ms of delay; jitter
         that reorders; each seeded
steps    one way that gets worse and better: a cut, loss, a rate below what is sent, jitter

Writes `benchmarks/load.json`, case by case; those not named keep what they had. Every run says
whether it was the relay that was measured: `inconclusive` means that the generator, or something
else on the machine, was the limit, and why.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.entropy import machine
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.config import ServerConfig

OUTPUT = Path(__file__).with_suffix(".json")
PLOTS = Path(__file__).parents[1] / "docs"
MODEL = ("--serve", "--model", "s128")
DROPPED_SHARE_MAX = 0.01

Row = dict[str, Any]


def run_test(*words: str, plot: Path | None = None, timeline: bool = False) -> Row:
    """Run one test and return what matters of its report, with its seconds if *timeline*."""
    command = [sys.executable, "-m", "rtcodec.cli", "loadtest", *words, "--json"]
    print("rtcodec loadtest", *words, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run(
            [*command, "--out", out], stdout=subprocess.PIPE, check=False, text=True
        )
        if not done.stdout:
            raise SystemExit(f"rtcodec loadtest ended with {done.returncode} and no report")
        if plot is not None:
            shutil.copy(Path(out) / "load.png", plot)
        seconds = list(csv.DictReader((Path(out) / "timeline.csv").open())) if timeline else []
    report = json.loads(done.stdout)
    row = {"command": " ".join(["rtcodec loadtest", *words]), **summary(report)}
    return {**row, "seconds": seconds} if timeline else row


def summary(report: Row) -> Row:
    """Return the figures of a report that a reader compares."""
    frames, generator, joins = report["frames"], report["generator"], report["joins"]
    names = ("published", "skipped", "received", "encoded", "dropped", "sent", "units", "decoded")
    return {
        "outcome": report["verdict"]["outcome"],
        "doubts": generator["reasons"],
        "frames": {name: frames[name] for name in (*names, "lost", "lost_by_reason", "unfinished")},
        "dropped_by_reason": frames["dropped_by_reason"],
        "fps": report["fps"],
        "kbps": report["kbps"],
        "latency_ms": {
            stage: values
            for stage, values in report["latency_ms"].items()
            if stage in ("arrive", "deliver", "engine", "total")
        },
        "freezes": report["freezes"],
        "joins": {n: joins[n] for n in ("ok", "failed", "publisher_ms", "subscriber_ms")},
        "churn": report["churn"],
        "psnr_db": report["psnr_db"]["yuv"],
        "transport": report["transport"],
        "relay": report["relay"],
        "machine": report["machine"],
        "generator": {n: generator[n] for n in ("lateness_ms", "skipped_share", "cpu_cores")},
    }


@contextmanager
def bench_relay(engine: str, *, cores: str = "") -> Iterator[tuple[str, Path]]:
    """Run `benchmarks._relay`; yield its address and the file of its task counts."""
    with tempfile.TemporaryDirectory() as work:
        tasks = Path(work) / "tasks"
        pinned = ["taskset", "-c", cores] if cores else []
        command = [sys.executable, "-m", "benchmarks._relay", str(tasks), "--engine", engine]
        with relay_process([*pinned, *command]) as (_, url):
            yield url, tasks


@contextmanager
def relay_process(
    command: list[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[tuple[int, str]]:
    """Run a relay, whose first line says where it is; yield its process id and its address."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=cwd, env=env)
    try:
        assert process.stderr is not None
        match = re.search(r"http://\S+?:\d+", process.stderr.readline())
        if match is None:
            raise SystemExit("the relay did not start")
        yield process.pid, match.group()
    finally:
        process.terminate()
        process.wait(60)


def fanout() -> list[Row]:
    """One publisher, more and more subscribers."""
    return [
        run_test(*MODEL, "--subscribers", str(n), "--decode", "0", "--duration", "10")
        for n in (1, 10, 50, 100)
    ]


def ingest() -> list[Row]:
    """More and more publishers on one core, until frames are dropped."""
    rows = []
    for engine in ("free", "null"):
        for n in (1, 4, 8, 12, 16):
            with bench_relay(engine, cores="0") as (url, _):
                row = run_test(
                    url, "--publishers", str(n), "--subscribers", "1", "--decode", "0",
                    "--duration", "10", "--ramp", "3", "--peer-cores", "1",
                )  # fmt: skip
            unwatched = row["dropped_by_reason"].get("unwatched", 0)  # before its subscriber came
            watched = row["frames"]["received"] - unwatched
            share = (row["frames"]["dropped"] - unwatched) / max(1, watched)
            rows.append({"engine": engine, "publishers": n, "dropped_share": share, **row})
            if share > 10 * DROPPED_SHARE_MAX:
                break
    return rows


def admission() -> list[Row]:
    """What admission takes, and 150 % of it, through the whole relay."""
    limit, deadline_ms = AdmissionConfig().limit, ServerConfig().frame_deadline_ms
    rows = []
    for model in ("n64", "s128"):
        streams = streams_of_a_core(model)
        most = max(1, int(limit * streams))
        for offered in (most, -(-3 * most // 2)):
            row = run_test(
                "--serve", "--model", model, "--admission", f"{limit:g}", "--publishers",
                str(offered), "--subscribers", "1", "--decode", "2", "--relay-cores", "0",
                "--peer-cores", "1", "--ramp", str(4 * offered), "--duration", "20",
                "--psnr", "off",
            )  # fmt: skip
            facts: Row = {"offered": offered, "limit": most, "model": model}
            facts |= {"self_test_streams": round(streams, 2), "deadline_ms": deadline_ms}
            rows.append({**facts, **row})
    return rows


def streams_of_a_core(model: str) -> float:
    """How many streams of 360p the self-test says that a relay on the first core carries."""
    command = ["taskset", "-c", "0", sys.executable, "-m", "rtcodec.cli", "doctor", "--json"]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    (found,) = (one for one in json.loads(said.stdout)["capacity"] if one["model"] == model)
    return float(found["streams"]["360p30"]["relay"])


def viewers() -> list[Row]:
    """A hundred subscribers of one stream, at its full rate and at a third of it."""
    return [
        run_test(
            *MODEL, "--subscribers", "100", "--decode", "0", "--duration", "12", "--ramp", "8",
            "--fps", fps,
        )
        for fps in ("30", "10")
    ]  # fmt: skip


def churn() -> list[Row]:
    """Five minutes of coming and going."""
    with bench_relay("null") as (url, tasks):
        time.sleep(2)
        row = run_test(
            url, "--publishers", "1", "--subscribers", "1", "--decode", "0", "--duration", "290",
            "--churn", "6", "--churn-of", "both", "--fps", "10", "--size", "320x180",
            plot=PLOTS / "load_churn.png",
        )  # fmt: skip
        time.sleep(3)
        row |= relay_account(tasks)
    return [row]


def soak() -> list[Row]:
    """Stay for minutes with as much as this machine takes beside its peers."""
    seconds = os.environ.get("RTCODEC_SOAK_S", "180")
    with bench_relay("free") as (url, tasks):
        time.sleep(12)
        row = run_test(
            url, "--publishers", "4", "--subscribers", "2", "--decode", "0", "--duration", seconds,
            "--ramp", "5", plot=PLOTS / "load_soak.png",
        )  # fmt: skip
        time.sleep(12)
        row |= relay_account(tasks)
    return [row]


def relay_account(path: Path) -> Row:
    """Return what `benchmarks._relay` wrote: tasks, and memory over time."""
    lines = [line.split() for line in path.read_text().splitlines()]
    tasks = [int(line[0]) for line in lines]
    mib = [int(line[1]) / 1024 for line in lines if len(line) > 1]
    inside = [
        int(line[1]) / 1024 for line in lines if len(line) > 1 and int(line[0]) > tasks[1] + 8
    ]
    later = inside[len(inside) // 2 :]  # the first half is warming up
    slope = statistics.linear_regression(range(len(later)), later).slope * 6
    return {
        "tasks": {"before": tasks[1], "peak": max(tasks), "after": tasks[-1]},
        "memory_mib": [round(value, 1) for value in mib],
        "memory_slope_mib_per_min": round(slope, 2),
    }


def loss() -> list[Row]:
    """Worse and worse ways to the subscribers."""
    return [
        {
            "loss_percent": percent,
            **run_test(
                *MODEL, "--subscribers", "3", "--decode", "1", "--duration", "10", "--loss",
                f"{percent}%", "--delay", "20", "--impair", "subscribers", "--size", "320x180",
                "--fps", "15",
                plot=PLOTS / "load_loss.png" if percent == 5 else None,
            ),
        }
        for percent in (0, 1, 3, 5, 10, 20, 30)
    ] + [
        {
            "jitter_ms": jitter,
            **run_test(
                *MODEL, "--subscribers", "3", "--decode", "1", "--duration", "10", "--jitter",
                str(jitter), "--delay", "20", "--impair", "subscribers", "--size", "320x180",
                "--fps", "15",
            ),
        }
        for jitter in (5, 20, 60)
    ]  # fmt: skip


STEPS = (
    ("4", "loss=100%"), ("6", ""), ("10", "loss=30%"), ("14", ""), ("18", "rate=60"), ("22", ""),
    ("26", "jitter=80"), ("30", ""),
)  # fmt: skip


def steps() -> list[Row]:
    """Let one network get worse and better: two seconds cut, 30 % loss, 60 kb/s, 80 ms jitter."""
    words = [word for at_s, what in STEPS for word in ("--step", f"{at_s}:{what}")]
    return [
        run_test(
            *MODEL, "--subscribers", "2", "--decode", "1", "--duration", "34", "--delay", "20",
            "--impair", "subscribers", "--size", "320x180", "--fps", "15", *words,
            plot=PLOTS / "load_steps.png", timeline=True,
        )
    ]  # fmt: skip


CASES: dict[str, Callable[[], list[Row]]] = {
    "fanout": fanout,
    "ingest": ingest,
    "admission": admission,
    "viewers": viewers,
    "churn": churn,
    "soak": soak,
    "loss": loss,
    "steps": steps,
}


def main() -> int:
    """Run the cases named, or all; write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    args = parser.parse_args()
    unknown = [name for name in args.cases if name not in CASES]
    if unknown:
        print(f"no case {unknown[0]!r}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    result: Row = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    for name in args.cases or CASES:
        facts = machine()  # before the run: the load that it begins with
        rows = CASES[name]()
        result[name] = {
            "command": f"python -m benchmarks.load {name}",
            "machine": facts,
            "runs": rows,
        }
        OUTPUT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        for row in rows:
            print(line_of(name, row))
    return 0


def line_of(case: str, row: Row) -> str:
    """Say a row in one line."""
    words = row["command"].split("--")
    shown = " ".join(w.strip() for w in words[1:] if w.startswith(("publishers", "subscribers")))
    stage = "total" if "total" in row["latency_ms"] else "arrive"
    latency = row["latency_ms"].get(stage, {})
    bad = row.get("loss_percent", row.get("jitter_ms", ""))
    p50, p95, p99 = (latency.get(q) for q in ("p50", "p95", "p99"))
    deadline = f" of {row['deadline_ms']}" if "deadline_ms" in row else ""
    made_by = row.get("engine", row.get("model", ""))
    return (
        f"{case:<10}{made_by:<5}{shown:<30}{bad!s:>3} "
        f"{stage} p50 {p50} p95 {p95} p99 {p99}{deadline} ms, {row['fps']} fps, "
        f"dropped {row['frames']['dropped']}, lost {row['frames']['lost']}, freezes "
        f"{row['freezes']['count']}, relay {row['relay'].get('cpu_cores')} cores, {row['outcome']}"
    )


if __name__ == "__main__":
    sys.exit(main())
