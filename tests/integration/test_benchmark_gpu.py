"""What is to run on a GPU one day runs here in small, so that it runs there the first time."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: cpu)")

from benchmarks import gpu  # noqa: E402
from benchmarks._gpu_record import record  # noqa: E402
from rtcodec.errors import InputError  # noqa: E402

ENGINE_STAGES = "engine_parity,operations,profile,streams,switches,tensorrt"


def rehearse(out: Path, *options: str) -> int:
    return gpu.main(["--out", str(out), "--rehearse", "--models", "n64", *options])


def test_every_stage_of_the_engine_runs_on_a_cpu(tmp_path: Path) -> None:
    assert rehearse(tmp_path, "--stages", ENGINE_STAGES) == 0
    found = json.loads((tmp_path / "results.json").read_text())

    parity = found["engine_parity"]["n64"]
    assert parity["delta_samples_wrong"] == 0
    assert min(min(row.values()) for row in parity["rows"].values()) > 0.99
    for way in ("written", "read"):
        assert parity[way]["frames"] == 3
        assert parity[way]["worst_db"] < 0.1
    rows = found["operations"]["n64"]["rows"]
    assert {row["operation"] for row in rows} == {
        "encode_intra", "decode_intra", "encode_delta", "decode_delta",
    }  # fmt: skip
    assert [row["batch"] for row in rows[::4]] == [1, 2]
    roofline = found["operations"]["n64"]["roofline"]
    assert len(roofline) == len(rows)
    assert all(row["gb_per_s"] > 0 and row["of_peak"] is None for row in roofline)
    assert found["operations"]["n64"]["memory"]["weights_bytes"] > 1e6
    kernels = found["profile"]["operations"]
    assert set(kernels) == {row["operation"] for row in rows}
    assert all(0 < row["part"] <= 1 and row["launches"] > 0 for row in kernels["encode_delta"])
    assert found["streams"]["n64"][0]["streams"] == 1
    assert set(found["switches"]) == {"nothing off", "graphs", "kernels", "graphs,kernels"}
    assert "skipped" in found["tensorrt"] or torch.cuda.is_available()

    assert rehearse(tmp_path, "--stages", "operations") == 0
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["engine_parity"] == found["engine_parity"]  # of the call before

    record(tmp_path / "results.json", to=tmp_path / "gpu.json", plot=tmp_path / "gpu.png")
    assert json.loads((tmp_path / "gpu.json").read_text()) == again
    assert (tmp_path / "gpu.png").read_bytes().startswith(b"\x89PNG")


def test_without_time_nothing_is_begun(tmp_path: Path) -> None:
    assert rehearse(tmp_path, "--stages", "operations,streams", "--minutes", "0") == 0
    assert not (tmp_path / "results.json").exists()


def test_a_stage_that_fails_is_told_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(session: gpu.Session) -> None:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(gpu.Session, "operations", broken)
    assert rehearse(tmp_path, "--stages", "operations,switches") == 1
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["operations"] == {"failed": "RuntimeError: no kernel image"}
    assert "nothing off" in found["switches"]


def test_an_unknown_stage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearse(tmp_path, "--stages", "races") == 2
    assert "no stage races; there are parity, speed" in capsys.readouterr().err


def test_what_is_no_result_is_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError, match=r"results\.json"):
        record(tmp_path / "results.json", to=tmp_path / "a", plot=tmp_path / "b")
