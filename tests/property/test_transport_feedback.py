"""Transport-wide feedback: pairs, hostile bytes, and any order of arrival."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import BitstreamError, Truncated
from rtcodec.packet.arrival_log import ArrivalLog
from rtcodec.packet.bandwidth import BandwidthEstimator, ReceiverEstimator
from rtcodec.packet.sent_packets import SentPackets
from rtcodec.packet.transport_feedback import (
    DELTA_MAX,
    DELTA_MIN,
    TransportFeedback,
    read_transport_feedback,
    write_transport_feedback,
)

deltas = st.none() | st.integers(0, 255) | st.integers(DELTA_MIN, DELTA_MAX)
runs = st.lists(st.tuples(deltas, st.integers(1, 40)), min_size=1, max_size=12)


@st.composite
def feedbacks(draw: st.DrawFn) -> TransportFeedback:
    arrivals: list[int | None] = []
    ticks = 0
    for delta, times in draw(runs):
        for _ in range(times):
            if delta is not None:
                ticks += delta
            arrivals.append(None if delta is None else ticks)
    if all(at is None for at in arrivals):
        arrivals.append(3)
    return TransportFeedback(
        draw(st.integers(0, 0xFFFF)),
        draw(st.integers(0, 0xFF)),
        draw(st.integers(0, 0xFFFFFF)),
        tuple(arrivals),
    )


@given(feedbacks())
def test_what_is_written_is_read_back(feedback: TransportFeedback) -> None:
    wire = write_transport_feedback(feedback)
    assert len(wire) % 4 == 0
    assert read_transport_feedback(wire) == feedback


@given(feedbacks(), st.data())
def test_a_prefix_without_the_last_arrival_is_truncated(
    feedback: TransportFeedback, data: st.DataObject
) -> None:
    wire = write_transport_feedback(feedback)
    cut = data.draw(st.integers(0, len(wire) - 4))
    with pytest.raises(Truncated):
        read_transport_feedback(wire[:cut])


@given(st.binary(max_size=80) | st.binary(min_size=4).map(lambda b: b"\0\0\0\x20" + b))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        feedback = read_transport_feedback(data)
    except BitstreamError:
        return
    assert read_transport_feedback(write_transport_feedback(feedback)) == feedback


@given(st.lists(feedbacks(), max_size=6), st.integers(0, 300))
def test_feedback_from_anybody_leaves_the_estimate_within_its_bounds(
    heard: list[TransportFeedback], n_sent: int
) -> None:
    sent, estimator = SentPackets(), BandwidthEstimator()
    for n in range(n_sent):
        sent.send(1200, now_us=n * 1000)
    for n, feedback in enumerate(heard):
        estimator.feedback(sent.acknowledge(feedback), now_us=300_000 + n * 100_000)
        assert 30_000 <= estimator.bps <= 50_000_000
        assert 0.0 <= estimator.loss <= 1.0


@given(st.lists(st.tuples(st.integers(0, 0xFFFFFF), st.integers(0, 10**6)), max_size=60))
def test_send_times_from_anybody_leave_the_estimate_within_its_bounds(
    packets: list[tuple[int, int]],
) -> None:
    estimator = ReceiverEstimator()
    now_us = 0
    for send_time, pause_us in packets:
        now_us += pause_us
        bps = estimator.add(send_time, 1200, now_us=now_us)
        assert bps is None or 30_000 <= bps <= 50_000_000


@given(st.data())
def test_whatever_order_packets_come_in_the_sender_learns_of_each_once(
    data: st.DataObject,
) -> None:
    sent, log = SentPackets(), ArrivalLog(interval_us=20_000)
    first = data.draw(st.integers(0, 300))
    for n in range(first):
        sent.send(0, now_us=n)
    n_packets = data.draw(st.integers(1, 60))
    numbers = [sent.send(n + 1, now_us=first + n) for n in range(n_packets)]
    order = data.draw(st.permutations(range(n_packets)))
    arriving = order[: data.draw(st.integers(1, n_packets))]
    told: dict[int, int] = {}
    now_us = 10**9
    for place in [*arriving, None]:
        now_us += 10**6 if place is None else data.draw(st.integers(0, 30_000))
        for feedback in log.take_due(now_us=now_us):
            wire = write_transport_feedback(feedback)
            for result in sent.acknowledge(read_transport_feedback(wire)):
                if result.arrived_us is not None and result.size_bytes:
                    assert result.size_bytes - 1 not in told
                    told[result.size_bytes - 1] = result.arrived_us
        if place is not None:
            log.receive(numbers[place], now_us=now_us)
    assert set(told) == set(arriving)
    assert [told[n] for n in arriving] == sorted(told[n] for n in arriving)
