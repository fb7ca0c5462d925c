"""Figures of several processes as those of one."""

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rtcodec.errors import RemoteProtocolError
from rtcodec.stats import StreamStats
from rtcodec_server.report import report_stats
from rtcodec_server.workers.metrics_page import lasting, merge_pages, read_page, write_page
from rtcodec_server.workers.report import WorkerReport
from rtcodec_server.workers.stats_tree import add_trees, fill, write_tree


def some_stats(n: int) -> StreamStats:
    stats = StreamStats()
    for step in range(n):
        stats.frames.received += 1
        stats.frames.drop("late" if step % 2 else "superseded")
        stats.add_latency("total", 1000 * step)
        stats.add_psnr(dict.fromkeys(("y", "u", "v", "yuv"), 30.0 + step))
        stats.bits_per_pixel.add(0.1)
        stats.nack_count += 2
    return stats


def test_figures_cross_a_socket_and_are_the_same() -> None:
    stats = StreamStats()
    fill(stats, json.loads(json.dumps(write_tree(some_stats(7)))))
    assert report_stats(stats) == report_stats(some_stats(7))


def test_the_sum_of_two_is_what_one_would_have_counted() -> None:
    one = some_stats(5)
    for step in range(3):
        one.frames.received += 1
        one.frames.drop("late" if step % 2 else "superseded")
        one.add_latency("total", 1000 * step)
        one.add_psnr(dict.fromkeys(("y", "u", "v", "yuv"), 30.0 + step))
        one.bits_per_pixel.add(0.1)
        one.nack_count += 2
    both = StreamStats()
    fill(both, add_trees(add_trees({}, write_tree(some_stats(5))), write_tree(some_stats(3))))
    assert report_stats(both) == report_stats(one)


@pytest.mark.parametrize(
    "tree",
    [
        {"frames": 5},
        {"frames": {"received": "many"}},
        {"frames": {"dropped": {"late": "many"}}},
        {"latency_ms": {"total": {"counts": [1], "count": 1, "total": 1.0}}},
        {"bits_per_pixel": {"count": 1}},
        {"nack_count": None},
        [1],
    ],
)
def test_other_trees_are_refused(tree: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        fill(StreamStats(), tree)


def test_trees_of_two_shapes_cannot_be_added() -> None:
    deep: Any = 1
    for _ in range(20):
        deep = {"a": deep}
    for a, b in (({"a": 1}, {"a": [1]}), ({"a": "1"}, {"a": 1}), (deep, deep)):
        with pytest.raises(RemoteProtocolError):
            add_trees(a, b)


def page(n: int) -> str:
    registry = CollectorRegistry()
    Counter("rtcodec_nack", "Asked.", ["asked"], registry=registry).labels("relay").inc(n)
    Gauge("rtcodec_rooms", "Rooms.", registry=registry).set(n)
    Gauge("rtcodec_event_loop_lag_seconds", "Lag.", registry=registry).set(n)
    Gauge("rtcodec_engine_info", "What runs.", ["engine"], registry=registry).labels("null").set(1)
    seconds = Histogram("rtcodec_frame_latency_seconds", "Time.", buckets=(1, 5), registry=registry)
    for value in range(n):
        seconds.observe(value)
    return generate_latest(registry).decode()


def values_of(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(sorted(map(str, sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_add_up_and_the_largest_lag_counts() -> None:
    merged = write_page(merge_pages((read_page(page(2)), read_page(page(6)))))
    values = values_of(merged)
    assert values["rtcodec_nack_totalrelay"] == 8
    assert values["rtcodec_rooms"] == 8
    assert values["rtcodec_event_loop_lag_seconds"] == 6
    assert values["rtcodec_engine_infonull"] == 1
    assert values["rtcodec_frame_latency_seconds_count"] == 8
    assert values["rtcodec_frame_latency_seconds_bucket1.0"] == 4
    assert merged.count("# TYPE rtcodec_rooms ") == 1


def test_the_narrowest_way_is_the_narrowest_of_all_processes() -> None:
    pages = []
    for bps in (300_000, 90_000, None):
        registry = CollectorRegistry()
        name = "rtcodec_narrowest_way_bits_per_second"
        gauge = Gauge(name, "a way", ["of"], registry=registry)  # no sample until it is labelled
        if bps is not None:
            gauge.labels("all").set(bps)
        pages.append(read_page(generate_latest(registry).decode()))
    samples = merge_pages(pages)["rtcodec_narrowest_way_bits_per_second"].samples
    assert list(samples.values()) == [90_000]


def test_a_page_alone_stays_what_it_is() -> None:
    text = page(3)
    assert values_of(write_page(read_page(text))) == values_of(text)


def test_of_the_dead_only_counters_stay() -> None:
    values = values_of(write_page(lasting(read_page(page(3)))))
    assert values["rtcodec_nack_totalrelay"] == 3
    assert "rtcodec_rooms" not in values


def test_lines_that_are_no_samples_are_left_out() -> None:
    assert write_page(read_page("nonsense\n\n# HELP a A.\n# TYPE a gauge\na x\na 1\n")) == (
        "# HELP a A.\n# TYPE a gauge\na 1.0\n"
    )


def test_a_report_is_read_as_it_was_written_and_nothing_else_is() -> None:
    report = WorkerReport({"a": True, "b": False}, 3, 17, 0.5)
    written = json.loads(json.dumps(report.write()))
    assert WorkerReport.read(written) == report
    for name, value in (("rooms", ["a", "b"]), ("sessions", "x"), ("at_us", None)):
        with pytest.raises(RemoteProtocolError):
            WorkerReport.read(written | {name: value})
    with pytest.raises(RemoteProtocolError):
        WorkerReport.read({})
