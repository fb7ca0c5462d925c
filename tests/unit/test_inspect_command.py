"""`rtcodec inspect`: the reader, watched."""

import argparse
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from rtcodec.bitstream import inspect_command
from rtcodec.errors import Corrupt, Truncated
from support.bitstreams import rtc_of, sequence_of, unit_of

WIRE = rtc_of(sequence_of(), [unit_of(0), unit_of(1)])


def inspect(*words: str) -> int:
    parser = argparse.ArgumentParser()
    inspect_command.add_arguments(parser)
    return inspect_command.run(parser.parse_args(words))


def test_every_byte_of_a_file_is_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.rtc").write_bytes(WIRE)
    assert inspect(str(tmp_path / "in.rtc")) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    rows = [line.split() for line in lines]
    assert sum(int(row[1]) for row in rows) == len(WIRE)
    assert rows[3][:3] == ["13", "4", "sequence.geometry"]
    assert lines[3].endswith("(130x70, 8 bits)")
    assert rows[-1][2] == "end.crc"


def test_json_from_stdin_is_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(WIRE)))
    assert inspect("-", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["complete"]
    assert report["units"] == 2
    assert report["error"] is None
    assert report["fields"][0] == {
        "offset": 0,
        "size_bytes": 4,
        "name": "sequence.magic",
        "value": "89525443",
        "meaning": "",
    }


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_comes_before_a_cut_is_shown(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.rtc").write_bytes(WIRE[:45])
    with pytest.raises(Truncated) as caught:
        inspect(str(tmp_path / "cut.rtc"), *options)
    assert caught.value.offset == 45
    out = capsys.readouterr().out
    assert "unit[0].packet[0].payload" in out
    if options:
        report = json.loads(out)
        assert not report["complete"]
        assert report["error"] == {
            "kind": "Truncated",
            "offset": 45,
            "message": caught.value.message,
        }


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(Corrupt, match="not an rtcodec stream"):
        inspect(str(tmp_path / "picture.png"))
    (tmp_path / "empty.rtc").write_bytes(b"")
    with pytest.raises(Truncated):
        inspect(str(tmp_path / "empty.rtc"))
    with pytest.raises(FileNotFoundError):
        inspect(str(tmp_path / "missing.rtc"))
