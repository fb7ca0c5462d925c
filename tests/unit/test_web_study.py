"""
What a page does with a study's messages and files, in node, against what it was written after.

In a browser: tests/integration/test_view_studies_chromium.py.
"""

import hashlib
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from rtcodec.bitstream.byte_ranges import ByteRanges
from rtcodec.bitstream.exact_index import index_frames, read_header, region_of
from rtcodec.errors import RemoteProtocolError
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import FrameCoder
from rtcodec.exact.partial import PartialPicture
from rtcodec.exact.plan import plan_picture
from rtcodec.session.study_message import (
    Cancel,
    Data,
    Done,
    Fallback,
    FromRelay,
    FromViewer,
    Have,
    Index,
    Listing,
    Preview,
    Quality,
    Refusal,
    Request,
    Status,
    WantFallback,
    read_from_relay,
    read_from_viewer,
    write_from_relay,
)
from support.exact_pictures import file_of
from support.node import in_node, needs_node

pytestmark = needs_node

Box = tuple[int, int, int, int]

WRITE = """
    const made = {
      Request: ([wish]) => [m.writeRequest(wish)],
      Cancel: (fields) => [m.writeCancel(...fields)],
      Have: (fields) => m.writeHave(...fields),
      WantFallback: (fields) => [m.writeWantFallback(...fields)],
      Status: (fields) => [m.writeStatus(...fields)],
    };
    return given.map(([kind, ...fields]) => made[kind](fields).map((bytes) => [...bytes]));
"""


def region_json(box: Box | None) -> dict[str, int] | None:
    return None if box is None else dict(zip(("x", "y", "width", "height"), box, strict=True))


def as_asked(message: FromViewer) -> list[Any]:
    """Return what a page is asked to write."""
    match message:
        case Request(number, instance, priority, steps, preview, first, frames, region):
            wish = {
                "request": number,
                "instance": instance,
                "priority": priority,
                "steps": steps,
                "preview": preview,
                "firstFrame": first,
                "frames": frames,
                "region": region_json(region),
            }
            return ["Request", wish]
        case Have(instance, version, ranges):
            return ["Have", instance, version.hex(), ranges]
        case Cancel(number):
            return ["Cancel", number]
        case WantFallback(instance, frame):
            return ["WantFallback", instance, frame]
    return ["Status", message.instance, message.first_frame, message.frames, message.quality]


def drawn_from_viewer(chance: random.Random) -> FromViewer:
    number = chance.choice((0, 127, 128, 2**24 - 1))
    kind = chance.randrange(5)
    if kind == 0:
        box = tuple(chance.choice((0, 1, 300, 65535)) for _ in range(4))
        region = (box[0], box[1], box[2], box[3]) if chance.random() < 0.5 else None
        steps, preview = chance.randrange(7), chance.random() < 0.5
        wide = chance.choice((1, 2**31 - 1))
        return Request(wide, number, chance.randrange(256), steps, preview, number, number, region)
    if kind == 1:
        return Cancel(chance.choice((0, 300, 2**31 - 1)))
    if kind == 2:
        cuts = sorted(chance.sample(range(2**40), 2 * chance.randint(1, 4)))
        return Have(number, chance.randbytes(8), tuple(zip(cuts[::2], cuts[1::2], strict=True)))
    if kind == 3:
        return WantFallback(number, number)
    return Status(number, number, 1, chance.choice(tuple(Quality)))


def test_python_reads_what_a_page_writes() -> None:
    chance = random.Random(1)
    messages = [drawn_from_viewer(chance) for _ in range(200)]
    written = in_node("study_message.js", WRITE, [as_asked(message) for message in messages])
    for message, (data,) in zip(messages, written, strict=True):
        assert read_from_viewer(bytes(data)) == message


def test_what_is_held_is_said_in_as_many_messages_as_it_takes() -> None:
    ranges = [(7 * k, 7 * k + 5) for k in range(2500)]
    (written,) = in_node("study_message.js", WRITE, [["Have", 3, "00" * 8, ranges]])
    read = [read_from_viewer(bytes(data)) for data in written]
    assert [span for one in read if isinstance(one, Have) for span in one.ranges] == ranges
    assert len(read) == 3
    assert in_node("study_message.js", WRITE, [["Have", 3, "00" * 8, []]]) == [[]]


