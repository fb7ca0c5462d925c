"""Transport-wide feedback: its bytes, who writes it, who reads it."""

import pytest

from rtcodec.errors import Corrupt, Truncated
from rtcodec.packet.arrival_log import ArrivalLog
from rtcodec.packet.sent_packets import SentPackets
from rtcodec.packet.transport_feedback import (
    MAX_STATUSES,
    TransportFeedback,
    read_transport_feedback,
    write_transport_feedback,
)

# by hand: base 5, 3 packets, reference 1, number 2; a run of 3 small; 4, 0 and 255 ticks; padding
SMALL_RUN = bytes.fromhex("0005 0003 000001 02 2003 04 00 ff 000000")
# one-bit vector: there, lost, there
ONE_BIT = bytes.fromhex("0000 0003 000000 00 a800 01 01")
# two-bit vector: small, lost, large (-1), small; padding
TWO_BITS = bytes.fromhex("ffff 0004 ffffff ff d240 08 ffff 01 0000")


@pytest.mark.parametrize(
    ("wire", "feedback"),
    [
        (SMALL_RUN, TransportFeedback(5, 2, 1, (4, 4, 259))),
        (TWO_BITS, TransportFeedback(0xFFFF, 0xFF, 0xFFFFFF, (8, None, 7, 8))),
    ],
)
def test_bytes_by_hand_are_read_and_written(wire: bytes, feedback: TransportFeedback) -> None:
    assert read_transport_feedback(wire) == feedback
    assert write_transport_feedback(feedback) == wire


def test_other_chunks_than_ours_are_read() -> None:
    assert read_transport_feedback(ONE_BIT) == TransportFeedback(0, 0, 0, (1, None, 2))
    run_too_long = bytes.fromhex("0000 0002 000000 00 3fff 01 01")
    assert read_transport_feedback(run_too_long).arrivals == (1, 2)


