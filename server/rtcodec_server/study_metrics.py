"""Families of metrics of studies; no label names a picture, a room or a viewer."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rtcodec_server.relay import Relay


def study_families(relay: Relay) -> Iterator[Metric]:
    """Yield the families; none where no studies are offered. Safe on another thread."""
    library = relay.studies
    if library is None:
        return
    stats = library.stats
    pictures = GaugeMetricFamily(
        "rtcodec_study_pictures", "Pictures that are offered, by state.", labels=["state"]
    )
    for state, n_pictures in library.states.items():
        pictures.add_metric([state], n_pictures)
    yield pictures
    yield GaugeMetricFamily(
        "rtcodec_study_cache_bytes", "Bytes of pictures prepared.", value=library.cached_bytes
    )
    for name, about, value in (
        ("requests", "Requests of viewers.", stats.requests),
        ("sent_bytes", "Bytes of messages to viewers.", stats.sent_bytes),
        ("previews", "Previews sent.", stats.previews),
        ("prepared", "Pictures prepared.", stats.prepared),
        ("failed", "Pictures that could not be.", stats.failed),
        ("evicted", "Pictures taken out of the cache.", stats.evicted),
        ("alarms", "Frames that did not come out as they must.", stats.alarms),
        ("fallbacks", "Of those, sent otherwise.", stats.fallbacks),
    ):
        family = CounterMetricFamily(f"rtcodec_study_{name}", about)
        family.add_metric([], value)
        yield family
