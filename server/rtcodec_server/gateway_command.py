"""
`rtcodec gateway URL`: ordinary WHEP at the far end of a thin link.

    relay ==latents==> gateway --VP8, H.264--> browsers
                               --latents-----> whoever can

A relay of one room, which comes from another relay and which nobody can publish to.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from rtcodec.errors import ConfigError
from rtcodec_server.config import ServerConfig
from rtcodec_server.edge_config import ORDINARY_CODECS, ForwardConfig
from rtcodec_server.logs import set_up_logging
from rtcodec_server.relay_options import add_shared, given, option_adder
from rtcodec_server.serve_command import run_loop
from rtcodec_server.settings import read_settings

DEFAULT_PORT: Final = 8081
TOKEN_VARIABLE: Final = "RTCODEC_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those not given are taken from the file, then the defaults."""
    parser.add_argument(
        "url", metavar="URL", help="WHEP endpoint of a relay, http://host:8080/whep/room"
    )
    parser.add_argument(
        "--token", help=f"bearer token for that relay; taken from {TOKEN_VARIABLE} if not given"
    )
    parser.add_argument("--room", metavar="NAME", help="room here; the same as there by default")

    add_shared(parser, port=DEFAULT_PORT)
    add = option_adder(parser)
    add("codec", f"ordinary codec, {' or '.join(ORDINARY_CODECS)} (default both)", action="append")
    add("bitrate", "most that one ordinary viewer is sent", type=int, metavar="KBPS")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; raises ConfigError for settings that are wrong."""
    config = settings(args)
    set_up_logging(level=config.log_level, log_format=config.log_format)
    (room,) = config.forward
    run_loop(config, lambda url: f"rtcodec gateway at {url}: watch /whep/{room}, stop with Ctrl-C")
    return 0


def settings(args: argparse.Namespace, environ: Mapping[str, str] | None = None) -> ServerConfig:
    """
    Put the command line over the environment over the file over the defaults.

    Args:
        args: The command line.
        environ: The process's environment when None.

    Raises:
        ConfigError: If something is out of range, or the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    values = {"port": DEFAULT_PORT} | read_settings(args.config, environ) | given(args)
    room = args.room or urlsplit(args.url).path.rstrip("/").rpartition("/")[2]
    if not room:
        raise ConfigError(f"{args.url!r} names no room, as http://host:8080/whep/room does")
    token = args.token or environ.get(TOKEN_VARIABLE)
    values["forward"] = {room: ForwardConfig(url=args.url, token=token)}
    config = ServerConfig(**(values | {"psnr": "off"}))
    legacy = config.legacy
    if args.codec is not None:
        legacy = replace(legacy, codecs=tuple(codec.upper() for codec in args.codec))
    if args.bitrate is not None:
        legacy = replace(legacy, bitrate_kbps=args.bitrate)
    return replace(config, legacy=legacy, limits=replace(config.limits, max_rooms=1))
