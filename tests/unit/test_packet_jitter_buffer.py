"""Order, release, retries and giving up, packet by packet."""

from rtcodec.packet.jitter_buffer import (
    Arrival,
    FrameReleased,
    JitterBuffer,
    JitterConfig,
    JitterEvent,
    NacksDue,
    PacketsLost,
)
from rtcodec.packet.nack import NackConfig

CONFIG = JitterConfig(
    patience_us=100_000, tail_us=5_000, capacity_packets=64, nack=NackConfig(reorder_us=1_000)
)
MS = 1_000


class Bench:
    """A buffer, a packet maker and what came out."""

    def __init__(self, config: JitterConfig = CONFIG) -> None:
        self.buffer: JitterBuffer[str] = JitterBuffer(config)

    def take(self) -> list[JitterEvent[str]]:
        events = []
        while (event := self.buffer.next_event()) is not None:
            events.append(event)
        return events

    def plain(
        self,
        seq: int,
        frame: int,
        now_us: int,
        *,
        marker: bool = False,
        starts: bool | None = None,
        item: str | None = "",
    ) -> list[JitterEvent[str]]:
        """A packet whose place only the marker tells."""
        if item == "":
            item = f"{frame}.{seq & 0xFFFF}"
        arrival = Arrival(seq & 0xFFFF, frame * 3000, marker, item, starts_frame=starts)
        self.buffer.receive(arrival, now_us=now_us)
        return self.take()

    def placed(
        self, seq: int, frame: int, place: tuple[int, int], now_us: int
    ) -> list[JitterEvent[str]]:
        """A packet that knows its place in the frame."""
        marker = place[0] == place[1] - 1
        arrival = Arrival(seq & 0xFFFF, frame * 3000, marker, f"{frame}.{seq}", place)
        self.buffer.receive(arrival, now_us=now_us)
        return self.take()

    def wait(self, now_us: int) -> list[JitterEvent[str]]:
        self.buffer.advance(now_us=now_us)
        return self.take()


def items(events: list[JitterEvent[str]]) -> list[tuple[tuple[str, ...], bool]]:
    return [(e.items, e.is_complete) for e in events if isinstance(e, FrameReleased)]


def nacks(events: list[JitterEvent[str]]) -> list[tuple[int, ...]]:
    return [e.seqs for e in events if isinstance(e, NacksDue)]


def lost(events: list[JitterEvent[str]]) -> int:
    return sum(e.n_packets for e in events if isinstance(e, PacketsLost))


def test_time_may_pass_before_the_first_packet() -> None:
    bench = Bench()
    assert bench.wait(10 * MS) == []
    assert bench.buffer.deadline_us is None


def test_a_frame_is_released_with_its_marker_not_with_the_next_frame() -> None:
    bench = Bench()
    assert bench.plain(10, 0, 0) == []
    (event,) = bench.plain(11, 0, 2 * MS, marker=True)
    assert event == FrameReleased(0, ("0.10", "0.11"), True, 0, 2 * MS)
    assert bench.buffer.deadline_us is None
    assert bench.buffer.n_held == 0


def test_packets_that_overtook_each_other_come_out_in_order() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    assert bench.plain(12, 0, 0, marker=True) == []
    assert bench.buffer.deadline_us == 1 * MS
    assert items(bench.plain(11, 0, 500)) == [(("0.10", "0.11", "0.12"), True)]
    assert bench.buffer.counters.packets_recovered == 0


def test_a_gap_is_asked_for_and_filled() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    bench.plain(12, 0, 0, marker=True)
    assert nacks(bench.wait(1 * MS)) == [(11,)]
    assert items(bench.plain(11, 0, 21 * MS)) == [(("0.10", "0.11", "0.12"), True)]
    assert bench.buffer.counters.packets_recovered == 1
    assert bench.buffer.counters.nack_count == 1
    assert bench.buffer.rtt_us == 20 * MS


def test_a_gap_is_given_up_after_patience_and_the_frame_is_incomplete() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    bench.plain(12, 0, 10 * MS, marker=True)
    assert bench.plain(13, 1, 40 * MS, marker=True) != []  # NACKs
    assert items(bench.wait(109 * MS)) == []
    events = bench.wait(110 * MS)
    assert items(events) == [(("0.10", "0.12"), False), (("1.13",), True)]
    assert lost(events) == 1
    assert bench.buffer.counters.packets_lost == 1


