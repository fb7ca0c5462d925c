"""What is sent again, and what is not."""

from rtcodec.packet.retransmit import RetransmitGate

RTT_US = 60_000
PACKET = 1000


def test_an_answer_that_may_be_on_its_way_is_not_given_again() -> None:
    gate = RetransmitGate()
    assert gate.may(1, PACKET, rtt_us=RTT_US, now_us=0)
    assert not gate.may(1, PACKET, rtt_us=RTT_US, now_us=29_999)
    assert gate.may(2, PACKET, rtt_us=RTT_US, now_us=29_999)
    assert gate.may(1, PACKET, rtt_us=RTT_US, now_us=30_000)
    assert not gate.may(1, PACKET, rtt_us=0, now_us=39_999)
    assert gate.may(1, PACKET, rtt_us=0, now_us=40_000)
    assert gate.n_refused == 2


def test_answers_take_at_most_half_of_what_is_sent() -> None:
    gate = RetransmitGate()
    n_answers = 0
    for n in range(10_000):
        gate.note_sent(PACKET)
        n_answers += gate.may(n, PACKET, rtt_us=0, now_us=n)
    assert 5_000 <= n_answers <= 5_000 + 32
    assert gate.n_refused == 10_000 - n_answers


def test_only_the_newest_answers_are_remembered() -> None:
    gate = RetransmitGate()
    for n in range(1000):
        gate.note_sent(2 * PACKET)
        assert gate.may(n, PACKET, rtt_us=10**9, now_us=n)
    assert gate.may(0, PACKET, rtt_us=10**9, now_us=1000)
    assert not gate.may(999, PACKET, rtt_us=10**9, now_us=1000)
