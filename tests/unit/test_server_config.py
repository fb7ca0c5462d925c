"""Settings: what is read, what is refused."""

import argparse
from dataclasses import fields
from pathlib import Path

import pytest

from rtcodec.errors import ConfigError
from rtcodec.session.lobby import Limits
from rtcodec_server.config import ServerConfig, parse_size, read_config
from rtcodec_server.serve_command import add_arguments, settings


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
    file.write_text("bitrate_kbps = 800\nmax_frame_factor = 3\nfollow_remb = true\n")
    config = ServerConfig(**read_config(file))
    assert (config.bitrate_kbps, config.max_frame_factor, config.follow_remb) == (800, 3.0, True)


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
        ({"threads": -1}, "-1 threads"),
        ({"workers": 0}, "0 workers"),
        ({"workers": 2}, "2 workers are not supported"),
        ({"frame_deadline_ms": 0}, "deadline of 0 ms"),
        ({"max_batch": 0}, "at most 0 frames"),
        ({"token": ""}, "token is empty"),
        ({"warm": ((0, 5),)}, "0x5 is outside"),
        ({"warm": ((5, 16385),)}, "5x16385 is outside"),
    ],
)
def test_a_value_out_of_range_is_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServerConfig(**setting)  # type: ignore[arg-type]


def test_a_size_is_two_numbers() -> None:
    assert parse_size("640x360") == (640, 360)
    for text in ("", "640", "x", "640x", "x360", "-1x5", "6.5x3", "640X360"):
        with pytest.raises(ConfigError, match="is not WIDTHxHEIGHT"):
            parse_size(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)],
)
def test_a_loopback_address_keeps_media_on_loopback(host: str, loopback: bool) -> None:
    assert ServerConfig(host=host).loopback_only is loopback


def test_the_example_file_holds_the_defaults_and_names_every_setting(
    request: pytest.FixtureRequest,
) -> None:
    path = request.config.rootpath / "server" / "relay.example.toml"
    assert ServerConfig(**read_config(path)) == ServerConfig()
    text = path.read_text("utf-8")
    for cls in (ServerConfig, Limits):
        for setting in fields(cls):
            assert f"{setting.name} = " in text or setting.name == "limits", setting.name
