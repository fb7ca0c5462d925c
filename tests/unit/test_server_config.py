"""Settings: what is read, what is refused."""

import argparse
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from rtcodec.errors import ConfigError
from rtcodec.session.ladder import RungSpec, read_rung
from rtcodec.session.lobby import Limits
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.client_limits import PublisherLimits, RequestLimits
from rtcodec_server.config import ServerConfig
from rtcodec_server.edge_config import ForwardConfig, LegacyConfig
from rtcodec_server.record_config import RecordConfig
from rtcodec_server.serve_command import add_arguments, settings
from rtcodec_server.settings import (
    give_settings,
    parse_size,
    read_config,
    read_settings,
    take_settings,
)
from rtcodec_server.study_config import StudyConfig
from rtcodec_server.webhook_config import WebhookConfig
from rtcodec_server.workers.limits import ProcessLimits

TABLES = ("limits", "requests", "publisher", "webhook", "legacy", "processes", "admission")
SECRET = "0123456789abcdef0123456789abcdef"


def test_a_file_gives_only_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(
        'port = 9000\nwarm = ["640x360", "17x23"]\ntap = "taps"\n'
        'ice_servers = ["stun:stun.example.org"]\n[limits]\nmax_rooms = 3\n'
    )
    values = read_config(file)
    assert values == {
        "port": 9000,
        "warm": ((640, 360), (17, 23)),
        "tap": Path("taps"),
        "ice_servers": ("stun:stun.example.org",),
        "limits": Limits(max_rooms=3),
    }
    assert ServerConfig(**values).port == 9000


