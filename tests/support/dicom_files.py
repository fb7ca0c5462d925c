"""DICOM files of any kind, with a patient who must not be heard of again."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

SECRET = "XQZSECRET"
"In every place of the files where identity may be."

CT = "1.2.840.10008.5.1.4.1.1.2"


def dicom_dataset(frames: NDArray[Any], **tags: Any) -> Any:
    """
    Return a data set, uncompressed, little-endian.

    Args:
        frames: [N, H, W] or [N, H, W, 3], of 8 or 16 bits.
        tags: Keywords to set, or to leave out where None.
    """
    import pydicom

    dataset: Any = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, "1.2.3.4.5"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.1"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY"]
    dataset.PatientName, dataset.PatientID = f"{SECRET}^A", f"{SECRET}1"
    dataset.InstitutionName = dataset.StudyDescription = SECRET
    dataset.add_new((0x0009, 0x0010), "LO", SECRET)
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    colors = frames.ndim == 4
    dataset.SamplesPerPixel = 3 if colors else 1
    dataset.PhotometricInterpretation = "RGB" if colors else "MONOCHROME2"
    if colors:
        dataset.PlanarConfiguration = 0
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    bits = 8 * frames.dtype.itemsize
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(frames.dtype.kind == "i")
    data = frames.astype(frames.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.MediaStorageSOPClassUID = CT
    return dataset


def write_dataset(path: Path, dataset: Any) -> Path:
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return path


def encapsulated(dataset: Any, syntax: str, frames: list[bytes]) -> Any:
    """Put compressed *frames* in place of the samples of *dataset*."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    return dataset
