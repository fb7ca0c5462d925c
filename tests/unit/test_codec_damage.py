"""What a receiver says about the picture on the screen."""

from rtcodec.bitstream.packet import state_id
from rtcodec.codec.damage import DamageTracker, Shown


def test_a_whole_frame_is_clean_and_knows_the_age_of_its_reference() -> None:
    tracker = DamageTracker()
    first = tracker.decoded(
        65534, concealed=0.0, is_reference_held=True, keyframe=True, store=state_id(0, 0)
    )
    assert first == Shown(65534, 0.0, may_drift=False)
    assert first.is_clean
    third = tracker.decoded(
        0, concealed=0.0, is_reference_held=True, keyframe=False, reference=state_id(0, 0)
    )
    assert (third.frame_number, third.reference_age, third.damage) == (65536, 2, 0.0)


def test_made_up_tiles_are_damage_but_no_drift() -> None:
    shown = DamageTracker().decoded(1, concealed=0.25, is_reference_held=True, keyframe=True)
    assert (shown.damage, shown.may_drift, shown.is_clean) == (0.25, False, False)


def test_what_stands_on_damage_may_drift_everywhere() -> None:
    tracker = DamageTracker()
    tracker.decoded(1, concealed=0.5, is_reference_held=True, keyframe=True, store=0)
    shown = tracker.decoded(2, concealed=0.0, is_reference_held=False, keyframe=False, reference=0)
    assert (shown.damage, shown.may_drift, shown.reference_age) == (1.0, True, None)
    assert not shown.is_clean


def test_a_key_frame_ends_what_was_kept_before() -> None:
    tracker = DamageTracker()
    tracker.decoded(1, concealed=0.0, is_reference_held=True, keyframe=True, store=0)
    tracker.decoded(2, concealed=0.0, is_reference_held=True, keyframe=True)
    shown = tracker.decoded(3, concealed=0.0, is_reference_held=True, keyframe=False, reference=0)
    assert shown.reference_age is None


def test_a_lost_frame_leaves_the_last_picture() -> None:
    tracker = DamageTracker()
    shown = tracker.lost(65535)
    assert (shown.is_new, shown.is_clean, shown.damage) == (False, False, 1.0)
    assert tracker.lost(0).frame_number == 65536
