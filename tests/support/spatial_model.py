"""A model with a part for frames predicted from themselves, or without: no training needed."""

from dataclasses import replace

import numpy as np

from rtcodec.bundle import DELTA, SPATIAL, STEP_MAX, Bundle


def with_spatial(bundle: Bundle) -> Bundle:
    """
    What a model has for delta frames stands in, each part a little off.

    So that whoever takes one for the other is found out.
    """
    part = bundle.group(DELTA)
    part["steps"] = np.minimum(part["steps"] + 3, STEP_MAX).astype(np.int32)
    part["scale_net.b3"] = part["scale_net.b3"] + np.int32(1)
    part["contexts"] = np.roll(part["contexts"], 1, axis=1)
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


def without_spatial(bundle: Bundle) -> Bundle:
    """The model without that part."""
    own = {k: v for k, v in bundle.tensors.items() if not k.startswith(f"{SPATIAL}.")}
    return replace(bundle, tensors=own)
