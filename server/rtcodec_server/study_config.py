"""What the operator says about studies: where they are, how much space they may take."""

from dataclasses import dataclass, field
from pathlib import Path

from rtcodec.bitstream.exact_format import BOUND_MAX
from rtcodec.errors import ConfigError, RemoteProtocolError
from rtcodec.session.message import check_room_name
from rtcodec_server.access import SECRET_MIN_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """Settings of `[studies]`."""

    directory: Path | None = None
    """Folder of the pictures that are offered; a folder in it is the room of that name. None offers
    none."""

    room: str = "demo"
    "Room of the pictures that lie in the folder itself."

    secret: str | None = field(default=None, repr=False)
    """Makes the ids of pictures, so that nobody can tell from them what the files are called; at
    least 32 bytes. None: another at each start, and ids change with it."""

    cache: Path | None = None
    "Existing folder for what was prepared, removed at the end; none: the system's temporary one."

    cache_mb: int = 4096
    "Megabytes of it; what was not asked for longest is prepared again when it is."

    ahead: bool = True
    "Whether pictures are prepared before anybody asks, as long as there is space."

    model: str = ""
    "Installed model for previews; empty: the relay's own."

    audit: Path | None = None
    "File that lines are appended to that say who saw what; none: they go to the log, at info."

    allow_burned_in: bool = False
    "Whether pictures that may have a name in their samples are offered."

    within: int = 2
    """What every sample of a picture is within before it is exact, 1 to BOUND_MAX; 0: no such step.
    Files that are exact already stay as they are."""

    prepare_s: float = 600.0
    "A picture that takes longer to prepare is given up."

    def __post_init__(self) -> None:
        """Check the values; ConfigError if one is out of range."""
        try:
            check_room_name(self.room)
        except RemoteProtocolError as error:
            raise ConfigError(f"studies: {error}") from None
        if self.secret is not None and len(self.secret.encode()) < SECRET_MIN_BYTES:
            raise ConfigError(f"the secret of studies is shorter than {SECRET_MIN_BYTES} bytes")
        if self.cache_mb < 1 or self.prepare_s <= 0:
            raise ConfigError("cache_mb and prepare_s of studies are above 0")
        if not 0 <= self.within <= BOUND_MAX:
            raise ConfigError(f"within of studies is 0 to {BOUND_MAX}")

    def check(self) -> None:
        """
        Check that the folders are there.

        Raises:
            ConfigError: If one is not.
        """
        for path in (self.directory, self.cache):
            if path is not None and not path.is_dir():
                raise ConfigError(f"{path}: no such folder for studies")
        if self.audit is not None and not self.audit.parent.is_dir():
            raise ConfigError(f"{self.audit}: its folder does not exist")
