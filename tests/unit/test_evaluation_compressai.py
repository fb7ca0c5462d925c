"""Models of CompressAI under evaluation: with that package, or what is said without it."""

import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from rtcodec import cli
from rtcodec.errors import ConfigError, Corrupt, Truncated
from rtcodec.evaluation.compressai_model import open_compressai

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

HAS_PACKAGE = pytest.mark.skipif(
    find_spec("compressai") is None, reason="compressai is not installed"
)
pytestmark = pytest.mark.filterwarnings("default")  # the package's own


def saved(folder: Path, quality: int) -> Path:
    """Write weights as they come out of no training."""
    from compressai.zoo.image import model_architectures
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    torch.manual_seed(quality)
    net = model_architectures["bmshj2018-hyperprior"](16, 24)
    net.update()
    save_file(net.state_dict(), folder / f"{quality}.safetensors")
    return folder


def test_without_the_package_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "compressai", None)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    words = ["eval", str(tmp_path / "a.png"), "--codecs", "compressai:mbt2018", "--out"]
    assert cli.main([*words, str(tmp_path / "out")]) == 2
    assert "CompressAI is not there" in capsys.readouterr().err


@HAS_PACKAGE
def test_files_decode_from_their_bytes_alone(tmp_path: Path) -> None:
    from rtcodec.models.baselines.compressai import CompressAiModel

    model = CompressAiModel("bmshj2018-hyperprior", saved(tmp_path, 3))
    assert model.qualities == [3]
    rgb = np.random.default_rng(1).integers(0, 256, (70, 90, 3), np.uint8)
    data = model.write(rgb, 3)
    seen = model.read(data)
    assert seen.shape == rgb.shape
    assert (model.read(data) == seen).all()
    for cut in (0, 9, 12, len(data) - 1):
        with pytest.raises(Truncated):
            model.read(data[:cut])
    with pytest.raises(Corrupt, match="after the strings"):
        model.read(data + b"\0")
    with pytest.raises(Corrupt, match="quality 4"):
        model.read(b"\4" + data[1:])


@HAS_PACKAGE
def test_the_command_measures_local_weights(tmp_path: Path) -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    weights = saved(saved(tmp_path / "weights", 2), 5)
    name = f"compressai:bmshj2018-hyperprior:{weights}"
    out = tmp_path / "out"
    assert cli.main(["eval", str(tmp_path / "a.png"), "--codecs", name, "--out", str(out)]) == 0
    assert sum(name in line for line in (out / "results.csv").read_text().splitlines()) == 2


@HAS_PACKAGE
def test_weights_that_are_not_there_or_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model 'abacus'"):
        open_compressai("compressai:abacus")
    with pytest.raises(ConfigError, match=r"no 1\.safetensors"):
        open_compressai(f"compressai:mbt2018:{tmp_path}")
    with pytest.raises(ConfigError, match="no weights of mbt2018"):
        open_compressai(f"compressai:mbt2018:{saved(tmp_path, 1)}")


@HAS_PACKAGE
def test_weights_that_cannot_be_fetched_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from compressai.zoo import image

    def unreachable(url: str, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(image, "load_state_dict_from_url", unreachable)
    with pytest.raises(ConfigError, match=r"quality 1, cannot be fetched: .*no route"):
        open_compressai("compressai:bmshj2018-hyperprior")
