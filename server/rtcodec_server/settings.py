"""
Where settings come from: defaults, a TOML file, the environment, in that order.

The command line comes last, in `serve_command`. The environment is an
argument: `RTCODEC_PORT`, and `RTCODEC_LIMITS_MAX_ROOMS` for what is in a table.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from rtcodec.errors import ConfigError
from rtcodec.session.ladder import RungSpec, read_rung
from rtcodec_server.access import read_keys
from rtcodec_server.config import ServerConfig
from rtcodec_server.edge_config import ForwardConfig

PREFIX: Final = "RTCODEC_"

_HINTS: Final = get_type_hints(ServerConfig)
_TABLES: Final[dict[str, Any]] = {name: hint for name, hint in _HINTS.items() if is_dataclass(hint)}
GONE: Final = {
    "token": "the setting 'token' is gone: set keys (RTCODEC_KEYS or [keys]) and make tokens with "
    "`rtcodec token`",
}
"Settings of earlier versions, and what to do instead."


def read_settings(path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """
    Read the file, if there is one, and put the environment over it.

    Returns:
        Values by the names of `ServerConfig`'s fields, only those that were given.

    Raises:
        ConfigError: If the file cannot be read, or a name, type or value is wrong.
    """
    values = read_config(path) if path is not None else {}
    for name, hint in _HINTS.items():
        if name in _TABLES:
            _put_table(values, name, environ)
        elif name == "keys":
            if text := environ.get(f"{PREFIX}KEYS"):
                values["keys"] = read_keys(text)
        elif name == "forward":
            if text := environ.get(f"{PREFIX}FORWARD"):
                token = environ.get(f"{PREFIX}FORWARD_TOKEN")
                values["forward"] = parse_forwards(text.split(","), token=token)
        elif (text := environ.get(PREFIX + name.upper())) is not None:
            values[name] = _parse(text, hint, where=PREFIX + name.upper())
    return values


def _put_table(values: dict[str, Any], table: str, environ: Mapping[str, str]) -> None:
    cls = _TABLES[table]
    given = {}
    for name, hint in get_type_hints(cls).items():
        variable = f"{PREFIX}{table}_{name}".upper()
        if (text := environ.get(variable)) is not None:
            given[name] = _parse(text, hint, where=variable)
    if given:
        values[table] = replace(values.get(table, cls()), **given)


def read_config(path: Path) -> dict[str, Any]:
    """
    Read settings from a TOML file.

    Returns:
        Values by the names of `ServerConfig`'s fields, only those in the file.

    Raises:
        ConfigError: If the file cannot be read, or a name, type or value is wrong.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    return take_settings(document, where=str(path))


def take_settings(document: dict[str, Any], *, where: str) -> dict[str, Any]:
    """
    Take settings from what a TOML file holds.

    Args:
        document: Used up.
        where: It is from, for messages.

    Returns:
        As `read_config`.

    Raises:
        ConfigError: If a name, type or value is wrong.
    """
    for name in GONE:
        if name in document:
            raise ConfigError(f"{where}: {GONE[name]}")
    values: dict[str, Any] = {}
    for name in ("keys", "forward", *_TABLES):
        table = document.pop(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{where}: {name} is not a table")
        if name == "keys" and table:
            values["keys"] = _read_key_table(table, where=where)
        elif name == "forward" and table:
            values["forward"] = _read_forward_table(table, where=where)
        elif table:
            values[name] = _TABLES[name](**_typed(table, _TABLES[name], where=f"{where}: {name}"))
    return _typed(document, ServerConfig, where=where) | values


def give_settings(config: Any) -> dict[str, Any]:
    """
    Return settings as a TOML file, or a JSON object, holds them: the inverse of `take_settings`.

    Secrets are in it: it is for processes of ours alone.

    Args:
        config: A `ServerConfig`, or one of its tables.
    """
    document: dict[str, Any] = {}
    hints = get_type_hints(type(config))
    for entry in fields(config):
        value, kind = getattr(config, entry.name), _kind(hints[entry.name])
        if value is None:
            continue
        if is_dataclass(value):
            value = give_settings(value)
        elif kind == tuple[tuple[int, int], ...]:
            value = [f"{width}x{height}" for width, height in value]
        elif kind == tuple[int, int]:
            value = f"{value[0]}x{value[1]}"
        elif kind == tuple[RungSpec, ...]:
            value = [str(spec) for spec in value]
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Path):
            value = str(value)
        elif isinstance(value, Mapping):
            value = {k: give_settings(v) if is_dataclass(v) else v for k, v in value.items()}
        document[entry.name] = value
    return document


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


