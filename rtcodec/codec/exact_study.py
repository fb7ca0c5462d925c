"""
`rtcodec encode --lossless` of a folder or of a DICOMweb address: a folder of exact pictures.

    folder of DICOM ─┬─▶ one picture at a time ─▶ FOLDER/UID.rtc
    https://...     ─┘

What holds no picture is passed over; what is refused or damaged is said, and the rest goes on.
"""

import argparse
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from rtcodec.codec.exact_files import DICOM_SUFFIXES, encode_picture, summary
from rtcodec.console import StageTimes, print_json, say, tidy_on_terminate
from rtcodec.dicom.picture import NoSamplesError, Picture
from rtcodec.dicom.privacy import NewUids
from rtcodec.dicom.reader import parse_dicom, read_dicom
from rtcodec.dicom.web import WebClient, WebInstance, read_web_address
from rtcodec.errors import ConfigError, InputError
from rtcodec.tls import client_context

_NAME: Final = re.compile(r"[0-9]+(\.[0-9]+)*")

Source = tuple[str, Callable[[], Picture]]
"What to call a picture, and what reads it."


def encode_study(args: argparse.Namespace, *, token: str | None) -> int:
    """
    Run `rtcodec encode --lossless` of many pictures; 1 if some were refused, else 0.

    Args:
        args: Of the command; the input is an address as text, or a folder.
        token: For the address.

    Raises:
        InputError: If there is no picture, or the server refuses.
        ConfigError: If the address, the output or a file of TLS is none that can be.
    """
    options = {
        "keep_identity": args.keep_identity,
        "allow_burned_in": args.allow_burned_in,
        "uids": NewUids(),
    }
    times = StageTimes()
    with tidy_on_terminate():
        if isinstance(args.input, Path):
            _check_output(args.output, is_one=False)
            reports, left_out = _encode_all(args, _in_folder(args.input, options), times)
        else:
            place = read_web_address(args.input)
            _check_output(args.output, is_one=place.instance is not None)
            tls = client_context(args.tls_ca, args.tls_cert, args.tls_key)
            with WebClient(place, token=token, tls=tls) as client:
                reports, left_out = _encode_all(args, _on_web(client, options), times)
    if not reports and not left_out["refused"]:
        raise InputError(f"no pictures found; {left_out['no_samples']} files without samples")
    total = {
        "output": str(args.output),
        "pictures": len(reports),
        **left_out,
        "size_bytes": sum(report["size_bytes"] for report in reports),
        "stages": times.quantiles(),
        "files": reports,
    }
    if args.json:
        print_json(total)
    else:
        say(
            f"{args.output}: {len(reports)} pictures, {total['size_bytes']} bytes; "
            f"{left_out['refused']} refused, {left_out['no_samples']} without samples"
        )
    return 1 if left_out["refused"] else 0


def picture_name(picture: Picture) -> str:
    """Return the name of a picture's file: its identifier, if that can be one."""
    uid = str(picture.notes["uids"]["SOPInstanceUID"])
    return f"{uid if _NAME.fullmatch(uid) and len(uid) <= 64 else NewUids().of('')}.rtc"


def _check_output(output: Path, *, is_one: bool) -> None:
    if output.suffix.lower() == ".rtc" and not is_one:
        raise ConfigError(f"{output}: many pictures go to a folder, not to one file")


def _encode_all(
    args: argparse.Namespace, sources: Iterator[Source], times: StageTimes
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return what came of each picture, and how many were refused or none."""
    reports, left_out = [], {"refused": 0, "no_samples": 0}
    is_file = args.output.suffix.lower() == ".rtc"
    for title, read in sources:
        try:
            with times.stage("read"):
                picture = read()
            if not is_file:
                args.output.mkdir(parents=True, exist_ok=True)
            report = encode_picture(
                picture,
                args.output if is_file else args.output / picture_name(picture),
                max_error=args.max_error,
                bound=args.within,
                codec=args.exact_codec,
                times=times,
                title=title,
            )
        except NoSamplesError:
            left_out["no_samples"] += 1
            continue
        except InputError as error:
            left_out["refused"] += 1
            say(f"{title}: {error}")
            continue
        reports.append(report)
        if not args.json:
            say(summary(report))
    return reports, left_out


def _in_folder(folder: Path, options: dict[str, Any]) -> Iterator[Source]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix.lower() in DICOM_SUFFIXES or _is_marked(path):
            yield path.name, partial(read_dicom, path, **options)


def _on_web(client: WebClient, options: dict[str, Any]) -> Iterator[Source]:
    def read(one: WebInstance) -> Picture:
        return parse_dicom(client.retrieve(one), **options)

    found = client.instances()
    for number, one in enumerate(found, 1):
        yield f"instance {number} of {len(found)}", partial(read, one)


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
