"""
Up to a thousand streams on one engine, on a virtual clock, with costs that were measured.

What holds at any load: no stream starves, none has more than its share while others want theirs,
and what is served is served while it is new. Two simpler policies show that this takes something.
"""

import json
from pathlib import Path

import pytest

from rtcodec.engine.batch_curve import BatchCurve
from rtcodec.engine.scheduler import DeadlineScheduler
from support.engine_load import (
    SECOND_US,
    Camera,
    Outcome,
    Policy,
    fifo,
    newest_by_deadline,
    simulate,
)

_FIGURES = Path(__file__).parents[2] / "benchmarks" / "saturation.json"
COSTS: dict[str, list[int]] = json.loads(_FIGURES.read_text())["frame_us"]
"`n64 640x360` and so on -> engine time of frames of a call, microseconds."

FRAME_MS = 1000 / 30
LOADS = (0.5, 0.9, 1.2, 1.5, 2.0)


ALONE = BatchCurve(((2, 2.0),))
"A CPU's."


def scheduler(slots: int = 1, curve: BatchCurve = ALONE) -> DeadlineScheduler:
    return DeadlineScheduler(max_batch=16, slots=slots, max_streams=2000, curve=curve)


def cameras(n_streams: int, cost_us: list[int]) -> list[Camera]:
    """Evenly spread, which is the worst for streams whose frames are replaced before their turn."""
    shifted = [cost_us[k % len(cost_us) :] + cost_us[: k % len(cost_us)] for k in range(n_streams)]
    return [Camera(cost, phase=k / n_streams) for k, cost in enumerate(shifted)]


def slots_for(load: float, n_streams: int, cost_us: list[int]) -> int:
    """Return the cores on which that many streams are about that load."""
    demand = n_streams * 30 * sum(cost_us) / len(cost_us) / SECOND_US
    return max(1, round(demand / load))


@pytest.mark.parametrize(
    ("model", "n_streams"),
    [("n64 640x360", 1000), ("n64 640x360", 60), ("s128 640x360", 60), ("n64 1280x720", 60)],
)
@pytest.mark.parametrize("load", LOADS)
def test_every_stream_has_its_share_at_any_load(model: str, load: float, n_streams: int) -> None:
    cost_us = COSTS[model]
    slots = slots_for(load, n_streams, cost_us)
    outcome = simulate(
        scheduler(slots), cameras(n_streams, cost_us), seconds=2 if n_streams < 100 else 1
    )
    load = n_streams * 30 * sum(cost_us) / len(cost_us) / SECOND_US / slots
    if load < 0.95:
        assert outcome.drop_part == 0
        assert outcome.latency_ms(0.99) < 2 * max(cost_us) / 1000
    else:
        assert outcome.drop_part == pytest.approx(1 - 1 / load, abs=0.12)
        # a frame is replaced by the next one, so the oldest that runs is one interval old
        assert outcome.latency_ms(0.99) < FRAME_MS * (1 + load) + max(cost_us) / 1000
    assert outcome.jain > 0.985
    assert max(outcome.longest_gap_us) / 1000 < 3 * load * FRAME_MS + 2 * max(cost_us) / 1000


@pytest.mark.parametrize("load", LOADS)
def test_jitter_changes_nothing(load: float) -> None:
    cost_us = COSTS["n64 640x360"]
    slots = slots_for(load, 200, cost_us)
    outcome = simulate(scheduler(slots), cameras(200, cost_us), seconds=2, jitter=0.5, seed=3)
    assert outcome.jain > 0.985
    assert min(outcome.served) > 0.7 * max(outcome.served)


def starving(policy: Policy) -> Outcome:
    """Ten cameras in step, at twice what there is time for."""
    return simulate(policy, [Camera([6_666], phase=k / 10) for k in range(10)], seconds=3)


def test_by_deadlines_alone_every_other_stream_would_starve() -> None:
    assert starving(newest_by_deadline()).jain < 0.6
    assert starving(scheduler()).jain > 0.99


def test_first_come_first_served_would_send_what_is_old() -> None:
    old, new = starving(fifo()), starving(scheduler())
    assert old.latency_ms(0.5) > 190
    assert new.latency_ms(0.99) < 70
    assert sum(new.served) > 0.95 * sum(old.served)


def test_a_stream_of_large_frames_has_no_more_than_its_share() -> None:
    """Its frames are late over and over, and due before those of all others."""
    large, small = Camera([80_000], fps=10), [Camera([10_000], phase=k / 4) for k in range(4)]
    outcome = simulate(scheduler(), [large, *small], seconds=5)
    parts = [busy / sum(outcome.busy_us) for busy in outcome.busy_us]
    assert parts == pytest.approx([0.2] * 5, abs=0.03)

    outcome = simulate(newest_by_deadline(), [large, *small], seconds=5)
    assert outcome.busy_us[0] / sum(outcome.busy_us) > 0.7


def test_a_stream_within_its_share_loses_nothing_to_those_beyond() -> None:
    modest = [Camera([4_000], fps=10, phase=k / 3) for k in range(3)]
    greedy = [Camera([9_000], fps=60, phase=k / 3) for k in range(3)]
    outcome = simulate(scheduler(), [*modest, *greedy], seconds=5)
    assert outcome.served[:3] == outcome.offered[:3]


def test_nobody_is_punished_for_time_that_nobody_wanted() -> None:
    """A large stream alone for a while: when others come it has its share, after two seconds."""
    large = Camera([30_000])
    late = [Camera([15_000], phase=30 * 10 + k / 2) for k in range(2)]
    outcome = simulate(scheduler(), [large, *late], seconds=14)
    n_alone = 10 * 30
    assert outcome.served[0] > n_alone + 2 * 30 * 0.3


def test_batches_form_where_they_pay_and_not_where_they_only_delay() -> None:
    """An accelerator's curve, and that of a CPU; the same cameras, four times one slot's time."""
    pays = BatchCurve(((2, 1.1), (4, 1.3), (8, 1.7)))
    many = [Camera([4_000], phase=k / 33) for k in range(33)]
    together = simulate(scheduler(curve=pays), many, seconds=2, curve=pays)
    alone = simulate(scheduler(), many, seconds=2)
    assert together.drop_part == 0
    assert together.latency_ms(0.99) < 20
    assert alone.drop_part > 0.7
    few = [Camera([4_000], phase=k / 4) for k in range(4)]
    assert simulate(scheduler(), few, seconds=1).latency_ms(0.99) < 5


def test_a_thousand_streams_are_all_accounted_for() -> None:
    policy = scheduler(50)
    outcome = simulate(policy, cameras(1000, COSTS["n64 640x360"]), seconds=1)
    assert sum(outcome.offered) == policy.submitted == 30 * 1000
    assert sum(outcome.served) == policy.started
    assert policy.submitted == policy.started + sum(policy.dropped.values())
    assert len(outcome.latency_us) == policy.started
