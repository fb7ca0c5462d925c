"""
Files that appear whole or not at all.

Work goes into a hidden file (or folder) beside the target and is renamed when all went well; on
any failure it is removed, and what was there before stays.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtcodec.errors import InputError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """
    Give out a path to write to that becomes *path* at the end.

    A *path* that exists and is no regular file, such as `/dev/stdout`, is given out itself.

    Raises:
        InputError: If the folder of *path* does not exist, or *path* is a folder.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    target = _checked(path)
    partial = _beside(target)
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """
    Give out a folder beside *path* to fill; the caller moves files out of it before the end.

    Raises:
        InputError: If the folder of *path* does not exist, or *path* is a folder.
    """
    partial = _beside(_checked(path))
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _checked(path: Path) -> Path:
    if path.is_dir():
        raise InputError(f"{path}: is a folder")
    target = path.resolve()
    if not target.parent.is_dir():
        raise InputError(f"{path}: its folder does not exist")
    return target


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
