"""From events and samples to figures: books that balance, doubts that are said."""

import csv
from pathlib import Path
from typing import Any

import pytest

from rtcodec_client.load.conductor import Marks
from rtcodec_client.load.doubt import doubts
from rtcodec_client.load.feed import FeedSettings
from rtcodec_client.load.peer import PeerSpec
from rtcodec_client.load.plan import LoadSettings
from rtcodec_client.load.plot import plot_run
from rtcodec_client.load.record import RunRecord
from rtcodec_client.load.relay_probe import RelaySample
from rtcodec_client.load.report import make_report
from rtcodec_client.load.requirement import NAMES
from rtcodec_client.load.system import MachineSample, ProcessSample
from rtcodec_client.load.tally import Tally
from rtcodec_client.load.timeline import peer_rows, timeline, write_csv

S = 1_000_000
FEED = FeedSettings(width=640, height=360, fps=30, codec="vp8", bitrate_bps=500_000)
SETTINGS = LoadSettings(feed=FEED, churn_per_s=1.0)


def metrics(**frames: int) -> dict[Any, float]:
    out: dict[Any, float] = {
        ("rtcodec_frames_total", (("event", event), ("reason", ""))): n
        for event, n in frames.items()
    }
    out["rtcodec_psnr_db_sum", (("plane", "y"),)] = 40.0 * frames.get("encoded", 0)
    out["rtcodec_psnr_measurements_total", ()] = frames.get("encoded", 0)
    out["rtcodec_sessions", (("role", "publisher"),)] = 1
    return out


def look(at_s: int, *, rss_mb: int = 100, cpu_s: float = 0.0, **frames: int) -> RelaySample:
    process = ProcessSample(
        cpu_s=cpu_s, rss_bytes=rss_mb << 20, n_fds=20, n_threads=9, wait_s=cpu_s / 2
    )
    return RelaySample(
        at_us=at_s * S,
        metrics=metrics(**frames),
        rooms=[],
        n_foreign_rooms=0,
        total={},
        process=process,
        machine=MachineSample(busy_s=at_s * 1.5, stolen_s=0.0),
    )


def peer(name: str, role: str, *, is_churn: bool = False) -> PeerSpec:
    return PeerSpec(name=name, role=role, room="r", delay_us=0, is_churn=is_churn)


def subscriber_figures(**more: Any) -> dict[str, Any]:
    return {
        "units": 300, "lost": 3, "soak_units": 290, "soak_bytes": 125_000, "frozen_ms": 500.0,
        "freezes": 1, "longest_gap_ms": 500.0, "psnr_source": [[40.0, 42.0, 44.0]], **more,
    }  # fmt: skip


def told() -> RunRecord:
    """A run of one publisher, one subscriber and two of the churn, heard of from one process."""
    record = RunRecord()
    record.begin(now_us=10 * S)
    late = Tally()
    late.add(12.0)
    for spec in (
        peer("p0", "publisher"),
        peer("s0", "subscriber"),
        peer("c0", "subscriber", is_churn=True),
        peer("c1", "subscriber", is_churn=True),
    ):
        record.joining(spec, 0)
    times = {"answer": 5.0, "connect": 20.0, "first_frame": 50.0}
    events: list[dict[str, Any]] = [
        {"event": "joined", "peer": name, "times": times} for name in ("p0", "s0", "c0")
    ]
    events += [
        {"event": "failed", "peer": "c1", "reason": "the relay answered 503", "times": {}},
        {"event": "left", "peer": "c0", "reason": None, "figures": {"units": 7, "lost": 0}},
        *(
            {
                "event": "tick", "at_us": second * S, "cpu_s": (second - 10) * 0.5, "peers": 2,
                "counts": {"units": 30, "soak_units": 30, "published": 30},
                "stages": {"arrive": late.write()},
            }
            for second in range(11, 22)
        ),
        {"event": "left", "peer": "s0", "reason": None, "figures": subscriber_figures()},
        {"event": "left", "peer": "p0", "reason": None, "figures": {"frames": 330}},
        {
            "event": "ended",
            "counts": {"lost": 3, "lost_late": 3},
            "stages": {"send_lateness": late.write()},
        },
    ]  # fmt: skip
    for event in events:
        record.receive(0, event, is_ending=event["event"] == "left", now_us=22 * S)
    return record


def report_of(record: RunRecord) -> tuple[dict[str, Any], Marks, list[RelaySample]]:
    samples = [
        look(10),
        look(11, received=10, encoded=10, sent=10),
        look(16, rss_mb=105, cpu_s=2.5, received=160, encoded=159, dropped=1, sent=159),
        look(21, rss_mb=110, cpu_s=5.0, received=330, encoded=328, dropped=2, sent=335),
        look(24, rss_mb=108, cpu_s=5.1, received=330, encoded=328, dropped=2, sent=335),
    ]
    marks = Marks(
        at_us={"start": 10 * S, "ramp": 10 * S, "soak": 11 * S, "leave": 21 * S, "after": 22 * S},
        baseline=samples[0],
        soak_begin=samples[1],
        soak_end=samples[3],
        after=samples[4],
    )
    return make_report(SETTINGS, record, marks, samples), marks, samples


