"""Finding engines by name, and saying why one cannot be used."""

from collections.abc import Mapping
from typing import Any

import pytest

from rtcodec.engine import loader
from rtcodec.engine.loader import EngineReport, open_engine, probe_engine
from rtcodec.engine.null import NullEngine, null_bundle
from rtcodec.errors import ConfigError


class Working(NullEngine):
    """An engine that runs anywhere."""

    def __init__(self, bundle: object, *, threads: int) -> None:
        super().__init__()
        self.threads = threads

    @staticmethod
    def probe() -> EngineReport:
        return EngineReport("working", True, "anywhere")


class Unusable(Working):
    """An engine that lacks a device."""

    @staticmethod
    def probe() -> EngineReport:
        return EngineReport("unusable", False, "no device")


class Broken(Working):
    """An engine whose library fails while it is asked."""

    @staticmethod
    def probe() -> EngineReport:
        raise RuntimeError("driver\nversion")


class NeverAsked(Working):
    """An engine after a usable one."""

    @staticmethod
    def probe() -> EngineReport:
        pytest.fail("its library would be imported for nothing")


def install(monkeypatch: pytest.MonkeyPatch, engines: Mapping[str, str]) -> None:
    monkeypatch.setattr(loader, "ENGINES", dict(engines))


def test_an_engine_is_opened_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    classes: dict[str, Any] = {"working": Working}
    monkeypatch.setattr(loader, "_engine_class", classes.__getitem__)
    engine = open_engine("working", null_bundle(), threads=3)
    assert isinstance(engine, Working)
    assert engine.threads == 3


def test_auto_takes_the_first_that_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    classes: dict[str, Any] = {"broken": Broken, "unusable": Unusable, "working": Working}
    classes["never"] = NeverAsked
    install(monkeypatch, dict.fromkeys(classes, ""))
    monkeypatch.setattr(loader, "_engine_class", classes.__getitem__)
    assert type(open_engine("auto", null_bundle())) is Working


def test_auto_says_why_nothing_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    classes: dict[str, Any] = {"broken": Broken, "unusable": Unusable}
    install(monkeypatch, dict.fromkeys(classes, ""))
    monkeypatch.setattr(loader, "_engine_class", classes.__getitem__)
    with pytest.raises(ConfigError, match="broken: RuntimeError: driver version; unusable: no dev"):
        open_engine("auto", null_bundle())


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown engine 'abacus'"):
        open_engine("abacus", null_bundle())


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"far": "rtcodec_no_such_library.engine:Engine"})
    report = probe_engine("far")
    assert not report.usable
    assert "needs rtcodec_no_such_library, which is not installed" in report.reason


@pytest.mark.parametrize("name", list(loader.ENGINES))
def test_every_engine_answers_a_probe(name: str) -> None:
    report = probe_engine(name)
    assert report.name == name
    assert report.reason
