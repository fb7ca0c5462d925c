"""What the client commands share: the event loop, signals and the token."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

_Result = TypeVar("_Result")

TOKEN_VARIABLE = "RTCODEC_TOKEN"


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every client needs to reach a relay."""
    parser.add_argument(
        "--token", help=f"bearer token; taken from {TOKEN_VARIABLE} where not given"
    )
    parser.add_argument("--stun", metavar="URL", help="STUN server, for a relay beyond a NAT")


def token_of(args: argparse.Namespace) -> str | None:
    """Return the bearer token, or None."""
    token: str | None = args.token or os.environ.get(TOKEN_VARIABLE)
    return token


def run_async(
    work: Callable[[asyncio.Event], Awaitable[_Result]],
) -> _Result:
    """
    Run *work* on an event loop until it returns.

    It is given an event that SIGINT and SIGTERM set; a second SIGINT
    interrupts the hard way.
    """

    async def main() -> _Result:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal(number: signal.Signals) -> None:
            stop.set()
            loop.remove_signal_handler(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal, number)
        return await work(stop)

    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(main())


def say(text: str) -> None:
    """Talk to the person: standard error, never standard output."""
    print(text, file=sys.stderr, flush=True)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not made for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
