"""
NumPy, PNG and TIFF files, JPEG XL to be written only: nothing but samples.

What a header claims is checked before anything is decoded.
"""

from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.dicom.imagecodecs import load_imagecodecs
from rtcodec.dicom.picture import Picture, check_size
from rtcodec.errors import ConfigError, InputError

SUFFIXES: Final = (".npy", ".png", ".tif", ".tiff")
JPEG_XL: Final = ".jxl"
WRITTEN_SUFFIXES: Final = (*SUFFIXES, JPEG_XL)
_UNSIGNED: Final = (".png", JPEG_XL)
_NEEDED: Final = "such images need"
_COLORS: Final = (3, 4)  # components at the end of an array's shape


def read_npy(path: Path) -> Picture:
    """
    Read an array [H, W], [N, H, W], [H, W, 3] or [N, H, W, 3] of integers of 8 or 16 bits.

    Raises:
        InputError: If it is not that, or cut short.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, TypeError, OverflowError, SyntaxError) as error:
        raise InputError(f"{path}: not a NumPy array ({type(error).__name__})") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: not a NumPy array")
    return _picture(array, path, "npy")


def read_image(path: Path) -> Picture:
    """
    Read a PNG or TIFF file of 8 or 16 bits, gray or RGB, without transparency.

    Raises:
        InputError: If it is not that, too large or damaged.
        ConfigError: If what reads them is not installed.
    """
    with path.open("rb") as file:
        head = file.read(33)
    if head.startswith(b"\x89PNG"):
        width, height = (int.from_bytes(head[k : k + 4], "big") for k in (16, 20))
        _check(path, (1, height, width, 3))
        return _picture(_decoded(path, "png_decode"), path, "png")
    return _picture(_read_tiff(path), path, "tiff")


def write_npy(file: BinaryIO, picture: Picture) -> None:
    """Write all frames, in the shape they came in if they came as an array."""
    frames = np.stack(list(picture.frames))
    shape = picture.notes.get("shape")
    np.save(file, frames.reshape(shape) if _fits(shape, frames) else _squeezed(frames))


def write_image(path: Path, picture: Picture, suffix: str) -> None:
    """
    Write the one frame of a picture as PNG, TIFF or lossless JPEG XL.

    Raises:
        InputError: If such a file cannot hold it, or does not bring it back.
    """
    if len(picture.frames) != 1:
        raise InputError(f"{len(picture.frames)} frames do not fit one {suffix} file: use .npy")
    frame = picture.frames[0]
    if frame.shape[2] not in (1, 3) or (suffix in _UNSIGNED and picture.signed):
        raise InputError(f"{suffix} files hold no such samples: use .npy")
    pixels = frame[..., 0] if frame.shape[2] == 1 else frame
    codecs = load_imagecodecs(_NEEDED)
    if suffix == ".png":
        path.write_bytes(codecs.png_encode(np.ascontiguousarray(pixels)))
    elif suffix == JPEG_XL:
        data = codecs.jpegxl_encode(np.ascontiguousarray(pixels), lossless=True)
        if not np.array_equal(codecs.jpegxl_decode(data), pixels):
            raise InputError("JPEG XL does not bring these samples back")
        path.write_bytes(data)
    else:
        import tifffile

        tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")


def _fits(shape: object, frames: NDArray[np.integer]) -> bool:
    """Say whether *shape*, which a file said, is one that the samples can have."""
    return (
        isinstance(shape, list)
        and all(isinstance(side, int) and side > 0 for side in shape)
        and len(shape) <= 4
        and int(np.prod(shape, dtype=object)) == frames.size
    )


def _squeezed(frames: NDArray[np.integer]) -> NDArray[np.integer]:
    return frames[..., 0] if frames.shape[3] == 1 else frames


def _picture(array: NDArray[Any], path: Path, kind: str) -> Picture:
    if array.dtype.kind not in "iu" or array.dtype.itemsize > 2:
        raise InputError(f"{path}: samples are {array.dtype}, not integers of 8 or 16 bits")
    if array.ndim not in (2, 3, 4):
        raise InputError(f"{path}: an array of {array.ndim} dimensions is no picture")
    has_colors = array.ndim == 4 or (array.ndim == 3 and array.shape[2] in _COLORS)
    full = (1,) * (array.ndim + (not has_colors) == 3) + array.shape + (1,) * (not has_colors)
    _check(path, full)
    if full[3] > max(_COLORS):
        raise InputError(f"{path}: {full[3]} components a sample")
    if kind != "npy" and full[3] not in (1, 3):
        raise InputError(f"{path}: has transparency, or other components")
    native = array.dtype.newbyteorder("=")
    frames = [np.asarray(frame, native) for frame in array.reshape(full)]
    notes = {"kind": kind, "shape": list(array.shape)}
    return Picture(frames, 8 * native.itemsize, native.kind == "i", notes)


def _check(path: Path, shape: tuple[int, ...]) -> None:
    try:
        check_size(*shape)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _decoded(path: Path, name: str) -> NDArray[Any]:
    try:
        decoded: NDArray[Any] = getattr(load_imagecodecs(_NEEDED), name)(path.read_bytes())
    except ConfigError:
        raise
    except Exception:  # whatever a foreign library raises on foreign bytes
        raise InputError(f"{path}: damaged, or not such an image") from None
    return decoded


def _read_tiff(path: Path) -> NDArray[Any]:
    load_imagecodecs(_NEEDED)
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            shapes = [page.shape for page in file.pages]
            size = int(np.prod(shapes[0], dtype=object)) * len(shapes)
            pages = file.pages if all(shape == shapes[0] for shape in shapes) else file.pages[:0]
            check_size(1, 1, 1, 1 if 0 < size <= 1 << 31 else 0)
            arrays = [page.asarray() for page in pages]
    except ConfigError:
        raise
    except Exception:  # whatever a foreign library raises on foreign bytes
        raise InputError(f"{path}: damaged, or not such an image") from None
    if not arrays:
        raise InputError(f"{path}: its pages differ in size")
    return arrays[0] if len(arrays) == 1 else np.stack(arrays)
