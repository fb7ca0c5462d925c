"""
`rtcodec forward FROM TO`: carry a room's latents to a relay that cannot fetch them itself.

Where the relay that shall have them reaches the other one, its setting `forward` does it without a
process between them.
"""

import argparse
import asyncio
import os
import signal
import sys
from typing import Final

from rtcodec.bundle import find_bundle
from rtcodec.engine.null import NullEngine
from rtcodec.webrtc import install
from rtcodec_server.carrier import Carrier
from rtcodec_server.config import LOG_FORMATS, LOG_LEVELS
from rtcodec_server.edge_config import ForwardConfig
from rtcodec_server.logs import set_up_logging

TOKEN_VARIABLE: Final = "RTCODEC_TOKEN"
TO_TOKEN_VARIABLE: Final = "RTCODEC_TO_TOKEN"
NULL: Final = "null"
"The model of the engine without a network, for tests."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("source", metavar="FROM", help="WHEP endpoint of a relay")
    parser.add_argument("target", metavar="TO", help="WHIP endpoint of another relay")
    parser.add_argument(
        "--token", help=f"bearer token for FROM; taken from {TOKEN_VARIABLE} if not given"
    )
    parser.add_argument(
        "--to-token", help=f"bearer token for TO; taken from {TO_TOKEN_VARIABLE} if not given"
    )
    parser.add_argument("--model", default="s128", metavar="NAME", help="that both relays have")
    parser.add_argument("--stun", metavar="URL", help="STUN server, for relays beyond a NAT")
    parser.add_argument("--log-format", default="text", choices=LOG_FORMATS)
    parser.add_argument("--log-level", default="info", choices=LOG_LEVELS)


def run(args: argparse.Namespace) -> int:
    """Carry until told to stop; raises ConfigError for settings that are wrong."""
    set_up_logging(level=args.log_level, log_format=args.log_format)
    bundle = NullEngine().bundle if args.model == NULL else find_bundle(args.model)
    source_token = args.token or os.environ.get(TOKEN_VARIABLE)
    target_token = args.to_token or os.environ.get(TO_TOKEN_VARIABLE)
    source = ForwardConfig(url=args.source, token=source_token)
    target = ForwardConfig(url=args.target, token=target_token)
    install()
    carrier = Carrier(
        source,
        target,
        model_id=bundle.model_id.hex(),
        ice_servers=[args.stun] if args.stun else [],
    )
    asyncio.run(_run(carrier))
    return 0


async def _run(carrier: Carrier) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("rtcodec forward: stop with Ctrl-C", file=sys.stderr, flush=True)
    carrying = asyncio.ensure_future(carrier.run())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({carrying, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if carrying.done():
            carrying.result()
    finally:
        for task in (carrying, stopping):
            task.cancel()
        await asyncio.gather(carrying, stopping, return_exceptions=True)
