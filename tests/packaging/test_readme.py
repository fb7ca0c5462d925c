"""The README keeps its promises: short, its example runs, its files exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rtcodec

ROOT = Path(rtcodec.__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_is_short_and_starts_with_two_commands() -> None:
    assert len(README.splitlines()) <= 150
    first = re.search(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == [
        "make demo",
        "make test",
    ]


def test_the_readme_has_an_example() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_readme_runs(example: str, tmp_path: Path) -> None:
    paths = [ROOT, ROOT / "server", ROOT / "engines", ROOT / "clients"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/operating.md",
        "docs/adr/README.md",
    ],
)
def test_links_in_a_document_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert ((ROOT / document).parent / target).exists(), target


def test_every_test_that_security_names_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    files = {path.name: path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    names = set(re.findall(r"\btest_\w+(?:\.py)?", text))
    assert len(names) > 20
    for name in names:
        if name.endswith(".py"):
            assert name in files, name
        else:
            assert any(re.search(rf"def {name}\(", code) for code in files.values()), name
    for row in re.findall(r"^\| (?!attempt|---).*\|$", text, flags=re.MULTILINE):
        last = row.strip("| ").rpartition("|")[2]
        assert "test" in last or last.strip() == "aiortc's", f"no test is named: {row}"
