"""What all workers have counted together, the dead ones too: for whoever serves ``/metrics``.

Rules:

- A worker counts in memory that outlives it. When it has ended, its counters and histograms are added to those of all
  that ended before, and its gauges are gone: no counter ever goes back.
- The series called ``process_*`` are those of all processes together.
"""

from __future__ import annotations

from mmap import PROT_READ, PROT_WRITE, mmap
import os
import threading
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from sluicegate import _native
from sluicegate.telemetry.metrics import MEMORY, TABLE
from sluicegate.telemetry.series import SETS_DROPPED, WORKER_DEATHS, WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import Metric

    from sluicegate.telemetry.series import Row

#: The content type of :meth:`Gathered.exposition`.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Gathered:
    """The banks of all workers, and one of its own for what is said of them. Safe from any thread."""

    def __init__(self) -> None:
        self._own = _new_bank(TABLE)
        self._workers = self._own.slot(WORKERS.name)
        self._deaths = self._own.slot(WORKER_DEATHS.name)
        self._living: list[_native.Bank] = []
        self._ended: dict[tuple[Row, ...], _native.Bank] = {TABLE: self._own}
        self._lock = threading.Lock()
        self._processes = _Processes()
        self._registry = CollectorRegistry()
        self._registry.register(self._processes)
        for collector in (PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def add(self, bank: _native.Bank, pid: int) -> None:
        """Show what a bank holds, and its process, from now on."""
        with self._lock:
            self._living.append(bank)
        self._processes.add(pid)

    def end(self, bank: _native.Bank, pid: int, table: tuple[Row, ...] = TABLE) -> None:
        """Keep what a bank has counted; nobody counts in it any more. ``table`` is what it was made with."""
        with self._lock:
            self._living.remove(bank)
            if table not in self._ended:
                self._ended[table] = _new_bank(table)
            self._ended[table].absorb(bank)
        self._processes.end(pid)

    def serving(self, workers: int) -> None:
        """So many workers serve now."""
        self._own.set(self._workers, workers)

    def died(self) -> None:
        """A worker ended without having been told to."""
        self._own.add(self._deaths, 1)

    def exposition(self) -> bytes:
        """Everything for ``GET /metrics``. Does not hold up the loop where it is called in a thread."""
        with self._lock:
            text = _native.exposition([*self._ended.values(), *self._living])
        return text + generate_latest(self._registry)


def shared_memory() -> int:
    """Make memory that another process may count in; gives its descriptor, which is the caller's to close."""
    return os.memfd_create("sluicegate-metrics", os.MFD_CLOEXEC)


def count_in(descriptor: int) -> mmap:
    """Map memory that another process made, for this one to count in."""
    os.ftruncate(descriptor, MEMORY)
    return mmap(descriptor, MEMORY)


def read_from(descriptor: int, table: Sequence[Row]) -> _native.Bank:
    """Look into the memory that a worker counts in by this table. Raises ValueError if it is not that large."""
    return _native.Bank.reader(table, mmap(descriptor, 0, prot=PROT_READ | PROT_WRITE))


def _new_bank(table: tuple[Row, ...]) -> _native.Bank:
    return _native.Bank(table, mmap(-1, _native.Bank.memory_needed(table)), dropped=SETS_DROPPED.name)


class _Processes(Collector):
    """``process_*`` of this process and the workers: sums; the earliest start, the limit of open files as it is."""

    def __init__(self) -> None:
        self._pids: dict[int, ProcessCollector] = {}
        self._cpu = 0.0
        self.add(os.getpid())

    def add(self, pid: int) -> None:
        self._pids.setdefault(pid, ProcessCollector(pid=lambda: pid, registry=None))

    def end(self, pid: int) -> None:
        if pid != os.getpid():
            self._pids.pop(pid, None)

    @override
    def collect(self) -> Iterable[Metric]:
        found: dict[str, Metric] = {}
        values: dict[str, list[float]] = {}
        for collector in list(self._pids.values()):
            for metric in collector.collect():
                found.setdefault(metric.name, metric)
                values.setdefault(metric.name, []).extend(sample.value for sample in metric.samples)
        for name, metric in found.items():
            if name == "process_cpu_seconds":
                times = os.times()
                # A worker leaves the list a moment before or after its time is counted as that of an ended child.
                self._cpu = max(self._cpu, sum(values[name]) + times.children_user + times.children_system)
                yield CounterMetricFamily(name, metric.documentation, value=self._cpu)
            else:
                total = {"process_start_time_seconds": min, "process_max_fds": max}.get(name, sum)
                yield GaugeMetricFamily(name, metric.documentation, value=total(values[name]))
