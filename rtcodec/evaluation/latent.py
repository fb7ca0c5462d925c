"""Our own models as a codec under evaluation: real `.rtc` files, written and read back."""

from rtcodec.evaluation.codec import Codec


def installed_models() -> list[str]:
    """Return the names of the models that are shipped."""
    return ["s128", "n64"]


def open_latent_codec(name: str, *, threads: int) -> Codec:
    """Not yet."""
    raise ValueError(name)
