"""
`rtcodec inspect`: every field of a `.rtc` with its byte offset.

What is shown is the reader itself, watched: there is no second parser. Needs
no model; coded symbols are shown as bytes.
"""

import argparse
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, cast

from rtcodec.bitstream.cursor import Field
from rtcodec.bitstream.exact_file import ExactReader
from rtcodec.bitstream.exact_format import MAGIC
from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.progressive_file import MAGIC as PROGRESSIVE_MAGIC
from rtcodec.bitstream.progressive_file import ProgressiveFile, read_progressive
from rtcodec.errors import BitstreamError, Truncated

_HEADING = "  offset   bytes  field                                 value"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec inspect`."""
    parser.add_argument("input", metavar="IN.rtc", help="stream to inspect, - for stdin")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """
    Print the fields of a stream.

    Raises:
        BitstreamError: After all fields before the fault are printed.
        OSError: If the file cannot be read.
    """
    show = _print_json if args.json else _print_table
    if args.input == "-":
        show(sys.stdin.buffer)
    else:
        with Path(args.input).open("rb") as file:
            show(file)
    return 0


def inspection(data: bytes) -> list[str]:
    """
    Return the table of a whole stream, a line for each field under a heading.

    Raises:
        BitstreamError: If the stream is not valid.
    """
    fields: list[Field] = []
    for _ in _reader(io.BytesIO(data), fields):
        pass
    return [_HEADING, *map(_line, fields)]


def _reader(stream: BinaryIO, fields: list[Field]) -> Iterable[object]:
    """Return what reads *stream*: exact pictures, a progressive one or a video."""
    head = stream.read(len(MAGIC))
    whole = cast(BinaryIO, _Rejoined(head, stream))
    if head == PROGRESSIVE_MAGIC:
        return _progressive(head + stream.read(), fields)
    return (ExactReader if head == MAGIC else RtcReader)(whole, fields=fields)


def _progressive(data: bytes, fields: list[Field]) -> Iterator[ProgressiveFile]:
    file = read_progressive(data, fields=fields)
    yield file
    if not file.is_whole:
        raise Truncated("only the beginning of a progressive picture", offset=len(data))


class _Rejoined:
    """A stream of which *head* was read already; a pipe cannot go back."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes."""
        head, self._head = self._head[:size], self._head[size:]
        return head or self._rest.read(size)


def _print_table(stream: BinaryIO) -> None:
    """Print field by field as they are read, so that a pipe may end early."""
    fields: list[Field] = []

    def flush() -> None:
        for field in fields:
            print(_line(field))
        fields.clear()

    try:
        reader = _reader(stream, fields)
        print(_HEADING)
        flush()
        for _ in reader:
            flush()
    finally:
        flush()


def _line(field: Field) -> str:
    line = f"{field.offset:>8} {field.size_bytes:>7}  {field.name:<37} {field.value}"
    return f"{line}  ({field.meaning})" if field.meaning else line


def _print_json(stream: BinaryIO) -> None:
    fields: list[Field] = []
    units = 0
    fault: BitstreamError | None = None
    try:
        for _ in _reader(stream, fields):
            units += 1
    except BitstreamError as error:
        fault = error
    report = {
        "complete": fault is None,
        "units": units,
        "error": None
        if fault is None
        else {"kind": type(fault).__name__, "offset": fault.offset, "message": fault.message},
        "fields": [asdict(field) for field in fields],
    }
    json.dump(report, sys.stdout)
    print()
    if fault is not None:
        raise fault
