"""
The relay's settings: defaults, a TOML file, the command line, in that order.

Nothing is read from the environment.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from rtcodec.engine.loader import ENGINE_NAMES
from rtcodec.errors import ConfigError
from rtcodec.rate_control import MAX_FRAME_FACTOR
from rtcodec.session.lobby import Limits
from rtcodec.types import MAX_SIDE_PX, QP_MAX

PSNR_MODES: Final = ("auto", "all", "off")
ENGINES: Final = (*ENGINE_NAMES, "null")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What `rtcodec serve` can be told."""

    host: str = "127.0.0.1"
    "Address to listen on; 0.0.0.0 for all. A loopback address keeps media on loopback too."

    port: int = 8080
    "TCP port of HTTP; 0 takes a free one. Media use UDP ports of the system's choice."

    model: str = "s128"
    "Name of an installed model."

    engine: str = "auto"
    "What runs the networks."

    threads: int = 0
    "Threads of the engine for one frame; 0 takes as many as there are cores."

    workers: int = 1
    "Media worker processes; only 1 so far."

    qp: int = 32
    "Quantiser of every stream, 0 (finest) to 63 (coarsest); not used with a bit rate."

    bitrate_kbps: int | None = None
    "Target of every stream, kilobits of bitstream per second; none codes at a constant qp."

    max_frame_factor: float = MAX_FRAME_FACTOR
    "How many frames' even share of the target one may take, above 1; twice that a key frame."

    follow_remb: bool = False
    "Whether the narrowest way that a subscriber of a room reports lowers the target for all of it."

    psnr: str = "auto"
    "Which frames' PSNR is measured: all, off, or auto: those there is time for."

    token: str | None = None
    "Shared secret that clients send as a bearer token; none lets everybody in."

    frame_deadline_ms: int = 200
    "A frame that waited this long for the engine is dropped."

    max_batch: int = 4
    "Frames of different streams that may run together."

    warm: tuple[tuple[int, int], ...] = ((640, 360),)
    "Frame sizes (width, height) to get ready for; the first frames of others are dropped."

    ice_servers: tuple[str, ...] = ()
    "STUN and TURN URLs; none are needed where peers reach this machine."

    tap: Path | None = None
    "Folder for rings of raw frames that a subscriber on this machine measures against."

    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """
        Check the values.

        Raises:
            ConfigError: If one is out of range.
        """
        _check(0 <= self.port <= 65535, f"port {self.port} is outside 0 to 65535")
        _check(0 <= self.qp <= QP_MAX, f"qp {self.qp} is outside 0 to {QP_MAX}")
        kbps = self.bitrate_kbps
        _check(kbps is None or 1 <= kbps <= 10**6, f"{kbps} kb/s is outside 1 to 1000000")
        _check(self.max_frame_factor > 1, f"a frame of at most {self.max_frame_factor} shares")
        _check(self.engine in ENGINES, f"engine {self.engine!r} is none of {', '.join(ENGINES)}")
        _check(self.psnr in PSNR_MODES, f"psnr {self.psnr!r} is none of {', '.join(PSNR_MODES)}")
        _check(self.threads >= 0, f"{self.threads} threads")
        _check(self.workers >= 1, f"{self.workers} workers; at least 1")
        _check(self.workers == 1, f"{self.workers} workers are not supported, 1 is")
        _check(self.frame_deadline_ms >= 1, f"a deadline of {self.frame_deadline_ms} ms")
        _check(self.max_batch >= 1, f"a batch of at most {self.max_batch} frames")
        _check(self.token is None or self.token != "", "the token is empty")
        for width, height in self.warm:
            _check(
                1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX,
                f"{width}x{height} is outside 1x1 to {MAX_SIDE_PX}x{MAX_SIDE_PX}",
            )

    @property
    def loopback_only(self) -> bool:
        """Whether media should stay on 127.0.0.1, as HTTP does."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def read_config(path: Path) -> dict[str, Any]:
    """
    Read settings from a TOML file; the table `limits` holds those of `Limits`.

    Returns:
        Values by the names of `ServerConfig`'s fields, only those in the file.

    Raises:
        ConfigError: If the file cannot be read, or a name or type is wrong.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    limits = table.pop("limits", {})
    if not isinstance(limits, dict):
        raise ConfigError(f"{path}: limits is not a table")
    values = _typed(table, ServerConfig, where=str(path))
    if limits:
        values["limits"] = replace(Limits(), **_typed(limits, Limits, where=f"{path}: limits"))
    return values


def parse_size(text: str) -> tuple[int, int]:
    """
    Read `WIDTHxHEIGHT`.

    Raises:
        ConfigError: If it is something else.
    """
    width, x, height = text.partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"{text!r} is not WIDTHxHEIGHT")
    return int(width), int(height)


def _typed(table: Mapping[str, Any], cls: type, *, where: str) -> dict[str, Any]:
    names = {f.name for f in fields(cls)} - {"limits"}
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in names:
            raise ConfigError(f"{where}: unknown setting {name!r}")
        values[name] = _convert(name, value, hints[name], where=where)
    return values


def _convert(name: str, value: Any, hint: Any, *, where: str) -> Any:
    if name in ("warm", "ice_servers"):
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return tuple(parse_size(entry) if name == "warm" else entry for entry in value)
    elif name == "tap":
        if isinstance(value, str):
            return Path(value)
    elif isinstance(value, bool) or hint is bool:
        if isinstance(value, bool) and hint is bool:
            return value
    elif hint is float and isinstance(value, int):
        return float(value)
    elif isinstance(value, get_args(hint) or hint):
        return value
    raise ConfigError(f"{where}: {name} has the wrong type")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
