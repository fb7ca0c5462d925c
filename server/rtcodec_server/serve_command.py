"""`rtcodec serve`: run the relay until it is told to stop."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rtcodec.calm import calm_interpreter
from rtcodec.errors import ConfigError
from rtcodec_server.app import RunningServer, serve
from rtcodec_server.config import ENGINES, LOG_FORMATS, LOG_LEVELS, PSNR_MODES, ServerConfig
from rtcodec_server.logs import set_up_logging
from rtcodec_server.settings import GONE, parse_size, read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those not given are taken from the file, then the defaults."""
    default = ServerConfig()

    def add(name: str, about: str, **how: Any) -> None:
        shown = getattr(default, name.replace("-", "_"), None)
        text = (
            about
            if about is argparse.SUPPRESS or shown is None or isinstance(shown, tuple)
            else f"{about} (default {shown})"
        )
        parser.add_argument(f"--{name}", help=text, default=None, **how)

    add("host", "address to listen on; 0.0.0.0 for all", metavar="ADDRESS")
    add("port", "TCP port; 0 takes a free one", type=int, metavar="N")
    add(
        "config",
        "TOML file with these settings and more, see config.example.toml",
        type=Path,
        metavar="FILE",
    )
    add("model", "installed model", metavar="NAME")
    add("engine", f"one of {', '.join(ENGINES)}", metavar="NAME")
    add("threads", "threads of the engine; 0 takes one for each core", type=int, metavar="N")
    add("workers", "media worker processes; only 1 so far", type=int, metavar="N")
    add("qp", "quantiser, 0 (finest) to 63 (coarsest)", type=int, metavar="N")
    add("bitrate", "aim at this rate for each stream instead of a qp", type=int, metavar="KBPS")
    add("psnr", "which frames to measure; auto: those there is time for", choices=PSNR_MODES)
    _add_operation(add, parser)
    add(
        "warm",
        "frame size to get ready for, WIDTHxHEIGHT; may be repeated (default 640x360)",
        action="append",
    )
    add("tap", "folder for raw frames that a subscriber here measures against", type=Path)
    parser.add_argument(
        "--json", action="store_true", help="print the figures of the run at the end"
    )
    parser.add_argument("--verbose", action="store_true", help="the same as --log-level info")


def _add_operation(add: Callable[..., None], parser: argparse.ArgumentParser) -> None:
    add("token", argparse.SUPPRESS, metavar="SECRET")  # gone: `settings` says what to do instead
    add("tls-cert", "PEM file of a certificate; makes it https", type=Path, metavar="FILE")
    add("tls-key", "PEM file of its key", type=Path, metavar="FILE")
    add("drain-s", "how long sessions may go on after SIGTERM", type=float, metavar="SECONDS")
    add("log-format", "one of " + ", ".join(LOG_FORMATS), choices=LOG_FORMATS)
    add("log-level", "least that is logged", choices=LOG_LEVELS)
    parser.add_argument(
        "--open",
        action="store_true",
        default=None,
        help="let everybody in without keys although the address is not a loopback one",
    )


def run(args: argparse.Namespace) -> int:
    """Serve; raises ConfigError for settings that are wrong."""
    config = settings(args)
    set_up_logging(level=config.log_level, log_format=config.log_format)
    figures = _run_loop(config)
    if args.json:
        print(json.dumps(figures))
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
    if args.token is not None:
        raise ConfigError(f"--token: {GONE['token']}")
    values = read_settings(args.config, os.environ if environ is None else environ)
    for name in (
        "host", "port", "model", "engine", "threads", "workers", "qp", "psnr", "tap", "open",
        "tls_cert", "tls_key", "drain_s", "log_format", "log_level",
    ):  # fmt: skip
        if (value := getattr(args, name)) is not None:
            values[name] = value
    if args.bitrate is not None:
        if args.qp is not None:
            raise ConfigError("--qp and --bitrate: one of them at a time")
        values["bitrate_kbps"] = args.bitrate
    elif args.qp is not None:
        values.pop("bitrate_kbps", None)  # the command line wins
    if args.verbose and args.log_level is None:
        values["log_level"] = "info"
    if args.warm is not None:
        values["warm"] = tuple(parse_size(text) for text in args.warm)
    return ServerConfig(**values)


def _run_loop(config: ServerConfig) -> dict[str, Any]:
    def on_start(server: RunningServer) -> None:
        print(
            f"rtcodec relay at {server.url}: publish to /whip/ROOM, watch /whep/ROOM, "
            "stop with Ctrl-C",
            file=sys.stderr,
            flush=True,
        )
        server.ready.add_done_callback(lambda _: calm_interpreter())

    calm_interpreter()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serve(config, on_start=on_start))
    return uvloop.run(serve(config, on_start=on_start))
