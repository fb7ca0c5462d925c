"""A lost payload is rebuilt from the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import BitstreamError, Corrupt, Truncated, Unsupported
from rtcodec.packet.parity import (
    MARK,
    Parity,
    ParityBuffer,
    ParityPolicy,
    make_parities,
    read_parity,
    write_parity,
)

PAYLOADS = [b"one", b"second", b"\0\0", b"the fourth of them"]


def test_bytes_by_hand() -> None:
    (parity,) = make_parities([b"\x01\x02", b"\x04"], 7, 1)
    assert write_parity(parity) == bytes.fromhex("80 00 01 0007 0002 0003 0502")


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_one_of_each_group_is_rebuilt(lost: int, groups: int) -> None:
    buffer = ParityBuffer()
    for n, payload in enumerate(PAYLOADS):
        if n != lost:
            assert buffer.add_payload(0xFFFE + n & 0xFFFF, payload) is None
    rebuilt = [buffer.add_parity(parity) for parity in make_parities(PAYLOADS, 0xFFFE, groups)]
    assert [r for r in rebuilt if r] == [(0xFFFE + lost & 0xFFFF, PAYLOADS[lost])]


def test_a_parity_waits_for_the_payload_before_the_last() -> None:
    buffer = ParityBuffer()
    (parity,) = make_parities(PAYLOADS, 5, 1)
    assert buffer.add_payload(5, PAYLOADS[0]) is None
    assert buffer.add_parity(parity) is None
    assert buffer.add_payload(90, b"of another frame") is None
    assert buffer.add_payload(6, PAYLOADS[1]) is None
    assert buffer.add_payload(7, PAYLOADS[2]) == (8, PAYLOADS[3])
    assert buffer.add_payload(8, PAYLOADS[3]) is None


def test_two_of_a_group_are_too_many() -> None:
    buffer = ParityBuffer()
    buffer.add_payload(5, PAYLOADS[0])
    buffer.add_payload(6, PAYLOADS[1])
    assert [buffer.add_parity(p) for p in make_parities(PAYLOADS, 5, 1)] == [None]


def test_only_the_newest_are_remembered() -> None:
    buffer = ParityBuffer()
    for n in range(1000):
        buffer.add_payload(n, b"x")
        buffer.add_parity(Parity(0, 1, n + 2000, 2, 0, b"x"))
    assert buffer.add_parity(make_parities([b"x", b"y"], 400, 1)[0]) is None
    assert (len(buffer._payloads), len(buffer._waiting)) == (512, 64)


def test_a_parity_of_other_payloads_rebuilds_nothing() -> None:
    buffer = ParityBuffer()
    buffer.add_payload(0, b"longer than it")
    assert buffer.add_parity(Parity(0, 1, 0, 2, 0, b"short")) is None
    buffer.add_payload(10, b"a")
    assert buffer.add_parity(Parity(0, 1, 10, 2, 0x7FFF, b"short")) is None


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        ("", Unsupported),
        ("40 00 01 0000 0001 0000 00", Unsupported),
        ("80 00 01 0000 0001 0000", Truncated),
        ("80 00 00 0000 0001 0000 00", Corrupt),
        ("80 01 01 0000 0001 0000 00", Corrupt),
        ("80 00 02 0000 0001 0000 00", Corrupt),
        ("80 00 41 0000 0100 0000 00", Corrupt),
        ("80 00 02 0000 0081 0000 00", Corrupt),
        ("80 00 01 0000 0001 0000" + "00" * 1201, Corrupt),
    ],
)
def test_what_is_no_parity_is_refused(wire: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_parity(bytes.fromhex(wire))


def test_parities_are_sent_where_loss_is_seen_and_asking_again_takes_too_long() -> None:
    policy = ParityPolicy()
    assert not policy.is_active(now_us=0)
    for loss, rtt_us in ((0.5, None), (0.5, 99_999), (0.02, 200_000)):
        assert policy.groups(9, loss=loss, rtt_us=rtt_us, now_us=0) == 0
    assert policy.groups(9, loss=0.03, rtt_us=100_000, now_us=0) == 3
    assert policy.groups(1, loss=0.0, rtt_us=100_000, now_us=4_999_999) == 1  # and a while longer
    assert policy.groups(9, loss=0.0, rtt_us=100_000, now_us=5_000_000) == 0
    assert policy.groups(4096, loss=1.0, rtt_us=100_000, now_us=6_000_000) == 64
    assert policy.groups(4097, loss=1.0, rtt_us=100_000, now_us=6_000_000) == 0


@given(
    st.lists(st.binary(min_size=1, max_size=1200), min_size=1, max_size=20),
    st.integers(0, 0xFFFF),
    st.data(),
)
def test_any_frame_survives_one_loss_in_each_group(
    payloads: list[bytes], first_seq: int, data: st.DataObject
) -> None:
    groups = data.draw(st.integers(1, len(payloads)))
    lost = {
        data.draw(st.sampled_from(range(group, len(payloads), groups))) for group in range(groups)
    }
    buffer = ParityBuffer()
    for n, payload in enumerate(payloads):
        if n not in lost:
            buffer.add_payload(first_seq + n & 0xFFFF, payload)
    rebuilt = {}
    for parity in make_parities(payloads, first_seq, groups):
        assert read_parity(write_parity(parity)) == parity
        if (found := buffer.add_parity(parity)) is not None:
            rebuilt[(found[0] - first_seq) & 0xFFFF] = found[1]
    assert rebuilt == {n: payloads[n] for n in lost}


@given(st.lists(st.binary(max_size=60) | st.binary(max_size=60).map(lambda b: bytes((MARK,)) + b)))
def test_arbitrary_parities_harm_nothing(parts: list[bytes]) -> None:
    buffer = ParityBuffer()
    for seq, part in enumerate(parts):
        buffer.add_payload(seq, part)
        try:
            parity = read_parity(part)
        except BitstreamError:
            continue
        assert write_parity(parity) == part
        buffer.add_parity(parity)
