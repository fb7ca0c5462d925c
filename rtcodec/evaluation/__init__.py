"""
Rate-distortion of our models against other codecs, on anyone's own files.

`evaluate` measures; `write_results`, `table` and `plot_curves` tell. Imports
numpy, av and Pillow; the plot library only when a plot is drawn.
"""

from rtcodec.evaluation.bd_rate import BdRate, bd_rate
from rtcodec.evaluation.clip import Clip, read_clip
from rtcodec.evaluation.codec import Codec, Encoded
from rtcodec.evaluation.plot import plot_curves
from rtcodec.evaluation.report import table, write_results
from rtcodec.evaluation.result import Comparison, Evaluation, Failure, Point
from rtcodec.evaluation.reuse import Reuse
from rtcodec.evaluation.runner import evaluate

__all__ = [
    "BdRate",
    "Clip",
    "Codec",
    "Comparison",
    "Encoded",
    "Evaluation",
    "Failure",
    "Point",
    "Reuse",
    "bd_rate",
    "evaluate",
    "plot_curves",
    "read_clip",
    "table",
    "write_results",
]
