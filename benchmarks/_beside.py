"""
Two checkouts' relays beside each other on one core: processor time of each for a frame.

    python -m benchmarks._beside OTHER_CHECKOUT [--publishers 2] [--subscribers 1] [--seconds 12]

What else the machine does slows both alike, so the ratio holds where neither figure does. Each
relay has an engine that costs nothing, and peers of its own checkout on the second core; both have
as many frames, over the same seconds. Prints JSON: milliseconds for a frame received and for one
sent, of all threads and of the event loop, and how often threads changed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import relay_process

HERE = Path(__file__).parents[1]
PARTS = ("", "server", "engines", "clients", "tests")
RAMP_S = 4
SETTLE_FRAMES = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a relay."""

    received: int
    "Frames."

    sent: int
    all_ms: float
    "Processor time of its threads."

    loop_ms: float
    "Of that, the event loop's."

    switches: int
    "Times that a thread gave the processor up or had to."


def environment(checkout: Path) -> dict[str, str]:
    """Return the variables with which a process imports *checkout*."""
    return {**os.environ, "PYTHONPATH": ":".join(str(checkout / part) for part in PARTS)}


def look(pid: int, url: str) -> Sample:
    """Read a relay's figures and those of its threads."""
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    frames = dict(re.findall(r'^rtcodec_frames_total\{event="(\w+)",reason=""\} (\d+)', text, re.M))
    spent_ms, switches = {}, 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            spent_ms[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e6
            status = (task / "status").read_text()
            switches += sum(map(int, re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status)))
    received, sent = int(frames["received"]), int(frames["sent"])
    return Sample(received, sent, sum(spent_ms.values()), spent_ms[pid], switches)


def between(before: Sample, after: Sample) -> dict[str, float]:
    """Return what a relay took for a frame from one look to the next."""
    received, sent = after.received - before.received, after.sent - before.sent
    all_ms, loop_ms = after.all_ms - before.all_ms, after.loop_ms - before.loop_ms
    return {
        "received": received,
        "sent": sent,
        "ms_a_frame": round(all_ms / received, 3),
        "ms_sent": round(all_ms / sent, 4),
        "loop_ms_sent": round(loop_ms / sent, 4),
        "switches_a_frame": round((after.switches - before.switches) / received, 2),
    }


def measure(checkouts: list[Path], n_publishers: int, n_subscribers: int, seconds: float) -> None:
    """Run the relays and their peers; print what each took."""
    test = [
        "-m", "rtcodec.cli", "loadtest", "--publishers", str(n_publishers), "--subscribers",
        str(n_subscribers), "--decode", "0", "--ramp", str(RAMP_S), "--peer-cores", "1",
        "--duration", str(seconds + 12), "--json",
    ]  # fmt: skip
    with ExitStack() as stack:
        relays = []
        for checkout in checkouts:
            command = ["taskset", "-c", "0", sys.executable, "-m", "benchmarks._relay", os.devnull]
            command += ["--engine", "free"]
            relay = relay_process(command, cwd=checkout, env=environment(checkout))
            relays.append(stack.enter_context(relay))
        for checkout, (_, url) in zip(checkouts, relays, strict=True):
            peers = subprocess.Popen(
                [sys.executable, *test, url],
                cwd=checkout,
                env=environment(checkout),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(peers.wait)
        wanted = SETTLE_FRAMES * n_publishers * n_subscribers
        while any(look(*relay).sent < wanted for relay in relays):
            time.sleep(1)
        before = [look(*relay) for relay in relays]
        time.sleep(seconds)
        after = [look(*relay) for relay in relays]
        rows = map(between, before, after)
        print(json.dumps(dict(zip(map(str, checkouts), rows, strict=True)), indent=2))


def main() -> int:
    """Compare this checkout with another."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0].strip())
    parser.add_argument("other", type=Path, help="a checkout, its C parts built")
    parser.add_argument("--publishers", type=int, default=2)
    parser.add_argument("--subscribers", type=int, default=1, help="of each")
    parser.add_argument("--seconds", type=float, default=12)
    args = parser.parse_args()
    measure([args.other.resolve(), HERE], args.publishers, args.subscribers, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
