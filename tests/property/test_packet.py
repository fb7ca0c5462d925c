"""Properties of payloads, packets and the jitter buffer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtcodec.errors import BitstreamError, Truncated
from rtcodec.packet.depacketizer import Depacketizer
from rtcodec.packet.jitter_buffer import Arrival, FrameReleased, JitterBuffer, JitterConfig
from rtcodec.packet.packetizer import Packetizer
from rtcodec.packet.payload import (
    MAX_PAYLOAD_BYTES,
    STAGE_UNIT_US,
    FrameTiming,
    Payload,
    read_payload,
    write_payload,
)

stages = st.integers(0, 65535).map(lambda units: units * STAGE_UNIT_US)
timings = st.builds(
    FrameTiming,
    pts=st.integers(0, 2**32 - 1),
    received_us=st.integers(2**33, 2**63),
    capture_us=st.none(),
    receive_us=stages,
    decode_us=stages,
    queue_us=stages,
    batch_us=stages,
    engine_us=stages,
    entropy_us=stages,
)


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    count = draw(st.integers(1, 65535))
    index = draw(st.integers(0, count - 1) | st.just(0))
    return Payload(
        delivery=draw(st.integers(0, 65535)),
        index=index,
        count=count,
        starts_packet=draw(st.booleans()),
        ends_packet=draw(st.booleans()),
        is_keyframe=draw(st.booleans()),
        data=draw(st.binary(min_size=1, max_size=40)),
        timing=draw(st.none() | timings) if index == 0 else None,
    )


@given(payloads())
def test_a_payload_comes_back_as_it_was(payload: Payload) -> None:
    assert read_payload(write_payload(payload)) == payload


@given(payloads(), st.data())
def test_every_prefix_without_data_is_truncated(payload: Payload, data: st.DataObject) -> None:
    wire = write_payload(payload)
    cut = data.draw(st.integers(0, len(wire) - len(payload.data)))
    with pytest.raises(Truncated):
        read_payload(wire[:cut])


@given(st.binary(max_size=64))
def test_arbitrary_bytes_parse_or_raise_bitstream_error(data: bytes) -> None:
    try:
        payload = read_payload(data)
    except BitstreamError:
        return
    assert read_payload(write_payload(payload)).data == payload.data


frames = st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=8)


@given(frames, st.integers(51, 300), timings)
def test_packets_come_back_as_they_were(
    packets: list[bytes], max_payload_bytes: int, timing: FrameTiming
) -> None:
    packetizer = Packetizer(max_payload_bytes=max_payload_bytes)
    wire = packetizer.packetize(packets, timing=timing, is_keyframe=False)
    assert max(map(len, wire)) <= max_payload_bytes <= MAX_PAYLOAD_BYTES
    frame = Depacketizer().depacketize([read_payload(payload) for payload in wire])
    assert frame is not None
    assert list(frame.packets) == packets
    assert (frame.timing, frame.is_complete) == (timing, True)


@given(frames, st.integers(51, 120), timings, st.data())
def test_whatever_is_lost_every_packet_that_comes_out_went_in(
    packets: list[bytes], max_payload_bytes: int, timing: FrameTiming, data: st.DataObject
) -> None:
    wire = Packetizer(max_payload_bytes=max_payload_bytes).packetize(
        packets, timing=timing, is_keyframe=True
    )
    kept = data.draw(st.lists(st.sampled_from(range(len(wire))), min_size=1, unique=True))
    frame = Depacketizer().depacketize([read_payload(wire[n]) for n in sorted(kept)])
    assert frame is not None
    left = iter(packets)
    assert all(packet in left for packet in frame.packets)  # a subsequence, in order
    assert frame.n_payloads_missing == len(wire) - len(kept)


class JitterBufferMachine(RuleBasedStateMachine):
    """
    A sender with frames of one to five packets, and a network that does what it likes.

    Every frame comes out at most once, in order, within patience of its gap; nothing comes out
    that did not go in; the buffer never holds more than its capacity.
    """

    def __init__(self) -> None:
        super().__init__()
        self.config = JitterConfig(patience_us=50_000, tail_us=3_000, capacity_packets=32)
        self.buffer: JitterBuffer[tuple[int, int]] = JitterBuffer(self.config)
        self.now_us = 0
        self.seq = 65_530
        self.frame = 0
        self.network: list[Arrival[tuple[int, int]]] = []
        self.sizes: dict[int, int] = {}
        self.released: list[int] = []

    @rule(count=st.integers(1, 5), placed=st.booleans())
    def send(self, count: int, placed: bool) -> None:
        for index in range(count):
            self.network.append(
                Arrival(
                    seq=self.seq & 0xFFFF,
                    timestamp=self.frame * 3000 & 0xFFFFFFFF,
                    marker=index == count - 1,
                    item=(self.frame, index),
                    place=(index, count) if placed else None,
                    starts_frame=None if placed else index == 0,
                )
            )
            self.seq += 1
        self.sizes[self.frame] = count
        self.frame += 1

    @rule(data=st.data(), wait_us=st.integers(0, 20_000))
    def deliver(self, data: st.DataObject, wait_us: int) -> None:
        self.now_us += wait_us
        if self.network:
            index = data.draw(st.integers(0, min(len(self.network) - 1, 8)))
            self.buffer.receive(self.network.pop(index), now_us=self.now_us)
            self.drain()

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        if self.network:
            self.network.pop(data.draw(st.integers(0, len(self.network) - 1)))

    @rule()
    def repeat(self) -> None:
        if self.network:
            self.network.append(self.network[0])

    @rule(wait_us=st.integers(0, 60_000))
    def wait(self, wait_us: int) -> None:
        self.now_us += wait_us
        self.buffer.advance(now_us=self.now_us)
        self.drain()

    def drain(self) -> None:
        while (event := self.buffer.next_event()) is not None:
            if isinstance(event, FrameReleased):
                self.check(event)

    def check(self, event: FrameReleased[tuple[int, int]]) -> None:
        (frame,) = {frame for frame, _ in event.items}
        indices = [index for _, index in event.items]
        assert indices == sorted(set(indices))
        if event.is_complete:
            assert indices == list(range(self.sizes[frame]))
            assert frame not in self.released
        assert not self.released or frame >= self.released[-1]
        self.released.append(frame)
        assert event.first_us <= event.last_us <= self.now_us

    @invariant()
    def is_bounded_and_never_overdue(self) -> None:
        assert self.buffer.n_held <= self.config.capacity_packets
        deadline_us = self.buffer.deadline_us
        self.buffer.advance(now_us=self.now_us)
        self.drain()
        after_us = self.buffer.deadline_us
        assert after_us is None or after_us > self.now_us or deadline_us is None

    def teardown(self) -> None:
        self.buffer.end()
        self.drain()
        assert self.buffer.n_held == 0
        assert self.buffer.deadline_us is None


TestJitterBuffer = JitterBufferMachine.TestCase
TestJitterBuffer.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
