"""Recordings by themselves: time, names, slow, full and broken disks, files that are cut."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.packet import Description, Geometry, write_packet
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.null import NullEngine
from rtcodec.errors import ConfigError, InputError, Truncated
from rtcodec_server import record_writer
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.record_folder import RecordFolder, room_of_file
from rtcodec_server.record_timeline import RecordTimeline
from rtcodec_server.record_writer import RecordTarget
from rtcodec_server.recording import Recording
from rtcodec_server.sink import PassingFrame
from support.pictures import picture
from support.recordings import read_recording
from support.relay import until

ENGINE = NullEngine()
FRAME_TICKS, FRAME_US = 3000, 33_333


def packets_of(number: int, width: int = 64, height: int = 48) -> tuple[bytes, ...]:
    """Code a picture as the relay does."""
    tag = int.from_bytes(ENGINE.info.model_id[:2], "big")
    encoder = FrameEncoder(
        ENGINE,
        FramePacker(ENGINE.bundle.entropy_tables, Slicing()),
        width,
        height,
        description=Description(tag, Geometry(width, height)),
    )
    coded = encoder.encode(picture(width, height, number), qp=20, pts=0, keyframe=True)
    encoder.close()
    return tuple(map(write_packet, coded.unit.packets))


SMALL, OTHER = packets_of(0), packets_of(1, 96, 48)


def frame(number: int, *, key: bool = False, packets: tuple[bytes, ...] = SMALL) -> PassingFrame:
    return PassingFrame(packets, number * FRAME_TICKS, number * FRAME_US, key, number)


@dataclass
class Desk:
    """A recording under test and what it told."""

    folder: RecordFolder
    create: Callable[[], tuple[str, BinaryIO]]
    free_bytes: int = 10**12
    names: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    asked: int = 0
    recording: Recording = field(init=False)

    def ask(self) -> None:
        self.asked += 1

    async def written(self, n_frames: int) -> None:
        await until(lambda: self.recording.figures["frames"] >= n_frames)


@asynccontextmanager
async def desk(
    path: Path,
    *,
    create: Callable[[], tuple[str, BinaryIO]] | None = None,
    keyframe_us: int = 0,
    max_us: int = 0,
    **limits: int,
) -> AsyncIterator[Desk]:
    """Run a recording; end it with the test."""
    folder = RecordFolder(path)
    there = Desk(folder, create or (lambda: folder.create("room", unix_us=0)))
    target = RecordTarget(
        create=lambda: there.create(),
        free_bytes=lambda: there.free_bytes,
        model_id=ENGINE.info.model_id[:8],
        references=0,
        **limits,
    )
    there.recording = Recording(
        target,
        keyframe_us=keyframe_us,
        max_us=max_us,
        on_file=there.names.append,
        on_end=there.reasons.append,
    )
    there.recording.follow(there.ask)
    yield there
    there.recording.end("test")
    await asyncio.wait_for(there.recording.wait_ended(), 10)
    assert len(there.reasons) == 1


# ------------------------------------------------------------------------ time


def test_a_stream_begins_when_it_arrives_and_goes_on_by_its_own_clock() -> None:
    line = RecordTimeline()
    assert line.place(500_000, at_us=7_000_000) == 0
    assert line.place(503_000, at_us=7_050_000) == 3000  # shaking is not time
    assert line.place(506_000, at_us=7_060_000) == 6000
    line.cut()
    assert line.place(0, at_us=17_000_000) == 900_000
    assert line.place(3000, at_us=17_000_001) == 903_000


def test_a_clock_that_jumps_is_not_believed() -> None:
    line = RecordTimeline()
    line.place(0, at_us=0)
    assert line.place(10**9, at_us=33_000) == 2970
    assert line.place(10**9 + 3000, at_us=66_000) == 5970
    assert line.place(-(10**9), at_us=100_000) == 9000


def test_time_never_stands_still() -> None:
    line = RecordTimeline()
    times = [line.place(pts, at_us=0) for pts in (0, 0, -50, 0, 3000)]
    assert times == [0, 1, 2, 3, 3000]
    line.cut()
    assert line.place(0, at_us=1) == 3001
    assert line.last == 3001


# ------------------------------------------------------------------------ names


def test_files_are_named_by_room_and_time_and_never_overwritten(tmp_path: Path) -> None:
    folder = RecordFolder(tmp_path)
    names = []
    for _ in range(3):
        name, file = folder.create("a.b-c_d", unix_us=1_767_225_600_123_456)
        file.write(b"x")
        file.close()
        names.append(name)
    stamp = "a.b-c_d@20260101T000000.123Z"
    assert names == [f"{stamp}.rtc", f"{stamp}-1.rtc", f"{stamp}-2.rtc"]
    assert {room_of_file(name) for name in names} == {"a.b-c_d"}
    assert room_of_file("loose.rtc") is None
    listed = list(folder.files())
    assert sorted(names) == [file.name for file in listed]
    assert {file.size_bytes for file in listed} == {1}
    assert (tmp_path / names[0]).stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    "name",
    [
        *("../x.rtc", "a/b.rtc", ".hidden.rtc", "x.mkv", "", "..", "x\0.rtc", "x.rtc\n"),
        *("a" * 300, "é.rtc"),
    ],
)
def test_a_name_that_is_none_leads_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path.parent / "x.rtc").write_bytes(b"x")
    with pytest.raises(InputError, match="no such recording"):
        RecordFolder(tmp_path).open(name)


def test_links_pipes_and_folders_are_no_recordings(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"secret")
    (tmp_path / "link.rtc").symlink_to(tmp_path / "real")
    (tmp_path / "folder.rtc").mkdir()
    os.mkfifo(tmp_path / "pipe.rtc")
    folder = RecordFolder(tmp_path)
    for name in ("link.rtc", "folder.rtc", "pipe.rtc"):
        with pytest.raises(InputError):
            folder.open(name)
    assert list(folder.files()) == []
    (tmp_path / "good.rtc").write_bytes(b"x")
    with folder.open("good.rtc") as file:
        assert file.read() == b"x"


def test_a_link_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "room@20260101T000000.000Z.rtc").symlink_to(target)
    name, file = RecordFolder(tmp_path).create("room", unix_us=1_767_225_600_000_000)
    file.close()
    assert name.endswith("-1.rtc")
    assert not target.exists()


# ------------------------------------------------------------------------ writing


async def test_it_starts_at_a_frame_that_decodes_by_itself(tmp_path: Path) -> None:
    async with desk(tmp_path) as there:
        take = there.recording.take
        assert [take(frame(n, key=n in (3, 5))) for n in range(3, 8)] == [True] * 5
        await there.written(5)
    async with desk(tmp_path) as late:
        late.recording.take(frame(0))
        late.recording.take(frame(20))
        assert late.asked == 1  # not with every frame
        assert late.recording.take(frame(21, key=True))
        await late.written(1)
        assert late.recording.figures["dropped"] == 0  # nothing was lost that was there
    assert late.reasons == ["test"]
    recorded = read_recording(tmp_path / late.names[0])
    assert recorded.times == [0]
    assert recorded.problem is None


async def test_what_is_written_plays_at_every_byte_where_it_may_be_cut(tmp_path: Path) -> None:
    shown = [packets_of(number) for number in range(4)]
    async with desk(tmp_path) as there:
        for number, packets in enumerate(shown):
            there.recording.take(frame(number, key=True, packets=packets))
        await there.written(4)
        size_open = (tmp_path / there.names[0]).stat().st_size
    data = (tmp_path / there.names[0]).read_bytes()
    ends = [0, *unit_ends(data)]
    assert ends[-1] == size_open  # all but the end mark was there before the end
    bundle = ENGINE.bundle
    decoder = FrameDecoder(ENGINE, bundle, 64, 48)
    for cut in range(ends[1], len(data)):
        part = read_recording(data[:cut])
        n_whole = sum(end <= cut for end in ends[1:])
        assert isinstance(part.problem, Truncated)
        assert part.frames == shown[:n_whole]
        assert part.times == [n * FRAME_TICKS for n in range(n_whole)]
        assert decoder.decode(part.units[-1].packets).whole
    assert read_recording(data).problem is None


def unit_ends(data: bytes) -> list[int]:
    reader = RtcReader(BytesIO(data))
    return [reader.offset for _ in reader]


async def test_another_size_begins_another_file(tmp_path: Path) -> None:
    async with desk(tmp_path) as there:
        for number, packets in enumerate((SMALL, SMALL, OTHER, SMALL)):
            there.recording.take(frame(number, key=True, packets=packets))
        await there.written(4)
        await until(lambda: len(there.names) == 3)
    parts = [read_recording(tmp_path / name) for name in there.names]
    assert [len(part.units) for part in parts] == [2, 1, 1]
    assert [part.times[0] for part in parts] == [0, 2 * FRAME_TICKS, 3 * FRAME_TICKS]
    assert all(part.problem is None for part in parts)
    figures = there.recording.figures
    assert figures["bytes"] == sum((tmp_path / name).stat().st_size for name in there.names)
    assert figures["seconds"] == pytest.approx(0.1)


async def test_key_frames_are_asked_for_as_often_as_is_set(tmp_path: Path) -> None:
    async with desk(tmp_path, keyframe_us=1_000_000) as there:
        for number in range(100):
            there.recording.take(frame(number, key=number in (0, 33)))
        assert there.asked == 4  # a second after the last one, then twice a second: 31, 64, 80, 96
    async with desk(tmp_path) as never:
        for number in range(100):
            never.recording.take(frame(number, key=number == 0))
        assert never.asked == 0


async def test_a_recording_ends_at_its_limits(tmp_path: Path) -> None:
    async with desk(tmp_path, max_us=1_000_000) as timed:
        taken = [timed.recording.take(frame(n, key=n == 0)) for n in range(40)]
        await timed.recording.wait_ended()
    assert (sum(taken), timed.reasons) == (30, ["max_time"])
    async with desk(tmp_path, max_bytes=3 * sum(map(len, SMALL))) as sized:
        for number in range(10):
            sized.recording.take(frame(number, key=True))
        await sized.recording.wait_ended()
        assert not sized.recording.take(frame(11, key=True))
    assert sized.reasons == ["max_size"]
    assert sized.recording.figures["frames"] == 3
    for there in (timed, sized):
        assert read_recording(tmp_path / there.names[0]).problem is None


async def test_a_full_disk_ends_it_and_leaves_what_was_written(tmp_path: Path) -> None:
    async with desk(tmp_path, min_free_bytes=1000) as there:
        there.free_bytes = 999
        there.recording.take(frame(0, key=True))
        await there.recording.wait_ended()
    assert (there.reasons, there.names) == (["disk_full"], [])


async def test_a_disk_that_fails_ends_it_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(tmp_path, create=lambda: ("full.rtc", open("/dev/full", "wb", 0))) as there:
        there.recording.take(frame(0, key=True))
        await there.recording.wait_ended()
        assert not there.recording.take(frame(1, key=True))
    assert there.reasons == ["failed"]
    assert "No space left" in caplog.text

    def refuse() -> tuple[str, BinaryIO]:
        raise PermissionError(13, "Permission denied")

    async with desk(tmp_path, create=refuse) as refused:
        refused.recording.take(frame(0, key=True))
        await refused.recording.wait_ended()
    assert refused.reasons == ["failed"]


class SlowFile:
    """A file whose writes wait until they may, and are short now and then."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.may = threading.Event()
        self.may.set()

    def write(self, data: Any) -> int:
        self.may.wait(20)
        return self._file.write(bytes(data)[: max(1, len(data) // 2)])

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


async def test_a_slow_disk_costs_frames_never_time_and_it_goes_on_at_a_clean_point(
    tmp_path: Path,
) -> None:
    slow = SlowFile(tmp_path / "slow.rtc")
    async with desk(tmp_path, create=lambda: ("slow.rtc", cast(BinaryIO, slow))) as there:
        take = there.recording.take
        assert take(frame(0, key=True))
        await there.written(1)
        slow.may.clear()
        taken = [take(frame(n)) for n in range(1, 301)]  # none of it waits
        n_taken = sum(taken)
        assert record_writer.MAX_QUEUE_FRAMES <= n_taken <= record_writer.MAX_QUEUE_FRAMES + 1
        assert taken == [True] * n_taken + [False] * (300 - n_taken)
        assert there.asked == 0  # a key frame would be dropped as well
        slow.may.set()
        await there.written(1 + n_taken)
        assert not take(frame(301))
        assert there.asked == 1
        assert take(frame(302, key=True))
        assert take(frame(303))
        await there.written(3 + n_taken)
        assert there.recording.figures["dropped"] == 301 - n_taken
    recorded = read_recording(tmp_path / "slow.rtc")
    assert recorded.problem is None
    numbers = [*range(n_taken + 1), 302, 303]
    assert recorded.times == [number * FRAME_TICKS for number in numbers]


async def test_frames_that_wait_are_bounded_in_bytes_too(tmp_path: Path) -> None:
    slow = SlowFile(tmp_path / "slow.rtc")
    slow.may.clear()
    large = (bytes(record_writer.MAX_QUEUE_BYTES // 3),)  # never gets as far as being parsed
    async with desk(tmp_path, create=lambda: ("slow.rtc", cast(BinaryIO, slow))) as there:
        assert there.recording.take(frame(0, key=True))
        await until(lambda: not there.recording._writer._entries)  # it is being written
        assert [there.recording.take(frame(n, packets=large)) for n in (1, 2, 3, 4)] == [
            True, True, True, False,
        ]  # fmt: skip
        slow.may.set()
        await there.recording.wait_ended()
    assert there.reasons == ["failed"]  # zeros are no packet
    assert len(read_recording(tmp_path / "slow.rtc").units) == 1


def test_settings_of_recordings_are_checked() -> None:
    for wrong in (
        {"rooms": ("a/b",)}, {"keyframe_s": -1.0}, {"max_mb": -1}, {"max_s": -1},
        {"min_free_mb": -1},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            RecordConfig(**wrong)
    config = RecordConfig(directory=Path("."), rooms=("team-*", "hall"))
    taken = [room for room in ("team-1", "team-", "hall", "hallway", "x") if config.takes(room)]
    assert taken == ["team-1", "team-", "hall"]
    assert not RecordConfig().takes("x")
