"""What a subscriber counts, and how it is shown: figures, samples, sheet, lines, report."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from rtcodec.quality import PlanePsnr
from rtcodec_client.contact_sheet import (
    SheetText,
    Timeline,
    draw_contact_sheet,
    write_contact_sheet,
)
from rtcodec_client.demo_report import DemoOptions, accounts, demo_report, goals, summary_lines
from rtcodec_client.display import LineDisplay, Snapshot, TerminalDisplay, line_of, panel_of
from rtcodec_client.event_log import EventReader, EventWriter
from rtcodec_client.frame_record import STAGES, FrameRecord, WatchFigures, percentiles
from rtcodec_client.machine import hardware, versions
from rtcodec_client.room_status import RoomStatus, read_room
from rtcodec_client.sample import FrameSample, SampleKeeper
from rtcodec_client.watch_command import progress_line, sheet_text
from support.pictures import noise


def record(number: int, *, total_ms: float = 50.0, psnr: float | None = 36.0) -> FrameRecord:
    return FrameRecord(
        number=number,
        pts=number * 3000,
        decoded_us=1_000_000 + number * 33_333,
        n_bytes=1000,
        stages_ms={"peer_decode": 10.0, "total": total_ms},
        psnr_db=None if psnr is None else PlanePsnr(psnr, psnr + 1, psnr + 2),
    )


def figures_of(count: int) -> WatchFigures:
    figures = WatchFigures()
    for number in range(count):
        figures.add(record(number, total_ms=float(number)))
    return figures


# ---- figures


def test_rates_are_of_the_stream_not_of_the_gaps_between_its_ends() -> None:
    report = figures_of(31).report()
    assert report["fps"] == pytest.approx(30.0, abs=0.01)
    assert report["kbps"] == pytest.approx(240.0, abs=0.1)  # 30 frames of 1000 bytes a second
    assert report["bitstream_bytes"] == 31_000


def test_percentiles_and_quality_are_over_all_frames() -> None:
    report = figures_of(101).report()
    assert report["latency_ms"]["total"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert list(report["latency_ms"]) == ["peer_decode", "total"]
    assert report["psnr_db"] == {"y": 36.0, "u": 37.0, "v": 38.0, "yuv": 36.375}
    assert report["psnr_min_db"] == 36.375
    assert report["psnr_source_db"]["yuv"] is None
    json.dumps(report)


def test_nothing_watched_is_reported_as_nothing() -> None:
    report = WatchFigures().report()
    assert (report["fps"], report["kbps"], report["latency_ms"]) == (0.0, 0.0, {})
    assert report["psnr_db"]["yuv"] is None
    assert WatchFigures().live() == {"decoded": 0, "lost": 0}


def test_live_figures_forget_what_is_older_than_two_seconds() -> None:
    figures = WatchFigures()
    for number in range(300):
        figures.add(record(number, psnr=30.0 if number < 200 else 40.0))
    assert len(figures.recent) <= 62
    assert figures.live()["psnr_db"]["y"] == 40.0
    assert figures.live()["fps"] == pytest.approx(30.0, abs=0.1)


def test_losses_are_counted_by_reason_and_never_downwards() -> None:
    figures = WatchFigures()
    figures.lose("network", 2)
    figures.lose("network")
    figures.lose("late", 0)
    figures.lose("unfinished", -1)
    assert dict(figures.lost) == {"network": 3}
    assert figures.n_lost == 3


def test_percentiles_are_interpolated() -> None:
    assert percentiles([0.0, 10.0]) == {"p50": 5.0, "p95": 9.5, "p99": 9.9}


def test_the_stages_of_the_relay_are_among_those_of_the_whole_way() -> None:
    assert STAGES[0] == "publish"
    assert STAGES[-1] == "total"


def test_progress_fits_in_one_line() -> None:
    line = progress_line(figures_of(40).live())
    assert line.startswith("40 frames, 30.0 fps, 240 kb/s, 36.38 dB, ")
    assert "lost" not in line


# ---- samples and the sheet


def sample(number: int, size: tuple[int, int] = (32, 20)) -> FrameSample:
    return FrameSample(
        number, number * 33_333, noise(*size, 1), noise(*size, 2), 900, PlanePsnr(30.0, 31.0, 32.0)
    )


@pytest.mark.parametrize("length", [1, 3, 7, 8, 100, 1000])
def test_samples_are_spread_over_a_stream_of_any_length(length: int) -> None:
    keeper = SampleKeeper(4)
    for number in range(length):
        if keeper.wants(number):
            keeper.keep(sample(number))
    numbers = [kept.number for kept in keeper.pick()]
    assert len(numbers) == min(4, length)
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-1] >= length * 0.7 - 1


def test_one_sample_is_taken_from_the_middle() -> None:
    keeper = SampleKeeper(1)
    for number in range(2):
        keeper.keep(sample(number))
    assert len(keeper.pick()) == 1


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (640, 360), (36, 640)])
def test_the_sheet_shows_every_sample_in_a_row(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "sheet.png"
    text = SheetText("title", ["one fact", "another"])
    write_contact_sheet(path, [sample(0, size), sample(9, size)], Timeline([], []), text)
    one = draw_contact_sheet([sample(0, size)], Timeline([], []), text)
    with Image.open(path) as two:
        assert two.format == "PNG"
        assert two.height > one.height
        assert two.width == one.width


def test_a_timeline_adds_a_chart() -> None:
    text = SheetText("title", [])
    plain = draw_contact_sheet([sample(0)], Timeline([], []), text)
    chart = draw_contact_sheet([sample(0)], Timeline([30.0] * 5000, [1000] * 5000), text)
    assert chart.height > plain.height


# ---- events


def test_events_are_followed_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "x.events"
    reader = EventReader(path)
    assert reader.poll() == []
    with EventWriter(path) as writer:
        writer.write("connected")
        assert reader.poll() == [{"event": "connected"}]
        writer.write("progress", fps=30.0)
        with path.open("a") as file:
            file.write('{"event": "ha')  # a line in the making
        assert reader.poll() == [{"event": "progress", "fps": 30.0}]
        assert reader.poll() == []


def test_events_without_a_file_go_nowhere() -> None:
    with EventWriter(None) as writer:
        writer.write("connected")


# ---- the relay's figures


def room_document() -> dict[str, Any]:
    return {
        "engine": {"engine": "openvino", "model": "s128", "model_id": "ab" * 32},
        "rooms": [
            {
                "room": "demo",
                "frames": {
                    "received": 100,
                    "encoded": 97,
                    "dropped": 2,
                    "dropped_by_reason": {"superseded": 2},
                },
                "latency_ms": {"total": {"p50": 20.0, "p95": 30.0, "p99": 40.0}},
                "psnr_db": {"yuv": 36.0},
                "subscribers": [
                    {"session": "other", "frames_sent": 1},
                    {"session": "mine-beg", "frames_sent": 97, "bitstream_bytes": 5000},
                ],
            }
        ],
    }


def test_a_room_is_read_with_what_was_sent_to_us() -> None:
    document = room_document()
    status = read_room(document, document["rooms"][0], "mine-beginning")
    assert (status.received, status.encoded, status.n_dropped, status.in_flight) == (100, 97, 2, 1)
    assert (status.sent, status.bytes_sent) == (97, 5000)
    assert (status.engine, status.model) == ("openvino", "s128")


def test_a_relay_that_says_nothing_or_nonsense_is_fine() -> None:
    assert read_room({}, {}, None) == RoomStatus()
    status = read_room({"engine": 3}, {"frames": [], "subscribers": [7], "psnr_db": "x"}, "mine")
    assert (status.received, status.in_flight, status.psnr_db) == (None, None, None)


# ---- the report


def watched(**frames: Any) -> dict[str, Any]:
    counts = {"received": 100, "encoded": 99, "dropped": 1, "sent": 99, "decoded": 98, "lost": 1}
    return {
        "frames": {
            **counts,
            "dropped_by_reason": {"superseded": 1},
            "lost_by_reason": {"late": 1},
            **frames,
        },
        **figures_of(60).report(),
        "relay_latency_ms": {"total": {"p50": 20.0, "p95": 30.0, "p99": 40.0}},
        "model": "s128",
        "engine": "openvino",
        "hardware": {"cpu": "a CPU", "cores": 2, "precision": "bf16"},
        "versions": {},
    }


def options(tmp_path: Path) -> DemoOptions:
    return DemoOptions(input="pattern:64x36", out=tmp_path, size=(64, 36))


def test_the_report_says_whether_the_books_balance(tmp_path: Path) -> None:
    published = {"frames": {"published": 100, "skipped": 0}, "fps": 30.0}
    report = demo_report(watched(), published, options(tmp_path), cores={})
    assert report["accounts"] == {"relay": True, "subscriber": True}
    assert report["frames"]["published"] == 100
    assert report["publisher"] == {"fps": 30.0}
    assert report["goals"]["dropped_share"] == {"measured": 0.01, "reach": 0.01}
    assert report["goals"]["relay_added_p50_ms"]["measured"] == 20.0
    json.dumps(report)


def test_books_that_do_not_balance_are_not_hidden() -> None:
    assert accounts(watched(encoded=90)["frames"])["relay"] is False
    assert accounts(watched(lost=0)["frames"])["subscriber"] is False
    assert accounts(watched(received=None)["frames"])["relay"] is None


def test_goals_without_a_measurement_are_empty() -> None:
    empty = {"frames": {"received": 0, "dropped": 0}}
    assert goals(empty)["publish_to_decoded_p95_ms"]["measured"] is None
    assert goals(empty)["dropped_share"]["measured"] is None


def test_the_summary_says_what_became_of_every_frame(tmp_path: Path) -> None:
    text = "\n".join(
        summary_lines(demo_report(watched(), {}, options(tmp_path), cores={"relay": 0.5}))
    )
    assert "100 received, 99 encoded, 1 dropped, 99 sent, 98 decoded, 1 lost" in text
    assert "1 superseded, 1 late" in text
    assert "cores used: relay 0.50" in text
    assert "publish to decoded 29.5 ms (p50)" in text


def test_the_sheet_names_model_rate_and_quality() -> None:
    text = sheet_text(watched())
    assert text.title == "rtcodec s128: 240 kb/s at 30.0 frames/s, PSNR 36.38 dB"
    assert "openvino (bf16) on a CPU, 2 cores" in text.facts[0]
    assert "98 frames decoded, 1 lost, 1 dropped" in text.facts[1]


def test_hardware_and_versions_are_named() -> None:
    assert hardware()["cores"] >= 1
    assert hardware()["cpu"]
    assert {"rtcodec", "python", "numpy"} <= set(versions())


# ---- the display


def snapshot(**changes: Any) -> Snapshot:
    live = figures_of(60).live()
    live["latency_ms"] |= {"publish": {"p50": 4.0, "p95": 6.0, "p99": 7.0}}
    values: dict[str, Any] = {
        "headline": "clip through s128",
        "page": "http://127.0.0.1:1/",
        "elapsed_s": 2.0,
        "duration_s": 10.0,
        "live": live,
        "frames": {"received": 60, "dropped": 3, "decoded": 57, "lost": 0},
    }
    return Snapshot(**(values | changes))


def test_a_line_holds_rate_quality_latency_and_losses() -> None:
    line = line_of(snapshot())
    for part in ("30.0 fps", "240 kb/s", "36.38 dB", "latency", "publish 4", "dropped 3 lost 0"):
        assert part in line


def test_lines_come_once_a_second_and_headlines_once(capsys: pytest.CaptureFixture[str]) -> None:
    with LineDisplay() as display:
        for elapsed_s in (0.0, 0.3, 0.6, 1.1):
            display.update(snapshot(elapsed_s=elapsed_s))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "clip through s128"
    assert len(lines) == 3


def test_the_panel_shows_every_stage_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    console.print(panel_of(snapshot()))
    console.print(panel_of(snapshot(live={}, duration_s=None)))
    with TerminalDisplay(console) as display:
        display.update(snapshot())
        display.note("a note")
    file = console.file
    assert isinstance(file, io.StringIO)
    text = file.getvalue()
    for part in ("rtcodec demo", "publish to decoded", "watch page", "a note", "dropped"):
        assert part in text
