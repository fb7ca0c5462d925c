"""Models with and without frames predicted from themselves, whatever the installed ones have."""

from dataclasses import replace

import numpy as np

from rtcodec.bundle import DELTA, SPATIAL, STEP_MAX, Bundle
from rtcodec.entropy.cdf import SAID_COUNT


def without_spatial(bundle: Bundle) -> Bundle:
    """Return the model without such frames, so that networks code what stands alone."""
    start = f"{SPATIAL}."
    kept = {key: value for key, value in bundle.tensors.items() if not key.startswith(start)}
    return replace(bundle, tensors=kept)


def with_spatial(bundle: Bundle) -> Bundle:
    """
    Return the model, its part for delta frames serving for spatial frames too, if it has none.

    Both have the same form, so everything works; only the bits are more than trained ones take.
    """
    if bundle.spatial is not None:
        return bundle
    part = {f"{SPATIAL}.{key}": value for key, value in bundle.group(DELTA).items()}
    return replace(bundle, tensors={**bundle.tensors, **part})


def with_shifted_spatial(bundle: Bundle) -> Bundle:
    """
    Return the model with a part for spatial frames that is a little off that for delta frames.

    So whoever takes one for the other is found out. It has tables for what is said of blocks, and
    a refinement.
    """
    part = bundle.group(DELTA)
    part["steps"] = np.minimum(part["steps"] + 3, STEP_MAX).astype(np.int32)
    part["scale_net.b3"] = part["scale_net.b3"] + np.int32(1)
    part["contexts"] = np.roll(part["contexts"], 1, axis=1)
    part["y_cdf"] = np.concatenate((part["y_cdf"][:64], part["y_cdf"][1 : 1 + SAID_COUNT]))
    refinement = bundle.group("refine")
    weights = {name: refinement[f"intra.{name}"] // np.int16(2) for name in ("luma", "chroma")}
    return replace(
        bundle,
        tensors={
            **bundle.tensors,
            **{f"{SPATIAL}.{name}": values for name, values in part.items()},
            **{f"refine.{SPATIAL}.{name}": values for name, values in weights.items()},
        },
    )
