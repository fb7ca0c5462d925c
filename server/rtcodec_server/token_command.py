"""
`rtcodec token`: make a token that a relay with the same keys accepts.

The token goes to stdout; nothing that is secret goes anywhere else.
"""

import argparse
import json
import os
import re
import time
from pathlib import Path
from typing import Final

from rtcodec.errors import ConfigError
from rtcodec_server.access import CLAIMS, Grant, Keyring, check_room_pattern, check_subject
from rtcodec_server.settings import read_settings

_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd]?)")
_UNIT_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec token`."""
    parser.add_argument(
        "--room", metavar="ROOM", help="room, or the beginning of rooms and '*' (quote it)"
    )
    parser.add_argument("--publish", action="store_true", help="allow to publish")
    parser.add_argument("--subscribe", action="store_true", help="allow to watch")
    parser.add_argument("--admin", action="store_true", help="allow to list and end rooms")
    parser.add_argument(
        "--record", action="store_true", help="allow to record and to play recordings"
    )
    parser.add_argument("--study", action="store_true", help="allow to see studies")
    parser.add_argument(
        "--subject", metavar="NAME", help="whose token it is; the audit of studies says so"
    )
    parser.add_argument("--expires", default="1h", metavar="TIME", help="such as 90s, 30m, 1h, 7d")
    parser.add_argument("--key", metavar="KID", help="key to sign with, where there are several")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the relay's file; RTCODEC_KEYS wins over it"
    )
    parser.add_argument("--json", action="store_true", help="print what the token says beside it")


def run(args: argparse.Namespace) -> int:
    """Print a token; raises ConfigError for what makes none."""
    values = read_settings(args.config, os.environ)
    if not values.get("keys"):
        raise ConfigError("no keys: set RTCODEC_KEYS or name the relay's --config FILE")
    grant = grant_of(args)
    keyring = Keyring(values["keys"], issuer=values.get("issuer"))
    now_s, valid_s = int(time.time()), parse_duration(args.expires)
    token = keyring.sign(grant, now_s=now_s, valid_s=valid_s, kid=args.key)
    if args.json:
        claims = {name: getattr(grant, name) for name in ("room", *CLAIMS)}
        print(json.dumps({"token": token, **claims, "expires": now_s + valid_s}))
    else:
        print(token)
    return 0


def grant_of(args: argparse.Namespace) -> Grant:
    """
    Read what a token shall allow.

    Raises:
        ConfigError: If it would allow nothing, or names no room where one is needed.
    """
    may = {name: getattr(args, name) for name in CLAIMS}
    if not any(may.values()):
        raise ConfigError(
            "a token that allows nothing: --publish, --subscribe, --admin, --record, --study"
        )
    if args.room is None and (args.publish or args.subscribe or args.study):
        raise ConfigError("--room is needed with --publish, --subscribe and --study")
    if args.subject is not None and not check_subject(args.subject):
        raise ConfigError("a subject is 1 to 128 characters, none of them a control character")
    room = check_room_pattern("*" if args.room is None else args.room)
    return Grant(room=room, subject=args.subject, **may)


def parse_duration(text: str) -> int:
    """
    Read `90s`, `30m`, `1h` or `7d` as seconds.

    Raises:
        ConfigError: If it is something else, or no time at all.
    """
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNIT_S[found[2]] if found else 0
    if seconds == 0:
        raise ConfigError(f"{text!r} is not a time such as 90s, 30m, 1h or 7d")
    return seconds