READ = """
    const plain = (value) =>
      value instanceof Uint8Array ? [...value] :
      Array.isArray(value) ? value.map(plain) :
      value && typeof value === "object"
        ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]))
        : value;
    return given.map((bytes) => {
      try {
        return plain(m.readFromRelay(Uint8Array.from(bytes)));
      } catch (error) {
        if (error.name !== "Corrupt") throw error;
        return error.name;
      }
    });
"""


def as_read(message: FromRelay | None) -> Any:
    """Return what a page makes of a message."""
    match message:
        case Listing(fields, is_whole):
            return {"kind": "list" if is_whole else "instance", "fields": fields}
        case Refusal(fields):
            return {"kind": "error", "fields": fields}
        case Done(number):
            return {"kind": "done", "request": number}
        case Index(instance, header_bytes, sizes):
            fields = {"headerBytes": header_bytes, "frameBytes": list(sizes)}
            return {"kind": "index", "instance": instance, **fields}
        case Preview(instance, frame, width, height, packets):
            fields = {"frame": frame, "width": width, "height": height}
            fields["packets"] = [list(packet) for packet in packets]
            return {"kind": "preview", "instance": instance, **fields}
        case Data(instance, parts):
            listed = [{"offset": offset, "bytes": list(data)} for offset, data in parts]
            return {"kind": "data", "instance": instance, "parts": listed}
        case Fallback(instance, frame, total, offset, data):
            fields = {"frame": frame, "totalBytes": total, "offset": offset, "bytes": list(data)}
            return {"kind": "fallback", "instance": instance, **fields}
    return None


def test_a_page_takes_and_refuses_the_messages_that_python_does() -> None:
    chance = random.Random(2)
    fields = {"room": "w", "count": 1, "first": 0, "instances": [{"number": 0, "id": "a\u00e9"}]}
    made: list[FromRelay] = [
        Listing(fields, is_whole=True),
        Listing({"number": 0}, is_whole=False),
        Refusal({"code": "busy", "detail": "x"}),
        Done(2**31 - 1),
        Index(5, 2**40, (1, 2**40, 300)),
        Preview(1, 2, 640, 65535, (b"abc", b"", bytes(200))),
        Data(2**24 - 1, ((0, b"abc"), (2**40, bytes(150)))),
        Fallback(1, 0, 2**33, 2**32, b"xyz"),
    ]
    wire = [write_from_relay(message) for message in made]
    binary = wire[4:]  # texts that are JSON to one are to the other, but for what nobody sends
    messages = [*wire, b"", b"\x81", b"\x81[]", b"\x82\xff", b"\x99new"]
    for _ in range(500):
        broken = bytearray(chance.choice(binary))
        broken[chance.randrange(1, len(broken))] = chance.randrange(256)
        messages.append(bytes(broken[: chance.randrange(1, len(broken) + 1)]))
    answers = in_node("study_message.js", READ, [list(message) for message in messages])
    n_taken = 0
    for message, answer in zip(messages, answers, strict=True):
        try:
            expected = as_read(read_from_relay(message))
        except RemoteProtocolError:
            expected = "Corrupt"
        n_taken += expected != "Corrupt"
        assert answer == expected, message
    assert len(wire) < n_taken < len(messages) - 100


RANGES = """
    const ranges = new m.ByteRanges();
    return given.map(([start, end]) => {
      const added = ranges.add(start, end);
      const found = [ranges.reach(50), ranges.covers(start, end + 1)];
      return [added, ranges.sizeBytes, [...ranges], ...found];
    });
"""


def test_ranges_are_those_of_python() -> None:
    chance = random.Random(3)
    drawn = [(start, start + chance.randrange(9)) for start in chance.choices(range(200), k=150)]
    ranges = ByteRanges()
    for (start, end), seen in zip(drawn, in_node("byte_ranges.js", RANGES, drawn), strict=True):
        before = ranges.size_bytes
        ranges.add(start, end)
        expected = [ranges.size_bytes - before, ranges.size_bytes, [list(one) for one in ranges]]
        assert seen == [*expected, ranges.reach(50), ranges.covers(start, end + 1)]


