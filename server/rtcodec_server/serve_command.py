"""`rtcodec serve`: run the relay until it is told to stop."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rtcodec.calm import calm_interpreter
from rtcodec.errors import ConfigError
from rtcodec.session.ladder import read_rung
from rtcodec_server.app import RunningServer, serve
from rtcodec_server.config import ENGINES, LOG_FORMATS, LOG_LEVELS, PSNR_MODES, ServerConfig
from rtcodec_server.logs import set_up_logging
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.settings import GONE, PREFIX, parse_forwards, parse_size, read_settings
from rtcodec_server.workers.limits import ENGINE_PLACES
from rtcodec_server.workers.service import serve_processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those not given are taken from the file, then the defaults."""
    default = ServerConfig()

    def add(name: str, about: str, **how: Any) -> None:
        shown = getattr(default, name.replace("-", "_"), None)
        text = (
            about
            if about is argparse.SUPPRESS
            or shown is None
            or not isinstance(shown, str | int | float)
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
    add("workers", "media worker processes; up to 1: none beside this", type=int, metavar="N")
    add("engine-in", "where networks run: each worker, or a process", choices=ENGINE_PLACES)
    add("qp", "quantiser, 0 (finest) to 63 (coarsest)", type=int, metavar="N")
    add("bitrate", "aim at this rate for each stream instead of a qp", type=int, metavar="KBPS")
    add(
        "rung",
        "size and rate to code streams at where needed, such as source@800 or 270p@350; may be "
        "repeated, finest first",
        action="append",
        metavar="SPEC",
    )
    add("psnr", "which frames to measure; auto: those there is time for", choices=PSNR_MODES)
    _add_operation(add, parser)
    add(
        "warm",
        "frame size to get ready for, WIDTHxHEIGHT; may be repeated (default 640x360)",
        action="append",
    )
    parser.add_argument(
        "--forward",
        action="append",
        metavar="ROOM=URL",
        help="take a room from another relay's WHEP endpoint; may be repeated, with a token from "
        "RTCODEC_FORWARD_TOKEN",
    )
    add("tap", "folder for raw frames that a subscriber here measures against", type=Path)
    parser.add_argument(
        "--json", action="store_true", help="print the figures of the run at the end"
    )
    parser.add_argument("--verbose", action="store_true", help="the same as --log-level info")


def _add_operation(add: Callable[..., None], parser: argparse.ArgumentParser) -> None:
    add("record", "folder to record every room to, or those of `[record] rooms`", type=Path,
        metavar="DIR")  # fmt: skip
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
    figures = run_loop(
        config,
        lambda url: (
            f"rtcodec relay at {url}: publish to /whip/ROOM, watch /whep/ROOM, stop with Ctrl-C"
        ),
    )
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
    environ = os.environ if environ is None else environ
    values = read_settings(args.config, environ)
    for name in (
        "host", "port", "model", "engine", "threads", "workers", "qp", "psnr", "tap", "open",
        "tls_cert", "tls_key", "drain_s", "log_format", "log_level", "engine_in",
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
    if args.rung is not None:
        values["rungs"] = tuple(read_rung(text) for text in args.rung)
    if args.forward is not None:
        token = environ.get(f"{PREFIX}FORWARD_TOKEN")
        values["forward"] = parse_forwards(args.forward, token=token)
    if args.record is not None:
        values["record"] = replace(values.get("record", RecordConfig()), directory=args.record)
    if args.warm is not None:
        values["warm"] = tuple(parse_size(text) for text in args.warm)
    return ServerConfig(**values)


def run_loop(config: ServerConfig, hello: Callable[[str], str]) -> dict[str, Any]:
    """Serve, say *hello* with the address on standard error, and return the run's figures."""

    def say(url: str) -> None:
        print(hello(url), file=sys.stderr, flush=True)

    def on_start(server: RunningServer) -> None:
        say(server.url)
        server.ready.add_done_callback(lambda _: calm_interpreter())

    calm_interpreter()
    running = (
        serve_processes(config, on_start=say)
        if config.is_supervised
        else serve(config, on_start=on_start)
    )
    try:
        import uvloop
    except ImportError:
        return asyncio.run(running)
    return uvloop.run(running)
