"""
Recovery by choice of reference, on a virtual clock.

The null engine paints every frame alone, but says that it keeps references: headers name them, and
the decoder refuses what stands on a frame that it missed, as with a model that predicts.
"""

from fractions import Fraction

import pytest

from rtcodec.engine.null import NullEngine
from rtcodec.evaluation.call import Call
from rtcodec.evaluation.call_latent import LatentCall, pretend_references
from rtcodec.evaluation.call_outcome import CallOutcome
from rtcodec.evaluation.clip import Clip
from rtcodec.evaluation.network import Network
from support.call import moving_picture

MS = 1_000
FRAME_US = 33_334
N_FRAMES = 90
CLIP = Clip("moving", "video", tuple(map(moving_picture, range(N_FRAMES))), Fraction(30))


def call(network: Network, *, references: int = 4, seed: int = 1) -> CallOutcome:
    null = NullEngine()
    engine = pretend_references(null, references)
    codec = LatentCall(null.bundle, engine, target_bytes=200, patience_us=10 * MS)
    outcome = Call(codec, CLIP, 20, network, seed=seed).run()
    assert len(outcome.psnr_db) == len(outcome.clean) == N_FRAMES
    assert outcome.keyframes >= 1
    return outcome


def test_a_clean_network_shows_every_frame_and_needs_one_key_frame() -> None:
    outcome = call(Network(rtt_us=60 * MS))
    assert all(outcome.clean)
    assert (outcome.keyframes, outcome.resent_bytes, outcome.recovery_us) == (1, 0, [])
    assert outcome.freezes.freeze_count == 0


@pytest.mark.parametrize("rtt_us", [60 * MS, 200 * MS])
@pytest.mark.parametrize("references", [3, 8])
def test_an_outage_is_mended_one_round_trip_after_the_report(rtt_us: int, references: int) -> None:
    outage = (1_000 * MS, 1_100 * MS)
    outcome = call(Network(rtt_us=rtt_us, outages_us=(outage,)), references=references)
    [recovery_us] = outcome.recovery_us
    # The outage, to the next frame, which shows the gap; its wait; there and back; the next frame.
    noticed_us = 100 * MS + 2 * FRAME_US + 10 * MS
    assert recovery_us <= noticed_us + rtt_us + 2 * FRAME_US
    assert outcome.keyframes == 1
    assert all(outcome.clean[60:])


def test_an_outage_of_a_second_needs_no_key_frame_either() -> None:
    outcome = call(Network(rtt_us=60 * MS, outages_us=((500 * MS, 1_500 * MS),)))
    assert outcome.keyframes == 1
    assert all(outcome.clean[60:])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("burst_packets", [1.0, 4.0])
@pytest.mark.parametrize("loss", [0.03, 0.10])
def test_loss_is_answered_by_references_before_key_frames(
    loss: float, burst_packets: float, seed: int
) -> None:
    network = Network(rtt_us=60 * MS, loss=loss, burst_packets=burst_packets)
    outcome = call(network, seed=seed)
    assert outcome.keyframes <= 4  # the first ones may be lost before anything is held
    assert any(outcome.clean[-30:])


def test_whatever_gets_lost_something_is_shown_until_the_end() -> None:
    outcome = call(Network(rtt_us=200 * MS, loss=0.30, burst_packets=4.0), references=8)
    assert outcome.frames_lost + outcome.frames_damaged > 0
    assert any(outcome.clean[-50:])
    assert min(outcome.psnr_db[30:]) > 10


def test_frames_coded_alone_recover_with_the_next_one() -> None:
    outcome = call(Network(rtt_us=200 * MS, outages_us=((1_000 * MS, 1_050 * MS),)), references=0)
    assert max(outcome.recovery_us) <= 50 * MS + 2 * FRAME_US
    assert outcome.keyframes == N_FRAMES


def test_the_same_seed_gives_the_same_call() -> None:
    network = Network(rtt_us=60 * MS, loss=0.10, burst_packets=3.0)
    assert call(network, seed=5).as_dict() == call(network, seed=5).as_dict()
    assert call(network, seed=5).as_dict() != call(network, seed=6).as_dict()