def make_file(bound: int = 0, factor: int = 1) -> bytes:
    """Return a file of two frames, nine tiles each; with a factor it has a palette."""
    rng = np.random.default_rng(4)
    rows, columns = np.indices((70, 90))
    wave = 2000 + 900 * np.sin(rows / 9) * np.cos(columns / 12)
    noises = [rng.normal(0, 5, wave.shape) for _ in range(2)]
    frames = [(wave + noise).astype(np.uint16)[..., None] * factor for noise in noises]
    header = plan_picture(frames, bits=12 if factor == 1 else 16, signed=False, bound=bound)
    assert bool(header.palette) == (factor > 1)
    header = replace(header, tile_bits=5)
    coder = FrameCoder(header)
    return file_of(header, *(coder.encode(frame, encode_otherwise) for frame in frames))


PARTIAL = """
    const part = new m.PartialPicture(given.headerBytes, given.frameBytes);
    const seen = given.pieces.map(([offset, bytes]) => {
      part.put(offset, Uint8Array.from(bytes));
      return [0, 1].flatMap((frame) => given.regions.map((region) => part.steps(frame, region)));
    });
    const { sizeBytes, repeatedBytes } = part;
    const whole = [0, 1].map((frame) => part.isWhole(frame));
    return { seen, sizeBytes, repeatedBytes, whole, bytes: [...part.bytes] };
"""
BOXES: tuple[Box | None, ...] = (None, (40, 10, 20, 50), (0, 0, 1, 1), (80, 60, 400, 400))


@pytest.mark.parametrize(("bound", "factor"), [(0, 1), (2, 1), (0, 20)])
def test_of_a_file_in_parts_a_page_shows_what_python_does(bound: int, factor: int) -> None:
    data = make_file(bound, factor)
    header, header_bytes = read_header(data)
    sizes = index_frames(header, header_bytes, data)
    chance = random.Random(5)
    cuts = [0, *sorted(chance.sample(range(1, len(data)), 40)), len(data)]
    pieces = [(start, list(data[start:end])) for start, end in pairwise(cuts)]
    late = pieces[1:]
    chance.shuffle(late)
    pieces = [*pieces[:1], *late, pieces[3]]  # one of them twice
    given = {
        "headerBytes": header_bytes,
        "frameBytes": sizes,
        "pieces": pieces,
        "regions": [region_json(box) for box in BOXES],
    }
    got = in_node("exact_partial.js", PARTIAL, given)
    part = PartialPicture(header_bytes, sizes)
    regions = [None if box is None else region_of(header, *box) for box in BOXES]
    for (offset, piece), seen in zip(pieces, got["seen"], strict=True):
        part.put(offset, bytes(piece))
        assert seen == [part.steps(frame, region) for frame in (0, 1) for region in regions]
    assert bytes(got["bytes"]) == data
    assert got["whole"] == [True, True]
    assert (got["sizeBytes"], got["repeatedBytes"]) == (len(data), part.repeated_bytes)


SESSION = """
    const sent = [];
    const heard = [];
    const session = new m.StudySession({
      send: (data) => sent.push([...data]),
      hear: ({ kind }) => heard.push(kind),
    });
    const acts = {
      begin: () => session.begin(),
      receive: (bytes) => session.receive(Uint8Array.from(bytes)),
      request: (wish) => session.request(session.pictures[0], wish),
      tell: (quality) => session.tell(session.pictures[0], 0, quality),
    };
    const problems = [];
    for (const [act, argument] of given) {
      try {
        acts[act](argument);
      } catch (error) {
        problems.push(error.message);
      }
    }
    const [{ part, version }] = session.pictures;
    return { sent, heard, problems, version, heldBytes: part?.held.sizeBytes ?? null };
"""


def describe(version: str) -> list[int]:
    """Return a LIST of one instance."""
    about = {"number": 0, "id": "ab", "state": "ready", "version": version, "frames": 2}
    fields = {"room": "r", "count": 1, "first": 0, "instances": [about]}
    return list(write_from_relay(Listing(fields, is_whole=True)))


