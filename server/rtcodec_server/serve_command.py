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
from rtcodec_server.config import PSNR_MODES, ServerConfig
from rtcodec_server.logs import set_up_logging
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.relay_options import add_shared, given, option_adder
from rtcodec_server.settings import GONE, PREFIX, parse_forwards, parse_size, read_settings
from rtcodec_server.study_config import StudyConfig
from rtcodec_server.workers.limits import ENGINE_PLACES
from rtcodec_server.workers.service import serve_processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those not given are taken from the file, then the defaults."""
    add_shared(parser, port=ServerConfig().port)
    add = option_adder(parser)
    add("workers", "media worker processes; up to 1: none beside this", type=int, metavar="N")
    add("engine-processes", "engine processes, such as one for each GPU", type=int, metavar="N")
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
    add(
        "record",
        "folder to record every room to, or those of `[record] rooms`",
        type=Path,
        metavar="DIR",
    )
    add(
        "studies",
        "folder of pictures to offer, DICOM and exact .rtc; a folder in it is a room",
        type=Path,
        metavar="DIR",
    )
    add("token", argparse.SUPPRESS, metavar="SECRET")  # gone: `settings` says what to do instead
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
    values |= given(args, ("workers", "engine_in", "engine_processes", "qp", "psnr", "tap"))
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
    if args.studies is not None:
        values["studies"] = replace(values.get("studies", StudyConfig()), directory=args.studies)
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
