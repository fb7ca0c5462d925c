"""`rtcodec vectors`: one line for each difference, and what may be written."""

import argparse
import shutil
from pathlib import Path

import pytest

from rtcodec.conformance import vectors_command
from rtcodec.conformance.store import ALL_RECIPES
from rtcodec.conformance.vector import find_vectors
from rtcodec.errors import InputError

ROOT = Path(__file__).parent


def vectors(*words: str) -> int:
    parser = argparse.ArgumentParser()
    vectors_command.add_arguments(parser)
    return vectors_command.run(parser.parse_args(words))


def test_named_vectors_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert vectors("--root", str(ROOT), "smallest", "malformed/empty") == 0
    assert vectors("--root", str(ROOT), "--reference", "smallest") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "2 vectors conform\n1 vectors conform\n"


def test_differences_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    for name in ("smallest", "odd_size"):
        shutil.copytree(ROOT / "vectors" / name, tmp_path / "vectors" / name)
    expect = tmp_path / "vectors" / "odd_size" / "expect.json"
    expect.write_text(expect.read_text().replace('"height": 23', '"height": 24'))
    with pytest.raises(InputError, match="1 of 2 vectors differ"):
        vectors("--root", str(tmp_path))
    assert capsys.readouterr().out == "odd_size: sequence.height: expected 24, is 23\n"


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no vectors here"):
        vectors("--root", str(tmp_path))
    with pytest.raises(InputError, match="no vector called nothing"):
        vectors("--root", str(ROOT), "nothing")


def test_writing_prints_what_changes_and_keeps_the_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "SPEC.md"
    spec.write_text("before\n<!-- smallest -->\n<!-- /smallest -->\nafter\n")
    monkeypatch.setattr("rtcodec.conformance.vectors_command.SPEC", spec)
    few = ALL_RECIPES[:2]
    monkeypatch.setattr("rtcodec.conformance.store.ALL_RECIPES", few)
    root = ("--root", str(tmp_path))

    assert vectors(*root, "--write", "--dry-run") == 0
    assert "added    vectors/smallest/input.rtc" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [spec]
    assert vectors(*root, "--write") == 0
    assert len(find_vectors(tmp_path)) == len(few)
    assert "end.crc" in spec.read_text()
    assert spec.read_text().startswith("before\n")
    assert spec.read_text().endswith("after\n")

    capsys.readouterr()
    assert vectors(*root, "--write") == 0
    assert capsys.readouterr().out == ""
    (tmp_path / "vectors" / "smallest" / "input.rtc").write_bytes(b"changed")
    with pytest.raises(InputError, match="to break the promise"):
        vectors(*root, "--write")
    assert capsys.readouterr().out == "changed  vectors/smallest/input.rtc\n"
