"""
What a page does between the network and its decoder, in node, against what it was written after.

In a browser: tests/integration/test_tab_chromium.py.
"""

import random

import pytest

from rtcodec.errors import BitstreamError
from rtcodec.packet.depacketizer import Depacketizer
from rtcodec.packet.feedback import FrameReporter, read_report
from rtcodec.packet.packetizer import Packetizer, write_payload_head
from rtcodec.packet.payload import FrameTiming, Payload, read_payload
from rtcodec.packet.vp8_carrier import carry_frame
from support.node import in_node, needs_node

pytestmark = needs_node

TIMING = FrameTiming(
    90_000, 1_700_000_000_000_000, 1_699_999_999_980_000, receive_us=500, engine_us=12_000
)


def carried(*packets: bytes, delivery: int = 0, is_keyframe: bool = False) -> bytes:
    frame = carry_frame(packets, timing=TIMING, is_keyframe=is_keyframe, size=(640, 360))
    wire = (write_payload_head(p, delivery) + p.rest for p in frame.payloads)
    return b"".join(payload[1:] for payload in wire)


READ = """
    return given.map((bytes) => {
      try {
        const frame = m.readCarried(Uint8Array.from(bytes));
        return { ...frame, packets: frame.packets.map((packet) => [...packet]) };
      } catch (error) {
        if (!(error instanceof m.Malformed)) throw error;
        return error.message;
      }
    });
"""


def test_a_page_reads_frames_as_they_were_carried() -> None:
    one, two = bytes(range(256)) * 9, b"\x00"
    data = carried(one, two, delivery=0xFFFE, is_keyframe=True)
    (frame,) = in_node("carried.js", READ, [list(data)])
    assert frame["packets"] == [list(one), list(two)]
    assert (frame["delivery"], frame["isKeyframe"]) == (0xFFFE, True)
    timing = frame["timing"]
    assert timing["pts"] == TIMING.pts
    assert timing["receivedMs"] == TIMING.received_us / 1000
    assert timing["captureMs"] == TIMING.received_us / 1000 - 20
    assert timing["stagesMs"]["receive"] == pytest.approx(0.5)
    assert timing["stagesMs"]["engine"] == pytest.approx(12)


def test_a_page_refuses_what_ends_early_and_what_is_not_ours() -> None:
    whole = carried(b"abc", b"defg")
    between = len(whole) - 8  # after the first packet
    pieces = [whole[:end] for end in range(len(whole)) if end != between]
    broken = []
    for at, value in ((0, 0x11), (3, 0), (12, 0x80), (12, 0x41), (44, 0)):
        data = bytearray(whole)
        data[at] = value
        broken.append(bytes(data))
    answers = in_node("carried.js", READ, [list(data) for data in pieces + broken])
    assert all(isinstance(answer, str) for answer in answers)


READ_PAYLOADS = """
    return given.map((bytes) => {
      try {
        const payload = m.readPayload(Uint8Array.from(bytes));
        return { ...payload, data: [...payload.data] };
      } catch (error) {
        if (error.constructor.name !== "Malformed") throw error;
        return null;
      }
    });
"""


def test_a_page_takes_and_refuses_the_payloads_that_python_does() -> None:
    chance = random.Random(3)
    packets = [bytes([number]) * 30 for number in range(5)]
    made = Packetizer(max_payload_bytes=52).packetize(packets, timing=TIMING, is_keyframe=True)
    messages = list(made)
    for _ in range(400):
        broken = bytearray(chance.choice(made))
        broken[chance.randrange(8)] = chance.randrange(256)
        messages.append(bytes(broken[: chance.randrange(len(broken) + 1)]))
    answers = in_node("payload.js", READ_PAYLOADS, [list(message) for message in messages])
    n_taken = 0
    for message, answer in zip(messages, answers, strict=True):
        try:
            payload = read_payload(message)
        except BitstreamError:
            assert answer is None
            continue
        n_taken += 1
        assert answer["data"] == list(payload.data)
        assert [answer[name] for name in ("delivery", "index", "count", "starts", "ends")] == [
            *(payload.delivery, payload.index, payload.count),
            *(payload.starts_packet, payload.ends_packet),
        ]
        assert answer["isKeyframe"] == payload.is_keyframe
        assert (answer["timing"] is None) == (payload.timing is None)
        if payload.timing is not None:
            assert answer["timing"]["pts"] == payload.timing.pts
    assert len(made) < n_taken < len(messages)


ASSEMBLE = """
    const assembly = new m.FrameAssembly(100);
    const passed = [];
    const pass = (frame, nowMs) => {
      const { delivery, isKeyframe, packets, count, missing } = frame;
      passed.push([delivery, nowMs, isKeyframe, packets.map((p) => [...p]), count, missing]);
    };
    for (const [bytes, nowMs] of given) {
      const payload = bytes && m.readPayload(Uint8Array.from(bytes));
      const whole = payload && assembly.add(payload, nowMs);
      if (whole) pass(whole, nowMs);
      for (let frame; (frame = assembly.giveUp(nowMs)); ) pass(frame, nowMs);
    }
    return { passed, deadlineMs: assembly.deadlineMs };
"""