def converse(second_version: str) -> tuple[list[FromViewer], dict[str, Any]]:
    """Hold a session of which a part comes, and another one."""
    index = list(write_from_relay(Index(0, 100, (50, 60))))
    data = list(write_from_relay(Data(0, ((0, bytes(30)), (120, bytes(10))))))
    acts: list[list[Any]] = [
        *(["begin", None], ["receive", describe("11" * 8)], ["request", {"preview": True}]),
        *(["receive", index], ["receive", data], ["tell", 2], ["tell", 2]),
        *(["begin", None], ["receive", describe(second_version)], ["request", {}]),
        *(["request", {"priority": 0}], ["receive", index], ["tell", 2]),
    ]
    got = in_node("study_session.js", SESSION, acts)
    assert got["problems"] == []
    return [read_from_viewer(bytes(message)) for message in got["sent"]], got


def test_a_page_says_once_what_it_holds_and_keeps_it_over_a_cut() -> None:
    sent, got = converse("11" * 8)
    status = Status(0, 0, 1, Quality.COARSE)
    assert sent == [
        Request(1, 0, 1, 7, True, 0, 0),
        status,  # once in each session
        Have(0, bytes.fromhex("11" * 8), ((0, 30), (120, 130))),
        Request(2, 0, 1, 7, False, 0, 0),
        Request(3, 0, 0, 7, False, 0, 0),
        status,
    ]
    assert got["heldBytes"] == 40


def test_what_a_page_held_of_another_file_is_dropped() -> None:
    sent, got = converse("22" * 8)
    assert not any(isinstance(message, Have) for message in sent)
    assert (got["heldBytes"], got["version"]) == (0, "22" * 8)


def test_a_page_refuses_ranges_that_cannot_be() -> None:
    outside = list(write_from_relay(Data(0, ((200, bytes(20)),))))
    unknown = list(write_from_relay(Data(1, ((0, bytes(20)),))))
    late = list(write_from_relay(Fallback(0, 0, 100, 50, bytes(50))))
    index = list(write_from_relay(Index(0, 100, (50, 60))))
    acts = [
        ["receive", describe("11" * 8)],
        ["receive", outside],
        ["receive", index],
        ["receive", outside],
        ["receive", unknown],
        ["receive", late],
    ]
    problems = in_node("study_session.js", SESSION, acts)["problems"]
    words = ("without its index", "of a file of 215", "no instance 1", "out of order")
    assert len(problems) == len(words)
    for problem, word in zip(problems, words, strict=True):
        assert word in problem


def test_a_page_without_https_hashes_as_others_do() -> None:
    chance = random.Random(6)
    texts = [chance.randbytes(size) for size in (*range(130), 1000, 4096)]
    hashes = in_node(
        "sha256.js",
        "return given.map((bytes) => [...m.sha256(Uint8Array.from(bytes))]);",
        [list(text) for text in texts],
    )
    assert [bytes(one) for one in hashes] == [hashlib.sha256(text).digest() for text in texts]


def test_the_part_of_a_picture_that_is_seen_is_what_lies_in_the_area() -> None:
    body = """
        const place = new m.Place();
        return given.map(([x, y, scale]) => {
          Object.assign(place, { x, y, scale });
          return place.seen(100, 80, 200, 160);
        });
    """
    places = [(0, 0, 2), (0, 0, 4), (-100, -60.5, 4), (50, 0, 4), (300, 0, 2), (0, 0, 0.5)]
    assert in_node("window.js", body, places) == [
        None,  # all of it
        {"x": 0, "y": 0, "width": 50, "height": 40},
        {"x": 25, "y": 15, "width": 50, "height": 41},
        {"x": 0, "y": 0, "width": 38, "height": 40},
        None,  # nothing
        None,
    ]


def test_a_window_leaves_out_what_stands_for_nothing() -> None:
    """It is a sample; with a palette it is the number of one."""
    body = """
        const display = { slope: 2, intercept: -100 };
        const samples = [900, 7, 9, 8, 900];
        return given.map(([low, pad, colors]) => {
          const header = { components: [{ low, pad }], palette: colors };
          return m.wholeWindow(header, display, samples);
        });
    """
    colors = [7, 8, 9, 50, 900]
    given = [(0, None, None), (700, 200, None), (0, 4, colors), (1, 3, colors), (0, 3, colors)]
    widest, narrow = {"center": 807.5, "width": 1787}, {"center": -83.5, "width": 5}
    assert in_node("window.js", body, given) == [widest, narrow, narrow, narrow, widest]