def test_rate_settings_are_a_number_a_ratio_and_a_choice(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(
        "bitrate_kbps = 800\nmax_frame_factor = 3\nfollow_remb = false\nmin_bitrate_kbps = 50\n"
    )
    config = ServerConfig(**read_config(file))
    assert (config.bitrate_kbps, config.max_frame_factor, config.follow_remb) == (800, 3.0, False)
    assert config.min_bitrate_kbps == 50


def parsed(*words: str) -> ServerConfig:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return settings(parser.parse_args(words))


def test_a_qp_or_a_bit_rate_on_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text("qp = 20\nbitrate_kbps = 800\n")
    config = ("--config", str(file))
    assert parsed(*config).bitrate_kbps == 800
    assert parsed(*config, "--bitrate", "300").bitrate_kbps == 300
    by_qp = parsed(*config, "--qp", "40")
    assert (by_qp.qp, by_qp.bitrate_kbps) == (40, None)
    with pytest.raises(ConfigError, match="one of them at a time"):
        parsed("--qp", "40", "--bitrate", "300")


@pytest.mark.parametrize(
    "config",
    [
        ServerConfig(),
        ServerConfig(
            port=0,
            workers=3,
            engine_in="process",
            bitrate_kbps=800,
            warm=((640, 360), (17, 23)),
            tap=Path("taps"),
            cors_origins=("https://example.org",),
            keys={"main": "0123456789abcdef" * 4},
            publisher=PublisherLimits(max_size=(1280, 720)),
            webhook=WebhookConfig(url="https://example.org/hook", secret="0123456789abcdef" * 4),
            processes=ProcessLimits(spares=0, hang_s=2.5),
            legacy=LegacyConfig(codecs=("VP8",)),
            record=RecordConfig(directory=Path("tapes"), rooms=("a", "b")),
            studies=StudyConfig(
                directory=Path("studies"), secret="0123456789abcdef" * 2, ahead=False
            ),
            forward={"far": ForwardConfig(url="https://example.org/whep/near", token="secret")},
        ),
        ServerConfig(rungs=tuple(map(read_rung, ("source@800", "270p@350", "180p")))),
    ],
)
def test_settings_cross_to_another_process_and_are_the_same(config: ServerConfig) -> None:
    document = json.loads(json.dumps(give_settings(config)))
    assert ServerConfig(**take_settings(document, where="a test")) == config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"spares": 9}, "9 spare processes"),
        ({"hang_s": 0.5}, "hung after 0.5 s"),
        ({"max_restarts": -1}, "-1 restarts"),
        ({"window_s": 0.0}, "within 0 s"),
    ],
)
def test_limits_of_processes_are_checked(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProcessLimits(**setting)  # type: ignore[arg-type]


def test_one_process_is_the_default_and_up_to_one_worker_means_it() -> None:
    assert not ServerConfig().is_supervised
    assert not ServerConfig(workers=0).is_supervised
    assert ServerConfig(workers=2).is_supervised
    assert ServerConfig(engine_in="process").is_supervised


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text("")
    assert ServerConfig(**read_config(file)) == ServerConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = ", "not TOML"),
        ("prot = 1", "unknown setting 'prot'"),
        ('port = "1"', "port has the wrong type"),
        ("port = true", "port has the wrong type"),
        ("follow_remb = 1", "follow_remb has the wrong type"),
        ('max_frame_factor = "4"', "max_frame_factor has the wrong type"),
        ("max_frame_factor = true", "max_frame_factor has the wrong type"),
        ("bitrate_kbps = 1.5", "bitrate_kbps has the wrong type"),
        ("host = 5", "host has the wrong type"),
        ('warm = "640x360"', "warm has the wrong type"),
        ("warm = [1]", "warm has the wrong type"),
        ('warm = ["640"]', "'640' is not WIDTHxHEIGHT"),
        ("ice_servers = [1]", "ice_servers has the wrong type"),
        ("tap = 1", "tap has the wrong type"),
        ("limits = 1", "limits is not a table"),
        ("keys = 1", "keys is not a table"),
        ("[keys]\na = 1", "the secret of key a is not a string"),
        ("cors_origins = '*'", "cors_origins has the wrong type"),
        ("[publisher]\nmax_size = 5", "publisher: max_size has the wrong type"),
        ("[limits]\nrooms = 1", "limits: unknown setting 'rooms'"),
        ('[limits]\nmax_rooms = "1"', "limits: max_rooms has the wrong type"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        read_config(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"port": -1}, "port -1"),
        ({"qp": 64}, "qp 64"),
        ({"bitrate_kbps": 0}, "0 kb/s is outside"),
        ({"bitrate_kbps": 10**7}, "10000000 kb/s is outside"),
        ({"max_frame_factor": 1.0}, "at most 1.0 shares"),
        ({"psnr": "some"}, "psnr 'some'"),
        ({"denoise": "weak"}, "denoise 'weak' is none of off, auto, strong"),
        ({"threads": -1}, "-1 threads"),
        ({"workers": -1}, "-1 workers are outside"),
        ({"workers": 65}, "65 workers are outside"),
        ({"engine_in": "cloud"}, "engine_in 'cloud': workers or process"),
        ({"workers": 2, "limits": Limits(max_rooms=2001)}, "max_rooms 2001: at most 2000 with"),
        ({"frame_deadline_ms": 0}, "deadline of 0 ms"),
        ({"grafana_url": "javascript:alert(1)"}, "grafana_url is not an http or https URL"),
        ({"grafana_url": "grafana.example.org"}, "grafana_url is not"),
        ({"max_batch": 0}, "at most 0 frames"),
        ({"keys": {"a b": SECRET}}, "key id 'a b' is not"),
        ({"keys": {"a": SECRET[:31]}}, "secret of key a is shorter than 32 bytes"),
        ({"cors_origins": ("example.org",)}, "'example.org' is neither"),
        ({"cors_origins": ("https://example.org/",)}, "is neither"),
        ({"cors_origins": ("http://[",)}, "is neither"),
        ({"trusted_proxies": ("10.0.0.1/8",)}, "'10.0.0.1/8' is not a network"),
        ({"allow_candidates": ("me",)}, "'me' is not a network"),
        ({"tls_cert": Path("a")}, "tls_cert and tls_key: both"),
        ({"log_format": "xml"}, "log format 'xml'"),
        ({"log_level": "loud"}, "log level 'loud'"),
        ({"drain_s": -1.0}, "-1 s to drain"),
        ({"drain_s": float("nan")}, "nan s to drain"),
        ({"warm": ((0, 5),)}, "0x5 is outside"),
        ({"warm": ((5, 16385),)}, "5x16385 is outside"),
    ],
)
def test_a_value_out_of_range_is_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServerConfig(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RequestLimits(per_s=-1.0), "-1.0 requests a second"),
        (lambda: RequestLimits(burst=0), "burst of 0"),
        (lambda: RequestLimits(max_clients=0), "0 clients"),
        (lambda: PublisherLimits(max_size=(0, 1)), "max_size 0x1 is outside"),
        (lambda: PublisherLimits(max_fps=0), "at most 0 frames"),
        (lambda: WebhookConfig(url="https://a.example"), "needs a secret"),
        (lambda: WebhookConfig(url="ftp://a", secret=SECRET), "not an http or https URL"),
        (lambda: WebhookConfig(secret="short"), "shorter than 32 bytes"),
        (lambda: WebhookConfig(timeout_s=0), "timeout of 0 s"),
        (lambda: WebhookConfig(attempts=0), "0 attempts"),
        (lambda: WebhookConfig(max_queue=0), "queue of 0"),
        (lambda: LegacyConfig(codecs=("AV1",)), "'AV1' is none of VP8, H264"),
        (lambda: LegacyConfig(bitrate_kbps=1), "1 kb/s of ordinary video is outside"),
        (lambda: LegacyConfig(keyframe_interval_ms=-1), "a key frame each -1 ms"),
        (lambda: ForwardConfig(url="far.example.org"), "not at an http or https URL"),
        (lambda: ServerConfig(forward={"a/b": ForwardConfig(url="http://a")}), "forward 'a/b'"),
    ],
)
def test_a_value_out_of_range_in_a_table_is_refused(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_size_is_two_numbers() -> None:
    assert parse_size("640x360") == (640, 360)
    for text in ("", "640", "x", "640x", "x360", "-1x5", "6.5x3", "640X360"):
        with pytest.raises(ConfigError, match="is not WIDTHxHEIGHT"):
            parse_size(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("127.example.org", False),
    ],
)
def test_a_loopback_address_keeps_media_on_loopback(host: str, loopback: bool) -> None:
    assert ServerConfig(host=host).loopback_only is loopback


