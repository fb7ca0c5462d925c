"""Who joins what, where: everybody once, evenly spread, the same in every run."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import ConfigError
from rtcodec_client.load.feed import FeedSettings
from rtcodec_client.load.plan import LoadSettings, churn, make_plan, process_shares

FEED = FeedSettings(width=640, height=360, fps=30, codec="vp8", bitrate_bps=500_000)


@given(st.integers(1, 9), st.integers(0, 9), st.none() | st.integers(0, 90), st.integers(1, 5))
def test_everybody_has_a_room_and_a_process(
    publishers: int, subscribers: int, decode: int | None, processes: int
) -> None:
    settings = LoadSettings(
        publishers=publishers,
        subscribers=subscribers,
        decode=decode,
        processes=processes,
        feed=FEED,
    )
    plan = make_plan(settings, "x")
    everybody = [*plan.publishers, *plan.subscribers]
    assert len({p.spec.name for p in everybody}) == settings.n_peers
    assert sorted(p.spec.room for p in plan.publishers) == sorted(plan.rooms)
    for room in plan.rooms:
        assert sum(p.spec.room == room for p in plan.subscribers) == subscribers
        leads = [p for p in plan.subscribers if p.spec.room == room and p.spec.is_lead]
        assert len(leads) == bool(subscribers)
    shares = process_shares(settings)
    assert sorted({*shares[0], *shares[1]}) == list(range(processes))
    for kind, share in zip((plan.publishers, plan.subscribers), shares, strict=True):
        assert {p.process for p in kind} <= set(share)
        per_process = [sum(p.process == n for p in kind) for n in share]
        assert max(per_process) - min(per_process) <= 1
    assert sum(p.spec.decodes for p in plan.subscribers) == settings.n_decoding


def test_a_camera_has_a_process_that_subscribers_do_not_keep_busy() -> None:
    settings = LoadSettings(publishers=2, subscribers=20, processes=4, feed=FEED)
    plan = make_plan(settings, "x")
    publishing = {p.process for p in plan.publishers}
    assert publishing == {0}
    assert not publishing & {p.process for p in plan.subscribers}
    assert process_shares(LoadSettings(publishers=9, subscribers=1, processes=2, feed=FEED)) == (
        range(1),
        range(1, 2),
    )


def test_subscribers_know_how_much_later_their_publisher_sends() -> None:
    plan = make_plan(LoadSettings(publishers=4, subscribers=2, feed=FEED), "x")
    delays = {p.spec.room: p.spec.delay_us for p in plan.publishers}
    assert sorted(delays.values()) == [0, 8333, 16666, 24999]
    assert all(p.spec.delay_us == delays[p.spec.room] for p in plan.subscribers)


def test_those_who_decode_are_in_different_rooms_first() -> None:
    plan = make_plan(LoadSettings(publishers=3, subscribers=5, decode=3, feed=FEED), "x")
    assert len({p.spec.room for p in plan.subscribers if p.spec.decodes}) == 3


def test_the_churn_takes_turns_and_publishes_to_rooms_of_its_own() -> None:
    settings = LoadSettings(
        publishers=2, feed=FEED, churn_roles=("subscriber", "publisher"), processes=2
    )
    plan = make_plan(settings, "x")
    peers = [placed.spec for placed in islice(churn(settings, plan, "x"), 8)]
    assert [peer.role for peer in peers[:4]] == ["subscriber", "publisher"] * 2
    own = [peer.room for peer in peers if peer.role == "publisher"]
    assert len(set(own)) == 4
    assert not set(own) & set(plan.rooms)
    assert all(peer.is_churn and peer.stay_s is not None for peer in peers)


@pytest.mark.parametrize(
    "wrong",
    [{"publishers": 0}, {"subscribers": -1}, {"decode": -1}, {"duration_s": 0}, {"ramp_s": -1},
     {"churn_per_s": 101}, {"churn_stay_s": -1}, {"processes": 0}, {"processes": 33},
     {"publishers": 50, "subscribers": 50}],
)  # fmt: skip
def test_what_cannot_be_run_is_a_usage_error(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        LoadSettings(feed=FEED, **wrong)  # type: ignore[arg-type]