def _read_key_table(table: dict[str, Any], *, where: str) -> dict[str, str]:
    for kid, secret in table.items():
        if not isinstance(secret, str):
            raise ConfigError(f"{where}: the secret of key {kid} is not a string")
    return table


def _read_forward_table(table: dict[str, Any], *, where: str) -> dict[str, ForwardConfig]:
    forwards = {}
    for room, given in table.items():
        if isinstance(given, str):
            given = {"url": given}
        if not isinstance(given, dict) or "url" not in given:
            raise ConfigError(f"{where}: forward.{room} is neither a URL nor a table with a url")
        values = _typed(given, ForwardConfig, where=f"{where}: forward.{room}")
        forwards[room] = ForwardConfig(**values)
    return forwards


def parse_forwards(words: Iterable[str], *, token: str | None) -> dict[str, ForwardConfig]:
    """
    Read `ROOM=URL`, several times.

    Args:
        words: One each.
        token: For all of them.

    Raises:
        ConfigError: If one is something else.
    """
    forwards = {}
    for word in words:
        room, _, url = word.strip().partition("=")
        if not url:
            raise ConfigError(f"{word!r} is not ROOM=URL")
        forwards[room] = ForwardConfig(url=url, token=token)
    return forwards


def _typed(table: Mapping[str, Any], cls: type, *, where: str) -> dict[str, Any]:
    hints = get_type_hints(cls)
    names = {f.name for f in fields(cls)}
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in names:
            raise ConfigError(f"{where}: unknown setting {name!r}")
        values[name] = _convert(value, hints[name], where=f"{where}: {name}")
    return values


def _convert(value: Any, hint: Any, *, where: str) -> Any:
    """Turn what TOML has into what a field holds; a string is never taken for a number."""
    kind = _kind(hint)
    if kind in _LISTS:
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return tuple(_LISTS[kind](entry) for entry in value)
    elif kind in _TEXTS:
        if isinstance(value, str):
            return _TEXTS[kind](value)
    elif isinstance(value, bool) or kind is bool:
        if isinstance(value, bool) and kind is bool:
            return value
    elif kind is float and isinstance(value, int):
        return float(value)
    elif isinstance(value, kind):
        return value
    raise ConfigError(f"{where} has the wrong type")


def _parse(text: str, hint: Any, *, where: str) -> Any:
    """Turn a variable's text into what a field holds; lists are separated by commas."""
    kind = _kind(hint)
    if kind in _LISTS:
        return tuple(_LISTS[kind](part.strip()) for part in text.split(",") if part.strip())
    if kind in _TEXTS:
        return _TEXTS[kind](text)
    if kind is bool:
        if text.lower() in _BOOLS:
            return _BOOLS[text.lower()]
        raise ConfigError(f"{where} is neither true nor false")
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"{where} is not a number") from None


_BOOLS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_TEXTS: Final[dict[Any, Callable[[str], Any]]] = {
    str: str,
    Path: Path,
    tuple[int, int]: parse_size,
}
_LISTS: Final[dict[Any, Callable[[str], Any]]] = {
    tuple[str, ...]: str,
    tuple[tuple[int, int], ...]: parse_size,
    tuple[RungSpec, ...]: read_rung,
}


def _kind(hint: Any) -> Any:
    """Return the type that is not None."""
    if hint in _LISTS or hint in _TEXTS:
        return hint
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return kinds[0] if kinds else hint
