"""The two clocks of the WebRTC shell, in integer microseconds."""

import time


def monotonic_us() -> int:
    """Return the machine's monotonic clock; the same in every process of it."""
    return time.monotonic_ns() // 1000


def unix_us() -> int:
    """Return the time of day since 1970, UTC."""
    return time.time_ns() // 1000


def to_unix_us(at_monotonic_us: int) -> int:
    """Convert a monotonic time of this machine to the time of day."""
    return at_monotonic_us + unix_us() - monotonic_us()


NTP_TO_UNIX_S = 2_208_988_800
"Seconds from 1900 to 1970. # RFC 5905 6"


def ntp_to_unix_us(ntp: int) -> int:
    """Convert a 64-bit NTP time stamp to Unix microseconds."""
    return ((ntp >> 32) - NTP_TO_UNIX_S) * 1_000_000 + (((ntp & 0xFFFFFFFF) * 1_000_000) >> 32)


def unix_us_to_ntp(at_unix_us: int) -> int:
    """Convert Unix microseconds to a 64-bit NTP time stamp, rounded down."""
    seconds, rest_us = divmod(at_unix_us, 1_000_000)
    return (seconds + NTP_TO_UNIX_S) << 32 | (rest_us << 32) // 1_000_000
