"""What is asked for again, when and how often."""

from rtcodec.packet.nack import NackConfig, NackTracker

CONFIG = NackConfig(reorder_us=1_000, min_retry_us=15_000, max_retry_us=100_000, max_tries=4)


def test_nothing_missing_means_nothing_to_do() -> None:
    tracker = NackTracker(CONFIG)
    assert tracker.deadline_us is None
    assert tracker.first is None
    assert tracker.first_since_us is None
    assert tracker.take_due(now_us=10**9) == []
    assert len(tracker) == 0


def test_a_missing_packet_is_asked_for_after_the_reorder_pause() -> None:
    tracker = NackTracker(CONFIG)
    tracker.add([5, 6], now_us=0)
    assert tracker.deadline_us == 1_000
    assert tracker.take_due(now_us=999) == []
    assert tracker.take_due(now_us=1_000) == [5, 6]
    assert 5 in tracker
    assert (tracker.first, tracker.first_since_us) == (5, 0)


def test_pauses_grow_until_the_tries_run_out() -> None:
    tracker = NackTracker(CONFIG)
    tracker.add([5], now_us=0)
    asked = []
    while (deadline_us := tracker.deadline_us) is not None:
        assert tracker.take_due(now_us=deadline_us) == [5]
        asked.append(deadline_us)
    assert asked == [1_000, 16_000, 46_000, 106_000]
    assert 5 in tracker  # still missing, only not asked for any more


def test_no_pause_is_longer_than_the_limit() -> None:
    tracker = NackTracker(NackConfig(reorder_us=0, min_retry_us=60_000, max_retry_us=70_000))
    tracker.add([1], now_us=0)
    assert tracker.take_due(now_us=0) == [1]
    assert tracker.deadline_us == 60_000
    assert tracker.take_due(now_us=60_000) == [1]
    assert tracker.deadline_us == 130_000


def test_a_packet_that_only_came_late_was_never_asked_for() -> None:
    tracker = NackTracker(CONFIG)
    tracker.add([5], now_us=0)
    assert not tracker.receive(5, now_us=500)
    assert not tracker.receive(5, now_us=600)
    assert tracker.deadline_us is None
    assert tracker.rtt_us is None


def test_the_round_trip_is_measured_on_packets_asked_for_once() -> None:
    tracker = NackTracker(CONFIG)
    tracker.add([1, 2], now_us=0)
    tracker.take_due(now_us=1_000)
    assert tracker.receive(1, now_us=41_000)
    assert tracker.rtt_us == 40_000
    tracker.add([3], now_us=50_000)
    tracker.take_due(now_us=51_000)  # asks for 2 as well, a second time
    assert tracker.receive(2, now_us=60_000)
    assert tracker.rtt_us == 40_000
    assert tracker.receive(3, now_us=51_000 + 48_000)
    assert tracker.rtt_us == 41_000


def test_the_first_answer_counts_even_if_it_was_asked_for_twice() -> None:
    tracker = NackTracker(CONFIG)
    tracker.add([1], now_us=0)
    tracker.take_due(now_us=1_000)
    tracker.take_due(now_us=16_000)
    assert tracker.receive(1, now_us=31_000)
    assert tracker.rtt_us == 30_000


def test_a_long_round_trip_stretches_the_pauses() -> None:
    tracker = NackTracker(CONFIG)
    tracker.add([1, 2], now_us=0)
    tracker.take_due(now_us=1_000)
    tracker.receive(1, now_us=41_000)
    tracker.add([3], now_us=100_000)
    assert tracker.take_due(now_us=101_000) == [2, 3]
    assert tracker.take_due(now_us=150_000) == []
    assert tracker.take_due(now_us=151_000) == [3]


def test_what_is_given_up_is_forgotten() -> None:
    tracker = NackTracker(CONFIG)
    tracker.add([1, 2, 9], now_us=0)
    assert tracker.forget_below(9) == 2
    assert tracker.first == 9
    assert tracker.forget_below(9) == 0


def adaptive(**changes: int) -> NackTracker:
    return NackTracker(NackConfig(**changes))


def test_packets_that_overtake_each_other_lengthen_the_pause() -> None:
    tracker = adaptive()
    assert tracker.reorder_us == 5_000
    tracker.add([1, 2], now_us=0)
    tracker.receive(1, now_us=2_000)
    assert tracker.reorder_us == 5_000
    tracker.receive(2, now_us=4_800)
    assert tracker.reorder_us == 6_000
    tracker.add([3], now_us=10_000)
    assert tracker.deadline_us == 16_000


def test_packets_in_order_shorten_the_pause_again() -> None:
    tracker = adaptive()
    for _ in range(700):
        tracker.note_in_order()
    assert 2_900 < tracker.reorder_us < 3_100
    for _ in range(10_000):
        tracker.note_in_order()
    assert tracker.reorder_us == 1_000


def test_a_packet_asked_for_that_comes_twice_was_asked_for_too_early() -> None:
    tracker = adaptive()
    tracker.add([1, 2], now_us=0)
    tracker.take_due(now_us=5_000)
    tracker.receive(1, now_us=12_000)
    tracker.receive(2, now_us=13_000)
    assert tracker.reorder_us == 5_000  # these may be the answers
    tracker.note_repeated(1)
    assert tracker.reorder_us == 15_000
    tracker.note_repeated(1)
    tracker.note_repeated(7)  # never asked for: the network doubled it
    assert tracker.reorder_us == 15_000


def test_the_pause_has_a_limit() -> None:
    tracker = adaptive()
    tracker.add([1], now_us=0)
    tracker.receive(1, now_us=4_999)
    tracker.add([2], now_us=10_000)
    tracker.take_due(now_us=20_000)
    tracker.receive(2, now_us=40_000)
    tracker.note_repeated(2)
    assert tracker.reorder_us == 20_000


def test_the_pause_leaves_time_for_an_answer() -> None:
    tracker = NackTracker(NackConfig(reorder_us=20_000), patience_us=30_000)
    assert tracker.reorder_us == 15_000  # half, until the round trip is known
    tracker.add([1], now_us=0)
    tracker.take_due(now_us=15_000)
    tracker.receive(1, now_us=31_000)
    assert tracker.rtt_us == 16_000
    assert tracker.reorder_us == 10_000
    tracker.add([2], now_us=100_000)
    tracker.take_due(now_us=110_000)
    tracker.receive(2, now_us=600_000)
    assert tracker.reorder_us == 1_000  # an answer comes too late anyway


def test_what_was_answered_is_remembered_for_a_while_only() -> None:
    tracker = adaptive(max_tries=1)
    tracker.add(range(300), now_us=0)
    tracker.take_due(now_us=5_000)
    for seq in range(300):
        tracker.receive(seq, now_us=16_000)
    tracker.note_repeated(0)
    assert tracker.reorder_us == 5_000
    tracker.note_repeated(299)
    assert tracker.reorder_us == 20_000
