"""`rtcodec receive`: take instances that DICOM nodes send, and keep them as exact pictures."""

import argparse
import signal
import ssl
from pathlib import Path
from typing import Final

from rtcodec.console import integer_between, print_json, say, tidy_on_terminate
from rtcodec.errors import ConfigError
from rtcodec_server.config_check import is_loopback
from rtcodec_server.dicom_receiver import DicomReceiver, ReceiverOptions, receiver_context

PORT: Final = 11112  # IANA: dicom
TITLE_MAX: Final = 16
DEFAULT_MAX_MB: Final = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec receive`."""
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="where pictures are kept"
    )
    parser.add_argument(
        "--dicom-port",
        type=integer_between(0, 65535),
        default=PORT,
        metavar="PORT",
        help="0: any free one",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--title", type=_title, default="RTCODEC", help="AE title of this node")
    parser.add_argument(
        "--allow",
        type=_title,
        action="append",
        default=[],
        metavar="TITLE",
        help="AE title that may send, again for more (needed beyond loopback)",
    )
    parser.add_argument(
        "--max-mb",
        type=integer_between(1, 1 << 20),
        default=DEFAULT_MAX_MB,
        metavar="MB",
        help="of all that is being received at a time",
    )
    parser.add_argument(
        "--max-error",
        type=integer_between(0, 65535),
        default=0,
        metavar="N",
        help="samples may be off by up to N",
    )
    parser.add_argument(
        "--keep-identity", action="store_true", help="keep all that an instance says"
    )
    parser.add_argument(
        "--allow-burned-in",
        action="store_true",
        help="take pictures that may have a name in their samples",
    )
    for name, meaning in (
        ("cert", "certificate of this node: what is sent is encrypted"),
        ("key", "its key"),
        ("ca", "who signs the certificates of callers, which then have to have one"),
    ):
        parser.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=f"PEM file: {meaning}")
    parser.add_argument("--json", action="store_true", help="at the end, print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec receive` until SIGINT or SIGTERM."""
    tls = _tls(args)
    if not is_loopback(args.host) and not args.allow and not args.tls_ca:
        raise ConfigError("beyond loopback name who may send: --allow TITLE, or --tls-ca FILE")
    args.output.mkdir(parents=True, exist_ok=True)
    options = ReceiverOptions(
        output=args.output,
        host=args.host,
        port=args.dicom_port,
        title=args.title,
        callers=tuple(args.allow),
        max_bytes=args.max_mb << 20,
        max_error=args.max_error,
        keep_identity=args.keep_identity,
        allow_burned_in=args.allow_burned_in,
        tls=tls,
    )
    receiver = DicomReceiver(options, say)
    with tidy_on_terminate():
        try:
            port = receiver.start()
            over = "" if tls is None else " over TLS"
            say(f"receiving as {args.title} at {args.host}:{port}{over}")
            while True:
                signal.pause()
        except (KeyboardInterrupt, SystemExit):
            pass  # that is how it ends
        finally:
            receiver.close()
    if args.json:
        print_json({"stored": receiver.n_stored, "refused": receiver.n_refused})
    return 0


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    if args.tls_cert is None and args.tls_key is None and args.tls_ca is None:
        return None
    if args.tls_cert is None or args.tls_key is None:
        raise ConfigError("TLS needs --tls-cert and --tls-key")
    return receiver_context(args.tls_cert, args.tls_key, args.tls_ca)


def _title(text: str) -> str:
    if not 0 < len(text.strip()) <= TITLE_MAX or not text.isascii() or "\\" in text:
        raise argparse.ArgumentTypeError(f"an AE title has 1 to {TITLE_MAX} characters of ASCII")
    return text.strip()