def test_a_page_makes_of_the_messages_that_came_what_python_does() -> None:
    chance = random.Random(4)
    packetizer = Packetizer(max_payload_bytes=64)
    events: list[tuple[list[int] | None, int]] = []
    came: dict[int, list[Payload]] = {}
    for number in range(200):
        packets = [chance.randbytes(chance.randint(1, 150)) for _ in range(chance.randint(1, 4))]
        made = packetizer.packetize(packets, timing=TIMING, is_keyframe=number == 0)
        for message in made:
            if chance.random() > 0.05:
                events.append((list(message), 20 * number + chance.randint(0, 60)))
                came.setdefault(number, []).append(read_payload(message))
    events.sort(key=lambda event: event[1])
    got = in_node("payload.js", ASSEMBLE, [*events, (None, 10**6)])
    assert got["deadlineMs"] is None
    passed = {delivery: rest for delivery, *rest in got["passed"]}
    assert set(passed) == set(came)
    n_whole = 0
    for number, payloads in came.items():
        payloads.sort(key=lambda payload: payload.index)
        frame = Depacketizer().depacketize(payloads)
        assert frame is not None
        _, is_keyframe, got_packets, count, missing = passed[number]
        assert [bytes(packet) for packet in got_packets] == list(frame.packets)
        assert (count, missing) == (frame.n_payloads, frame.n_payloads_missing)
        assert is_keyframe == (number == 0)
        n_whole += frame.is_complete
    assert 20 < n_whole < len(came)


def test_what_comes_after_its_frame_was_given_up_is_ignored() -> None:
    packetizer = Packetizer(max_payload_bytes=64)
    frames = [
        packetizer.packetize([bytes(100)], timing=TIMING, is_keyframe=False) for _ in range(20)
    ]
    first, second = frames[0][:2]
    events = [(list(first), 0), (None, 99), (None, 100), (list(second), 101)]
    got = in_node("payload.js", ASSEMBLE, events)
    assert [(frame[0], frame[1]) for frame in got["passed"]] == [(0, 100)]
    assert got["deadlineMs"] is None
    # and there is a bound, however little time passes
    got = in_node("payload.js", ASSEMBLE, [(list(frame[0]), 0) for frame in frames])
    assert [frame[0] for frame in got["passed"]] == [0, 1, 2, 3]


REPORT = """
    const reporter = new m.FrameReporter();
    return given.map(([frameNumber, isHeld, concealed, nowMs]) => {
      const report = reporter.decided(frameNumber, { isHeld, concealed, nowMs });
      return report && [...report];
    });
"""


def test_a_page_reports_what_python_does() -> None:
    chance = random.Random(1)
    number, told = 65_500, 0
    events: list[tuple[int, bool, float, int]] = []
    for index in range(300):
        number += 1 + (chance.random() < 0.05) * chance.randint(1, 80)
        is_held = chance.random() > 0.05
        events.append((number & 0xFFFF, is_held, 0.0 if is_held else 0.3, 20 * index))
    reporter = FrameReporter()
    for event, bytes_sent in zip(events, in_node("report.js", REPORT, events), strict=True):
        frame_number, is_held, concealed, now_ms = event
        reporter.decided(frame_number, is_held=is_held, concealed=concealed, now_us=1000 * now_ms)
        expected = reporter.take_due(now_us=1000 * now_ms)
        # Python waits for the end of a pause, a page for the next frame after it
        assert (expected is None) == (bytes_sent is None)
        if expected is not None:
            assert read_report(bytes(bytes_sent)) == expected
            told += 1
    assert told > 100


ORDER = """
    const order = new m.FrameOrder(100);
    const passed = [];
    for (const [delivery, nowMs] of given) {
      if (delivery !== null) order.add({ delivery: delivery & 0xffff }, nowMs);
      for (let frame; (frame = order.take(nowMs)); ) passed.push([frame.delivery, nowMs]);
    }
    const { lost, late, seen, deadlineMs } = order;
    return { passed, lost, late, seen, deadlineMs };
"""


def test_frames_go_on_in_order_and_none_is_waited_for_too_long() -> None:
    events: list[tuple[int | None, int]] = [
        (65_535, 0),
        (1, 10),  # 0, after the wrap, is missing
        (2, 20),
        (0, 50),  # and was repaired
        (4, 60),
        (None, 159),
        (None, 160),  # 3 is given up
        (3, 170),
        (4, 180),
        (9, 200),
    ]
    got = in_node("order.js", ORDER, events)
    assert got["passed"] == [[65_535, 0], [0, 50], [1, 50], [2, 50], [4, 160]]
    assert (got["lost"], got["late"], got["seen"]) == (1, 2, 11)
    assert got["deadlineMs"] == 300


def test_the_first_frame_is_waited_for_when_it_comes_after_the_second() -> None:
    got = in_node("order.js", ORDER, [(1, 0), (2, 30), (0, 60)])
    assert got["passed"] == [[0, 60], [1, 60], [2, 60]]
    got = in_node("order.js", ORDER, [(1, 0), (None, 100)])
    assert got["passed"] == [[1, 100]]
    assert (got["lost"], got["seen"]) == (1, 2)


def test_after_half_an_hour_of_sleep_frames_go_on() -> None:
    later = 40_000  # more than half of what 16 bits count
    got = in_node("order.js", ORDER, [(0, 0), (later, 10), (None, 110), (later + 1, 120)])
    assert got["passed"] == [[0, 0], [later, 110], [later + 1, 120]]
    assert (got["lost"], got["late"]) == (later - 1, 0)
    told = in_node("report.js", REPORT, [(0, True, 0, 0), (later, True, 0, 1000)])
    assert read_report(bytes(told[1])).newest == later


def test_every_frame_sent_is_passed_on_given_up_or_still_held() -> None:
    chance = random.Random(2)
    sent = [(n, 10 * n + chance.randint(0, 60)) for n in range(500) if chance.random() > 0.1]
    events = sorted(sent, key=lambda event: event[1])
    got = in_node("order.js", ORDER, [*events, (None, 10**6)])
    passed = [delivery for delivery, _ in got["passed"]]
    assert passed == sorted(set(passed))
    assert len(passed) + got["lost"] == got["seen"]
    assert got["late"] == len(sent) - len(passed)