@pytest.mark.parametrize(
    ("wire", "error", "message"),
    [
        ("", Truncated, "header"),
        ("0000 0001 000000", Truncated, "header"),
        ("0000 0001 000000 00", Truncated, "statuses"),
        ("0000 0001 000000 00 2001", Truncated, "arrivals"),
        ("0000 0001 000000 00 4001 00", Truncated, "arrivals"),
        ("0000 0000 000000 00 2001 00", Corrupt, "0 packets"),
        ("0000 2001 000000 00 3fff 00", Corrupt, "8193 packets"),
        ("0000 0001 000000 00 2000 00", Corrupt, "run of no"),
        ("0000 0001 000000 00 6001 00", Corrupt, "reserved"),
        ("0000 0001 000000 00 0001", Corrupt, "none of which"),
        ("0000 0001 000000 00 2001 00 00000000", Corrupt, "4 bytes after"),
    ],
)
def test_what_is_no_feedback_is_refused(wire: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_transport_feedback(bytes.fromhex(wire))


@pytest.mark.parametrize(
    "broken",
    [
        {"base_seq": -1},
        {"base_seq": 1 << 16},
        {"number": 256},
        {"reference": 1 << 24},
        {"arrivals": ()},
        {"arrivals": (None,)},
        {"arrivals": (1,) * (MAX_STATUSES + 1)},
        {"arrivals": (0, 1 << 15)},
        {"arrivals": (0, -(1 << 15) - 1)},
    ],
)
def test_feedback_has_limits(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        TransportFeedback(**{"base_seq": 0, "number": 0, "reference": 0, "arrivals": (1,)} | broken)  # type: ignore[arg-type]


def test_feedback_is_due_an_interval_after_the_first_packet() -> None:
    log = ArrivalLog(interval_us=100_000)
    assert log.deadline_us is None
    assert log.take_due(now_us=0) == []
    log.receive(7, now_us=1_000_000)
    log.receive(9, now_us=1_050_000)
    assert log.deadline_us == 1_100_000
    assert log.take_due(now_us=1_099_999) == []
    (feedback,) = log.take_due(now_us=1_100_000)
    assert feedback == TransportFeedback(7, 0, 15, (160, None, 360))
    assert log.deadline_us is None


def test_feedback_may_be_taken_before_its_time() -> None:
    log = ArrivalLog(interval_us=100_000)
    assert log.take_due(now_us=0, ahead_us=10**6) == []
    log.receive(7, now_us=0)
    assert log.take_due(now_us=39_999, ahead_us=60_000) == []
    (feedback,) = log.take_due(now_us=40_000, ahead_us=60_000)
    assert feedback.arrivals == (0,)
    assert log.deadline_us is None


def test_every_packet_is_told_of_once_and_late_ones_again() -> None:
    log = ArrivalLog(interval_us=0)
    log.receive(0xFFFE, now_us=0)
    log.receive(1, now_us=250)
    (first,) = log.take_due(now_us=250)
    assert first.arrivals == (0, None, None, 1)
    log.receive(1, now_us=500)  # came before
    assert log.deadline_us is None
    log.receive(3, now_us=750)
    (second,) = log.take_due(now_us=750)
    assert (second.base_seq, second.number, second.arrivals) == (2, 1, (None, 3))
    log.receive(0, now_us=1000)
    (third,) = log.take_due(now_us=1000)
    assert (third.base_seq, third.arrivals) == (0, (4, 1, None, 3))


def test_a_log_that_is_too_long_or_too_slow_is_told_in_parts() -> None:
    log = ArrivalLog(interval_us=0)
    for seq in range(500):
        log.receive(seq, now_us=0)
    log.receive(500, now_us=9_000_000)  # further from the last than a delta can say
    made = log.take_due(now_us=9_000_000)
    assert [(f.base_seq, len(f.arrivals)) for f in made] == [(0, 400), (400, 100), (500, 1)]
    sent = SentPackets()
    for _ in range(501):
        sent.send(100, now_us=0)
    results = [result for feedback in made for result in sent.acknowledge(feedback)]
    assert [r.arrived_us for r in results] == [0] * 500 + [9_000_000]


def test_a_long_gap_is_left_out() -> None:
    log = ArrivalLog(interval_us=0)
    log.receive(0, now_us=0)
    log.receive(1000, now_us=0)
    made = log.take_due(now_us=0)
    assert [(f.base_seq, len(f.arrivals)) for f in made] == [(0, 400), (800, 201)]


def test_a_sender_that_starts_again_is_followed() -> None:
    log = ArrivalLog(interval_us=0)
    log.receive(0, now_us=0)
    log.take_due(now_us=0)
    log.receive(30_000, now_us=0)
    (feedback,) = log.take_due(now_us=0)
    assert (feedback.base_seq, len(feedback.arrivals)) == (30_000, 1)
    for seq in range(30_001, 34_000):
        log.receive(seq & 0xFFFF, now_us=0)
        log.take_due(now_us=0)
    log.receive(33_999 - 2048, now_us=0)  # too old to be told from a repeated one
    assert log.deadline_us is None


def test_a_packet_is_lost_once_and_may_arrive_after_all() -> None:
    sent = SentPackets()
    assert [sent.send(100 + n, now_us=n) for n in range(4)] == [0, 1, 2, 3]
    results = sent.acknowledge(TransportFeedback(0, 0, 4, (0, None, 2)))
    assert [(r.sent_us, r.size_bytes, r.arrived_us) for r in results] == [
        (0, 100, 256_000),
        (1, 101, None),
        (2, 102, 256_500),
    ]
    results = sent.acknowledge(TransportFeedback(1, 1, 4, (None, None, 9)))
    assert [(r.sent_us, r.arrived_us) for r in results] == [(3, 258_250)]
    results = sent.acknowledge(TransportFeedback(1, 2, 4, (9,)))
    assert [(r.sent_us, r.arrived_us) for r in results] == [(1, 258_250)]


def test_numbers_wrap_and_old_packets_are_forgotten() -> None:
    sent = SentPackets(capacity=3)
    for n in range(70_000):
        seq = sent.send(1, now_us=n)
        results = sent.acknowledge(TransportFeedback(seq, 0, 0, (0,)))
        assert [r.sent_us for r in results] == [n]
    for n in range(5):
        sent.send(1, now_us=n)
    assert sent.acknowledge(TransportFeedback(70_005 & 0xFFFF, 0, 0, (0,))) == []  # to come
    results = sent.acknowledge(TransportFeedback(70_000 & 0xFFFF, 0, 0, (0,) * 5))
    assert [r.sent_us for r in results] == [2, 3, 4]
    assert sent.acknowledge(TransportFeedback(9, 0, 0, (0, None) * 20)) == []


def test_feedback_that_comes_late_for_the_first_time_is_understood() -> None:
    sent = SentPackets()
    for n in range(70_000):
        sent.send(1, now_us=n)
    results = sent.acknowledge(TransportFeedback(69_999 & 0xFFFF, 0, 0, (0,)))
    assert [result.sent_us for result in results] == [69_999]
