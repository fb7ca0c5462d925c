"""`encode`, `decode`, `models` and `doctor` as a user meets them, through the command line."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec import cli
from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bitstream.file import RtcReader, RtcWriter
from rtcodec.bitstream.packet import Geometry, read_packet
from rtcodec.bitstream.sequence import ColorRange, SequenceHeader
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec import decode_command, encode_command
from rtcodec.codec.intra_choice import bits_at
from rtcodec.engine.null import NullEngine, null_bundle
from rtcodec.media.color import Color
from rtcodec.media.reader import MediaReader
from rtcodec.media.writer import MediaFormat, open_writer
from rtcodec.quality import mean_psnr, picture_psnr
from rtcodec.types import Planes
from support.pictures import noise, picture, same_picture
from support.spatial_model import with_spatial, without_spatial
from support.streams import coded_frames

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line; return exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """Put the null engine in place of every model and runtime: fast, and exact to the bit."""
    bundle = null_bundle()

    def open_null(*_: object, **__: object) -> NullEngine:
        return NullEngine()

    def find(*_: object) -> Bundle:
        return bundle

    for module in (encode_command, decode_command):
        monkeypatch.setattr(module, "open_engine", open_null)
        monkeypatch.setattr(module, "find_bundle", find)
    monkeypatch.setattr(decode_command, "find_bundle_by_id", find)
    return bundle


def clip(path: Path, width: int, height: int, frames: int) -> list[Planes]:
    planes = [picture(width, height, seed) for seed in range(frames)]
    write_clip(path, planes)
    return planes


def write_clip(path: Path, planes: list[Planes]) -> None:
    size, color = (planes[0].width, planes[0].height), Color(ColorRange.LIMITED, 1)
    media = MediaFormat(*size, Fraction(1, 90_000), Fraction(25), color)
    with open_writer(path, media) as writer:
        for number, frame in enumerate(planes):
            writer.write(3600 * number + 1800, frame)
        writer.commit()


def frames_of(path: Path) -> list[Planes]:
    with MediaReader(path) as reader:
        return [planes for _, planes in reader.frames()]


def one_line(err: str) -> bool:
    return err.count("\n") == 1 and err.startswith("rtcodec: ")


@pytest.mark.parametrize("model", ["n64", "s128"])
def test_a_clip_goes_through_the_shipped_models(tmp_path: Path, run: Run, model: str) -> None:
    source = clip(tmp_path / "clip.mkv", 96, 80, 3)
    code, out, _ = run(
        "encode", tmp_path / "clip.mkv", tmp_path / "a.rtc", "--model", model, "--qp", 8, "--json"
    )
    report = json.loads(out)
    assert code == 0
    assert report["size_bytes"] == (tmp_path / "a.rtc").stat().st_size
    assert report["bpp"] == pytest.approx(8 * report["size_bytes"] / (3 * 96 * 80))
    assert report["kbps"] == pytest.approx(report["size_bytes"] * 8 / 1000 / (3 / 25))

    code, out, _ = run("decode", tmp_path / "a.rtc", tmp_path / "b.y4m", "--json")
    assert code == 0
    assert json.loads(out)["model"] == model
    shown = frames_of(tmp_path / "b.y4m")
    quality = mean_psnr(map(picture_psnr, source, shown))
    assert quality.yuv == pytest.approx(report["psnr_db"]["yuv"], abs=0.05)
    assert quality.yuv > 30


def test_noise_is_taken_out_before_a_clip_is_coded(tmp_path: Path, run: Run) -> None:
    clean, rng = picture(96, 80), np.random.default_rng(5)
    write_clip(
        tmp_path / "noisy.mkv",
        [
            Planes(
                *(
                    np.clip(plane + rng.normal(0, 12, plane.shape), 0, 255).astype(np.uint8)
                    for plane in (clean.y, clean.u, clean.v)
                )
            )
            for _ in range(4)
        ],
    )
    sizes, quality, reports = {}, {}, {}
    for mode in ("off", "auto"):
        words = ("encode", tmp_path / "noisy.mkv", tmp_path / "a.rtc", "--qp", 24, "--json")
        code, out, _ = run(*words, "--denoise", mode)
        assert code == 0
        assert run("decode", tmp_path / "a.rtc", tmp_path / "b.y4m")[0] == 0
        shown = frames_of(tmp_path / "b.y4m")
        reports[mode] = json.loads(out)
        sizes[mode] = reports[mode]["size_bytes"]
        quality[mode] = mean_psnr(picture_psnr(clean, planes) for planes in shown).yuv
    assert reports["off"]["denoise"] == {"mode": "off", "frames": 0, "sigma": None}
    assert reports["auto"]["denoise"]["frames"] == 4
    assert reports["auto"]["denoise"]["sigma"]["y"] == pytest.approx(12, abs=2)
    assert sizes["auto"] < 0.5 * sizes["off"]
    assert quality["auto"] > quality["off"] + 4


def test_count_order_times_size_and_colour_are_kept(
    tmp_path: Path, run: Run, stand_in: Bundle
) -> None:
    source = clip(tmp_path / "clip.mkv", 50, 38, 5)
    assert run("encode", tmp_path / "clip.mkv", tmp_path / "a.rtc", "--qp", 0)[0] == 0
    with (tmp_path / "a.rtc").open("rb") as file:
        reader = RtcReader(file)
        units = list(reader)
    sequence = reader.sequence
    assert (sequence.width, sequence.height) == (50, 38)
    assert sequence.frame_rate == 25
    assert (sequence.color_range, sequence.color_matrix) == (ColorRange.LIMITED, 1)
    assert sequence.source_format == "yuv420p"
    assert [unit.pts * sequence.time_base for unit in units] == [
        Fraction(20 + 40 * n, 1000) for n in range(5)
    ]
    assert [unit.header.keyframe for unit in units] == [True, False, False, False, False]

    assert run("decode", tmp_path / "a.rtc", tmp_path / "b.mkv")[0] == 0
    with MediaReader(tmp_path / "b.mkv") as back:
        got = list(back.frames())
        assert [pts * back.time_base for pts, _ in got] == [
            Fraction(20 + 40 * n, 1000) for n in range(5)
        ]
    best = [max(range(5), key=lambda n: picture_psnr(source[n], planes).y) for _, planes in got]
    assert best == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (8191, 3)])
@pytest.mark.parametrize("kind", ["y4m", "mkv", "mp4", "png", "npy"])
def test_odd_sizes_go_through(
    tmp_path: Path, run: Run, stand_in: Bundle, size: tuple[int, int], kind: str
) -> None:
    clip(tmp_path / "clip.y4m", *size, 1)
    assert run("encode", tmp_path / "clip.y4m", tmp_path / "a.rtc")[0] == 0
    out = tmp_path / f"b.{kind}"
    assert run("decode", tmp_path / "a.rtc", out)[0] == 0
    if kind == "npy":
        assert np.load(out).shape == (1, size[1], size[0], 3)
    else:
        assert (frames_of(out)[0].width, frames_of(out)[0].height) == size


def test_an_image_goes_through(tmp_path: Path, run: Run, stand_in: Bundle) -> None:
    from PIL import Image

    Image.fromarray(np.full((20, 30, 3), 77, np.uint8)).save(tmp_path / "a.png")
    code, out, _ = run("encode", tmp_path / "a.png", tmp_path / "a.rtc", "--json")
    report = json.loads(out)
    assert (code, report["frames"], report["fps"], report["kbps"]) == (0, 1, None, None)
    assert run("decode", tmp_path / "a.rtc", tmp_path / "b.png")[0] == 0
    shown = np.asarray(Image.open(tmp_path / "b.png")).astype(int)
    assert np.abs(shown - 77).max() < 20


@pytest.fixture
def three_kinds(tmp_path: Path) -> Path:
    """A model whose frames may be predicted from themselves."""
    return saved(with_spatial(find_bundle("n64")), tmp_path / "with")


def saved(bundle: Bundle, folder: Path) -> Path:
    folder.mkdir()
    for graph in bundle.graphs:
        (folder / f"{bundle.name}.{graph}.onnx").write_bytes(bundle.read_graph(graph))
    path = folder / f"{bundle.name}.rtcm"
    bundle.save(path)
    return path


@pytest.mark.parametrize("kind", ["neural", "spatial"])
def test_an_image_is_coded_the_cheaper_way(tmp_path: Path, run: Run, kind: str) -> None:
    from PIL import Image

    samples = texture(96, 160) if kind == "neural" else stripes(96, 160)
    Image.fromarray(samples).save(tmp_path / "a.png")
    found = {}
    for intra, qp in (("neural", 36), ("spatial", 36), ("spatial", 44), ("auto", 36), (None, 36)):
        options = () if intra is None else ("--intra", intra)
        code, told, _ = run("encode", tmp_path / "a.png", tmp_path / "a.rtc", "--model", "n64",
                            "--qp", qp, "--json", *options)  # fmt: skip
        report = json.loads(told)
        assert code == 0
        found[intra, qp] = report["psnr_db"]["yuv"], report["size_bytes"], report["kinds"]
    (psnr, size_bytes, _), fine, coarse = list(found.values())[:3]
    spatial_bytes = bits_at(psnr, fine[:2], coarse[:2])  # what that quality takes
    assert (size_bytes < 0.95 * spatial_bytes) == (kind == "neural")
    assert (spatial_bytes < 0.95 * size_bytes) == (kind == "spatial")
    assert found["auto", 36][2] == found[None, 36][2] == {kind: 1}


def texture(height: int, width: int) -> NDArray[np.uint8]:
    """Noise whose amplitude falls with frequency, as that of natural surfaces does."""
    dice = np.random.default_rng(1)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) + 0.01
    spectrum = np.fft.rfft2(dice.normal(size=(3, height, width))) / frequency
    noise = np.fft.irfft2(spectrum, s=(height, width))
    samples: NDArray[np.uint8] = (noise / noise.std() * 40 + 128).clip(0, 255).astype(np.uint8)
    return samples.transpose(1, 2, 0).copy()


def stripes(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.repeat((20 + (x // 9 + y // 13) % 2 * 200).astype(np.uint8)[..., None], 3, axis=2)


def test_frames_of_a_video_are_predicted_from_themselves_and_each_other(
    tmp_path: Path, run: Run, three_kinds: Path
) -> None:
    still = picture(96, 80)
    write_clip(tmp_path / "clip.y4m", [still] * 3)
    neural, spatial = ({kind: 1, "delta": 2} for kind in ("neural", "spatial"))
    wanted = {("--intra", "neural"): neural, ("--intra", "spatial"): spatial}
    for options, kinds in wanted.items():
        code, out, _ = run("encode", tmp_path / "clip.y4m", tmp_path / "a.rtc", "--json",
                           "--model", three_kinds, *options)  # fmt: skip
        report = json.loads(out)
        assert (code, report["kinds"]) == (0, kinds)
        _, table, _ = run("inspect", tmp_path / "a.rtc")
        assert table.count("whole spatial frame") == kinds.get("spatial", 0)
        out_path = tmp_path / "b.y4m"
        assert run("decode", tmp_path / "a.rtc", out_path, "--model", three_kinds)[0] == 0
        shown = frames_of(out_path)
        quality = mean_psnr(picture_psnr(still, planes) for planes in shown)
        assert quality.yuv == pytest.approx(report["psnr_db"]["yuv"], abs=0.05)


def test_a_model_of_networks_only_is_never_asked_for_more(tmp_path: Path, run: Run) -> None:
    model = saved(without_spatial(find_bundle("n64")), tmp_path / "without")
    write_clip(tmp_path / "clip.y4m", [picture(64, 64)])
    words = ("encode", tmp_path / "clip.y4m", tmp_path / "a.rtc", "--model", model, "--json")
    for options in ((), ("--intra", "auto")):
        code, out, _ = run(*words, *options)
        assert (code, json.loads(out)["kinds"]) == (0, {"neural": 1})
    code, _, err = run(*words, "--intra", "spatial")
    assert code == 2
    assert "model n64 has no spatial frames" in err


def test_frames_keyframes_and_psnr_follow_the_options(
    tmp_path: Path, run: Run, stand_in: Bundle
) -> None:
    clip(tmp_path / "clip.y4m", 32, 32, 6)
    words = ("--frames", 5, "--keyframe-interval", 2, "--no-psnr", "--threads", 1, "--json")
    code, out, _ = run("encode", tmp_path / "clip.y4m", tmp_path / "a.rtc", *words)
    assert (code, json.loads(out)["frames"], json.loads(out)["psnr_db"]) == (0, 5, None)
    with (tmp_path / "a.rtc").open("rb") as file:
        keys = [unit.header.keyframe for unit in RtcReader(file)]
    assert keys == [True, False, True, False, True]


def test_a_bit_rate_is_kept(tmp_path: Path, run: Run, stand_in: Bundle) -> None:
    clip(tmp_path / "clip.y4m", 256, 192, 100)
    code, out, _ = run(
        "encode", tmp_path / "clip.y4m", tmp_path / "a.rtc", "--bitrate", 600, "--json"
    )
    report = json.loads(out)
    assert code == 0
    assert report["target_kbps"] == 600
    assert report["kbps"] == pytest.approx(600, rel=0.05)
    assert abs(report["worst_2s_deviation"]) < 0.05
    assert report["retries"] <= 10
    assert report["saturated_frames"] <= 10
    assert report["qp"]["min"] <= report["qp"]["mean"] <= report["qp"]["max"]


def test_a_summary_goes_to_stderr(tmp_path: Path, run: Run, stand_in: Bundle) -> None:
    clip(tmp_path / "clip.y4m", 32, 32, 2)
    code, out, err = run("encode", tmp_path / "clip.y4m", tmp_path / "a.rtc")
    assert (code, out) == (0, "")
    assert "2 frames 32x32" in err
    code, out, err = run("decode", tmp_path / "a.rtc", tmp_path / "b.y4m")
    assert (code, out) == (0, "")
    assert "2 frames 32x32" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["missing.mp4", "x.rtc"], 1, "missing.mp4: no such file"),
        (["text.mp4", "x.rtc"], 1, "not a video or an image"),
        (["empty.mp4", "x.rtc"], 1, "not a video or an image"),
        (["clip.y4m", "x.mp4"], 2, "the output of encode is a .rtc file"),
        (["clip.y4m", "no/x.rtc"], 1, "its folder does not exist"),
        (["clip.y4m", "x.rtc", "--lossless"], 1, "exact are DICOM"),
        (["clip.y4m", "x.rtc", "--model", "nope"], 2, "no model called 'nope'"),
        (["scan.dcm", "x.rtc"], 2, "DICOM pictures are coded with --lossless"),
        (["a.rtc", "x.rtc"], 2, "is coded already"),
        (["still.png", "x.rtc", "--bitrate", "100"], 2, "a still image has no frame rate"),
    ],
)
def test_encode_refuses_in_one_line_and_leaves_nothing(
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    message: str,
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    clip(Path("clip.y4m"), 16, 16, 1)
    Path("text.mp4").write_text("words\n" * 100)
    Path("empty.mp4").write_bytes(b"")
    Image.new("RGB", (8, 8)).save("still.png")
    before = sorted(os.listdir())
    got, out, err = run("encode", *words)
    assert (got, out) == (code, "")
    assert message in err
    assert one_line(err)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "words",
    [
        ["--qp", "64"],
        ["--qp", "fine"],
        ["--qp", "3", "--bitrate", "10"],
        ["--bitrate", "0"],
        ["--threads", "0"],
        ["--frames", "0"],
        ["--engine", "abacus"],
    ],
)
def test_wrong_options_are_usage_errors(tmp_path: Path, run: Run, words: list[str]) -> None:
    clip(tmp_path / "clip.y4m", 16, 16, 1)
    assert run("encode", tmp_path / "clip.y4m", tmp_path / "x.rtc", *words)[0] == 2
    assert not (tmp_path / "x.rtc").exists()


def coded(tmp_path: Path, run: Run, frames: int = 3) -> bytes:
    clip(tmp_path / "clip.y4m", 20, 12, frames)
    assert run("encode", tmp_path / "clip.y4m", tmp_path / "good.rtc", "--qp", 40)[0] == 0
    return (tmp_path / "good.rtc").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["missing.rtc", "x.y4m"], 1, "missing.rtc: no such file"),
        (["empty.rtc", "x.y4m"], 1, "empty.rtc: is empty"),
        (["one.rtc", "x.y4m"], 1, "one.rtc: not an rtcodec stream"),
        (["clip.y4m", "x.y4m"], 1, "clip.y4m: not an rtcodec stream"),
        (["good.rtc", "x.avi"], 2, "unknown kind of output"),
        (["good.rtc", "x.dcm"], 2, "only exact pictures become DICOM"),
        (["good.rtc", "no/x.y4m"], 1, "its folder does not exist"),
        (["good.rtc", "x.y4m", "--quality", "preview"], 2, "not there yet"),
        (["good.rtc", "x.y4m", "--threads", "0"], 2, "below 1"),
    ],
)
def test_decode_refuses_in_one_line_and_leaves_nothing(
    tmp_path: Path,
    run: Run,
    stand_in: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    coded(tmp_path, run)
    Path("empty.rtc").write_bytes(b"")
    Path("one.rtc").write_bytes(b"\x00")
    before = sorted(os.listdir())
    got, out, err = run("decode", *words)
    assert (got, out) == (code, "")
    assert message in err
    assert one_line(err)
    assert sorted(os.listdir()) == before


def write_empty(path: Path, geometry: Geometry) -> None:
    """Write a stream without frames, of a model that nobody has."""
    header = SequenceHeader(model_id=b"\xee" * 8, geometry=geometry, time_base=Fraction(1, 25))
    with path.open("wb") as file:
        RtcWriter(file, header).close()


def test_a_stream_of_an_unknown_model_is_named(tmp_path: Path, run: Run) -> None:
    write_empty(tmp_path / "a.rtc", Geometry(16, 16))
    code, _, err = run("decode", tmp_path / "a.rtc", tmp_path / "b.y4m")
    assert code == 1
    assert "no installed model has the id eeeeeeeeeeeeeeee" in err
    code, _, err = run("decode", tmp_path / "a.rtc", tmp_path / "b.y4m", "--model", "n64")
    assert code == 2
    assert "needs model eeeeeeeeeeeeeeee" in err
    assert not (tmp_path / "b.y4m").exists()


def test_a_frame_beyond_the_limit_is_refused_unread(tmp_path: Path, run: Run) -> None:
    write_empty(tmp_path / "a.rtc", Geometry(16384, 16384))
    code, _, err = run("decode", tmp_path / "a.rtc", tmp_path / "b.y4m")
    assert code == 1
    assert "16384x16384 is more than" in err


def test_every_cut_gives_the_whole_frames_before_it(
    tmp_path: Path, run: Run, stand_in: Bundle
) -> None:
    whole = coded(tmp_path, run)
    assert run("decode", tmp_path / "good.rtc", tmp_path / "good.y4m")[0] == 0
    good = frames_of(tmp_path / "good.y4m")
    out = tmp_path / "out.y4m"
    seen = set()
    for length in range(len(whole)):
        (tmp_path / "cut.rtc").write_bytes(whole[:length])
        code, _, err = run("decode", tmp_path / "cut.rtc", out)
        assert code == 1
        assert one_line(err)
        got = frames_of(out) if out.exists() else []
        assert len(got) <= len(good)
        assert all(same_picture(a, b) for a, b in zip(got, good, strict=False))
        seen.add(len(got))
        out.unlink(missing_ok=True)
    assert seen == {0, 1, 2, 3}


def test_every_flipped_byte_is_told(tmp_path: Path, run: Run, stand_in: Bundle) -> None:
    whole = coded(tmp_path, run, frames=2)
    out = tmp_path / "out.y4m"
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        (tmp_path / "bad.rtc").write_bytes(flipped)
        code, _, err = run("decode", tmp_path / "bad.rtc", out)
        assert code == 1, at
        assert one_line(err), at
        out.unlink(missing_ok=True)
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


def test_a_damaged_frame_in_the_middle_keeps_the_count(
    tmp_path: Path, run: Run, stand_in: Bundle
) -> None:
    whole = bytearray(coded(tmp_path, run, frames=3))
    whole[len(whole) // 2] ^= 0x20
    (tmp_path / "bad.rtc").write_bytes(whole)
    code, out, err = run("decode", tmp_path / "bad.rtc", tmp_path / "b.y4m", "--json")
    report: dict[str, Any] = json.loads(out)
    assert code == 1
    assert (report["frames"], report["damaged_frames"]) == (3, 1)
    assert "frame 1: " in report["error"]
    assert "3 frames are in" in err
    assert len(frames_of(tmp_path / "b.y4m")) == 3


def test_a_failure_keeps_the_file_that_was_there(
    tmp_path: Path, run: Run, stand_in: Bundle
) -> None:
    coded(tmp_path, run)
    (tmp_path / "old.y4m").write_text("precious")
    (tmp_path / "none.rtc").write_bytes(b"")
    assert run("decode", tmp_path / "none.rtc", tmp_path / "old.y4m")[0] == 1
    assert (tmp_path / "old.y4m").read_text() == "precious"


def test_a_terminated_encode_leaves_nothing_behind(tmp_path: Path) -> None:
    clip(tmp_path / "clip.y4m", 320, 192, 4)
    frames = (tmp_path / "clip.y4m").read_bytes().split(b"FRAME\n")
    (tmp_path / "clip.y4m").write_bytes(b"FRAME\n".join([frames[0], *(frames[1:] * 200)]))
    words = ["encode", str(tmp_path / "clip.y4m"), str(tmp_path / "a.rtc"), "--model", "n64"]
    with subprocess.Popen(
        [sys.executable, "-m", "rtcodec.cli", *words],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".a.*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        assert process.wait(timeout=60) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["clip.y4m"]


def test_models_are_listed(run: Run) -> None:
    code, out, _ = run("models")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()][:1] == ["n64"]
    code, out, _ = run("models", "--json")
    names = {model["name"]: model["problem"] for model in json.loads(out)["models"]}
    assert (names["n64"], names["s128"]) == (None, None)


def test_a_model_that_is_no_good_says_why(tmp_path: Path, run: Run) -> None:
    (tmp_path / "bad.rtcm").write_bytes(b"nothing")
    null_bundle().save(tmp_path / "null.rtcm")
    code, out, _ = run("models", "--folder", tmp_path)
    assert code == 0
    assert "bad      unusable: " in out
    assert "unusable: model null: graph analysis is not listed" in out
    assert run("models", "--folder", tmp_path / "none")[0] == 2


def test_the_doctor_finds_this_machine_usable(run: Run) -> None:
    code, out, _ = run("doctor", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["usable"] is True
    assert report["round_trips_exact"] is True
    names = [engine["name"] for engine in report["engines"]]
    assert names == ["openvino", "onnxruntime", "torch", "tensorrt"]
    for capacity in report["capacity"]:
        assert capacity["problem"] is None
        small, large = (capacity["streams"][name] for name in ("360p30", "720p30"))
        assert small["encode"] > large["encode"] > 0
        assert 0 < small["relay"] <= small["encode"]
    assert {capacity["model"] for capacity in report["capacity"]} == {
        model["name"] for model in report["models"]
    }
    code, out, _ = run("doctor")
    assert code == 0
    assert "entropy coder    ok" in out
    assert re.search(
        r"room \S+ +ok +360p30 encode [0-9.]+, decode [0-9.]+, relay [0-9.]+; 720p", out
    )


def test_noise_at_the_finest_qp_survives(tmp_path: Path, run: Run, stand_in: Bundle) -> None:
    media = MediaFormat(70, 66, Fraction(1, 25), Fraction(25))
    with open_writer(tmp_path / "noise.y4m", media) as writer:
        writer.write(0, noise(70, 66))
        writer.commit()
    assert run("encode", tmp_path / "noise.y4m", tmp_path / "a.rtc", "--qp", 0)[0] == 0
    assert run("decode", tmp_path / "a.rtc", tmp_path / "b.y4m")[0] == 0


def test_a_file_without_the_finest_rung_shows_the_finest_there_is(
    run: Run, stand_in: Bundle, tmp_path: Path
) -> None:
    frames = coded_frames(NullEngine(), 3, (48, 32), rung=2)
    sequence = SequenceHeader(
        model_id=stand_in.model_id[:8],
        geometry=Geometry(48, 32),
        time_base=Fraction(1, 30),
        rungs=3,
    )
    with (tmp_path / "x.rtc").open("wb") as file:
        writer = RtcWriter(file, sequence)
        for pts, frame in enumerate(frames):
            writer.write(AccessUnit(pts, tuple(map(read_packet, frame.packets))))
        writer.close()
    code, _, err = run("decode", tmp_path / "x.rtc", tmp_path / "x.y4m")
    assert code == 0, err
    with MediaReader(tmp_path / "x.y4m") as reader:
        shown = [planes for _, planes in reader.frames()]
    assert all(same_picture(a, b.decoded) for a, b in zip(shown, frames, strict=True))
