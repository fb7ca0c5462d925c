"""From packets to pictures to files, without a network."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.packet import Packet, read_packet
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.picture_decoder import DecodedPicture, PictureDecoder
from rtcodec.engine.null import NullEngine
from rtcodec.errors import BitstreamError, ConfigError, InputError
from rtcodec.media.picture import planes_of
from rtcodec_client.output import OutputThread, check_output, open_output
from support.pictures import same_picture
from support.streams import coded_frames

SIZE = (150, 90)


@pytest.fixture
def engine() -> NullEngine:
    return NullEngine()


def pictures(
    engine: NullEngine, count: int, size: tuple[int, int], *, rung: int = 0
) -> list[DecodedPicture]:
    decoder = PictureDecoder(engine, engine.bundle)
    frames = coded_frames(engine, count, size, rung=rung)
    return [decoder.decode(frame.packets) for frame in frames]


def write(
    path: Path, engine: NullEngine, frames: list[DecodedPicture], *, spool: bool = False
) -> None:
    thread = OutputThread([open_output(path, engine.info.model_id, spool=spool)])
    try:
        for index, frame in enumerate(frames):
            thread.write(index * 3600, frame)  # 25 a second
    finally:
        thread.close()


# ---- packets to pictures


def test_what_arrives_whole_is_decoded_exactly(engine: NullEngine) -> None:
    decoder = PictureDecoder(engine, engine.bundle)
    for number, frame in enumerate(coded_frames(engine, 3, SIZE)):
        decoded = decoder.decode(frame.packets)
        assert decoded.is_complete
        assert decoded.frame_number == number
        assert same_picture(decoded.planes, frame.decoded)
    decoder.close()


def test_a_missing_packet_costs_a_part_of_the_picture(engine: NullEngine) -> None:
    (frame,) = coded_frames(engine, 1, SIZE)
    assert len(frame.packets) > 1
    decoded = PictureDecoder(engine, engine.bundle).decode(frame.packets[1:])
    assert not decoded.is_complete
    assert (decoded.planes.width, decoded.planes.height) == SIZE
    assert not same_picture(decoded.planes, frame.decoded)


def test_a_damaged_packet_is_left_out(engine: NullEngine) -> None:
    (frame,) = coded_frames(engine, 1, SIZE)
    decoded = PictureDecoder(engine, engine.bundle).decode([b"\xff\x00", *frame.packets])
    assert not decoded.is_complete
    assert same_picture(decoded.planes, frame.decoded)


@pytest.mark.parametrize("packets", [[], [b""], [b"\x00" * 40], [b"\xff" * 40]])
def test_a_frame_of_nonsense_is_a_bitstream_error(engine: NullEngine, packets: list[bytes]) -> None:
    with pytest.raises(BitstreamError):
        PictureDecoder(engine, engine.bundle).decode(packets)


def test_a_size_that_only_a_liar_would_send_is_refused(engine: NullEngine) -> None:
    (frame,) = coded_frames(engine, 1, SIZE)
    decoder = PictureDecoder(engine, engine.bundle, pixels_max=SIZE[0] * SIZE[1] - 1)
    with pytest.raises(BitstreamError, match="150x90"):
        decoder.decode(frame.packets)


def test_a_stream_may_change_its_size(engine: NullEngine) -> None:
    decoder = PictureDecoder(engine, engine.bundle)
    for size in ((64, 64), (17, 23), (64, 64)):
        (frame,) = coded_frames(engine, 1, size)
        assert same_picture(decoder.decode(frame.packets).planes, frame.decoded)


def test_another_rung_of_the_same_size_is_another_stream(engine: NullEngine) -> None:
    decoder = PictureDecoder(engine, engine.bundle)
    decoder.warm(64, 64)
    for rung in (0, 1, 0):
        (frame,) = coded_frames(engine, 1, (64, 64), rung=rung)
        decoded = decoder.decode(frame.packets)
        assert (decoded.rung, decoded.is_complete) == (rung, True)
    decoder.close()


def test_it_says_whether_a_frame_can_be_decoded_at_once(engine: NullEngine) -> None:
    decoder = PictureDecoder(engine, engine.bundle)
    (frame,), (lower,), (other,) = (
        coded_frames(engine, 1, size, rung=rung)
        for size, rung in (((64, 64), 0), ((64, 64), 1), ((64, 48), 0))
    )
    assert not decoder.is_ready_for(frame.packets)
    decoder.warm(64, 64)
    assert decoder.is_ready_for(frame.packets)
    assert decoder.is_ready_for(lower.packets)  # no frame has said yet which rung it is
    decoder.decode(frame.packets)
    assert decoder.is_ready_for(frame.packets)
    assert not decoder.is_ready_for(lower.packets)
    assert not decoder.is_ready_for(other.packets)
    assert decoder.is_ready_for([b"\xff\x00"])  # which opens nothing
    decoder.close()
    assert not decoder.is_ready_for(frame.packets)


def test_getting_ready_for_a_size_never_fails(engine: NullEngine) -> None:
    decoder = PictureDecoder(engine, engine.bundle, pixels_max=100)
    for size in ((0, 5), (10, 10), (1 << 20, 1 << 20)):
        decoder.prepare(*size)


# ---- pictures to files


def test_the_bitstream_is_kept_as_it_came(tmp_path: Path, engine: NullEngine) -> None:
    frames = pictures(engine, 4, SIZE)
    path = tmp_path / "x.rtc"
    write(path, engine, frames)
    with path.open("rb") as file:
        reader = RtcReader(file)
        units = list(reader)
    assert (reader.sequence.width, reader.sequence.height) == SIZE
    assert [unit.pts for unit in units] == [0, 3600, 7200, 10800]
    decoder = FrameDecoder(engine, engine.bundle, *SIZE)
    for unit, frame in zip(units, frames, strict=True):
        assert unit.packets == frame.packets
        assert same_picture(decoder.decode(unit.packets).planes, frame.planes)


@pytest.mark.parametrize("spool", [False, True])
@pytest.mark.parametrize("name", ["x.mkv", "x.y4m"])
def test_exact_kinds_hold_the_decoded_planes(
    tmp_path: Path, engine: NullEngine, name: str, spool: bool
) -> None:
    frames = pictures(engine, 3, SIZE)
    write(tmp_path / name, engine, frames, spool=spool)
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].average_rate == 25
        saved = [planes_of(frame) for frame in container.decode(video=0)]
    assert len(saved) == 3
    assert all(same_picture(s, f.planes) for s, f in zip(saved, frames, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_single_frame_is_a_file_too(tmp_path: Path, engine: NullEngine) -> None:
    write(tmp_path / "x.mp4", engine, pictures(engine, 1, (64, 48)))
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert len(list(container.decode(video=0))) == 1


def test_a_given_rate_needs_no_second_frame(tmp_path: Path, engine: NullEngine) -> None:
    output = open_output(tmp_path / "x.y4m", engine.info.model_id, frame_rate=Fraction(12))
    for frame in pictures(engine, 1, (8, 8)):
        output.write(0, frame)
    output.close()
    assert b" F12:1 " in (tmp_path / "x.y4m").read_bytes()[:80]


@pytest.mark.parametrize("name", ["x.rtc", "x.mp4"])
def test_without_a_frame_there_is_no_file(tmp_path: Path, engine: NullEngine, name: str) -> None:
    write(tmp_path / name, engine, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spool", [False, True])
def test_pictures_of_another_size_are_scaled_to_the_first(
    tmp_path: Path, engine: NullEngine, spool: bool
) -> None:
    frames = pictures(engine, 2, (64, 64)) + pictures(engine, 1, (32, 32))
    write(tmp_path / "x.mkv", engine, frames, spool=spool)
    with av.open(str(tmp_path / "x.mkv")) as container:
        saved = [planes_of(frame) for frame in container.decode(video=0)]
    assert [(p.width, p.height) for p in saved] == [(64, 64)] * 3
    assert same_picture(saved[0], frames[0].planes)
    assert saved[2].y.mean() == pytest.approx(frames[2].planes.y.mean(), abs=2)


def test_a_bitstream_goes_on_in_another_file_where_size_or_rung_change(
    tmp_path: Path, engine: NullEngine
) -> None:
    frames = pictures(engine, 2, (64, 64)) + pictures(engine, 1, (32, 32), rung=2)
    frames += pictures(engine, 3, (64, 64))
    write(tmp_path / "x.rtc", engine, frames)
    parts = [tmp_path / name for name in ("x.rtc", "x-2.rtc", "x-3.rtc")]
    assert sorted(tmp_path.iterdir()) == sorted(parts)
    found = []
    for part in parts:
        with part.open("rb") as file:
            reader = RtcReader(file)
            units = list(reader)
            found.append((reader.sequence.width, reader.sequence.rungs, len(units)))
    assert found == [(64, 1, 2), (32, 3, 1), (64, 1, 3)]


def test_a_bitstream_file_is_of_one_model(tmp_path: Path, engine: NullEngine) -> None:
    output = open_output(tmp_path / "x.rtc", b"\xff" * 32)
    with pytest.raises(InputError, match=r"x.rtc: the stream cannot be kept: model tag"):
        output.write(0, pictures(engine, 1, (64, 64))[0])
    output.abandon()
    assert list(tmp_path.iterdir()) == []


def test_many_frames_are_written_in_order(tmp_path: Path, engine: NullEngine) -> None:
    frames = pictures(engine, 2, (16, 16)) * 30
    write(tmp_path / "x.y4m", engine, frames)
    assert (tmp_path / "x.y4m").read_bytes().count(b"FRAME\n") == 60


def test_an_output_is_checked_before_any_work(tmp_path: Path) -> None:
    check_output(tmp_path / "x.mp4")
    with pytest.raises(ConfigError, match="unknown kind"):
        check_output(tmp_path / "x.avi")
    with pytest.raises(InputError, match="folder does not exist"):
        check_output(tmp_path / "no" / "x.mp4")


def test_packets_over_rtp_say_their_size(engine: NullEngine) -> None:
    (frame,) = coded_frames(engine, 1, SIZE)
    for data in frame.packets:
        packet = read_packet(data)
        assert isinstance(packet, Packet)
        assert packet.header.description is not None
