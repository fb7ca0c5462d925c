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
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rtcodec.errors import ConfigError
from rtcodec_server.config import (
    ENGINES,
    LOG_FORMATS,
    LOG_LEVELS,
    ORDINARY_CODECS,
    ForwardConfig,
    ServerConfig,
)
from rtcodec_server.logs import set_up_logging
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

    def add(name: str, about: str, **how: Any) -> None:
        parser.add_argument(f"--{name}", help=about, default=None, **how)

    add("host", "address to listen on (default 127.0.0.1); 0.0.0.0 for all", metavar="ADDRESS")
    add("port", f"TCP port (default {DEFAULT_PORT}); 0 takes a free one", type=int, metavar="N")
    add("config", "TOML file, as of `rtcodec serve`: keys, limits, TLS and more", type=Path)
    add("codec", f"ordinary codec, {' or '.join(ORDINARY_CODECS)} (default both)", action="append")
    add("bitrate", "most that one ordinary viewer is sent", type=int, metavar="KBPS")
    add("model", "what the relay sends (default s128)", metavar="NAME")
    add("engine", f"one of {', '.join(ENGINES)} (default auto)", metavar="NAME")
    add("threads", "threads of the engine; 0 takes one for each core", type=int, metavar="N")
    add("tls-cert", "PEM file of a certificate; makes it https", type=Path, metavar="FILE")
    add("tls-key", "PEM file of its key", type=Path, metavar="FILE")
    add("drain-s", "how long viewers may stay after SIGTERM", type=float, metavar="SECONDS")
    add("log-format", "text or json", choices=LOG_FORMATS)
    add("log-level", "least that is logged", choices=LOG_LEVELS)
    parser.add_argument(
        "--open",
        action="store_true",
        default=None,
        help="let everybody in without keys although the address is not a loopback one",
    )


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
    values = {"port": DEFAULT_PORT} | read_settings(args.config, environ)
    for name in (
        "host", "port", "model", "engine", "threads", "open",
        "tls_cert", "tls_key", "drain_s", "log_format", "log_level",
    ):  # fmt: skip
        if (value := getattr(args, name)) is not None:
            values[name] = value
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
