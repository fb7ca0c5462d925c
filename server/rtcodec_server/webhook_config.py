"""What the operator says about webhooks."""

from dataclasses import dataclass, field

from rtcodec_server.access import SECRET_MIN_BYTES
from rtcodec_server.config_check import check, is_http


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """Settings of `[webhook]`: where rooms' and peers' events are sent."""

    url: str | None = None
    "Gets a POST for each event; none sends nothing."

    secret: str | None = field(default=None, repr=False)
    "Signs every request, so that the receiver knows it is ours; at least 32 bytes."

    timeout_s: float = 5.0
    "Longest wait for an answer."

    attempts: int = 5
    "How often an event is sent before it is given up; pauses double from half a second."

    max_queue: int = 256
    "Events that may wait; beyond that the oldest is dropped."

    def __post_init__(self) -> None:
        if self.url is not None:
            check(is_http(self.url), "the webhook's url is not an http or https URL")
            check(self.secret is not None, "a webhook needs a secret to sign with")
        n_bytes = len((self.secret or "").encode())
        check(
            self.secret is None or n_bytes >= SECRET_MIN_BYTES,
            f"the webhook's secret is shorter than {SECRET_MIN_BYTES} bytes",
        )
        check(self.timeout_s > 0, f"a webhook's timeout of {self.timeout_s} s")
        check(self.attempts >= 1, f"{self.attempts} attempts at a webhook")
        check(self.max_queue >= 1, f"a queue of {self.max_queue} webhooks")
