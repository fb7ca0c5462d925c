"""Steps of JPEG files and of H.264 frames."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from rtcodec.media.picture import frame_of
from rtcodec.media.quantiser import EXPORT_QUANTISER, h264_step, jpeg_steps
from support.pictures import picture


def saved(path: Path, mode: str = "RGB", **options: Any) -> Path:
    Image.fromarray(picture(64, 48).y).convert(mode).save(path, **options)
    return path


def test_a_jpeg_file_says_luma_and_chroma(tmp_path: Path) -> None:
    steps = jpeg_steps(saved(tmp_path / "a.jpg", quality=50))
    assert steps is not None
    assert steps[:4].tolist() == [16, 11, 10, 16]  # ITU-T T.81 table K.1
    assert steps[8] == 12  # row by row
    assert steps[64:68].tolist() == [17, 18, 24, 47]


def test_a_gray_file_says_luma_twice(tmp_path: Path) -> None:
    steps = jpeg_steps(saved(tmp_path / "a.jpg", "L", quality=50))
    assert steps is not None
    assert np.array_equal(steps[:64], steps[64:])


def test_other_files_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    assert jpeg_steps(tmp_path / "a.jpg") is None
    assert jpeg_steps(tmp_path / "none.jpg") is None
    assert jpeg_steps(saved(tmp_path / "a.png")) is None
    assert jpeg_steps(saved(tmp_path / "b.jpg", "CMYK")) is None


@pytest.mark.parametrize("qp", [18, 30, 42])
def test_h264_frames_say_their_step(qp: int) -> None:
    encoder = av.CodecContext.create("libx264", "w")
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(encoder, av.VideoCodecContext)
    assert isinstance(decoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 96, 80, "yuv420p"
    encoder.time_base = encoder.framerate = Fraction(1, 25)
    options = f"log-level=error:qp={qp}:ipratio=1"
    encoder.options = {"tune": "zerolatency", "x264-params": options}
    decoder.options = EXPORT_QUANTISER
    steps = []
    for number in range(3):
        frame = frame_of(picture(96, 80, seed=number))
        frame.pts, frame.time_base = number, Fraction(1, 25)
        for packet in encoder.encode(frame):
            steps += [h264_step(decoded) for decoded in decoder.decode(packet)]
    assert steps == pytest.approx([0.625 * 2 ** (qp / 6)] * 3)  # H.264 8.5.9


def test_a_frame_that_was_never_coded_says_nothing() -> None:
    assert h264_step(frame_of(picture(96, 80))) is None
