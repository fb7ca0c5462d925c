"""
Minutes of calls over bad networks, in seconds.

Each network is seeded, so a failure repeats.
"""

import pytest

from rtcodec.packet.jitter_buffer import JitterConfig
from rtcodec.packet.nack import NackConfig
from support.call import FRAME_US, Call, Outcome
from support.netem import Path

MS = 1_000
N_FRAMES = 150


def run(there: Path, back: Path | None = None, *, seed: int = 1, n: int = N_FRAMES) -> Outcome:
    outcome = Call(there, back or Path(delay_us=there.delay_us), seed=seed).run(n)
    assert outcome.max_held < 200
    return outcome


def balances(outcome: Outcome, *, lost_at_the_end: int = 0) -> bool:
    return outcome.sent == len(outcome.shown) + outcome.lost + outcome.broken + lost_at_the_end


def test_a_clean_network_adds_its_delay_and_nothing_else() -> None:
    outcome = run(Path(delay_us=10 * MS))
    assert balances(outcome)
    assert {shown.latency_us for shown in outcome.shown} == {10 * MS}
    assert all(shown.is_complete for shown in outcome.shown)


def test_jitter_that_reorders_costs_no_frame() -> None:
    outcome = run(Path(delay_us=10 * MS, jitter_us=20 * MS, duplicate=0.05))
    assert len(outcome.shown) == N_FRAMES
    assert all(shown.is_complete for shown in outcome.shown)
    assert outcome.latency_us(1.0) < 80 * MS


@pytest.mark.parametrize(("jitter_ms", "most"), [(5, 0), (15, 12)])
def test_packets_that_only_overtake_each_other_are_hardly_asked_for(
    jitter_ms: int, most: int
) -> None:
    way = Path(delay_us=10 * MS, jitter_us=jitter_ms * MS)
    eager = JitterConfig(nack=NackConfig(reorder_us=1_000, max_reorder_us=1_000))
    requests = []
    for config in (None, eager):
        call = Call(way, Path(delay_us=10 * MS), seed=4, config=config)
        assert len(call.run(N_FRAMES).shown) == N_FRAMES
        requests.append(call.buffer.counters.nack_count)
    assert requests[0] <= most < 200 < requests[1]


@pytest.mark.parametrize("jitter_ms", [0, 5, 15])
def test_what_is_lost_comes_back_later_by_no_more_than_packets_overtake_each_other(
    jitter_ms: int,
) -> None:
    way = Path(delay_us=10 * MS, jitter_us=jitter_ms * MS, loss=0.03)
    eager = JitterConfig(nack=NackConfig(reorder_us=1_000, max_reorder_us=1_000))
    first, patient = (
        Call(way, Path(delay_us=10 * MS), seed=6, config=config).run(N_FRAMES)
        for config in (eager, None)
    )
    assert len(patient.shown) == N_FRAMES
    assert all(shown.is_complete for shown in patient.shown)
    for fraction in (0.5, 0.9, 0.95):
        pause_us = max(5 * MS, jitter_ms * MS * 5 // 4)  # and the dice fall otherwise
        most_us = first.latency_us(fraction) + pause_us + jitter_ms * MS
        assert patient.latency_us(fraction) <= most_us


@pytest.mark.parametrize("seed", range(4))
def test_one_percent_loss_on_a_short_way_is_repaired_within_50_ms(seed: int) -> None:
    outcome = run(Path(delay_us=1 * MS, loss=0.01), seed=seed)
    assert len(outcome.shown) == N_FRAMES
    assert all(shown.is_complete for shown in outcome.shown)
    assert outcome.latency_us(0.5) == 1 * MS
    assert outcome.latency_us(0.99) < 50 * MS


@pytest.mark.parametrize("seed", range(4))
def test_ten_percent_loss_at_60_ms_round_trip_freezes_nothing_for_200_ms(seed: int) -> None:
    way = Path(delay_us=30 * MS, loss=0.10)
    outcome = run(way, way, seed=seed)
    assert balances(outcome)
    assert outcome.broken == 0
    assert outcome.longest_freeze_us < 200 * MS
    complete = sum(shown.is_complete for shown in outcome.shown)
    assert complete > 0.85 * N_FRAMES
    assert outcome.latency_us(1.0) <= 30 * MS + 200 * MS


def test_without_a_way_back_what_came_of_each_frame_is_shown() -> None:
    outcome = run(Path(delay_us=5 * MS, loss=0.05), Path(loss=1.0))
    assert balances(outcome)
    partial = [shown for shown in outcome.shown if not shown.is_complete]
    whole = [shown for shown in outcome.shown if shown.is_complete]
    assert partial
    assert whole
    # a lost packet costs its own tiles
    assert min(shown.psnr_y_db for shown in whole) > 20
    assert max(shown.psnr_y_db for shown in partial) > 10


def test_bursts_of_loss_cost_frames_but_never_the_rest() -> None:
    outcome = run(Path(delay_us=10 * MS, loss=0.02, burst=0.7), seed=3)
    assert balances(outcome)
    assert len(outcome.shown) > 0.95 * N_FRAMES
    numbers = [shown.number for shown in outcome.shown]
    assert numbers == sorted(set(numbers))


def test_after_an_outage_the_newest_frames_come_at_once_and_the_lost_are_counted() -> None:
    outage = (1_000 * MS, 3_000 * MS)
    outcome = run(Path(delay_us=10 * MS, outages_us=(outage,)))
    assert balances(outcome)
    first_after = next(s for s in outcome.shown if s.number * FRAME_US >= outage[1])
    assert first_after.latency_us < 120 * MS
    last = outcome.shown[-1]
    assert last.number == N_FRAMES - 1
    assert last.latency_us == 10 * MS
    assert 55 <= outcome.lost <= 61


def test_a_stream_whose_last_frames_are_lost_ends_without_them() -> None:
    outcome = run(Path(delay_us=10 * MS, outages_us=((4_900 * MS, 9_000 * MS),)))
    assert balances(outcome, lost_at_the_end=2 + (N_FRAMES * FRAME_US - 4_900 * MS) // FRAME_US - 2)


def test_an_impatient_receiver_shows_more_holes_and_less_delay() -> None:
    way = Path(delay_us=30 * MS, loss=0.05)
    patient = Call(way, way, seed=5).run(N_FRAMES)
    impatient = Call(way, way, seed=5, config=JitterConfig(patience_us=20 * MS)).run(N_FRAMES)
    assert impatient.latency_us(0.99) < patient.latency_us(0.99)
    assert sum(s.is_complete for s in impatient.shown) < sum(s.is_complete for s in patient.shown)


def test_the_same_seed_gives_the_same_call() -> None:
    way = Path(delay_us=20 * MS, jitter_us=10 * MS, loss=0.05)
    assert run(way, seed=9, n=60) == run(way, seed=9, n=60)
