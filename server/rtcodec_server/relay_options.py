"""Options that `rtcodec serve` and `rtcodec gateway` have in common: both run a relay."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from rtcodec_server.config import ENGINES, LOG_FORMATS, LOG_LEVELS, ServerConfig

_SHARED: Final = (
    "host", "port", "model", "engine", "threads", "open",
    "tls_cert", "tls_key", "drain_s", "log_format", "log_level",
)  # fmt: skip


def option_adder(parser: argparse.ArgumentParser) -> Callable[..., None]:
    """Return what declares an option, and shows its default where it is a setting's."""
    default = ServerConfig()

    def add(name: str, about: str, **how: Any) -> None:
        shown = getattr(default, name.replace("-", "_"), None)
        is_plain = isinstance(shown, str | int | float) and about is not argparse.SUPPRESS
        text = f"{about} (default {shown})" if is_plain else about
        parser.add_argument(f"--{name}", help=text, default=None, **how)

    return add


def add_shared(parser: argparse.ArgumentParser, *, port: int) -> None:
    """
    Declare the options; those not given are taken from the file, then the defaults.

    Args:
        parser: Of the command.
        port: Its default.
    """
    add = option_adder(parser)
    add("host", "address to listen on; 0.0.0.0 for all", metavar="ADDRESS")
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"TCP port; 0 takes a free one (default {port})"
    )
    add(
        "config",
        "TOML file with these settings and more, see config.example.toml",
        type=Path,
        metavar="FILE",
    )
    add("model", "installed model", metavar="NAME")
    add("engine", f"one of {', '.join(ENGINES)}", metavar="NAME")
    add("threads", "threads of the engine; 0 takes one for each core", type=int, metavar="N")
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


def given(args: argparse.Namespace, names: Iterable[str] = ()) -> dict[str, Any]:
    """Return the settings that the command line gives: those shared, and *names*."""
    values = {name: getattr(args, name) for name in (*_SHARED, *names)}
    return {name: value for name, value in values.items() if value is not None}
