"""Which files are offered, in which room, under which names."""

from pathlib import Path

import pytest

from rtcodec.errors import ConfigError
from rtcodec_server.study_config import StudyConfig
from rtcodec_server.study_source import find_pictures

SECRET = b"s" * 32


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_folders_are_rooms_and_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "b.dcm")
    put(tmp_path / "a.rtc")
    put(tmp_path / "IM0001", b"\0" * 128 + b"DICM")
    put(tmp_path / "ward7" / "x" / "c.npy")
    put(tmp_path / "ward7" / "x" / "d.PNG")
    put(tmp_path / "no room" / "e.dcm")
    put(tmp_path / "notes.txt")
    put(tmp_path / ".hidden.dcm")
    put(tmp_path / ".git" / "f.dcm")
    found = find_pictures(tmp_path, "demo", SECRET)
    assert [(p.room, p.path.name) for p in found] == [
        ("demo", "IM0001"), ("demo", "a.rtc"), ("demo", "b.dcm"),
        ("ward7", "c.npy"), ("ward7", "d.PNG"),
    ]  # fmt: skip
    ward = [p for p in found if p.room == "ward7"]
    assert len({p.study for p in ward}) == 1
    assert len({p.id for p in found}) == len(found)


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "a.dcm")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "b.dcm").symlink_to(outside)
    (inside / "folder").symlink_to(outside.parent)
    assert find_pictures(inside, "demo", SECRET) == []


def test_ids_are_the_same_under_the_same_secret_and_say_nothing(tmp_path: Path) -> None:
    put(tmp_path / "doe_john.dcm")
    first, again = (find_pictures(tmp_path, "demo", SECRET)[0] for _ in range(2))
    other = find_pictures(tmp_path, "demo", b"t" * 32)[0]
    assert (first.id, first.study, first.uids) == (again.id, again.study, again.uids)
    assert other.id != first.id
    assert other.study != first.study
    assert len(first.id) == len(first.study) == 32
    for uid in first.uids.values():
        assert len(uid) <= 64  # PS3.5 9.1
        assert all(part == "0" or not part.startswith("0") for part in uid.split("."))
    assert len(set(first.uids.values())) == 3


@pytest.mark.parametrize(
    "settings",
    [{"room": "no room"}, {"secret": "short"}, {"cache_mb": 0}, {"prepare_s": 0.0}],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        StudyConfig(**settings)  # type: ignore[arg-type]


def test_folders_that_are_not_there_are_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for config in (
        StudyConfig(directory=gone),
        StudyConfig(cache=gone),
        StudyConfig(audit=gone / "audit.jsonl"),
    ):
        with pytest.raises(ConfigError):
            config.check()
    StudyConfig(directory=tmp_path, cache=tmp_path, audit=tmp_path / "a").check()


def test_the_secret_is_not_shown() -> None:
    assert "s" * 32 not in repr(StudyConfig(secret="s" * 32))
