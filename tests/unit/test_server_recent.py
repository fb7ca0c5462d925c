"""Figures of the last seconds."""

from rtcodec.stats import StreamStats
from rtcodec_server.recent import RecentFigures

S = 1_000_000


def test_before_anything_is_measured_there_is_nothing() -> None:
    recent, stats = RecentFigures(), StreamStats()
    assert recent.report(stats)["psnr_db"] is None
    recent.sample(stats, now_us=0)
    report = recent.report(stats)
    assert report["psnr_db"] is None
    assert report["latency_ms"]["total"] == {"p50": None, "p95": None}


def test_what_was_before_the_window_is_forgotten() -> None:
    recent, stats = RecentFigures(), StreamStats()
    for second in range(20):
        for _ in range(30):
            stats.add_latency("total", 100_000 if second < 10 else 10_000)
            stats.add_psnr({"y": 30.0, "u": 30.0, "v": 30.0, "yuv": 30.0 if second < 10 else 40.0})
        recent.sample(stats, now_us=second * S)
    report = recent.report(stats)
    assert report["psnr_db"] == 40.0
    assert 9 < report["latency_ms"]["total"]["p95"] < 11
    total = stats.latency_ms["total"].quantile(0.95)
    assert total is not None
    assert total > 90  # which the totals still say


def test_what_came_since_the_last_note_counts() -> None:
    recent, stats = RecentFigures(), StreamStats()
    recent.sample(stats, now_us=0)
    stats.add_latency("engine", 20_000)
    assert 19 < recent.report(stats)["latency_ms"]["engine"]["p50"] < 21
    assert recent.report(stats)["latency_ms"]["total"]["p50"] is None


def test_notes_are_few_however_often_it_is_called() -> None:
    recent, stats = RecentFigures(), StreamStats()
    stats.add_latency("total", 100_000)
    recent.sample(stats, now_us=0)
    stats.add_latency("total", 10_000)
    recent.sample(stats, now_us=S // 10)  # too soon after the first to be one
    stats.add_latency("total", 10_000)
    assert 9 < recent.report(stats)["latency_ms"]["total"]["p50"] < 11


def test_a_rest_longer_than_the_window_leaves_nothing_recent() -> None:
    recent, stats = RecentFigures(), StreamStats()
    stats.add_latency("total", 10_000)
    for second in range(0, 30, 3):
        recent.sample(stats, now_us=second * S)
    assert recent.report(stats)["latency_ms"]["total"]["p50"] is None
