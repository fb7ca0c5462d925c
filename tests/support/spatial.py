"""Models with and without frames predicted from themselves, whatever the installed ones have."""

from dataclasses import replace

from rtcodec.bundle import DELTA, SPATIAL, Bundle


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
