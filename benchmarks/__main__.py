"""
Run every benchmark, one after the other, each in its own process.

    python -m benchmarks [NAME...]

Each is a module of this folder that also runs alone and writes its own JSON.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NEED_A_DEVICE = ("gpu",)
"Run only when named: see `make gpu`."


def main(names: list[str]) -> int:
    """Run the benchmarks called *names*, or all for a CPU; 1 if one failed, 2 for a wrong name."""
    known = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or [name for name in known if name not in NEED_A_DEVICE]:
        print(f"== {name}", file=sys.stderr, flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
