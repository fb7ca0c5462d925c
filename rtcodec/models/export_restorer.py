"""
Freeze a trained restorer: weights with a card, and an ONNX graph.

    python -m rtcodec.models.export_restorer --run runs/jpeg --name jpeg \\
        --out rtcodec/models/weights
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from rtcodec.errors import InputError
from rtcodec.models.export import LICENCE
from rtcodec.models.restorer_graph import build_restorer_graph
from rtcodec.models.restorer_shape import Shape, macs_per_pixel
from rtcodec.models.training import AVERAGES
from rtcodec.restorer_model import RestorerModel


def read_run(
    run: Path, name: str, *, trained_on: str, hardware: str, evaluation: Any = None
) -> RestorerModel:
    """
    Return the averaged network of a training run.

    Args:
        run: Folder written by `rtcodec.models.train_restorer`.
        name: What the network is called from now on.
        trained_on: What the card says of the data.
        hardware: What it says of where that was.
        evaluation: What it says of how the network scored, JSON.

    Raises:
        InputError: If the folder is not one of a run.
    """
    try:
        config = json.loads((run / "config.json").read_text())
        rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
        with safe_open(run / AVERAGES, "numpy") as file:
            facts = file.metadata()
        tensors = load_file(run / AVERAGES)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{run}: not a run of train_restorer: {error}") from None
    shape = Shape(**config["shape"])
    validation = [row for row in rows if "validation" in row]
    card = {
        "licence": LICENCE,
        "data": trained_on,
        "steps": int(facts["step"]),
        "training_minutes": round(float(facts["elapsed_s"]) / 60, 1),
        "hardware": hardware,
        "kmac_per_pixel": round(macs_per_pixel(shape) / 1000, 2),
        "config": config,
    }
    if validation:
        card["validation_luma_gain_db"] = validation[-1]["validation"]
    if evaluation is not None:
        card["evaluation"] = evaluation
    graph = build_restorer_graph(tensors, shape)
    return RestorerModel(name, config["shape"], tensors, graph, card)


def main(argv: Sequence[str] | None = None) -> int:
    """Export one run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="FOLDER", help="folder of a training run")
    add("--name", required=True, help="jpeg, clips or another name")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the files go")
    add("--trained-on", default="not stated", metavar="TEXT", help="what the card says of the data")
    add("--hardware", default="not stated", metavar="TEXT", help="where that was, for the card")
    add("--evaluation", type=Path, metavar="FILE", help="JSON for the card, of benchmarks.restore")
    args = parser.parse_args(argv)
    evaluation = json.loads(args.evaluation.read_text()) if args.evaluation else None
    model = read_run(
        args.run,
        args.name,
        trained_on=args.trained_on,
        hardware=args.hardware,
        evaluation=evaluation,
    )
    model.save(args.out)
    print(f"{model.name} {model.model_id[:16]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
