"""`make` says what it can do."""

import re
import subprocess
from pathlib import Path

import pytest


def test_make_help_has_one_line_for_each_target(request: pytest.FixtureRequest) -> None:
    root: Path = request.config.rootpath
    done = subprocess.run(
        ["make", "-s", "help"], cwd=root, capture_output=True, text=True, check=True, timeout=30
    )
    phony = re.search(r"^\.PHONY: (.*)$", (root / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    named = [line.split()[0] for line in done.stdout.splitlines()]
    assert sorted(named) == sorted({*phony.group(1).split()} - {"help"})
