"""C programs of the tests, compiled so that they notice what they must not do."""

import os
import subprocess
from pathlib import Path

import pytest

from rtcodec.entropy import build


def sanitized(source: Path, output: Path, *flags: str) -> Path:
    """Compile the C program *source*; skip the test where the compiler has no sanitizers."""
    command = build.find_compiler(os.environ)
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = output.with_suffix(".c")
    probe.write_text("int main(void) { return 0; }\n")
    tried = subprocess.run(
        [*command, *sanitizers, str(probe), "-o", str(output)], capture_output=True, check=False
    )
    if tried.returncode or subprocess.run([output], capture_output=True, check=False).returncode:
        pytest.skip(f"{command[0]} has no working address and undefined behaviour sanitizers")
    subprocess.run(
        [*command, "-std=c11", "-O0", "-g", *sanitizers, *flags, str(source), "-o", str(output)],
        check=True,
    )
    return output


def fuzz(name: str, folder: Path, *flags: str, rounds: int) -> list[int]:
    """
    Compile a fuzzing program and run it; fail if it accesses what it must not.

    Args:
        name: Of a C file beside this one.
        folder: For the program.
        flags: Of the compiler, or more C files.
        rounds: How long it runs.

    Returns:
        The numbers that it prints, in order.
    """
    source = Path(__file__).with_name(name)
    program = sanitized(source, folder / source.stem, *flags)
    done = subprocess.run(
        [program, "1", str(rounds)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split() if word.isdigit()]
