"""The supervisor's own figures in Prometheus' text format, for the page of all processes."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rtcodec_server.metrics import signalling
from rtcodec_server.workers.supervisor import Supervisor


class _FrontCollector(Collector):
    """Turns what the supervisor knows into metric families."""

    def __init__(
        self, supervisor: Supervisor, refused: Mapping[int, int], webhooks: Mapping[str, int]
    ) -> None:
        self._supervisor = supervisor
        self._refused = refused
        self._webhooks = webhooks

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from signalling(self._refused, self._webhooks)
        yield from self._restarts()
        yield from self._usage()
        yield from self._load()

    def _restarts(self) -> Iterator[Metric]:
        supervisor = self._supervisor
        workers = CounterMetricFamily(
            "rtcodec_worker_restarts", "Worker processes that died.", labels=["worker"]
        )
        for slot, n_deaths in enumerate(supervisor.workers.deaths):
            workers.add_metric([str(slot)], n_deaths)
        yield workers
        yield CounterMetricFamily(
            "rtcodec_engine_restarts",
            "Engine processes that died.",
            value=sum(sum(pool.deaths) for pool in supervisor.engines),
        )
        yield CounterMetricFamily(
            "rtcodec_sessions_lost",
            "Sessions that ended because their worker process died.",
            value=supervisor.sessions_lost,
        )
        given_up = GaugeMetricFamily(
            "rtcodec_processes_given_up",
            "Whether processes of a kind died too often to be started again.",
            labels=["kind"],
        )
        for pool in supervisor.pools:
            given_up.add_metric([pool.kind], pool.has_given_up)
        yield given_up

    def _usage(self) -> Iterator[Metric]:
        labels = ["process"]
        up = GaugeMetricFamily("rtcodec_process_up", "Whether a process is at work.", labels=labels)
        cpu = GaugeMetricFamily(
            "rtcodec_process_cpu_seconds", "Processor time of the present process.", labels=labels
        )
        memory = GaugeMetricFamily(
            "rtcodec_process_resident_memory_bytes", "Memory of the present process.", labels=labels
        )
        for pool in self._supervisor.pools:
            for slot, process in enumerate(pool.slots):
                name = [f"{pool.kind}-{slot}"]
                up.add_metric(name, process is not None)
                usage = process.usage() if process is not None else None
                if usage is not None:
                    cpu.add_metric(name, usage.cpu_s)
                    memory.add_metric(name, usage.resident_bytes)
        yield from (up, cpu, memory)

    def _load(self) -> Iterator[Metric]:
        labels = ["worker"]
        rooms = GaugeMetricFamily("rtcodec_worker_rooms", "Rooms of a worker.", labels=labels)
        sessions = GaugeMetricFamily("rtcodec_worker_sessions", "Peers in a worker.", labels=labels)
        lag = GaugeMetricFamily(
            "rtcodec_worker_event_loop_lag_seconds",
            "Longest delay of a worker's event loop within the last second.",
            labels=labels,
        )
        for slot, report in sorted(self._supervisor.reports.items()):
            rooms.add_metric([str(slot)], len(report.rooms))
            sessions.add_metric([str(slot)], report.sessions)
            lag.add_metric([str(slot)], report.lag_s)
        yield from (rooms, sessions, lag)


def front_page(
    supervisor: Supervisor, *, refused: Mapping[int, int], webhooks: Mapping[str, int]
) -> bytes:
    """
    Return the supervisor's page.

    Args:
        supervisor: Whose figures these are.
        refused: HTTP status -> requests that the front itself refused.
        webhooks: Outcome -> events.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FrontCollector(supervisor, refused, webhooks))
    return generate_latest(registry)
