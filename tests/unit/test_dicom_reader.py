"""Reading DICOM: what breaks other readers, what may not go along, what must be told."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.dicom import privacy, reader
from rtcodec.dicom.codestream import check_stream
from rtcodec.dicom.privacy import NewUids
from rtcodec.dicom.reader import parse_dicom, read_dicom
from rtcodec.errors import InputError
from support.dicom_files import CT, SECRET, dicom_dataset, encapsulated

pydicom = pytest.importorskip("pydicom", reason="the extra medical is not installed")
imagecodecs = pytest.importorskip("imagecodecs", reason="the extra medical is not installed")

SAMPLES = np.random.default_rng(7).integers(0, 256, (1, 12, 10)).astype(np.uint8)
JPEG_LS = "1.2.840.10008.1.2.4.80"
HTJ2K = "1.2.840.10008.1.2.4.201"
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def file_of(dataset: Any) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def notes_of(
    dataset: Any, *, keep_identity: bool = False, allow_burned_in: bool = False
) -> dict[str, Any]:
    return parse_dicom(
        file_of(dataset), keep_identity=keep_identity, allow_burned_in=allow_burned_in
    ).notes


def tags_of(dataset: Any, **options: bool) -> Any:
    return pydicom.Dataset.from_json(notes_of(dataset, **options)["tags"])


def element(group: int, number: int, vr: bytes, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH2sHI", group, number, vr, 0, length) + value


# ---- what fuzzing found, and its like


def with_inserted(inserted: bytes) -> bytes:
    whole = file_of(dicom_dataset(SAMPLES))
    at = whole.index(struct.pack("<HH", 0x28, 0x02))
    return whole[:at] + inserted + whole[at:]


ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
NESTED = element(0x28, 0x3010, b"SQ", 0xFFFFFFFF) + ITEM


@pytest.mark.parametrize(
    "data",
    [
        with_inserted(element(0x20, 0x4000, b"SQ", 40, b"\x01" * 3)),
        with_inserted(element(0x20, 0x4000, b"UT", 0xFFFFFFF0)),
        with_inserted(element(0x20, 0x4000, b"OB", 0x7FFFFFFF)),
        with_inserted(NESTED),
        with_inserted(NESTED * 3000),
        with_inserted(NESTED)[:-200],
    ],
    ids=["no item", "4 GB of text", "2 GB of bytes", "unclosed", "deep", "unclosed and cut"],
)
def test_broken_structure_is_refused_in_words_of_ours(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        parse_dicom(data, keep_identity=False, allow_burned_in=False)
    assert len(str(refused.value).splitlines()) == 1
    path = tmp_path / "in.dcm"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"in\.dcm: "):
        read_dicom(path, keep_identity=False, allow_burned_in=False)


def test_no_more_is_asked_of_a_file_than_it_has(tmp_path: Path) -> None:
    """A buffer for all that a length claims would be set up before anything is read."""
    asked = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size)
            return super().read(size)

    data = with_inserted(element(0x20, 0x4000, b"UT", 0xFFFFFFF0))
    file = reader.BoundedFile(Watched(data))
    assert len(file.read(1 << 40)) == len(data)
    assert file.read() == b""
    assert asked == [len(data), 0]


def test_a_group_length_that_lies_hides_no_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "INFLATED_MAX_BYTES", 1 << 20)
    dataset = dicom_dataset(SAMPLES)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    head = file_of(dataset)
    meta = 144 + int.from_bytes(head[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = bytearray(head[:meta] + packer.compress(bytes(1 << 22)) + packer.flush())
    for said in (meta - 144, 0, 200, 0xFFFFFFFF):
        bomb[140:144] = said.to_bytes(4, "little")
        with pytest.raises(InputError, match="inflates to more"):
            parse_dicom(bytes(bomb), keep_identity=False, allow_burned_in=False)


def test_jpeg_ls_without_an_end_is_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """CharLS takes a quarter of a minute over some that are cut; with an end, no time."""
    whole = bytes(imagecodecs.jpegls_encode(SAMPLES[0]))
    honest, given = imagecodecs.jpegls_decode, []

    def watched(data: bytes, **options: Any) -> Any:
        given.append(bytes(data))
        return honest(data, **options)

    monkeypatch.setattr(imagecodecs, "jpegls_decode", watched)
    cut = file_of(encapsulated(dicom_dataset(SAMPLES), JPEG_LS, [whole[:91]]))
    with pytest.raises(InputError):
        parse_dicom(cut, keep_identity=False, allow_burned_in=False)
    assert given
    assert all(data.endswith(b"\xff\xd9") for data in given)


@pytest.mark.parametrize("of_component", [False, True])
def test_htj2k_whose_quantiser_has_no_band_never_reaches_a_decoder(of_component: bool) -> None:
    """OpenJPH would end the process."""
    whole = bytes(imagecodecs.htj2k_encode(SAMPLES[0], reversible=True))
    at = whole.index(b"\xff\x5c")
    after = at + 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
    empty = b"\xff\x5d\0\4\0\x20" if of_component else b"\xff\x5c\0\3\x20"
    data = whole[: after if of_component else at] + empty + whole[after:]
    with pytest.raises(InputError, match="not of the size"):
        check_stream(data, (ROWS, COLUMNS, 1))
    full = b"\xff\x5d\0\5\0\x20\x48"
    check_stream(whole[:after] + full + whole[after:], (ROWS, COLUMNS, 1))


def test_htj2k_that_its_decoder_gives_up_on_is_refused() -> None:
    """imagecodecs prints what OpenJPH finds within a frame, and returns what it had."""
    whole = bytes(imagecodecs.htj2k_encode(SAMPLES[0], reversible=True))
    refused = 0
    for place in range(whole.index(b"\xff\x93") + 2, len(whole), 7):
        broken = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        coded = encapsulated(dicom_dataset(SAMPLES), HTJ2K, [broken])
        try:
            parse_dicom(file_of(coded), keep_identity=False, allow_burned_in=False)
        except InputError:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("size", [(65535, 65535), (16384, 16384)])
@pytest.mark.parametrize("frames", [1, 7, 1 << 24])
def test_what_a_header_claims_is_not_set_up(size: tuple[int, int], frames: int) -> None:
    dataset = dicom_dataset(SAMPLES, Rows=size[0], Columns=size[1], NumberOfFrames=frames)
    coded = encapsulated(dicom_dataset(SAMPLES), JPEG_LS, [imagecodecs.jpegls_encode(SAMPLES[0])])
    coded.Rows, coded.Columns = size
    coded.NumberOfFrames = frames
    for claims in (dataset, coded):
        with pytest.raises(InputError):
            parse_dicom(file_of(claims), keep_identity=False, allow_burned_in=False)


def jpeg_2000(**options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(SAMPLES[0], level=0, codecformat="j2k", **options))


def with_words(data: bytes, at: int, *words: int) -> bytes:
    """Put 32-bit words in place of those of SIZ, the first that of Xsiz."""
    place = data.index(b"\xff\x51") + 6 + 4 * at
    return data[:place] + struct.pack(f">{len(words)}I", *words) + data[place + 4 * len(words) :]


ROWS, COLUMNS = SAMPLES.shape[1:]


@pytest.mark.parametrize(
    "data",
    [
        with_words(jpeg_2000(), 0, 1 << 30),
        with_words(jpeg_2000(), 0, COLUMNS + (1 << 25), ROWS, 1 << 25, 0),
        with_words(jpeg_2000(), 4, 0),
        jpeg_2000()[:40],
        b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65500, 65500, 1) + bytes(40),
        b"\xff\xd8" + b"\xff" * 60,
        b"\xff\xd8\xff\xe0\0\0" * 20,
        b"",
        b"neither",
    ],
    ids=["large", "far away", "tiles of 0", "cut", "large JPEG", "fill", "no end", "empty", "text"],
)
def test_frames_of_another_size_are_refused_before_they_are_decoded(data: bytes) -> None:
    with pytest.raises(InputError):
        check_stream(data, (ROWS, COLUMNS, 1))


def test_what_encoders_write_is_of_its_size() -> None:
    shape = (ROWS, COLUMNS, 1)
    check_stream(jpeg_2000(), shape)
    check_stream(bytes(imagecodecs.jpeg2k_encode(SAMPLES[0], codecformat="jp2")), shape)
    check_stream(bytes(imagecodecs.htj2k_encode(SAMPLES[0])), shape)
    check_stream(bytes(imagecodecs.jpegls_encode(SAMPLES[0])), shape)
    check_stream(bytes(imagecodecs.ljpeg_encode(SAMPLES[0])), shape)
    colors = np.stack([SAMPLES[0]] * 3, -1)
    check_stream(bytes(imagecodecs.jpeg8_encode(colors)), (ROWS, COLUMNS, 3))
    check_stream(bytes(imagecodecs.jpegls_encode(colors)), (ROWS, COLUMNS, 3))


def test_runs_that_cannot_fill_a_frame_are_refused() -> None:
    dataset = encapsulated(
        dicom_dataset(SAMPLES, Rows=16384, Columns=8192),
        RLE,
        [struct.pack("<16I", 1, 64, *[0] * 14)],
    )
    with pytest.raises(InputError, match="too few bytes"):
        parse_dicom(file_of(dataset), keep_identity=False, allow_burned_in=False)


# ---- privacy (PS3.15)


def embedded_overlay(dataset: Any) -> None:
    dataset.add_new((0x6000, 0x0010), "US", 12)
    dataset.add_new((0x6000, 0x0102), "US", 12)


def separate_overlay(dataset: Any) -> None:
    embedded_overlay(dataset)
    dataset.add_new((0x6000, 0x3000), "OW", bytes(16))


def tagged(**tags: str) -> Callable[[Any], None]:
    def change(dataset: Any) -> None:
        for name, value in tags.items():
            setattr(dataset, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "is_refused"),
    [
        (tagged(BurnedInAnnotation="YES"), True),
        (tagged(BurnedInAnnotation="YES "), True),
        (tagged(Modality="IVUS"), True),
        (tagged(Modality="US", BurnedInAnnotation=""), True),
        (tagged(SOPClassUID=SECONDARY_CAPTURE), True),
        (tagged(SOPClassUID=SECONDARY_CAPTURE + ".2"), True),
        (tagged(SOPClassUID=SECONDARY_CAPTURE, BurnedInAnnotation="NO"), False),
        (tagged(SOPClassUID=CT), False),
        (embedded_overlay, True),
        (separate_overlay, False),
    ],
)
def test_what_may_show_a_name_is_refused(change: Callable[[Any], None], is_refused: bool) -> None:
    dataset = dicom_dataset(SAMPLES)
    change(dataset)
    if is_refused:
        with pytest.raises(InputError, match="--allow-burned-in"):
            notes_of(dataset)
    else:
        notes_of(dataset)
    notes_of(dataset, allow_burned_in=True)
    notes_of(dataset, keep_identity=True)


def test_words_in_the_place_of_numbers_do_not_go_along() -> None:
    whole = file_of(dicom_dataset(SAMPLES, WindowCenter=40, RescaleSlope=2))
    at = whole.index(struct.pack("<HH2s", 0x28, 0x1050, b"DS"))
    words = struct.pack("<HH2sH", 0x28, 0x1050, b"LO", 10) + f"{SECRET} ".encode()
    (length,) = struct.unpack_from("<H", whole, at + 6)
    notes = parse_dicom(
        whole[:at] + words + whole[at + 8 + length :], keep_identity=False, allow_burned_in=False
    ).notes
    assert SECRET not in str(notes)
    assert pydicom.Dataset.from_json(notes["tags"]).RescaleSlope == 2


def test_what_frames_of_an_enhanced_picture_need_goes_along_and_no_more() -> None:
    transform, content, shared = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    transform.RescaleIntercept, transform.RescaleSlope = -1024, 1
    content.FrameComments, content.FrameAcquisitionDateTime = SECRET, "20200101"
    shared.PixelValueTransformationSequence = [transform]
    shared.FrameContentSequence = [content]
    dataset = dicom_dataset(SAMPLES)
    dataset.SharedFunctionalGroupsSequence = [shared]
    kept = tags_of(dataset)
    assert SECRET not in str(kept)
    group = kept.SharedFunctionalGroupsSequence[0]
    assert group.PixelValueTransformationSequence[0].RescaleIntercept == -1024
    assert "FrameContentSequence" not in group


def test_pictures_of_a_study_stay_together_without_its_name() -> None:
    uids = NewUids()
    told = [
        parse_dicom(
            file_of(dicom_dataset(SAMPLES, SOPInstanceUID=f"1.2.3.4.5.{k}")),
            keep_identity=False,
            allow_burned_in=False,
            uids=uids,
        ).notes["uids"]
        for k in range(3)
    ]
    assert len({one["SOPInstanceUID"] for one in told}) == 3
    assert len({one["StudyInstanceUID"] for one in told}) == 1
    assert told[0]["StudyInstanceUID"] != "1.2.3.4"
    assert uids.of("") != uids.of("")


def test_what_stands_for_what_is_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "UIDS_MAX", 3)
    uids = NewUids()
    first = uids.of("1.1")
    uids.of("1.2")
    uids.of("1.3")
    assert uids.of("1.1") == first
    uids.of("1.4")
    assert uids.of("1.1") != first


# ---- honesty about loss (PS3.3 C.7.6.1.1.5)


def coded_with_loss(**tags: Any) -> Any:
    data = bytes(imagecodecs.jpeg8_encode(SAMPLES[0], level=90))
    return encapsulated(dicom_dataset(SAMPLES, **tags), JPEG_BASELINE, [data])


@pytest.mark.parametrize("said", [None, "00", "01"])
@pytest.mark.parametrize("keep_identity", [False, True])
def test_what_was_coded_with_loss_stays_so(said: str | None, keep_identity: bool) -> None:
    tags = {} if said is None else {"LossyImageCompression": said}
    kept = tags_of(coded_with_loss(**tags), keep_identity=keep_identity)
    assert kept.LossyImageCompression == "01"
    if said != "01":
        assert kept.LossyImageCompressionMethod == "ISO_10918_1"


def test_methods_and_ratios_that_are_told_stay_as_they_are() -> None:
    dataset = coded_with_loss(LossyImageCompressionMethod=["ISO_15444_1", "ISO_10918_1"])
    kept = tags_of(dataset)
    assert list(kept.LossyImageCompressionMethod) == ["ISO_15444_1", "ISO_10918_1"]


@pytest.mark.parametrize(("said", "expected"), [(None, "01"), ("00", "00")])
def test_a_syntax_that_may_lose_is_believed_when_it_says_it_did_not(
    said: str | None, expected: str
) -> None:
    tags = {} if said is None else {"LossyImageCompression": said}
    near = "1.2.840.10008.1.2.4.81"
    data = imagecodecs.jpegls_encode(SAMPLES[0])
    kept = tags_of(encapsulated(dicom_dataset(SAMPLES, **tags), near, [data]))
    assert kept.LossyImageCompression == expected


def test_without_loss_nothing_is_said_of_it() -> None:
    data = imagecodecs.jpegls_encode(SAMPLES[0])
    assert "LossyImageCompression" not in tags_of(dicom_dataset(SAMPLES))
    kept = tags_of(encapsulated(dicom_dataset(SAMPLES), JPEG_LS, [data]))
    assert "LossyImageCompression" not in kept
