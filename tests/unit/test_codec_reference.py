"""Reference bookkeeping of both sides."""

import pytest

from rtcodec.bitstream.packet import state_id
from rtcodec.codec.reference import (
    CONSTANT,
    NewestReference,
    ReceiverReferences,
)


def test_a_receiver_that_missed_a_store_knows_it() -> None:
    receiver = ReceiverReferences(1)
    receiver.decoded(keyframe=True, store=state_id(0, 3), complete=True)
    assert receiver.has(state_id(0, 3))
    assert not receiver.has(state_id(0, 4))


def test_a_receiver_has_what_it_decoded_whole() -> None:
    receiver = ReceiverReferences(2)
    assert receiver.has(CONSTANT)
    assert not receiver.has(0)
    receiver.decoded(keyframe=True, store=0, complete=True)
    receiver.decoded(keyframe=False, store=1, complete=False)
    assert receiver.has(0)
    assert not receiver.has(1)


def test_a_damaged_frame_takes_its_slot_with_it_and_a_keyframe_all() -> None:
    receiver = ReceiverReferences(2)
    receiver.decoded(keyframe=False, store=0, complete=True)
    receiver.decoded(keyframe=False, store=0, complete=False)
    assert not receiver.has(0)

    receiver.decoded(keyframe=False, store=1, complete=True)
    receiver.decoded(keyframe=True, store=None, complete=True)
    assert not receiver.has(1)


def test_what_is_not_held_is_painted_from_the_nearest_state_there_is() -> None:
    receiver = ReceiverReferences(3)
    assert receiver.nearest(0) is None
    receiver.decoded(keyframe=True, store=0, complete=True)
    receiver.decoded(keyframe=False, store=1, complete=False)
    receiver.decoded(keyframe=False, store=2, complete=False)
    assert receiver.nearest(1) == 1  # damaged, but this one
    assert receiver.nearest(state_id(1, 1)) == 2  # never came: the last one that did
    assert receiver.nearest(CONSTANT) == 2
    receiver.decoded(keyframe=True, store=None, complete=True)
    assert receiver.nearest(1) is None


def test_a_receiver_accepts_only_declared_slots() -> None:
    receiver = ReceiverReferences(2)
    assert receiver.accepts(None)
    assert receiver.accepts(1)
    assert not receiver.accepts(2)


@pytest.mark.parametrize("slots", [-1, 16])
def test_slots_are_limited(slots: int) -> None:
    with pytest.raises(ValueError, match="outside 0 to 15"):
        ReceiverReferences(slots)


def test_without_loss_each_frame_is_predicted_from_the_one_before() -> None:
    sender = NewestReference()
    receiver = ReceiverReferences(NewestReference.SLOTS)
    assert sender.choose() is CONSTANT
    before = None
    for frame in range(70):  # generations wrap
        reference, store = sender.choose(), sender.next_state()
        assert reference == before
        assert store is not None
        assert reference is None or store % 16 != reference % 16  # never over what it leans on
        assert receiver.has(reference)
        receiver.decoded(keyframe=frame == 0, store=store, complete=True)
        sender.stored(store, frame)
        before = store
    sender.forget()
    assert sender.choose() is CONSTANT


def test_what_is_damaged_is_kept_to_conceal_from_and_not_trusted() -> None:
    receiver = ReceiverReferences(2)
    assert receiver.nearest(state_id(0, 0)) is None
    receiver.decoded(keyframe=True, store=state_id(0, 0), complete=True)
    receiver.decoded(keyframe=False, store=state_id(1, 0), complete=False)
    assert not receiver.has(state_id(1, 0))
    assert receiver.nearest(state_id(1, 0)) == 1
    assert receiver.has(state_id(0, 0))
    # A store that never came: the newest picture stands in.
    assert not receiver.has(state_id(0, 1))
    assert receiver.nearest(state_id(0, 1)) == 1
    assert receiver.nearest(CONSTANT) == 1
    receiver.decoded(keyframe=False, store=state_id(1, 1), complete=True)
    assert receiver.has(state_id(1, 1))
