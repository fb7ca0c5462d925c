"""Cines of DICOM as published pictures: their shades, their rate, and no names."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.errors import InputError
from rtcodec.media.color import Color, planes_to_rgb
from rtcodec_client.source import SourceFrame, SourceOptions, open_source
from support.dicom_files import dicom_dataset, encapsulated, write_dataset

pytest.importorskip("pydicom", reason="the extra medical is not installed")
imagecodecs = pytest.importorskip("imagecodecs", reason="the extra medical is not installed")

VIDEO = Color()
ROWS, COLUMNS = np.indices((48, 64))
GRAY = np.stack([(ROWS * 3 + COLUMNS + 20 * k) % 256 for k in range(3)]).astype(np.uint8)
COLORS = np.stack([GRAY, np.full_like(GRAY, 90), 255 - GRAY], -1)


def cine(path: Path, frames: np.ndarray, **tags: Any) -> str:
    return str(write_dataset(path, dicom_dataset(frames, **tags)))


def read(path: str, **options: Any) -> list[SourceFrame]:
    return list(open_source(path, SourceOptions(**options)))


def test_gray_frames_come_windowed_at_the_rate_of_the_file(tmp_path: Path) -> None:
    frames = GRAY.astype(np.uint16) * 16
    path = cine(
        tmp_path / "a.dcm", frames, BitsStored=12, HighBit=11, FrameTime=40,
        WindowCenter=2048, WindowWidth=4096,
    )  # fmt: skip
    source = open_source(path, SourceOptions())
    assert source.frame_rate == 25
    assert source.duration_s == pytest.approx(0.12)
    seen = list(source)
    assert [frame.time_us for frame in seen] == [0, 40_000, 80_000]
    for frame, wanted in zip(seen, GRAY, strict=True):
        rgb = planes_to_rgb(frame.planes, VIDEO).astype(int)
        assert np.abs(rgb - wanted[..., None]).max() <= 3  # limited range, and back


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours_come_as_they_are_seen(tmp_path: Path, photometric: str) -> None:
    flat = np.broadcast_to(np.array([200, 90, 40], np.uint8), (2, 48, 64, 3))
    stored = flat
    if photometric == "YBR_FULL":
        stored = np.broadcast_to(np.array([117, 84, 187], np.uint8), flat.shape)
    path = cine(tmp_path / "a.dcm", stored, PhotometricInterpretation=photometric)
    for frame in read(path):
        rgb = planes_to_rgb(frame.planes, VIDEO).astype(int)
        assert np.abs(rgb - flat[0]).max() <= 4


def test_compressed_cines_are_read_and_inverted_ones_turned(tmp_path: Path) -> None:
    streams = [bytes(imagecodecs.jpegls_encode(frame)) for frame in GRAY]
    dataset = dicom_dataset(
        GRAY, PhotometricInterpretation="MONOCHROME1", WindowCenter=128, WindowWidth=256
    )
    path = write_dataset(
        tmp_path / "a.dcm", encapsulated(dataset, "1.2.840.10008.1.2.4.80", streams)
    )
    rgb = planes_to_rgb(read(str(path))[1].planes, VIDEO).astype(int)
    assert np.abs(rgb[..., 0] - (255 - GRAY[1])).max() <= 3


def test_it_starts_over_is_scaled_and_cut_as_other_files_are(tmp_path: Path) -> None:
    path = cine(tmp_path / "a.dcm", GRAY, FrameTime=100)
    looped = open_source(path, SourceOptions(loop=True, frame_rate=20, size=(32, 24)))
    first = list(islice(looped, 7))
    assert [frame.time_us for frame in first] == [50_000 * k for k in range(7)]
    assert (first[0].planes.width, first[0].planes.height) == (32, 24)
    assert np.array_equal(first[0].planes.y, first[3].planes.y)
    assert len(read(path, seconds=0.15)) == 2


def test_what_may_name_somebody_is_refused_unless_told(tmp_path: Path) -> None:
    ultrasound = {"Modality": "US", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1"}
    path = cine(tmp_path / "a.dcm", COLORS, **ultrasound)
    with pytest.raises(InputError, match="name"):
        read(path)
    assert len(read(path, allow_burned_in=True)) == 3


def test_samples_that_have_no_view_here_are_refused(tmp_path: Path) -> None:
    path = cine(tmp_path / "a.dcm", COLORS.astype(np.uint16))
    with pytest.raises(InputError, match="colours of 8 bits"):
        read(path)
    (tmp_path / "b.dcm").write_bytes(b"not DICOM")
    with pytest.raises(InputError):
        read(str(tmp_path / "b.dcm"))