def test_when_all_requests_are_spent_only_patience_is_left() -> None:
    config = JitterConfig(patience_us=100_000, nack=NackConfig(reorder_us=1_000, max_tries=1))
    bench = Bench(config)
    bench.plain(0, 0, 0, marker=True)
    bench.plain(2, 1, 0, marker=True)
    assert bench.buffer.deadline_us == 1 * MS
    assert nacks(bench.wait(1 * MS)) == [(1,)]
    assert bench.buffer.deadline_us == 100 * MS


def test_later_frames_come_out_with_the_one_that_held_them_up() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    bench.plain(12, 0, 0, marker=True)
    bench.plain(13, 1, 0, marker=True)
    bench.plain(14, 2, 0, marker=True)
    assert [frame for frame, _ in items(bench.plain(11, 0, 0))] == [
        ("0.10", "0.11", "0.12"), ("1.13",), ("2.14",),
    ]  # fmt: skip


def test_a_frame_without_marker_ends_where_another_time_stamp_begins() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    assert items(bench.plain(11, 1, 0)) == [(("0.10",), True)]


def test_padding_is_stepped_over() -> None:
    bench = Bench()
    bench.plain(10, 0, 0, marker=True)
    assert bench.plain(11, 0, 0, item=None) == []
    bench.plain(12, 1, 0)
    bench.plain(13, 9, 0, item=None)  # in the middle, whatever its time stamp says
    assert items(bench.plain(14, 1, 0, marker=True)) == [(("1.12", "1.14"), True)]


def test_padding_alone_is_no_frame() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    bench.plain(12, 1, 0, item=None)
    events = bench.wait(100 * MS)
    assert items(events) == [(("0.10",), False)]


def test_late_and_duplicate_packets_change_nothing() -> None:
    bench = Bench()
    bench.plain(10, 0, 0, marker=True)
    assert bench.plain(10, 0, 0, marker=True) == []
    bench.plain(11, 1, 0)
    assert bench.plain(11, 1, 0) == []
    counters = bench.buffer.counters
    assert (counters.packets_late, counters.packets_duplicate) == (1, 1)


def test_sequence_numbers_wrap() -> None:
    bench = Bench()
    bench.plain(65534, 0, 0)
    bench.plain(0, 0, 0, marker=True)
    assert nacks(bench.wait(1 * MS)) == [(65535,)]
    assert items(bench.plain(65535, 0, 2 * MS)) == [(("0.65534", "0.65535", "0.0"), True)]


def test_a_sender_that_starts_again_is_followed() -> None:
    bench = Bench()
    bench.plain(20_000, 0, 0)
    for n in range(99):
        assert bench.plain(5_000 + n, 1 + n, 0, marker=True) == []
    events = bench.plain(5_099, 100, 0, marker=True)
    assert items(events) == [(("0.20000",), False), (("100.5099",), False)]
    assert items(bench.plain(5_100, 101, 0, marker=True)) == [(("101.5100",), True)]


def test_a_jump_beyond_the_capacity_starts_anew() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    events = bench.plain(10 + 66, 1, 0, marker=True)
    assert items(events) == [(("0.10",), False), (("1.76",), False)]
    assert bench.buffer.counters.packets_lost == 65
    assert items(bench.plain(77, 2, 0, marker=True)) == [(("2.77",), True)]


def test_after_an_outage_only_the_newest_frame_is_asked_for() -> None:
    config = JitterConfig(patience_us=100_000, outage_packets=10, nack=NackConfig(reorder_us=0))
    bench = Bench(config)
    bench.placed(10, 0, (0, 1), 0)
    events = bench.placed(30, 4, (1, 2), 133 * MS)
    assert nacks(events) == [(29,)]
    assert items(bench.placed(29, 4, (0, 2), 140 * MS)) == [(("4.29", "4.30"), True)]
    assert bench.buffer.counters.packets_lost == 19


def test_as_many_packets_of_a_short_time_are_asked_for() -> None:
    config = JitterConfig(patience_us=100_000, outage_packets=10, nack=NackConfig(reorder_us=0))
    bench = Bench(config)
    bench.placed(10, 0, (0, 1), 0)
    assert [len(seqs) for seqs in nacks(bench.placed(30, 3, (1, 2), 100 * MS))] == [19]


def test_a_jump_of_the_capacity_is_still_asked_for() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    bench.plain(10 + 65, 1, 0, marker=True)
    assert [len(seqs) for seqs in nacks(bench.wait(1 * MS))] == [64]


def test_a_frame_without_an_end_is_given_up_at_the_capacity() -> None:
    bench = Bench()
    events = [event for n in range(65) for event in bench.plain(n, 0, 0)]
    assert [(len(packets), whole) for packets, whole in items(events)] == [(65, False)]
    assert bench.buffer.n_held == 0
    # what follows of it is not taken for a frame
    assert items(bench.plain(65, 0, 0, marker=True)) == [(("0.65",), False)]
    assert items(bench.plain(66, 1, 0, marker=True)) == [(("1.66",), True)]