def test_the_report_holds_what_the_contract_asks_for() -> None:
    report, _, _ = report_of(told())
    assert {"received", "encoded", "dropped", "sent", "decoded", "lost"} <= set(report["frames"])
    assert all(f"latency.{stage}.p95" in NAMES for stage in report["latency_ms"])
    assert set(report["psnr_db"]) == {"y", "u", "v", "yuv"}
    assert report["fps"] == 29.0
    assert report["kbps"] == 100.0


def test_the_books_balance() -> None:
    frames = report_of(told())[0]["frames"]
    assert frames["received"] == frames["encoded"] + frames["dropped"]
    assert frames["sent"] == frames["units"] + frames["lost"] + frames["unfinished"]
    assert (frames["units"], frames["lost"], frames["unfinished"]) == (330, 3, 2)
    assert frames["lost_by_reason"] == {"late": 3}


def test_joins_and_churn_are_counted_apart() -> None:
    report = report_of(told())[0]
    assert (report["joins"]["ok"], report["joins"]["failed"]) == (2, 0)
    assert report["joins"]["publisher_ms"]["p50"] == pytest.approx(50.0, rel=0.01)
    churn = report["churn"]
    assert (churn["started"], churn["cycles"], churn["failed"]) == (2, 1, 1)
    assert churn["reasons"] == {"the relay answered 503": 1}


def test_the_relay_is_described_by_what_changed_during_the_soak() -> None:
    report = report_of(told())[0]
    relay = report["relay"]
    assert relay["cpu_cores"] == 0.5
    assert relay["rss_slope_mb_per_min"] == pytest.approx(60.0, rel=0.02)  # 10 MB in 10 s
    assert relay["rss_growth_mb"] == 8
    assert (relay["fds_left"], relay["threads_left"], relay["sessions_left"]) == (0, 0, 0)
    assert report["psnr_db"]["y"] == 40.0
    assert report["psnr_source_db"]["yuv"] == pytest.approx(40.75)
    assert report["machine"]["relay_wait_cores"] == 0.25
    assert report["machine"]["others_cores"] == 0.5  # 1.5 busy, half by each of us


def test_what_the_generator_did_wrong_is_a_doubt() -> None:
    report, _, _ = report_of(told())
    assert report["generator"]["limited"]
    assert any("late" in reason for reason in report["generator"]["reasons"])
    generator = {
        "deaths": [], "lateness_ms": {"p95": 1.0}, "skipped_share": 0.0, "processes": 2,
        "cpu_cores": 0.4,
    }  # fmt: skip
    machine = {"others_cores": 0.1, "stolen_cores": None}
    assert doubts({"generator": generator, "machine": machine}, cores=2) == []
    for change, said in (
        ({"deaths": ["peer process 0: out of memory"]}, "out of memory"),
        ({"lateness_ms": {"p95": 11.0}}, "11.0 ms late"),
        ({"skipped_share": 0.02}, "2.0% of its frames"),
        ({"cpu_cores": 1.9}, "used 1.90 cores"),
    ):
        (reason,) = doubts({"generator": generator | change, "machine": machine}, cores=2)
        assert said in reason
    busy = {"others_cores": 0.5, "stolen_cores": 0.2}
    (reason,) = doubts({"generator": generator, "machine": busy}, cores=2)
    assert "something else used 0.70" in reason


def test_a_process_that_dies_takes_its_peers_along_and_is_a_doubt() -> None:
    record = RunRecord()
    record.begin(now_us=10 * S)
    for number, name in enumerate(("p0", "s0", "s1")):
        record.joining(peer(name, "publisher" if name == "p0" else "subscriber"), number % 2)
    record.receive(
        0, {"event": "joined", "peer": "p0", "times": {}}, is_ending=False, now_us=11 * S
    )
    died = {"event": "died", "reason": "killed (exit code -9)", "code": -9}
    record.receive(0, died, is_ending=False, now_us=12 * S)
    states = {name: entry.state for name, entry in record.peers.items()}
    assert states == {"p0": "lost", "s0": "joining", "s1": "failed"}
    report, _, _ = report_of(record)
    assert report["generator"]["died"] == 1
    assert any("killed" in reason for reason in report["generator"]["reasons"])


def test_the_files_say_the_same_second_by_second(tmp_path: Path) -> None:
    record = told()
    _, marks, samples = report_of(record)
    rows = timeline(record, marks, samples)
    soak = [row for row in rows if row["phase"] == "soak"]
    assert [row["second"] for row in soak] == list(range(1, 11))
    assert all(row["units"] == 30 for row in soak)
    write_csv(rows, tmp_path / "timeline.csv")
    write_csv(peer_rows(record.steady), tmp_path / "peers.csv")
    with (tmp_path / "timeline.csv").open() as file:
        assert sum(int(row["units"]) for row in csv.DictReader(file)) == 330
    with (tmp_path / "peers.csv").open() as file:
        assert [row["peer"] for row in csv.DictReader(file)] == ["p0", "s0"]
    plot_run(rows, tmp_path / "load.png", title="test", fps=30, subscribers=1)
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")
    plot_run([], tmp_path / "load.png", title="nothing", fps=30, subscribers=0)
