"""From packets to pictures to files, without a network."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.packet import Packet, read_packet
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.engine.null import NullEngine
from rtcodec.errors import BitstreamError, ConfigError, InputError
from rtcodec_client.output import OutputThread, check_output, open_output
from rtcodec_client.picture import planes_of
from rtcodec_client.picture_decoder import DecodedPicture, PictureDecoder
from support.pictures import same_picture
from support.streams import coded_frames

SIZE = (150, 90)


@pytest.fixture
def engine() -> NullEngine:
    return NullEngine()


def pictures(engine: NullEngine, count: int, size: tuple[int, int]) -> list[DecodedPicture]:
    decoder = PictureDecoder(engine, engine.bundle)
    return [decoder.decode(frame.packets) for frame in coded_frames(engine, count, size)]


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
    decoder = FrameDecoder(engine, engine.bundle.entropy_tables, engine.bundle.scale_net, *SIZE)
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


@pytest.mark.parametrize("name", ["x.y4m", "x.rtc"])
def test_a_file_cannot_follow_a_change_of_size(
    tmp_path: Path, engine: NullEngine, name: str
) -> None:
    frames = pictures(engine, 2, (64, 64)) + pictures(engine, 1, (32, 32))
    with pytest.raises(InputError, match=rf"{name}: the stream's size changed to 32x32"):
        write(tmp_path / name, engine, frames)
    assert list(tmp_path.iterdir()) == []


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
