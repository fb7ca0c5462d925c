"""Calls under evaluation: the network, the rivals, the figures."""

from dataclasses import replace
from fractions import Fraction

import pytest

from rtcodec.codec.damage import Shown
from rtcodec.evaluation.call import Call, ping_pong
from rtcodec.evaluation.call_outcome import CallOutcome, Screen
from rtcodec.evaluation.call_rivals import VP8, X264, VideoCall
from rtcodec.evaluation.clip import Clip
from rtcodec.evaluation.network import Network, Way
from support.pictures import picture

MS = 1_000
CLIP = Clip("waves", "video", tuple(picture(96, 80, seed=n) for n in range(12)), Fraction(30))


def lost_runs(network: Network, n_packets: int) -> tuple[float, float]:
    """Return the share that is lost and the mean length of runs."""
    way: Way[int] = Way(network, seed=3)
    for n in range(n_packets):
        way.send(n, now_us=n)
    arrived = set(way.deliver(now_us=10**9))
    lost = [n for n in range(n_packets) if n not in arrived]
    runs = sum(n - 1 not in lost for n in lost)
    assert way.n_lost == len(lost)
    return len(lost) / n_packets, len(lost) / max(runs, 1)


@pytest.mark.parametrize("loss", [0.05, 0.3])
def test_bursts_have_the_wanted_loss_and_length(loss: float) -> None:
    share, length = lost_runs(Network(loss=loss, burst_packets=4.0), 4000)
    assert share == pytest.approx(loss, rel=0.25)
    assert length == pytest.approx(4.0, rel=0.2)


def test_random_loss_has_no_memory() -> None:
    share, length = lost_runs(Network(loss=0.2), 4000)
    assert share == pytest.approx(0.2, rel=0.1)
    assert length == pytest.approx(1.25, rel=0.1)


def test_datagrams_arrive_in_order_after_the_delay() -> None:
    way: Way[int] = Way(Network(rtt_us=60 * MS, jitter_us=20 * MS), seed=1)
    assert way.deadline_us is None
    for n in range(100):
        way.send(n, now_us=n * MS)
    assert way.deadline_us is not None
    assert way.deadline_us >= 30 * MS
    assert way.deliver(now_us=30 * MS - 1) == []
    assert way.deliver(now_us=10**9) == list(range(100))


def test_nothing_gets_through_an_outage() -> None:
    way: Way[int] = Way(Network(outages_us=((10, 20),)), seed=1)
    for now_us in (9, 10, 19, 20):
        way.send(now_us, now_us=now_us)
    assert way.deliver(now_us=10**9) == [9, 20]


@pytest.mark.parametrize("codec", [X264, VP8])
def test_a_rival_on_a_clean_network_shows_every_frame_in_time(codec: VideoCall) -> None:
    outcome = Call(codec, CLIP, 30.0, Network(), seed=1).run()
    assert all(outcome.clean)
    assert (outcome.keyframes, outcome.frames_lost, outcome.resent_bytes) == (1, 0, 0)
    assert min(outcome.psnr_db) > 24


@pytest.mark.parametrize("codec", [X264, VP8])
def test_a_rival_asks_for_what_is_missing_and_then_for_a_key_frame(codec: VideoCall) -> None:
    clip = ping_pong(CLIP, 75)
    outage = Network(outages_us=((400 * MS, 450 * MS),))
    asked = Call(codec, clip, 30.0, outage, seed=1).run()
    assert (asked.keyframes, asked.frames_lost) == (1, 0)
    assert asked.resent_bytes > 0

    impatient = Call(replace(codec, fixed_patience_us=5 * MS), clip, 30.0, outage, seed=1).run()
    assert impatient.keyframes == 2
    assert all(impatient.clean[-30:])
    [recovery_us] = impatient.recovery_us
    assert recovery_us < 300 * MS

    frozen = replace(codec, fixed_patience_us=5 * MS, shows_broken=False)
    standing = Call(frozen, clip, 30.0, outage, seed=1).run()
    assert standing.clean == impatient.clean
    assert standing.freezes.longest_us > impatient.freezes.longest_us


@pytest.mark.parametrize("codec", [X264, VP8])
def test_the_same_seed_gives_the_same_call(codec: VideoCall) -> None:
    network = Network(loss=0.1)
    first, again, other = (
        Call(codec, ping_pong(CLIP, 30), 30.0, network, seed=seed).run() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_screen_counts_what_stands_still_and_for_how_long_it_was_wrong() -> None:
    outcome = CallOutcome(seconds=0.4)
    screen = Screen(CLIP, outcome)
    times = [n * 40 * MS for n in range(12)]
    for number, now_us in enumerate(times):
        if number < 3 or number > 8:
            shown = Shown(number, 0.0, may_drift=False)
            screen.show(number, CLIP.frames[number], shown)
        if number == 4:
            screen.show(number, None, Shown(number, 1.0, may_drift=False, is_new=False))
        screen.tick(number, now_us=now_us)
    screen.close()
    figures = outcome.as_dict()
    assert outcome.clean == [True] * 3 + [False] * 6 + [True] * 3
    assert outcome.recovery_us == [240 * MS]
    assert (figures["freezes"], figures["longest_ms"]) == (1, 280)
    assert figures["psnr_db"] > figures["psnr_p5_db"]


def test_a_screen_that_stays_empty_is_frozen() -> None:
    outcome = CallOutcome(seconds=0.4)
    screen = Screen(CLIP, outcome)
    for number in range(12):
        screen.tick(number, now_us=number * 40 * MS)
    screen.close()
    assert outcome.freezes.freeze_count == 1
    assert outcome.recovery_us == [440 * MS]


def test_a_clip_is_played_there_and_back() -> None:
    three = replace(CLIP, frames=CLIP.frames[:3])
    order = [three.frames.index(frame) for frame in ping_pong(three, 7).frames]
    assert order == [0, 1, 2, 1, 0, 1, 2]
    one = replace(CLIP, frames=CLIP.frames[:1])
    assert len(ping_pong(one, 4).frames) == 4
