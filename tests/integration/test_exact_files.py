"""`encode --lossless` and `decode` as a user meets them: the same samples, proof, no patient."""

import io
import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec import cli
from rtcodec.bitstream.exact_file import ExactReader
from rtcodec.dicom import compress, reader
from rtcodec.exact.native import TileCoder
from support.dicom_files import SECRET, dicom_dataset, encapsulated, write_dataset

pydicom = pytest.importorskip("pydicom", reason="the extra medical is not installed")
imagecodecs = pytest.importorskip("imagecodecs", reason="the extra medical is not installed")

DEV = Path(__file__).parents[3] / "shared" / "data" / "dev" / "medical"
RNG = np.random.default_rng(3)
Run = Callable[..., tuple[int, str]]
DCMDJPLS = "/usr/bin/dcmdjpls"  # dcmtk's


def scan(
    frames: int = 1, height: int = 70, width: int = 61, bits: int = 12, *, signed: bool = False
) -> np.ndarray:
    rows, columns = np.indices((height, width))
    wave = (1 << bits) * (0.5 + 0.3 * np.sin(rows / 17.0) * np.cos(columns / 11.0))
    noisy = wave + RNG.normal(0, 1 + (1 << bits) / 300, (frames, height, width))
    least = 1 << (bits - 1) if signed else 0
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    return (np.clip(noisy, 0, (1 << bits) - 1).astype(np.int64) - least).astype(kind)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line; return the exit code and what it said, which names no patient."""

    def call(*words: object) -> tuple[int, str]:
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        assert SECRET not in out + err
        return code, out + err

    return call


def through(run: Run, source: Path, folder: Path, suffix: str, *options: object) -> Path:
    """Encode and decode *source*; return what came of it."""
    coded, back = folder / "coded.rtc", folder / f"back{suffix}"
    code, said = run("encode", "--lossless", *options, source, coded)
    assert code == 0, said
    assert "lossless, verified" in said
    code, said = run("decode", coded, back)
    assert code == 0, said
    assert "lossless, verified" in said
    return back


def stored_samples(path: Path) -> np.ndarray:
    """What the file stores, colours untouched."""
    dataset = pydicom.dcmread(path)
    decoder = pydicom.pixels.get_decoder(dataset.file_meta.TransferSyntaxUID)
    return np.stack([frame for frame, _ in decoder.iter_array(dataset, raw=True)])


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (10, False), (12, True), (16, False)])
def test_dicom_comes_back_the_same(
    run: Run, tmp_path: Path, frames: int, bits: int, signed: bool
) -> None:
    samples = scan(frames, bits=bits, signed=signed)
    tags = {"BitsStored": bits, "HighBit": bits - 1, "PhotometricInterpretation": "MONOCHROME1"}
    dataset = dicom_dataset(samples, **tags, RescaleSlope=2, WindowCenter=[40, 50])
    source = write_dataset(tmp_path / "in.dcm", dataset)
    back = through(run, source, tmp_path, ".dcm")
    np.testing.assert_array_equal(stored_samples(back), samples, strict=True)
    told = pydicom.dcmread(back)
    assert told.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert (told.BitsStored, told.HighBit) == (bits, bits - 1)
    assert (told.PhotometricInterpretation, told.RescaleSlope) == ("MONOCHROME1", 2)
    assert list(told.WindowCenter) == [40, 50]
    assert list(told.ImageType) == ["ORIGINAL", "PRIMARY"]
    assert "LossyImageCompression" not in told


def test_without_being_told_nothing_of_the_patient_goes_along(run: Run, tmp_path: Path) -> None:
    dataset = dicom_dataset(scan())
    source = write_dataset(tmp_path / "in.dcm", dataset)
    back = through(run, source, tmp_path, ".dcm")
    header = ExactReader(io.BytesIO((tmp_path / "coded.rtc").read_bytes())).header
    assert SECRET.encode() not in back.read_bytes() + zlib.decompress(header.notes)
    told = pydicom.dcmread(back)
    assert told.PatientIdentityRemoved == "YES"
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert getattr(told, name) != getattr(dataset, name)
    again = tmp_path / "again.dcm"
    assert run("decode", tmp_path / "coded.rtc", again)[0] == 0
    assert pydicom.dcmread(again).SOPInstanceUID == told.SOPInstanceUID


def test_when_told_everything_goes_along(run: Run, tmp_path: Path) -> None:
    dataset = dicom_dataset(scan())
    source = write_dataset(tmp_path / "in.dcm", dataset)
    back = through(run, source, tmp_path, ".dcm", "--keep-identity")
    told = pydicom.dcmread(back)
    for element in dataset:
        assert told[element.tag].value == element.value
    assert "PatientIdentityRemoved" not in told


@pytest.mark.parametrize(
    ("tags", "is_refused"),
    [
        ({"Modality": "US"}, True),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, False),
        ({"BurnedInAnnotation": "YES"}, True),
        ({"Modality": "MR"}, False),
    ],
)
def test_names_burnt_in_are_refused_unless_told(
    run: Run, tmp_path: Path, tags: dict[str, str], is_refused: bool
) -> None:
    source = write_dataset(tmp_path / "in.dcm", dicom_dataset(scan(), **tags))
    code, said = run("encode", "--lossless", source, tmp_path / "out.rtc")
    assert (code == 1) == is_refused
    assert ("burnt into" in said) == is_refused
    assert (tmp_path / "out.rtc").exists() != is_refused
    assert run("encode", "--lossless", "--allow-burned-in", source, tmp_path / "a.rtc")[0] == 0


def test_near_lossless_keeps_its_bound_and_says_so(run: Run, tmp_path: Path) -> None:
    samples = scan(bits=12)
    dataset = dicom_dataset(
        samples, LossyImageCompressionRatio=3, LossyImageCompressionMethod="ISO_10918_1"
    )
    source = write_dataset(tmp_path / "in.dcm", dataset)
    coded, back = tmp_path / "out.rtc", tmp_path / "back.dcm"
    code, said = run("encode", "--max-error", 3, "--keep-identity", "--json", source, coded)
    assert code == 0
    report = json.loads(said)
    assert (report["lossless"], report["max_error"]) == (False, 3)
    code, said = run("decode", coded, back)
    assert code == 0
    assert "no sample further off than 3" in said
    assert "lossless, verified" not in said
    apart = np.abs(stored_samples(back).astype(np.int64) - samples)
    assert apart.max() == 3
    told = pydicom.dcmread(back)
    assert told.LossyImageCompression == "01"
    assert list(told.LossyImageCompressionMethod) == ["ISO_10918_1", "RTCODEC_NEAR_LL"]
    assert float(told.LossyImageCompressionRatio[0]) == 3
    assert told.ImageType[0] == "DERIVED"
    assert told.SOPInstanceUID != dataset.SOPInstanceUID
    assert "further off than 3" in told.DerivationDescription


def test_on_the_way_to_exact_a_bound_may_be_kept(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", scan(bits=12)[0])
    words = ("encode", "--lossless", "--within", 3, tmp_path / "in.npy", tmp_path / "out.rtc")
    code, said = run(*words, "--json")
    assert code == 0
    report = json.loads(said)
    assert (report["lossless"], report["max_error"], report["within"]) == (True, 0, 3)
    assert "within 3, then lossless, verified" in run(*words)[1]
    assert ExactReader(io.BytesIO((tmp_path / "out.rtc").read_bytes())).header.bound == 3
    code, said = run("decode", tmp_path / "out.rtc", tmp_path / "back.npy")
    assert "lossless, verified" in said
    np.testing.assert_array_equal(np.load(tmp_path / "back.npy"), np.load(tmp_path / "in.npy"))


@pytest.mark.parametrize("others", [(), ("--max-error", 1), ("--lossless", "--max-error", 1)])
def test_a_bound_on_the_way_needs_a_way_to_exact(
    run: Run, tmp_path: Path, others: tuple[object, ...]
) -> None:
    np.save(tmp_path / "in.npy", scan()[0])
    code, said = run("encode", "--within", 2, *others, tmp_path / "in.npy", tmp_path / "o.rtc")
    assert code == 2
    assert "--within" in said


def test_colours_and_palettes_come_back(run: Run, tmp_path: Path) -> None:
    colors = np.stack([scan(2, bits=8), scan(2, bits=8), scan(2, bits=8)], -1)
    for number, name in enumerate(("RGB", "YBR_FULL")):
        dataset = dicom_dataset(colors, PhotometricInterpretation=name)
        source = write_dataset(tmp_path / f"{number}.dcm", dataset)
        back = through(run, source, tmp_path, ".dcm")
        np.testing.assert_array_equal(stored_samples(back), colors)
        assert pydicom.dcmread(back).PhotometricInterpretation == name
    table = RNG.integers(0, 65536, 256, np.uint16).tobytes()
    palette = {f"{color}PaletteColorLookupTableData": table for color in ("Red", "Green", "Blue")}
    dataset = dicom_dataset(colors[..., 0], PhotometricInterpretation="PALETTE COLOR", **palette)
    back = through(run, write_dataset(tmp_path / "p.dcm", dataset), tmp_path, ".dcm")
    assert pydicom.dcmread(back).GreenPaletteColorLookupTableData == table


def test_bits_beyond_those_that_count_are_kept(run: Run, tmp_path: Path) -> None:
    samples = scan(bits=12) | np.uint16(0x8000)  # an overlay in the highest bit, as of old
    dataset = dicom_dataset(samples, BitsStored=12, HighBit=11)
    back = through(run, write_dataset(tmp_path / "in.dcm", dataset), tmp_path, ".dcm")
    assert pydicom.dcmread(back).PixelData == samples.tobytes()


SYNTAXES: dict[str, Callable[[np.ndarray], bytes]] = {
    "1.2.840.10008.1.2.4.70": lambda a: imagecodecs.ljpeg_encode(a, bitspersample=16),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda a: imagecodecs.jpeg2k_encode(
        a, level=0, reversible=True, codecformat="j2k"
    ),
    "1.2.840.10008.1.2.4.201": imagecodecs.htj2k_encode,
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_compressed_samples_are_read(run: Run, tmp_path: Path, syntax: str, signed: bool) -> None:
    samples = scan(2, bits=16, signed=signed)
    frames = [SYNTAXES[syntax](frame.view(np.uint16)) for frame in samples]
    dataset = encapsulated(dicom_dataset(samples), syntax, frames)
    back = through(run, write_dataset(tmp_path / "in.dcm", dataset), tmp_path, ".dcm")
    np.testing.assert_array_equal(stored_samples(back), samples, strict=True)


@pytest.mark.parametrize("name", compress.SYNTAXES)
@pytest.mark.parametrize("kind", ["gray", "signed", "colors"])
def test_dicom_is_written_compressed_without_loss(
    run: Run, tmp_path: Path, name: str, kind: str
) -> None:
    if kind == "colors":
        dataset = dicom_dataset(np.stack([scan(2, bits=8), scan(2, bits=8) // 2] * 2, -1)[..., :3])
    else:
        is_signed = kind == "signed"
        dataset = dicom_dataset(scan(2, bits=12, signed=is_signed), BitsStored=12, HighBit=11)
    source = write_dataset(tmp_path / "in.dcm", dataset)
    through(run, source, tmp_path, ".dcm").rename(tmp_path / "plain.dcm")
    code, said = run("decode", tmp_path / "coded.rtc", tmp_path / "b.dcm", "--syntax", name)
    assert code == 0, said
    seen = pydicom.dcmread(tmp_path / "b.dcm")
    assert str(seen.file_meta.TransferSyntaxUID) == compress.SYNTAXES[name]
    assert seen.BitsStored == seen.BitsAllocated == seen.HighBit + 1
    assert "LossyImageCompression" not in seen
    back = through(run, tmp_path / "b.dcm", tmp_path, ".dcm")
    whole = stored_samples(tmp_path / "plain.dcm")
    np.testing.assert_array_equal(stored_samples(back), whole, strict=True)
    assert pydicom.dcmread(back).PhotometricInterpretation == dataset.PhotometricInterpretation
    if name == "jpeg-ls" and shutil.which(DCMDJPLS):
        subprocess.run([DCMDJPLS, tmp_path / "b.dcm", tmp_path / "dcmtk.dcm"], check=True)
        theirs = pydicom.dcmread(tmp_path / "dcmtk.dcm")
        assert theirs.PixelData == pydicom.dcmread(tmp_path / "plain.dcm").PixelData


@pytest.mark.parametrize("codec", ["jpeg-ls", "htj2k", "jpegxl"])
@pytest.mark.parametrize("kind", ["signed", "colors", "noise"])
def test_others_codecs_bring_dicom_back(run: Run, tmp_path: Path, codec: str, kind: str) -> None:
    samples = {
        "signed": scan(2, bits=12, signed=True),
        "colors": np.stack([scan(2, bits=8), scan(2, bits=8) // 2] * 2, -1)[..., :3],
        "noise": RNG.integers(0, 1 << 16, (2, 30, 20)).astype(np.uint16),
    }[kind]
    source = write_dataset(tmp_path / "in.dcm", dicom_dataset(samples))
    coded, back = tmp_path / "out.rtc", tmp_path / "back.dcm"
    words = ("encode", "--lossless", "--exact-codec", codec, source, coded)
    code, said = run(*words, "--json")
    assert code == 0, said
    report = json.loads(said)
    assert (report["exact_codec"], report["lossless"], report["verified"]) == (codec, True, True)
    assert report["frames_otherwise"] == (2 if kind == "noise" else 0)
    assert report["size_bytes"] == coded.stat().st_size
    code, said = run(*words)
    assert f"2 frames of {codec} " in said
    assert ("did not come back smaller" in said) == (kind == "noise")
    code, said = run("decode", coded, back)
    assert (code, "lossless, verified" in said) == (0, True), said
    np.testing.assert_array_equal(stored_samples(back), samples)
    code, said = run("inspect", coded)
    name = "RAW" if kind == "noise" else codec.upper().replace("-", "_").replace("GX", "G_X")
    assert (code, f"({name})" in said) == (0, True), said


@pytest.mark.parametrize(
    "words",
    [(), ("--lossless", "--within", 2), ("--lossless", "--max-error", 1), ("--max-error", 1)],
)
def test_others_codecs_are_for_what_is_lossless_alone(
    run: Run, tmp_path: Path, words: tuple[object, ...]
) -> None:
    np.save(tmp_path / "in.npy", scan()[0])
    code, said = run(
        "encode", *words, "--exact-codec", "htj2k", tmp_path / "in.npy", tmp_path / "out.rtc"
    )
    assert (code, "--exact-codec goes with --lossless" in said) == (2, True), said
    assert not (tmp_path / "out.rtc").exists()


def test_others_codecs_say_what_to_install_before_anything_is_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "in.npy", scan()[0])
    coded, words = tmp_path / "out.rtc", ("encode", "--lossless", "--exact-codec")
    assert run(*words, "htj2k", tmp_path / "in.npy", coded)[0] == 0
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    for command, target in (
        ((*words, "jpegxl", tmp_path / "in.npy"), tmp_path / "new.rtc"),
        ((*words, "jpeg-ls", tmp_path / "in.npy"), tmp_path / "new.rtc"),
        (("decode", coded), tmp_path / "new.npy"),
    ):
        code, said = run(*command, target)
        assert (code, said.count("\n")) == (2, 1)
        assert "pip install 'rtcodec[medical]'" in said
        assert not target.exists()


def test_a_folder_of_dicom_becomes_pictures_of_others_codecs(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(2):
        write_dataset(source / f"{number}.dcm", dicom_dataset(scan()))
    words = ("encode", "--lossless", "--exact-codec", "jpegxl", source, tmp_path / "out")
    code, said = run(*words, "--json")
    assert code == 0, said
    files = json.loads(said)["files"]
    assert [file["exact_codec"] for file in files] == ["jpegxl"] * 2
    assert {Path(file["output"]).read_bytes()[4] for file in files} == {3}


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_an_image_becomes_jpeg_xl_without_loss(run: Run, tmp_path: Path, bits: int) -> None:
    samples = scan(bits=bits)[0]
    for array in (samples, np.stack([samples, samples[::-1], samples], -1)):
        np.save(tmp_path / "in.npy", array)
        through(run, tmp_path / "in.npy", tmp_path, ".npy")
        code, said = run("decode", tmp_path / "coded.rtc", tmp_path / "out.jxl")
        assert code == 0, said
        data = (tmp_path / "out.jxl").read_bytes()
        np.testing.assert_array_equal(imagecodecs.jpegxl_decode(data), array, strict=True)
    np.save(tmp_path / "in.npy", scan(bits=bits, signed=True)[0])
    through(run, tmp_path / "in.npy", tmp_path, ".npy")
    code, said = run("decode", tmp_path / "coded.rtc", tmp_path / "signed.jxl")
    assert code == 1
    assert "hold no such samples" in said


def test_only_dicom_is_written_so(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", scan()[0])
    through(run, tmp_path / "in.npy", tmp_path, ".npy")
    for output, expected in (("out.npy", 2), ("out.dcm", 1)):
        code, _ = run("decode", tmp_path / "coded.rtc", tmp_path / output, "--syntax", "jpeg-ls")
        assert code == expected
        assert not (tmp_path / output).exists()


@pytest.mark.parametrize(
    "array",
    [
        scan()[0],
        scan(3),
        scan(bits=16, signed=True)[0],
        np.stack([scan(bits=8)] * 3, -1),
        scan(2, 9, 3, bits=8),
        np.full((1, 1), 7, np.uint8),
        scan()[0].astype(">u2"),
    ],
    ids=["gray", "frames", "signed", "colors", "narrow", "one", "big-endian"],
)
def test_arrays_come_back_in_their_shape(run: Run, tmp_path: Path, array: np.ndarray) -> None:
    source = tmp_path / "in.npy"
    np.save(source, array)
    back = np.load(through(run, source, tmp_path, ".npy"))
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("colors", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_images_come_back(run: Run, tmp_path: Path, suffix: str, colors: bool, bits: int) -> None:
    pixels = scan(bits=bits)[0]
    pixels = np.stack([pixels, pixels[::-1], pixels // 2], -1) if colors else pixels
    encode = imagecodecs.png_encode if suffix == ".png" else imagecodecs.tiff_encode
    source = tmp_path / f"in{suffix}"
    if suffix == ".png":
        source.write_bytes(encode(pixels))
    else:
        import tifffile

        tifffile.imwrite(source, pixels, photometric="rgb" if colors else "minisblack")
    back = through(run, source, tmp_path, suffix)
    decode = imagecodecs.png_decode if suffix == ".png" else imagecodecs.tiff_decode
    np.testing.assert_array_equal(decode(back.read_bytes()), pixels)


def broken(folder: Path) -> dict[str, Path]:
    """Files that are not what they say."""
    samples = scan()
    made = {
        "more frames": dicom_dataset(samples, NumberOfFrames=5),
        "bomb": dicom_dataset(samples, Rows=65535, Columns=65535),
        "no rows": dicom_dataset(samples, Rows=None),
        "too many bytes": dicom_dataset(scan(3), NumberOfFrames=1),
        "32 bits": dicom_dataset(samples, BitsAllocated=32),
        "no samples": dicom_dataset(samples, PixelData=None),
        "unknown syntax": encapsulated(dicom_dataset(samples), "1.2.3.4.5.6", [b"abcd"]),
        "bad stream": encapsulated(
            dicom_dataset(samples), "1.2.840.10008.1.2.4.80", [b"\xff\xd8" + SECRET.encode()]
        ),
        "another size": encapsulated(
            dicom_dataset(samples),
            "1.2.840.10008.1.2.4.80",
            [imagecodecs.jpegls_encode(np.zeros((5000, 5000), np.uint16))],
        ),
        "missing frame": encapsulated(
            dicom_dataset(samples, NumberOfFrames=3),
            "1.2.840.10008.1.2.4.80",
            [imagecodecs.jpegls_encode(samples[0])] * 2,
        ),
    }
    paths = {name: write_dataset(folder / f"{k}.dcm", made[name]) for k, name in enumerate(made)}
    whole = write_dataset(folder / "whole.dcm", dicom_dataset(samples)).read_bytes()
    raw = {
        "cut": whole[: len(whole) // 2],
        "cut in header": whole[:300],
        "empty": b"",
        "text": b"no DICOM at all " * 40,
        "deflated bomb": _deflated_bomb(folder),
    }
    for name, data in raw.items():
        paths[name] = folder / f"{name}.dcm"
        paths[name].write_bytes(data)
    plain = {
        "npy claims too much.npy": _npy_header((1 << 14, 1 << 14, 4)),
        "npy of objects.npy": _npy_of(np.array([None])),
        "npy of floats.npy": _npy_of(np.zeros((3, 3))),
        "png claims too much.png": imagecodecs.png_encode(samples[0])[:16]
        + (b"\0\0\xff\xff" * 2)
        + bytes(20),
        "png cut.png": imagecodecs.png_encode(samples[0])[:200],
        "text.txt": b"nothing",
    }
    for name, data in plain.items():
        paths[name] = folder / name
        paths[name].write_bytes(data)
    return paths


def _deflated_bomb(folder: Path) -> bytes:
    dataset = dicom_dataset(scan())
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    head = write_dataset(folder / "deflated.dcm", dataset).read_bytes()
    meta = 132 + 12 + pydicom.dcmread(folder / "deflated.dcm").file_meta[0x00020000].value
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return head[:meta] + packer.compress(bytes(1 << 23)) + packer.flush()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<u2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(64)


def _npy_of(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_what_is_broken_is_one_clear_line_and_no_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "INFLATED_MAX_BYTES", 1 << 22)  # a gigabyte takes its time
    for name, path in broken(tmp_path).items():
        output = tmp_path / "out.rtc"
        code, said = run("encode", "--lossless", path, output)
        assert code == 1, (name, said)
        assert said.count("\n") == 1, (name, said)
        assert said.startswith("rtcodec: "), (name, said)
        assert "internal error" not in said, (name, said)
        assert not output.exists(), name
    assert not list(tmp_path.glob(".*.partial*"))


def test_a_damaged_file_is_one_clear_line_and_no_picture(run: Run, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "in.dcm", dicom_dataset(scan()))
    coded, back = tmp_path / "out.rtc", tmp_path / "back.dcm"
    assert run("encode", "--lossless", source, coded)[0] == 0
    whole = coded.read_bytes()
    for place in range(0, len(whole), 307):
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        for data in (bytes(damaged), whole[:place]):
            coded.write_bytes(data)
            code, said = run("decode", coded, back)
            assert code == 1, (place, said)
            assert said.count("\n") == 1
            assert not back.exists()


def test_what_fails_its_proof_is_said_to(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = TileCoder.decode

    def wrong(self: TileCoder, payload: bytes, samples: Any) -> None:
        honest(self, payload, samples)
        samples[0, 0] += 1

    samples = scan(2)
    source = tmp_path / "in.npy"
    np.save(source, samples)
    with monkeypatch.context() as patch:
        patch.setattr(TileCoder, "decode", wrong)
        code, said = run("encode", "--lossless", source, tmp_path / "out.rtc")
    assert code == 0
    assert "2 frames did not come back and are stored otherwise" in said
    code, said = run("decode", tmp_path / "out.rtc", tmp_path / "back.npy")
    assert "lossless, verified" in said
    np.testing.assert_array_equal(np.load(tmp_path / "back.npy"), samples)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("x.dcm", "was not DICOM"),
        ("x.mkv", "becomes .dcm, .npy"),
        ("x.png", "3 frames do not fit"),
    ],
)
def test_an_output_that_cannot_hold_it_is_refused(
    run: Run, tmp_path: Path, output: str, message: str
) -> None:
    np.save(tmp_path / "in.npy", scan(3))
    assert run("encode", "--lossless", tmp_path / "in.npy", tmp_path / "c.rtc")[0] == 0
    code, said = run("decode", tmp_path / "c.rtc", tmp_path / output)
    assert code == 1
    assert message in said
    assert not (tmp_path / output).exists()


def test_inspect_shows_it(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", scan())
    assert run("encode", "--lossless", tmp_path / "in.npy", tmp_path / "c.rtc")[0] == 0
    code, said = run("inspect", tmp_path / "c.rtc")
    assert code == 0
    assert "frame[0].sha256" in said
    assert "payloads, level 0" in said
    code, said = run("inspect", "--json", tmp_path / "c.rtc")
    assert json.loads(said)["complete"]


@pytest.mark.parametrize(
    "name",
    ["ct_512_16bit", "mr_1024_12bit", "mr_10frames_64x64_12bit", "us_640x480_rgb"],
)
def test_the_development_files_come_back_and_are_smaller_than_jpeg_ls(
    run: Run, tmp_path: Path, name: str
) -> None:
    source = DEV / f"{name}.dcm"
    if not source.is_file():
        pytest.skip("the development files are not beside this checkout")
    back = through(run, source, tmp_path, ".dcm", "--allow-burned-in")
    samples = stored_samples(source)
    np.testing.assert_array_equal(stored_samples(back), samples)
    planes = samples[..., None] if samples.ndim == 3 else samples
    unsigned = planes.astype(np.int32) - int(planes.min())
    kind = np.uint16 if planes.dtype.itemsize == 2 else np.uint8
    jpeg_ls = sum(
        len(imagecodecs.jpegls_encode(np.ascontiguousarray(frame[..., k], kind)))
        for frame in unsigned
        for k in range(planes.shape[-1])
    )
    assert (tmp_path / "coded.rtc").stat().st_size < 0.95 * jpeg_ls
