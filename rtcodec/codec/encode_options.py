"""What `rtcodec encode` can be told."""

import argparse
from pathlib import Path
from typing import Final

from rtcodec.bitstream.exact_format import BOUND_MAX
from rtcodec.codec.denoiser import DENOISE_MODES, OFF
from rtcodec.codec.exact_codecs import EXACT_CODECS, OWN
from rtcodec.codec.intra_choice import INTRA_KINDS
from rtcodec.codec.progressive_files import add_progressive_arguments
from rtcodec.console import integer_between
from rtcodec.engine.loader import AUTO, ENGINE_NAMES
from rtcodec.types import QP_MAX

DEFAULT_MODEL: Final = "s128"
TOKEN_VARIABLE: Final = "RTCODEC_DICOMWEB_TOKEN"
DEFAULT_QP: Final = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec encode`."""
    parser.add_argument(
        "input",
        type=_source,
        metavar="INPUT",
        help="any video or image; with --progressive also a folder of images, with --lossless "
        "one of DICOM files, or a DICOMweb address such as "
        "https://host/dicom-web/studies/UID or .../studies?StudyDate=20240101 "
        f"(token: {TOKEN_VARIABLE})",
    )
    parser.add_argument(
        "output", type=Path, metavar="OUT.rtc", help="the file to write; of many, their folder"
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--qp",
        type=integer_between(0, QP_MAX),
        default=DEFAULT_QP,
        help="0 (finest) to 63 (coarsest)",
    )
    rate.add_argument(
        "--bitrate", type=_positive_number, metavar="KBPS", help="aim at this rate instead of a qp"
    )
    parser.add_argument(
        "--lossless", action="store_true", help="every sample: DICOM, NumPy, PNG and TIFF files"
    )
    parser.add_argument(
        "--max-error",
        type=integer_between(0, 65535),
        default=0,
        metavar="N",
        help="like --lossless, but samples may be off by up to N (default: 0)",
    )
    parser.add_argument(
        "--within",
        type=integer_between(0, BOUND_MAX),
        default=0,
        metavar="N",
        help="with --lossless: on the way to exact every sample is within N first, after about "
        "two thirds of the bytes for 2; 0: no such step (default: 0)",
    )
    parser.add_argument(
        "--exact-codec",
        choices=tuple(EXACT_CODECS),
        default=OWN,
        help="with --lossless: what codes the samples; coarse to fine, by tiles and over a network "
        "come those of rtcodec alone (default: %(default)s)",
    )
    add_progressive_arguments(parser)
    parser.add_argument(
        "--keep-identity",
        action="store_true",
        help="keep all that a DICOM file says, not only what is needed to show it",
    )
    parser.add_argument(
        "--allow-burned-in",
        action="store_true",
        help="take DICOM pictures that may have a name in their samples",
    )
    for name, meaning in (
        ("ca", "whom to trust instead of whom the system does"),
        ("cert", "our certificate, for servers that ask for one"),
        ("key", "its key"),
    ):
        parser.add_argument(
            f"--tls-{name}",
            type=Path,
            metavar="FILE",
            help=f"PEM file, for a DICOMweb address: {meaning}",
        )
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="installed model, or path of a .rtcm file"
    )
    parser.add_argument(
        "--frames", type=integer_between(1, 1 << 31), metavar="N", help="only the first N"
    )
    parser.add_argument(
        "--keyframe-interval",
        type=integer_between(1, 1 << 31),
        metavar="N",
        help="mark every Nth frame as a place to start (default: only the first)",
    )
    parser.add_argument(
        "--intra",
        choices=INTRA_KINDS,
        help="how frames that stand alone are coded: predicted from themselves, by the networks, "
        "or as the first one is cheaper (default: auto)",
    )
    parser.add_argument(
        "--restore",
        action="store_true",
        help="take the artefacts out of a JPEG file first; quality is then that of what is left",
    )
    parser.add_argument(
        "--denoise",
        choices=DENOISE_MODES,
        default=OFF,
        help="take noise out first: auto, as much as is measured, and nothing of clean pictures; "
        "strong, more than that (default: %(default)s)",
    )
    parser.add_argument(
        "--engine", choices=ENGINE_NAMES, default=AUTO, help="what runs the networks"
    )
    parser.add_argument(
        "--threads", type=integer_between(1, 1024), metavar="N", help="cores to use (default: all)"
    )
    parser.add_argument(
        "--psnr",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="decode as well and measure the quality",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def _source(text: str) -> Path | str:
    return text if text.lower().startswith(("http://", "https://")) else Path(text)


def _positive_number(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