def test_more_than_the_capacity_behind_a_gap_is_not_held() -> None:
    bench = Bench()
    bench.plain(0, 0, 0)
    for n in range(2, 66):
        bench.plain(n, n, 0, marker=True)
    assert bench.buffer.n_held <= 64
    assert bench.buffer.counters.packets_lost == 1


def test_after_a_gap_between_frames_the_next_known_start_is_taken() -> None:
    bench = Bench()
    bench.plain(10, 0, 0, marker=True)
    bench.plain(12, 1, 0)  # may be its second packet: 11 is missing
    bench.plain(13, 1, 0, marker=True)
    bench.plain(14, 2, 0, marker=True)
    assert items(bench.wait(100 * MS)) == [(("1.12", "1.13"), False), (("2.14",), True)]


def test_a_payload_that_says_it_starts_a_frame_is_believed() -> None:
    bench = Bench()
    bench.plain(10, 0, 0, marker=True, starts=True)
    bench.plain(12, 1, 0, starts=True)
    bench.plain(13, 1, 0, marker=True, starts=False)
    assert items(bench.wait(100 * MS)) == [(("1.12", "1.13"), True)]


def test_a_payload_that_says_it_starts_no_frame_is_believed() -> None:
    bench = Bench()
    assert items(bench.plain(10, 0, 0, marker=True, starts=False)) == [(("0.10",), False)]


def test_with_no_known_start_all_is_given_up_and_the_rest_is_damaged() -> None:
    bench = Bench()
    bench.plain(10, 0, 0, marker=True)
    bench.plain(12, 1, 0)
    assert items(bench.wait(100 * MS)) == [(("1.12",), False)]
    assert items(bench.plain(13, 1, 101 * MS, marker=True)) == [(("1.13",), False)]
    assert items(bench.plain(14, 2, 102 * MS, marker=True)) == [(("2.14",), True)]


def test_a_new_time_stamp_beside_a_held_packet_is_a_start() -> None:
    bench = Bench()
    bench.plain(10, 0, 0, marker=True)
    bench.plain(12, 1, 0)
    bench.plain(13, 2, 0, marker=True)
    assert items(bench.wait(100 * MS)) == [(("1.12",), False), (("2.13",), True)]


def test_two_gaps_are_given_up_each_in_its_time() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    bench.plain(12, 0, 0, marker=True)
    bench.plain(14, 1, 50 * MS)
    bench.plain(15, 1, 50 * MS, marker=True)
    bench.plain(16, 2, 50 * MS, marker=True)
    assert items(bench.wait(100 * MS))[0] == (("0.10", "0.12"), False)
    assert items(bench.wait(149 * MS)) == []
    assert items(bench.wait(150 * MS)) == [(("1.14", "1.15"), False), (("2.16",), True)]


# ---- packets that know their place


def test_the_end_of_a_placed_frame_needs_no_marker() -> None:
    bench = Bench()
    arrival = Arrival(10, 0, False, "a", (0, 2))
    bench.buffer.receive(arrival, now_us=0)
    bench.buffer.receive(Arrival(11, 0, False, "b", (1, 2)), now_us=0)
    assert items(bench.take()) == [(("a", "b"), True)]


def test_the_start_of_the_first_frame_is_asked_for_if_it_is_missing() -> None:
    bench = Bench()
    bench.placed(12, 0, (2, 4), 0)
    bench.placed(13, 0, (3, 4), 0)
    assert nacks(bench.wait(1 * MS)) == [(10, 11)]
    bench.placed(10, 0, (0, 4), 2 * MS)
    assert [whole for _, whole in items(bench.placed(11, 0, (1, 4), 2 * MS))] == [True]


def test_a_missing_tail_is_asked_for_without_waiting_for_the_next_frame() -> None:
    bench = Bench()
    bench.placed(10, 0, (0, 3), 0)
    assert bench.buffer.deadline_us == 5 * MS
    assert nacks(bench.wait(5 * MS)) == []
    assert nacks(bench.wait(6 * MS)) == [(11, 12)]
    bench.placed(11, 0, (1, 3), 8 * MS)
    assert [whole for _, whole in items(bench.placed(12, 0, (2, 3), 8 * MS))] == [True]
    assert bench.buffer.deadline_us is None


