"""`rtcodec demo`: the main job, end to end, in a small size."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from rtcodec.bitstream.file import RtcReader
from rtcodec.engine.loader import ENGINES, probe_engine
from support.command import outcome, run, said, start

SMALL = ("--engine", "null", "--size", "160x96")
USABLE = [name for name in ENGINES if probe_engine(name).usable]


def report_in(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def check_books(report: dict[str, Any]) -> None:
    frames = report["frames"]
    assert frames["received"] == frames["encoded"] + frames["dropped"]
    assert frames["dropped"] == sum(frames["dropped_by_reason"].values())
    assert frames["sent"] == frames["decoded"] + frames["lost"]
    assert report["accounts"] == {"relay": True, "subscriber": True}
    if not frames["lost"]:
        assert report["bitstream_bytes"] == report["bytes_sent"]


def check_files(out: Path, n_frames: int) -> None:
    assert sorted(path.name for path in out.iterdir()) == [
        "contact-sheet.png", "decoded.mp4", "received.rtc", "report.json",
    ]  # fmt: skip
    with av.open(str(out / "decoded.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == n_frames
    with (out / "received.rtc").open("rb") as file:
        assert sum(1 for _ in RtcReader(file)) == n_frames
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.width > 400


async def test_the_main_job_twice_in_a_row(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = await run("demo", *SMALL, "--seconds", "1.5", "--out", str(out), "--json")
    assert first.code == 0, first.err
    report = first.document
    assert report == report_in(out)
    check_books(report)
    frames = report["frames"]
    assert frames["published"] + frames["skipped"] == 45
    assert frames["published"] * 0.8 <= frames["received"] <= frames["published"]
    check_files(out, frames["decoded"])
    assert {"y", "u", "v", "yuv"} == set(report["psnr_db"])
    assert report["psnr_db"]["yuv"] > 20
    assert report["psnr_source_db"]["yuv"] > 20
    assert {"p50", "p95", "p99"} == set(report["latency_ms"]["total"])
    assert report["kbps"] > 0
    assert report["fps"] == pytest.approx(30, rel=0.3)
    assert {"model", "engine", "hardware", "versions"} <= set(report)
    for part in ("watch page: http://127.0.0.1:", " fps", " kb/s", "dB", "latency", "wrote"):
        assert part in first.err

    clip = tmp_path / "clip.mp4"
    (out / "decoded.mp4").replace(clip)
    second = await run("demo", "--engine", "null", "--input", str(clip), "--out", str(out))
    assert second.code == 0, second.err
    assert second.out == ""
    check_books(report_in(out))
    check_files(out, report_in(out)["frames"]["decoded"])


@pytest.mark.parametrize("engine", USABLE)
async def test_a_shipped_model_runs_in_it(tmp_path: Path, engine: str) -> None:
    words = ("--model", "n64", "--engine", engine, "--size", "96x64", "--seconds", "1")
    done = await run("demo", *words, "--out", str(tmp_path / "out"), timeout_s=120)
    assert done.code == 0, done.err
    report = report_in(tmp_path / "out")
    check_books(report)
    assert (report["model"], report["engine"]) == ("n64", engine)
    assert report["psnr_db"]["yuv"] > 15


async def test_an_interrupt_ends_it_early_with_a_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = await start("demo", *SMALL, "--seconds", "60", "--out", str(out))
    await said(process, r"\d fps")
    process.send_signal(signal.SIGINT)
    ended = await outcome(process)
    assert ended.code == 0, ended.err
    report = report_in(out)
    check_books(report)
    assert 0 < report["frames"]["decoded"] < 1500
    check_files(out, report["frames"]["decoded"])


async def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = await run("demo", *SMALL, "--port", str(port), "--out", str(tmp_path / "out"))
    assert done.code == 2
    assert done.last_line.startswith("rtcodec: the relay ended early: cannot listen on")
    assert not list((tmp_path / "out").iterdir())


async def test_odd_sizes_pass_through(tmp_path: Path) -> None:
    words = ("demo", "--engine", "null", "--size", "17x23", "--seconds", "0.5")
    done = await run(*words, "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    report = report_in(tmp_path / "out")
    check_books(report)
    assert (report["settings"]["width"], report["settings"]["height"]) == (17, 23)