EXAMPLE = "server/config.example.toml"
_UNSET = re.compile(r"^# (\w+ = (?:\"[^\"]*\"|\[[^\]]*\]|[\w.]+)).*$", re.MULTILINE)


def test_the_example_file_holds_the_defaults(request: pytest.FixtureRequest) -> None:
    path = request.config.rootpath / EXAMPLE
    assert ServerConfig(**read_config(path)) == ServerConfig()


def test_the_example_file_has_every_key_of_every_table_and_no_other(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    text = (request.config.rootpath / EXAMPLE).read_text("utf-8")
    given = tomllib.loads(text)
    whole = tomllib.loads(_UNSET.sub(r"\1", text))
    default = ServerConfig()
    tables = {"": default, **{name: getattr(default, name) for name in TABLES}}
    for name, table in tables.items():
        there, everything = (given[name], whole[name]) if name else (given, whole)
        for setting in fields(table):
            value = getattr(table, setting.name)
            if is_dataclass(value) or setting.name in ("keys", "forward"):
                continue
            assert setting.name in everything, f"{name} {setting.name} is not in the file"
            is_set = setting.name in there
            assert is_set == (value is not None), f"{name} {setting.name} is not as by default"
        names = {setting.name for setting in fields(table)}
        assert set(everything) <= names, f"{name} has keys that are no settings"
    # what is commented out is right too, and each key of a table is its default by itself
    file = tmp_path / "whole.toml"
    file.write_text(_UNSET.sub(r"\1", text).replace("put 64", "x" * 32))
    config = ServerConfig(**read_config(file))
    assert config.webhook.url == "https://example.org/hook"
    assert config.forward == {"lobby": ForwardConfig(url="https://far.example.org/whep/lobby")}


def test_each_key_of_the_example_file_is_its_default(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    lines = (request.config.rootpath / EXAMPLE).read_text("utf-8").splitlines()
    table, n_keys = "", 0
    for line in lines:
        if line.startswith("["):
            table = line.partition("]")[0] + "]"
        elif line and not line.startswith("#"):
            file = tmp_path / "one.toml"
            file.write_text(f"{table}\n{line}\n")
            assert ServerConfig(**read_config(file)) == ServerConfig(), line
            n_keys += 1
    assert n_keys > 30


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(
    tmp_path: Path,
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text("port = 1\nqp = 1\nmodel = 'a'\n[limits]\nmax_rooms = 1\nmax_sessions = 2\n")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["--config", str(file), "--port", "3"])
    environ = {"RTCODEC_PORT": "2", "RTCODEC_QP": "2", "RTCODEC_LIMITS_MAX_ROOMS": "9"}
    config = settings(arguments, environ)
    assert (config.port, config.qp, config.model) == (3, 2, "a")
    assert config.limits == Limits(max_rooms=9, max_sessions=2)


def test_every_kind_of_setting_can_come_from_the_environment() -> None:
    values = read_settings(
        None,
        {
            "RTCODEC_OPEN": "true",
            "RTCODEC_FOLLOW_REMB": "0",
            "RTCODEC_WARM": "640x360, 17x23",
            "RTCODEC_CORS_ORIGINS": "https://a.example,https://b.example",
            "RTCODEC_TLS_CERT": "/etc/cert.pem",
            "RTCODEC_DRAIN_S": "2.5",
            "RTCODEC_BITRATE_KBPS": "300",
            "RTCODEC_PUBLISHER_MAX_SIZE": "640x360",
            "RTCODEC_REQUESTS_PER_S": "1",
            "RTCODEC_FORWARD": "a=http://one.example/whep/x, b=http://two.example/whep/y",
            "RTCODEC_FORWARD_TOKEN": "t",
            "RTCODEC_LEGACY_CODECS": "H264",
            "RTCODEC_KEYS": f"a:{SECRET}, b:{SECRET}:with:colons",
            "RTCODEC_TOKEN": "for clients",
            "RTCODEC_SERVICE_HOST": "what an orchestrator adds",
        },
    )
    assert values == {
        "open": True,
        "follow_remb": False,
        "warm": ((640, 360), (17, 23)),
        "cors_origins": ("https://a.example", "https://b.example"),
        "tls_cert": Path("/etc/cert.pem"),
        "drain_s": 2.5,
        "bitrate_kbps": 300,
        "publisher": PublisherLimits(max_size=(640, 360)),
        "requests": RequestLimits(per_s=1.0),
        "keys": {"a": SECRET, "b": f"{SECRET}:with:colons"},
        "forward": {
            "a": ForwardConfig(url="http://one.example/whep/x", token="t"),
            "b": ForwardConfig(url="http://two.example/whep/y", token="t"),
        },
        "legacy": LegacyConfig(codecs=("H264",)),
    }


def test_a_forward_is_a_url_or_a_table_and_its_token_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(
        '[forward]\na = "http://x/whep/a"\nb = { url = "http://x/b", token = "word" }\n'
    )
    forwards = read_config(file)["forward"]
    assert forwards["a"] == ForwardConfig(url="http://x/whep/a")
    assert forwards["b"].token == "word"
    assert "word" not in repr(forwards)
    for text, message in (("1", "neither a URL nor"), ("{}", "neither"), ("{url=1}", "wrong type")):
        file.write_text(f"[forward]\na = {text}\n")
        with pytest.raises(ConfigError, match=message):
            read_config(file)
    with pytest.raises(ConfigError, match="is not ROOM=URL"):
        read_settings(None, {"RTCODEC_FORWARD": "lobby"})


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("RTCODEC_PORT", "tcp://10.0.0.1:80", "RTCODEC_PORT is not a number"),
        ("RTCODEC_OPEN", "maybe", "RTCODEC_OPEN is neither true nor false"),
        ("RTCODEC_LIMITS_MAX_ROOMS", "", "RTCODEC_LIMITS_MAX_ROOMS is not a number"),
        ("RTCODEC_PUBLISHER_MAX_SIZE", "big", "'big' is not WIDTHxHEIGHT"),
        ("RTCODEC_KEYS", "secret-without-id", "key 1 is not KID:SECRET"),
        ("RTCODEC_KEYS", f"a:{SECRET},a:{SECRET}", "key 2 has the id of an earlier one"),
    ],
)
def test_a_variable_that_is_wrong_is_refused(variable: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        read_settings(None, {variable: text})
    assert SECRET not in str(refusal.value)
    assert "secret-without-id" not in str(refusal.value)


def test_the_shared_secret_of_earlier_versions_is_refused_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('token = "old-word"\n')
    for fails in (lambda: read_config(file), lambda: parsed("--token", "old-word")):
        with pytest.raises(ConfigError, match="make tokens with `rtcodec token`") as refusal:
            fails()
        assert "old-word" not in str(refusal.value)


def test_without_keys_only_loopback_is_listened_on_unless_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 without keys would let everybody in"):
        ServerConfig(host="0.0.0.0").check_reachable()
    ServerConfig(host="127.0.0.1").check_reachable()
    ServerConfig(host="0.0.0.0", open=True).check_reachable()
    ServerConfig(host="0.0.0.0", keys={"a": SECRET}).check_reachable()
    parsed("--host", "0.0.0.0", "--open").check_reachable()


def test_no_secret_is_in_what_a_config_looks_like() -> None:
    hook = WebhookConfig(url="https://example.org", secret=SECRET)
    assert SECRET not in repr(ServerConfig(keys={"a": SECRET}, webhook=hook))


def test_rungs_come_from_file_environment_and_command_line(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('rungs = ["source@800", "270p@350"]\n')
    wanted = (RungSpec(None, 800), RungSpec(270, 350))
    assert ServerConfig(**read_config(file)).rungs == wanted
    assert read_settings(None, {"RTCODEC_RUNGS": "source@800, 270p@350"})["rungs"] == wanted
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["--rung", "source@800", "--rung", "270p@350"])
    assert settings(arguments, {}).rungs == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rungs": (RungSpec(180), RungSpec(270))}, "not below"),
        ({"rungs": (RungSpec(270, 350),), "bitrate_kbps": 800}, "say the rate of each rung"),
    ],
)
def test_rungs_that_make_no_ladder_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServerConfig(**values)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"limit": -0.1}, "limit of -0.1 is outside"), ({"retry_after_s": 0}, "at least 1")],
)
def test_admission_is_checked(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AdmissionConfig(**setting)
