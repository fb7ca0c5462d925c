"""Playing recordings: where frames come from, when they are due, who gets them."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from rtcodec.bitstream.file import RtcReader
from rtcodec.errors import BitstreamError, Corrupt, InputError
from rtcodec.packet.depacketizer import Depacketizer
from rtcodec.packet.packetizer import CutFrame, write_payload_head
from rtcodec.packet.payload import read_payload
from rtcodec.stats import StreamStats
from rtcodec.webrtc import LatentSender, monotonic_us
from rtcodec_server.latent_pictures import LatentPictures, PictureCalls
from rtcodec_server.legacy import LegacyAudience
from rtcodec_server.play_source import FileSource, PlaySource, StoredFrame, UploadSource
from rtcodec_server.played_stream import PlayedStream
from rtcodec_server.player import Player, PlayOptions
from rtcodec_server.sink import PassingFrame
from support.recordings import a_recording, read_recording
from support.relay import until

DATA = a_recording(times=(0, 3000, 6000, 9000), keys=(0, 2))
FRAMES = read_recording(DATA).frames


def file_of(tmp_path: Path, data: bytes = DATA) -> FileSource:
    path = tmp_path / "room@x.rtc"
    path.write_bytes(data)
    return FileSource(path.open("rb"))


def drain(source: PlaySource) -> list[StoredFrame]:
    frames = []
    while (frame := source.next()) is not None:
        frames.append(frame)
    return frames


class Taker:
    """A sink that notes what it got, and when."""

    def __init__(self) -> None:
        self.frames: list[PassingFrame] = []

    def take(self, frame: PassingFrame) -> bool:
        self.frames.append(frame)
        return True


class StandInPort:
    """Takes frames as a connection would."""

    is_running = True

    def __init__(self) -> None:
        self.pts: list[int] = []
        self.sent: list[tuple[bytes, ...]] = []

    def send(
        self, frame: CutFrame, *, delivery: int, pts: int, on_left: Callable[[bool], None]
    ) -> None:
        self.pts.append(pts)
        payloads = [write_payload_head(cut, delivery) + cut.rest for cut in frame.payloads]
        received = Depacketizer().depacketize([read_payload(payload) for payload in payloads])
        assert received is not None
        self.sent.append(tuple(received.packets))
        on_left(True)

    def close(self) -> None:
        """Nothing is left to let go of."""


class Decoder:
    """Takes frames as `LatentPictures` does; it is ready when a test says so."""

    def __init__(self) -> None:
        self.calls = PictureCalls()
        self.put_pts: list[tuple[int, bool]] = []
        self.has_ended = False

    def start(
        self, size: object, calls: PictureCalls, *, on_picture: object, on_busy: object
    ) -> None:
        assert size == (64, 48)
        self.calls = calls

    def put(self, frame: StoredFrame, pts: int, *, is_shown: bool = True) -> None:
        self.put_pts.append((pts, is_shown))

    def stop(self) -> None:
        self.has_ended = True

    def join(self) -> None:
        assert self.has_ended


class Wish:
    """An audience that wants pictures, or does not."""

    is_wanted = False
    decode_us = 0

    def note_coded(self, rung: int, packets: Sequence[bytes]) -> None:
        assert rung == 0

    def note_decoding(self, took_us: int) -> None:
        self.decode_us += took_us


def a_stream(
    audience: Wish | None = None, decoder: Decoder | None = None
) -> tuple[PlayedStream, StreamStats]:
    stats = StreamStats()
    stream = PlayedStream(
        qp=32,
        size=(64, 48),
        stats=(stats,),
        audience=cast(LegacyAudience, audience or Wish()),
        pictures=lambda: cast(LatentPictures, decoder),
    )
    return stream, stats


def viewer() -> tuple[LatentSender, StandInPort]:
    sender, port = LatentSender(), StandInPort()
    sender._port = cast(Any, port)
    return sender, port


# ------------------------------------------------------------------------ sources


def test_a_file_gives_out_its_frames_again_and_again(tmp_path: Path) -> None:
    source = file_of(tmp_path)
    for _ in range(2):
        source.open()
        frames = drain(source)
        assert [frame.packets for frame in frames] == FRAMES
        assert [float(frame.pts_s) for frame in frames] == pytest.approx([0, 1 / 30, 2 / 30, 0.1])
        assert [frame.is_keyframe for frame in frames] == [True, False, True, False]
    source.close()
    assert source.next() is None


def test_a_recording_that_was_cut_ends_there(tmp_path: Path) -> None:
    for cut in (len(DATA) - 1, len(DATA) - 6):
        source = file_of(tmp_path, DATA[:cut])
        source.open()
        assert len(drain(source)) == (4 if cut > len(DATA) - 6 else 3)
        source.close()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", BitstreamError, "empty"),
        (b"text", BitstreamError, "byte 0"),
        (DATA[:40], InputError, "without frames"),
        (a_recording(times=(), keys=()), InputError, "without frames"),
        (a_recording(times=(0,), keys=(0,), described=False), InputError, "do not say their size"),
    ],
)
def test_what_is_no_recording_is_refused_at_the_start(
    tmp_path: Path, data: bytes, error: type[Exception], message: str
) -> None:
    source = file_of(tmp_path, data)
    with pytest.raises(error, match=message):
        source.open()
    source.close()


def test_a_frame_that_claims_to_be_huge_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header_bytes = RtcReader(BytesIO(DATA)).offset
    source = file_of(tmp_path, DATA[:header_bytes] + b"\xff\xff\xff\x7f" + bytes(100))
    with pytest.raises(Corrupt):
        source.open()
    source.close()


def test_bytes_that_come_in_pieces_are_the_same_recording() -> None:
    source = UploadSource(lambda: None)

    def feed() -> None:
        for start in range(0, len(DATA), 7):
            source.feed(DATA[start : start + 7])
        source.end()

    thread = threading.Thread(target=feed)
    thread.start()
    source.open()
    assert [frame.packets for frame in drain(source)] == FRAMES
    thread.join()


def test_whoever_sends_faster_than_is_played_has_to_wait() -> None:
    room: list[bool] = []
    source = UploadSource(lambda: room.append(True))
    source.feed(bytes(1 << 18))
    assert source.is_full
    assert len(source.read(100)) == 100
    assert not source.is_full
    assert room == [True]
    source.close()
    assert source.read(100) == b""


def test_a_source_that_is_closed_lets_go_whoever_waits_for_it() -> None:
    source = UploadSource(lambda: None)
    closer = threading.Timer(0.05, source.close)
    closer.start()
    with pytest.raises(BitstreamError):
        source.open()
    closer.join()


# ------------------------------------------------------------------------ the stream


def stored(tmp_path: Path) -> list[StoredFrame]:
    source = file_of(tmp_path)
    source.open()
    frames = drain(source)
    source.close()
    return frames


def test_a_viewer_starts_with_a_frame_that_can_be_started_from(tmp_path: Path) -> None:
    stream, stats = a_stream()
    early, early_port = viewer()
    late, late_port = viewer()
    stream.add_subscriber("early", early)
    for pts, frame in enumerate(stored(tmp_path)):
        if pts == 1:
            stream.add_subscriber("late", late)
        stream.deliver(frame, pts=pts, now_us=pts)
    assert early_port.pts == [0, 1, 2, 3]
    assert late_port.pts == [2, 3]
    assert (stats.frames.received, stats.frames.encoded) == (4, 4)
    assert stats.bitstream_bytes == sum(len(p) for packets in FRAMES for p in packets)


async def test_a_viewer_who_comes_late_gets_all_that_the_next_frame_leans_on(
    tmp_path: Path,
) -> None:
    stream, _ = a_stream()
    frames = stored(tmp_path)
    stream.deliver(frames[0], pts=0, now_us=0)
    stream.deliver(frames[1], pts=3000, now_us=0)
    sender, port = viewer()
    stream.add_subscriber("viewer", sender)
    stream.restart("viewer")  # it is connected
    assert port.sent == [frames[0].packets]  # at once
    stream.deliver(frames[1], pts=6000, now_us=0)
    await until(lambda: len(port.pts) == 3)
    assert port.sent == [f.packets for f in (frames[0], frames[1], frames[1])]
    await until(lambda: not stream._catching_up)
    stream.deliver(frames[1], pts=9000, now_us=0)
    assert len(port.pts) == 4
    assert port.pts == sorted(set(port.pts))  # time does not go back
    await stream.close()


async def test_a_viewer_who_catches_up_goes_on_with_the_next_key_frame(tmp_path: Path) -> None:
    stream, _ = a_stream()
    frames = stored(tmp_path)
    sender, port = viewer()
    stream.add_subscriber("viewer", sender)
    for pts in range(3):
        stream.deliver(frames[min(pts, 1)], pts=3000 * pts, now_us=0)
    stream.restart("viewer")
    stream.deliver(frames[2], pts=9000, now_us=0)
    await asyncio.sleep(0)
    assert port.sent[-2:] == [frames[0].packets, frames[2].packets]
    stream.restart("viewer")  # again within a second
    stream.deliver(frames[3], pts=12_000, now_us=0)
    assert port.sent[-1] == frames[3].packets
    stream.remove_subscriber("viewer")
    stream.restart("viewer")
    stream.deliver(frames[3], pts=15_000, now_us=0)
    assert port.sent[-1] == frames[3].packets
    assert len(port.sent) == 6
    await stream.close()


async def test_who_leaves_while_catching_up_is_sent_nothing_more(tmp_path: Path) -> None:
    stream, _ = a_stream()
    frames = stored(tmp_path)
    ports = []
    for name in ("goes", "stays"):
        sender, port = viewer()
        stream.add_subscriber(name, sender)
        ports.append(port)
        stream.deliver(frames[0], pts=0, now_us=0)
        stream.deliver(frames[1], pts=3000, now_us=0)
        stream.restart(name)
    stream.remove_subscriber("goes")
    n_before = len(ports[0].sent)
    await until(lambda: not stream._catching_up)
    assert len(ports[0].sent) == n_before
    assert ports[1].sent[-2:] == [frames[0].packets, frames[1].packets]
    await stream.close()


async def test_a_decoder_is_given_all_that_the_next_frame_leans_on(tmp_path: Path) -> None:
    audience, decoder = Wish(), Decoder()
    stream, _ = a_stream(audience, decoder)
    frames = stored(tmp_path)
    stream.deliver(frames[0], pts=0, now_us=0)
    audience.is_wanted = True
    stream.deliver(frames[1], pts=1, now_us=0)
    decoder.put_pts.clear()  # it was not ready
    decoder.calls.on_ready()
    assert decoder.put_pts == [(0, False), (1, True)]
    stream.deliver(frames[2], pts=2, now_us=0)
    decoder.put_pts.clear()
    decoder.calls.on_ready()
    assert decoder.put_pts == [(2, True)]  # a key frame leans on nothing
    stream.heed_subscribers()
    assert not decoder.has_ended
    audience.is_wanted = False
    stream.heed_subscribers()
    assert decoder.has_ended
    stream.deliver(frames[3], pts=3, now_us=0)
    assert decoder.put_pts == [(2, True)]
    await stream.close()


# ------------------------------------------------------------------------ time


async def played(source: PlaySource, *, at_least: int = 11, **options: Any) -> tuple[Player, Taker]:
    stream, _ = a_stream()
    taker = Taker()
    stream.add_sink("taker", taker)
    await asyncio.to_thread(source.open)
    ended = asyncio.Event()
    player = Player(source, stream, PlayOptions(**options), on_ended=ended.set)
    player.start()
    if not options.get("loop"):
        await asyncio.wait_for(ended.wait(), 20)
    else:
        await until(lambda: len(taker.frames) >= at_least, timeout_s=20)
    await player.close()
    return player, taker


@pytest.mark.parametrize("speed", [1.0, 4.0])
async def test_frames_leave_when_their_time_stamps_say(tmp_path: Path, speed: float) -> None:
    started_us = monotonic_us()
    player, taker = await played(file_of(tmp_path), speed=speed)
    gaps = np.diff([frame.pts for frame in taker.frames])
    assert np.abs(gaps - 3000 / speed).max() <= 1
    assert taker.frames[-1].at_us - started_us >= 100_000 / speed  # never early
    assert [frame.packets for frame in taker.frames] == FRAMES
    report = player.report()
    assert (report["frames_played"], report["state"], report["error"]) == (4, "ended", None)


async def test_a_gap_is_played_as_time(tmp_path: Path) -> None:
    data = a_recording(times=(0, 3000, 63_000), keys=(0,))
    _, taker = await played(file_of(tmp_path, data), speed=10)
    first, second, third = (frame.pts for frame in taker.frames)
    assert abs(third - first - 6300) <= 1
    assert abs(second - first - 360) <= 1  # at least four milliseconds, whatever is said


async def test_a_loop_goes_on_where_the_end_would_have_been(tmp_path: Path) -> None:
    _, taker = await played(file_of(tmp_path), loop=True)
    gaps = np.diff([frame.pts for frame in taker.frames])
    assert gaps.min() >= 2999  # the last frame of a round is shown as long as the others
    assert [frame.packets for frame in taker.frames[:8]] == FRAMES * 2


async def test_a_single_frame_is_not_looped_in_a_rush(tmp_path: Path) -> None:
    source = file_of(tmp_path, a_recording(times=(0,), keys=(0,)))
    _, taker = await played(source, at_least=2, loop=True)
    assert np.diff([frame.pts for frame in taker.frames]).min() >= 89_999  # a second


async def test_damage_in_the_middle_ends_it_and_is_told(tmp_path: Path) -> None:
    data = DATA[:-4] + bytes(4)
    player, taker = await played(file_of(tmp_path, data), speed=10)
    assert len(taker.frames) == 4
    assert player.problem is not None
    assert "CRC" in player.problem


def test_a_speed_has_limits() -> None:
    for speed in (0, 0.09, 11, float("nan")):
        with pytest.raises(InputError):
            PlayOptions(speed=speed)
