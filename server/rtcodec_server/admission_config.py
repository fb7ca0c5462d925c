"""What the operator says about how much a relay may take on."""

from dataclasses import dataclass

from rtcodec.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionConfig:
    """Settings of `[admission]`."""

    limit: float = 0.9
    """Part of what engine and cores can carry that streams may ask for when one more comes; the
    first is always let in. 0 lets in as many as `[limits]` do."""

    shed: bool = True
    "Whether rungs, then frames, of those who came last are left out when it is too much after all."

    retry_after_s: int = 10
    "Told to those for whom there is no place."

    def __post_init__(self) -> None:
        """Check the values; ConfigError if one is out of range."""
        if not 0 <= self.limit <= 10:
            raise ConfigError(f"an admission limit of {self.limit:g} is outside 0 to 10")
        if self.retry_after_s < 1:
            raise ConfigError(f"retry after {self.retry_after_s} s; at least 1")
