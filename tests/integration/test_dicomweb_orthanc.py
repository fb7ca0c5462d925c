"""Studies from a real DICOMweb server, and from a folder, to exact pictures."""

import asyncio
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.codec.exact_files import decode_frames, read_notes
from support import command, orthanc
from support.dicom_files import SECRET, dicom_dataset, write_dataset
from support.orthanc import Orthanc, run_orthanc

pydicom = pytest.importorskip("pydicom", reason="the extra medical is not installed")
pytest.importorskip("imagecodecs", reason="the extra medical is not installed")

needs_orthanc = pytest.mark.skipif(
    orthanc.MISSING is not None, reason=f"{orthanc.MISSING} (.ci/interop)"
)
STUDIES = {"1.2.3.1": 3, "1.2.3.2": 1}
"Study: instances."


def samples_of(study: str, number: int) -> np.ndarray:
    rng = np.random.default_rng(int(study[-1]) * 10 + number)
    return rng.integers(0, 4096, (1, 20, 30)).astype(np.uint16)


def write_studies(folder: Path) -> list[Path]:
    """Write a file for each instance, and a report without samples; all name a patient."""
    paths = []
    for study, count in STUDIES.items():
        for number in range(count):
            dataset = dicom_dataset(
                samples_of(study, number), SOPInstanceUID=f"{study}.1.{number}",
                StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", InstanceNumber=number,
                BitsStored=12, HighBit=11,
            )  # fmt: skip
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            paths.append(write_dataset(folder / f"{study}.{number}.dcm", dataset))
    report = dicom_dataset(samples_of("1", 0), PixelData=None, Rows=None, Columns=None)
    report.SOPInstanceUID, report.StudyInstanceUID = "1.2.3.2.9", "1.2.3.2"
    report.SeriesInstanceUID = "1.2.3.2.2"
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    paths.append(write_dataset(folder / "report.dcm", report))
    return paths


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    with run_orthanc(folder) as running:
        for path in write_studies(folder):
            running.store(path.read_bytes())
        yield running


def encode(*words: object, **environment: str) -> command.Outcome:
    """Run `rtcodec encode --lossless`; it says nothing of a patient."""

    async def run() -> command.Outcome:
        process = await command.start("encode", "--lossless", *map(str, words))
        return await command.outcome(process)

    before = dict(os.environ)
    os.environ.update(environment)
    try:
        done = asyncio.run(run())
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert SECRET not in done.out + done.err
    assert "internal error" not in done.err
    return done


def decoded(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    header, frames, _ = decode_frames(io.BytesIO(path.read_bytes()))
    return frames[0][..., 0], read_notes(header)


def check_studies(folder: Path, *, keep_identity: bool) -> None:
    """Every picture is there, samples and all, those of a study together."""
    expected = {samples_of(s, k).tobytes(): s for s, count in STUDIES.items() for k in range(count)}
    together: dict[str, set[str]] = {}
    for path in folder.iterdir():
        samples, notes = decoded(path)
        study = expected.pop(samples.tobytes())
        assert path.name == f"{notes['uids']['SOPInstanceUID']}.rtc"
        together.setdefault(study, set()).add(notes["uids"]["StudyInstanceUID"])
        assert (SECRET in str(notes)) == keep_identity
    assert not expected
    assert all(len(uids) == 1 for uids in together.values())
    assert ({*together} == set.union(*together.values())) == keep_identity


@needs_orthanc
def test_a_search_brings_all_that_match(server: Orthanc, tmp_path: Path) -> None:
    done = encode("--json", f"{server.web}/studies?PatientID={SECRET}1", tmp_path / "out")
    assert done.code == 0, done.err
    assert (done.document["pictures"], done.document["no_samples"]) == (4, 1)
    check_studies(tmp_path / "out", keep_identity=False)


@needs_orthanc
def test_what_is_kept_is_told_by_its_own_names(server: Orthanc, tmp_path: Path) -> None:
    done = encode("--keep-identity", f"{server.web}/studies?ModalitiesInStudy=CT", tmp_path / "out")
    assert done.code == 0, done.err
    check_studies(tmp_path / "out", keep_identity=True)


@needs_orthanc
def test_a_study_a_series_and_an_instance_have_addresses(server: Orthanc, tmp_path: Path) -> None:
    place = f"{server.web}/studies/1.2.3.1"
    for number, more in enumerate(("", "/series/1.2.3.1.1")):
        assert encode(place + more, tmp_path / str(number)).code == 0
        assert len(list((tmp_path / str(number)).iterdir())) == 3
    one = tmp_path / "one.rtc"
    assert encode(f"{place}/series/1.2.3.1.1/instances/1.2.3.1.1.2", one).code == 0
    np.testing.assert_array_equal(decoded(one)[0], samples_of("1.2.3.1", 2)[0])


@needs_orthanc
@pytest.mark.parametrize(
    ("more", "output", "message"),
    [
        ("/studies/9.9", "out", "no pictures found"),
        ("/studies/9.9/series/9/instances/9", "out.rtc", r"no such study.* \(404\)"),
        ("/studies?PatientID=nobody", "out", "no pictures found"),
        ("/studies/1.2.3.1", "out.rtc", "go to a folder"),
        ("/nothing", "out", "ends in /studies/UID"),
    ],
)
def test_what_is_not_there_is_one_clear_line(
    server: Orthanc, tmp_path: Path, more: str, output: str, message: str
) -> None:
    done = encode(server.web + more, tmp_path / output)
    assert done.code in (1, 2)
    assert re.search(message, done.err)
    assert not (tmp_path / output).exists()


@needs_orthanc
def test_a_token_is_read_from_the_environment_and_not_sent_in_the_clear(tmp_path: Path) -> None:
    done = encode(
        "http://192.0.2.1/studies/1.2", tmp_path / "out", RTCODEC_DICOMWEB_TOKEN="a-token"
    )
    assert done.code == 2
    assert "https only" in done.err


def test_a_folder_becomes_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "in" / "deeper"
    source.mkdir(parents=True)
    write_studies(source)
    (source / "README").write_text("no DICOM")
    done = encode("--json", tmp_path / "in", tmp_path / "out")
    assert done.code == 0, done.err
    assert (done.document["pictures"], done.document["no_samples"]) == (4, 1)
    check_studies(tmp_path / "out", keep_identity=False)


def test_what_is_refused_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_dataset(source / "a.dcm", dicom_dataset(samples_of("1", 1), BurnedInAnnotation="YES"))
    write_dataset(source / "b.dcm", dicom_dataset(samples_of("1", 2)))
    (source / "c.dcm").write_bytes((source / "b.dcm").read_bytes()[:-100])
    done = encode(source, tmp_path / "out")
    assert done.code == 1
    assert "a.dcm: " in done.err
    assert "c.dcm: " in done.err
    assert "1 pictures" in done.last_line
    assert "2 refused" in done.last_line
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_hostile_identifier_is_no_path(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    dataset = dicom_dataset(samples_of("1", 1))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    path = write_dataset(source / "a.dcm", dataset)
    path.write_bytes(path.read_bytes().replace(b"1.2.3.4.5\0", b"../../../x"))
    done = encode("--keep-identity", "--json", source, tmp_path / "out")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "out").iterdir())) == 1
    assert json.loads(done.out)["files"][0]["output"].startswith(str(tmp_path / "out"))
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
