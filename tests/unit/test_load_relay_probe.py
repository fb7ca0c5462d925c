"""What the relay's metrics say between two looks, and what the system says of a process."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from rtcodec_client.load.relay_probe import RelaySample, latency_between, read_metrics
from rtcodec_client.load.system import (
    is_here,
    listener_of,
    sample_family,
    sample_machine,
    sample_process,
)

TEXT = """
# HELP rtcodec_frames_total Frames by what became of them.
# TYPE rtcodec_frames_total counter
rtcodec_frames_total{event="received",reason=""} 10.0
rtcodec_frames_total{event="dropped",reason="superseded"} 2.0
rtcodec_frames_total{event="dropped",reason="late"} 1.0
rtcodec_event_loop_lag_seconds 0.0125
rtcodec_sessions{role="publisher"} 1.0
rtcodec_sessions{role="subscriber"} 3.0
rtcodec_frame_latency_seconds_bucket{le="0.01",stage="total"} %d
rtcodec_frame_latency_seconds_bucket{le="0.02",stage="total"} %d
rtcodec_frame_latency_seconds_bucket{le="+Inf",stage="total"} %d
nonsense{
rtcodec_broken not-a-number
"""


def sample(*buckets: int, at_us: int = 0) -> RelaySample:
    return RelaySample(
        at_us=at_us,
        metrics=read_metrics(TEXT % (buckets or (0, 0, 0))),
        rooms=[],
        n_foreign_rooms=0,
        total={},
        process=None,
        machine=None,
    )


def test_metrics_are_read_by_name_and_labels() -> None:
    look = sample()
    assert look.frames() == {"received": 10, "encoded": 0, "dropped": 3, "sent": 0, "unsent": 0}
    assert look.dropped() == {"superseded": 2, "late": 1}
    assert look.loop_lag_ms == 12.5
    assert look.n_sessions == 4
    assert look.metric("rtcodec_sessions", role="publisher") == 1
    assert look.metric("rtcodec_broken") is None


def test_percentiles_are_of_what_came_between_two_looks() -> None:
    before, after = sample(1000, 1000, 1000), sample(1050, 1100, 1100)
    stages = latency_between(before, after)
    assert stages == {"total": {"p50": 10.0, "p95": 19.0, "p99": 19.8}}
    assert latency_between(after, after) == {"total": dict.fromkeys(("p50", "p95", "p99"))}


def test_what_lies_above_the_last_bound_is_said_to_be_there() -> None:
    stages = latency_between(sample(), sample(0, 0, 10))
    assert stages["total"]["p95"] == pytest.approx(20.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_is_seen_with_its_threads_and_descriptors() -> None:
    first = sample_process(os.getpid())
    assert first is not None
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        with socket.socket() as extra:
            assert extra.fileno() >= 0
            second = sample_process(os.getpid())
    finally:
        release.set()
        thread.join()
    assert second is not None
    assert second.n_threads == first.n_threads + 1
    assert second.n_fds is not None
    assert first.n_fds is not None
    assert second.n_fds == first.n_fds + 1
    assert second.cpu_s >= first.cpu_s > 0
    assert second.rss_bytes > 1 << 20
    machine = sample_machine()
    assert machine is not None
    assert machine.busy_s > first.cpu_s
    assert sample_process(2**22 + 1) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_relay_with_workers_is_seen_as_one() -> None:
    alone = sample_process(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        family = sample_family(os.getpid())
        worker.kill()
    assert alone is not None
    assert family is not None
    assert family.n_threads > alone.n_threads
    assert family.cpu_s >= alone.cpu_s
    assert sample_family(2**22 + 1) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_relays_process_is_found_by_its_port() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert listener_of(port) is None
        listener.listen()
        assert listener_of(port) == os.getpid()


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("203.0.113.77", False), ("fe80::1", False)],
)
def test_an_address_of_this_machine_is_told_from_others(address: str, expected: bool) -> None:
    assert is_here(address) is expected
