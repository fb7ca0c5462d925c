"""
Pictures to DICOM files, in explicit little-endian or compressed, and nothing private.

A picture whose samples are the same keeps what it was; one whose samples differ is derived, says
that it was compressed with loss and by what (PS3.3 C.7.6.1.1.5), and is a new instance.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np

from rtcodec.dicom.compress import SYNTAXES, compress_frames
from rtcodec.dicom.picture import Picture
from rtcodec.errors import ConfigError, InputError, RtcodecError

SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
METHOD: Final = "RTCODEC_NEAR_LL"  # a code string, 16 characters at most; none is defined for it


def write_dicom(
    path: Path,
    picture: Picture,
    *,
    max_error: int,
    ratio: float,
    uid: str,
    syntax: str | None = None,
) -> None:
    """
    Write a picture that was read from DICOM.

    Args:
        path: The file to write.
        picture: Its notes are those of `reader.read_dicom`.
        max_error: Most by which samples differ from what was read; 0: they are the same.
        ratio: Of compression, if they differ.
        uid: Of the new instance, if they differ.
        syntax: How samples are compressed, one of `compress.SYNTAXES`; None: as they are.

    Raises:
        InputError: If it was not read from DICOM, its notes are damaged, or *syntax* cannot hold
            it.
        ConfigError: If pydicom, or what compresses, is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise ConfigError("DICOM needs pydicom: pip install 'rtcodec[medical]'") from None
    notes = picture.notes
    if notes.get("kind") != "dicom":
        raise InputError("this picture was not DICOM: write .npy or an image")
    try:
        dataset = pydicom.Dataset.from_json(notes["tags"])
        for name, value in notes["uids"].items():
            setattr(dataset, name, str(value))
        _put_samples(dataset, picture)
        if syntax is not None:
            _compress(dataset, picture, syntax)
        if not notes["identity"]:
            _mark_anonymous(dataset)
        if max_error:
            _mark_derived(dataset, max_error, ratio, uid)
        dataset.SOPClassUID = dataset.get("SOPClassUID") or SECONDARY_CAPTURE
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(
            SYNTAXES[syntax] if syntax else pydicom.uid.ExplicitVRLittleEndian
        )
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path, enforce_file_format=True)
    except (OSError, RtcodecError):
        raise
    except Exception as error:  # its message may quote what the file says of a patient
        raise InputError(f"its notes are no DICOM data set ({type(error).__name__})") from None


def _put_samples(dataset: Any, picture: Picture) -> None:
    frames = picture.frames
    rows, columns, components = frames[0].shape
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, components
    dataset.PhotometricInterpretation = picture.notes["photometric"]
    if components > 1:
        dataset.PlanarConfiguration = 0
    if len(frames) > 1 or "NumberOfFrames" in dataset:
        dataset.NumberOfFrames = len(frames)
    size = frames[0].dtype.itemsize
    dataset.BitsAllocated = 8 * size
    dataset.PixelRepresentation = int(picture.signed)
    kind = np.dtype(f"<{'i' if picture.signed else 'u'}{size}")
    data = b"".join(np.ascontiguousarray(frame, kind).tobytes() for frame in frames)
    dataset.add_new("PixelData", "OB" if size == 1 else "OW", data + b"\0" * (len(data) % 2))


def _compress(dataset: Any, picture: Picture, syntax: str) -> None:
    from pydicom.encaps import encapsulate

    streams, photometric = compress_frames(
        picture.frames, syntax, str(dataset.PhotometricInterpretation)
    )
    dataset.PhotometricInterpretation = photometric
    # PS3.5 8.2: what the data set says has to be what code streams say
    dataset.BitsStored = dataset.BitsAllocated
    dataset.HighBit = dataset.BitsAllocated - 1
    dataset.add_new("PixelData", "OB", encapsulate(streams))
    dataset["PixelData"].is_undefined_length = True


def _mark_anonymous(dataset: Any) -> None:
    """Say that identity was removed; what the standard wants to be there is there, empty."""
    for name in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
        "AccessionNumber", "ReferringPhysicianName", "StudyID", "SeriesNumber", "InstanceNumber",
    ):  # fmt: skip
        setattr(dataset, name, None if name.endswith("Number") and name[0] in "SI" else "")
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "rtcodec: only tags of an allow-list are kept"


def _mark_derived(dataset: Any, max_error: int, ratio: float, uid: str) -> None:
    def appended(name: str, value: Any) -> list[Any]:
        before = dataset.get(name)
        if before is None or before == "":
            return [value]
        return [*before, value] if hasattr(before, "append") else [before, value]

    kept = list(dataset.get("ImageType") or ["ORIGINAL", "PRIMARY"])
    dataset.ImageType = ["DERIVED", *kept[1:]]
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = appended("LossyImageCompressionRatio", round(ratio, 2))
    dataset.LossyImageCompressionMethod = appended("LossyImageCompressionMethod", METHOD)
    words = f"near-lossless by rtcodec, no sample further off than {max_error}"
    before = str(dataset.get("DerivationDescription") or "")
    dataset.DerivationDescription = f"{before}; {words}" if before else words
    dataset.SOPInstanceUID = uid
