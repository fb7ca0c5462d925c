"""
DICOM files to pictures.

Sizes are checked against limits and against what is there before anything is decoded. Errors of
pydicom are not passed on: they may quote what a file says of a patient.
"""

import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.dicom import codecs
from rtcodec.dicom.picture import Picture, check_size
from rtcodec.dicom.tags import DISPLAY, OFTEN_BURNED_IN, SAMPLES
from rtcodec.errors import ConfigError, InputError

INFLATED_MAX_BYTES: Final = 1 << 30
"Of a data set that is stored deflated."


def read_dicom(path: Path, *, keep_identity: bool, allow_burned_in: bool) -> Picture:
    """
    Read a DICOM file.

    Args:
        path: Of the file.
        keep_identity: Whether everything goes along, not only what is needed to show it.
        allow_burned_in: Whether pictures that may have a name in their samples are taken.

    Raises:
        InputError: If it is none, damaged, too large, without samples of 8 to 16 bits, or refused.
        ConfigError: If pydicom or what decodes its samples is not installed.
    """
    pydicom = _pydicom()
    try:
        with _silenced():
            return _read(pydicom, path, keep_identity, allow_burned_in)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (ConfigError, OSError, MemoryError):
        raise
    except Exception as error:  # pydicom raises what its depths raise
        raise InputError(f"{path}: not DICOM that can be read ({type(error).__name__})") from None


def _read(pydicom: Any, path: Path, keep_identity: bool, allow_burned_in: bool) -> Picture:
    _check_inflated(pydicom, path)
    dataset = pydicom.dcmread(path, force=True)
    if "PixelData" not in dataset:
        raise InputError("has no samples of integers" if len(dataset) else "not DICOM")
    if not keep_identity and not allow_burned_in:
        _check_burned_in(dataset)
    rows, columns, components = (
        _number(dataset, name, 0, 65535) for name in ("Rows", "Columns", "SamplesPerPixel")
    )
    count = _number(dataset, "NumberOfFrames", 1, 1 << 24, default=1)
    check_size(count, rows, columns, components)
    allocated = _number(dataset, "BitsAllocated", 1, 64)
    if allocated not in (8, 16) or components not in (1, 3):
        raise InputError(f"{components} samples of {allocated} bits a pixel are not supported")
    bits = _number(dataset, "BitsStored", 1, allocated)
    signed = bool(_number(dataset, "PixelRepresentation", 0, 1))
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None:  # PS3.10 7: without a preamble it is what pydicom guessed
        syntax = _guessed(pydicom, dataset)
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
    decoded = codecs.decode_frames(dataset, syntax, count, (rows, columns, components))
    frames = [_integers(frame, signed) for frame in decoded.frames]
    if not all(_holds(frame, bits, signed) for frame in frames):
        bits = allocated  # something lies in bits that BitsStored does not count: kept
    notes = {
        "kind": "dicom",
        "identity": keep_identity,
        "photometric": decoded.photometric,
        "tags": _kept_tags(dataset, keep_identity),
        "uids": _uids(pydicom, dataset, keep_identity),
    }
    return Picture(frames, bits, signed, notes)


def _check_inflated(pydicom: Any, path: Path) -> None:
    """Refuse a deflated data set that would fill memory; pydicom inflates without a limit."""
    with path.open("rb") as file:
        if not file.read(132).endswith(b"DICM"):
            return
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") != pydicom.uid.DeflatedExplicitVRLittleEndian:
            return
        file.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        left = INFLATED_MAX_BYTES
        while not inflater.eof and (part := file.read(1 << 16)):
            while part and not inflater.eof:
                left -= len(inflater.decompress(part, 1 << 20))
                part = inflater.unconsumed_tail
                if left < 0:
                    raise InputError(f"inflates to more than {INFLATED_MAX_BYTES} bytes")


def _check_burned_in(dataset: Any) -> None:
    said = str(dataset.get("BurnedInAnnotation", "")).strip().upper()
    modality = str(dataset.get("Modality", "")).strip().upper()
    if said == "YES" or (said != "NO" and modality in OFTEN_BURNED_IN):
        raise InputError(
            "may have a name burnt into its samples; --allow-burned-in takes it all the same"
        )


def _number(dataset: Any, name: str, least: int, most: int, default: int | None = None) -> int:
    value = dataset.get(name)
    if value is None or value == "":
        value = default
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is missing or no number") from None
    if not least <= number <= most:
        raise InputError(f"{name} is {number}, not {least} to {most}")
    return number


def _guessed(pydicom: Any, dataset: Any) -> Any:
    implicit, little = dataset.original_encoding
    if implicit:
        return pydicom.uid.ImplicitVRLittleEndian
    return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian


def _integers(frame: NDArray[Any], signed: bool) -> NDArray[np.integer]:
    """Return *frame* as [rows, columns, components] of the sign that the file gives it."""
    size = frame.dtype.itemsize
    same = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    shaped = same[..., None] if same.ndim == 2 else same
    return np.ascontiguousarray(shaped).view(f"{'i' if signed else 'u'}{size}")


def _holds(frame: NDArray[np.integer], bits: int, signed: bool) -> bool:
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return least <= int(frame.min()) and int(frame.max()) <= most


def _kept_tags(dataset: Any, keep_identity: bool) -> dict[str, Any]:
    """Return what goes along, in DICOM's JSON model (PS3.18 F)."""
    import pydicom

    def strip(part: Any) -> Any:
        kept = pydicom.Dataset()
        for element in part:
            keyword = element.keyword
            if keyword in SAMPLES or not (keep_identity or keyword in DISPLAY):
                continue
            if element.VR == "SQ":
                kept.add_new(element.tag, "SQ", [strip(item) for item in element.value])
            else:
                kept.add(element)
        return kept

    return dict(strip(dataset).to_json_dict())


def _uids(pydicom: Any, dataset: Any, keep_identity: bool) -> dict[str, str]:
    """Return the identifiers of the picture; new ones where it is to have no identity."""
    names = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    own = {name: str(dataset.get(name) or pydicom.uid.generate_uid()) for name in names}
    new = {name: str(pydicom.uid.generate_uid()) for name in names}
    return own if keep_identity else new


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep warnings and logs of pydicom, which quote values, to itself."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.filereader
    except ImportError:
        raise ConfigError("DICOM needs pydicom: pip install 'rtcodec[medical]'") from None
    return pydicom
