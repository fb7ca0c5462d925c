"""
DICOM files to pictures.

Sizes are checked against limits and against what is there before anything is decoded. Errors of
pydicom are not passed on: they may quote what a file says of a patient.
"""

import io
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.dicom import codecs
from rtcodec.dicom.picture import NoSamplesError, Picture, check_size
from rtcodec.dicom.privacy import NewUids, check_burned_in, kept_tags, uids_of
from rtcodec.errors import ConfigError, InputError

INFLATED_MAX_BYTES: Final = 1 << 30
"Of a data set that is stored deflated."


def read_dicom(
    path: Path, *, keep_identity: bool, allow_burned_in: bool, uids: NewUids | None = None
) -> Picture:
    """
    Read a DICOM file.

    Args:
        path: Of the file.
        keep_identity: Whether everything goes along, not only what is needed to show it.
        allow_burned_in: Whether pictures that may have a name in their samples are taken.
        uids: Gives out new identifiers, the same ones for the files of a study; default: its own.

    Raises:
        InputError: If it is none, damaged, too large, without samples of 8 to 16 bits, or refused.
        ConfigError: If pydicom or what decodes its samples is not installed.
    """
    try:
        with path.open("rb") as file:
            return _guarded(file, keep_identity, allow_burned_in, uids or NewUids())
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None


def parse_dicom(
    data: bytes, *, keep_identity: bool, allow_burned_in: bool, uids: NewUids | None = None
) -> Picture:
    """
    Return the picture of a DICOM file that is in memory.

    Args:
        data: The whole file.
        keep_identity: As `read_dicom`, like the others.
        allow_burned_in: See there.
        uids: See there.

    Raises:
        InputError: As `read_dicom`, but names no file.
        ConfigError: As `read_dicom`.
    """
    return _guarded(io.BytesIO(data), keep_identity, allow_burned_in, uids or NewUids())


class BoundedFile:
    """A file that is never asked for more than it has: lengths in it may claim gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))


def _guarded(file: BinaryIO, keep_identity: bool, allow_burned_in: bool, uids: NewUids) -> Picture:
    pydicom = _pydicom()
    try:
        with _silenced():
            return _read(pydicom, BoundedFile(file), keep_identity, allow_burned_in, uids)
    except (InputError, ConfigError, MemoryError):
        raise
    except Exception as error:  # pydicom raises what its depths raise
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; pydicom's own have no number
        raise InputError(f"not DICOM that can be read ({type(error).__name__})") from None


def _read(
    pydicom: Any, file: BoundedFile, keep_identity: bool, allow_burned_in: bool, uids: NewUids
) -> Picture:
    _check_inflated(pydicom, file)
    file.seek(0)
    dataset = pydicom.dcmread(file, force=True)
    if "PixelData" not in dataset:
        if not len(dataset):
            raise InputError("not DICOM")
        kind = InputError if "Rows" in dataset else NoSamplesError  # cut, or of floats
        raise kind("has no samples of integers")
    if not keep_identity and not allow_burned_in:
        check_burned_in(dataset)
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
        "tags": kept_tags(dataset, syntax, keep_identity=keep_identity),
        "uids": uids_of(dataset, uids, keep_identity=keep_identity),
    }
    return Picture(frames, bits, signed, notes)


def _check_inflated(pydicom: Any, file: BoundedFile) -> None:
    """Refuse a deflated data set that would fill memory; pydicom inflates without a limit."""
    if not file.read(132).endswith(b"DICM"):
        return
    read = pydicom.filereader.read_dataset  # as pydicom does, to begin where it will
    meta = read(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") != pydicom.uid.DeflatedExplicitVRLittleEndian:
        return
    read(file, True, True, stop_when=lambda tag, *_: tag.group != 0)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left = INFLATED_MAX_BYTES
    while not inflater.eof and (part := file.read(1 << 16)):
        while part and not inflater.eof:
            left -= len(inflater.decompress(part, 1 << 20))
            part = inflater.unconsumed_tail
            if left < 0:
                raise InputError(f"inflates to more than {INFLATED_MAX_BYTES} bytes")


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