def test_a_missing_tail_is_given_up_and_the_next_frame_is_whole() -> None:
    bench = Bench()
    bench.placed(10, 0, (0, 3), 0)
    bench.wait(5 * MS)
    assert items(bench.wait(104 * MS)) == []
    events = bench.wait(105 * MS)
    assert items(events) == [(("0.10",), False)]
    assert lost(events) == 2
    assert items(bench.placed(13, 1, (0, 1), 110 * MS)) == [(("1.13",), True)]


def test_a_lost_frame_does_not_harm_its_neighbours() -> None:
    bench = Bench()
    bench.placed(10, 0, (0, 1), 0)
    bench.placed(13, 2, (0, 2), 10 * MS)
    bench.placed(14, 2, (1, 2), 10 * MS)
    events = bench.wait(110 * MS)
    assert items(events) == [(("2.13", "2.14"), True)]
    assert lost(events) == 2


def test_giving_up_one_frame_keeps_asking_for_the_next() -> None:
    bench = Bench()
    bench.placed(10, 0, (0, 2), 0)  # 11 is lost
    bench.placed(13, 1, (1, 3), 40 * MS)  # 12 as well
    bench.placed(14, 1, (2, 3), 40 * MS)
    bench.wait(41 * MS)
    assert items(bench.wait(105 * MS)) == []  # the tail had been expected 5 ms after it
    assert items(bench.wait(140 * MS))[0] == (("0.10",), False)


def test_a_placed_frame_with_holes_keeps_what_came() -> None:
    bench = Bench()
    bench.placed(10, 0, (0, 5), 0)
    bench.placed(12, 0, (2, 5), 0)
    bench.placed(14, 0, (4, 5), 0)
    assert items(bench.wait(100 * MS)) == [(("0.10", "0.12", "0.14"), False)]


def test_giving_up_before_the_tail_is_there_leaves_a_rest() -> None:
    bench = Bench(JitterConfig(patience_us=3_000, tail_us=5_000, capacity_packets=64))
    bench.placed(10, 0, (0, 4), 0)
    bench.placed(12, 0, (2, 4), 0)
    assert items(bench.wait(3 * MS)) == [(("0.10", "0.12"), False)]
    assert items(bench.placed(13, 0, (3, 4), 4 * MS)) == [(("0.13",), False)]


def test_places_that_cannot_be_believed_are_not_followed() -> None:
    bench = Bench()
    bench.placed(100, 0, (64, 65535), 0)
    assert bench.buffer.deadline_us is None
    bench.placed(101, 1, (0, 65535), 0)
    assert bench.buffer.deadline_us is None


def test_places_that_contradict_each_other_do_no_harm() -> None:
    bench = Bench()
    bench.placed(10, 0, (0, 3), 0)
    bench.placed(11, 0, (1, 3), 0)
    bench.placed(12, 0, (0, 5), 0)
    bench.placed(14, 0, (2, 5), 0)
    assert items(bench.wait(100 * MS)) == [(("0.10", "0.11", "0.12", "0.14"), False)]
    assert bench.buffer.n_held == 0


def test_at_the_end_everything_held_comes_out() -> None:
    bench = Bench()
    bench.plain(10, 0, 0)
    bench.plain(12, 0, 0, marker=True)
    bench.plain(14, 1, 0, starts=True)
    bench.plain(15, 1, 0, marker=True)
    bench.plain(16, 2, 0)
    bench.buffer.end()
    assert items(bench.take()) == [
        (("0.10", "0.12"), False), (("1.14", "1.15"), True), (("2.16",), False),
    ]  # fmt: skip
    assert bench.buffer.n_held == 0
    assert bench.buffer.deadline_us is None


def test_the_end_of_nothing_is_nothing() -> None:
    bench = Bench()
    bench.buffer.end()
    assert bench.take() == []


def test_on_a_thin_way_the_rest_of_a_frame_is_waited_for_as_long_as_its_packets_take() -> None:
    buffer: JitterBuffer[str] = JitterBuffer(JitterConfig(tail_us=5_000))

    def receive(seq: int, frame: int, index: int, *, now_us: int) -> None:
        arrival = Arrival(seq, 3000 * frame, False, str(seq), (index, 3))
        buffer.receive(arrival, now_us=now_us)

    for index in range(3):
        receive(index, 0, index, now_us=20_000 * index)
    receive(3, 1, 0, now_us=100_000)
    assert buffer.deadline_us == 125_000  # a quarter more than the packets of the last frame took
    receive(4, 1, 1, now_us=120_000)
    receive(5, 1, 2, now_us=140_000)
    assert buffer.counters.nack_count == 0

    receive(6, 2, 0, now_us=200_000)
    receive(7, 2, 1, now_us=280_000)
    assert buffer.deadline_us == 320_000  # four tenths of patience at most
