"""What is shown of several workers together, while they count and after they have ended."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families
import pytest
from tests.telemetry.rows import STREAMED, leave

import sluicegate
from sluicegate.telemetry.gathered import Gathered, count_in, read_from, shared_memory
from sluicegate.telemetry.metrics import TABLE, Metrics
from sluicegate.telemetry.series import CONNECTIONS, STREAMS_ACTIVE

#: Counts in the memory whose descriptor is its argument, and is killed in the middle of its work.
KILLED = """
import os, signal, sys
from sluicegate.telemetry.gathered import count_in
from sluicegate.telemetry.metrics import Metrics
metrics = Metrics(count_in(int(sys.argv[1])))
for _ in range(1000):
    metrics.refused(400, "invalid_json")
metrics.refused(404, "unknown_path")
metrics.stream_opened()
os.kill(os.getpid(), signal.SIGKILL)
"""


def shown(gathered: Gathered) -> dict[str, float]:
    """Every sample without labels by its name; those with labels by their values."""
    families = text_string_to_metric_families(gathered.exposition().decode())
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_a_killed_process_has_counted_is_there_and_what_it_showed_of_itself_goes_at_its_end() -> None:
    memory = shared_memory()
    environment = os.environ | {"PYTHONPATH": str(Path(sluicegate.__file__).parents[1])}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(memory)], pass_fds=(memory,), env=environment, check=False, timeout=50
    )
    bank, gathered = read_from(memory, TABLE), Gathered()
    os.close(memory)
    gathered.add(bank, os.getpid())
    while_there = shown(gathered)
    gathered.end(bank, os.getpid())
    afterwards = shown(gathered)

    assert killed.returncode == -9
    assert while_there[STREAMS_ACTIVE.name] == 1
    assert afterwards[STREAMS_ACTIVE.name] == 0
    for seen in (while_there, afterwards):
        assert seen["sluicegate_refused_requests_total 400 invalid_json"] == 1000
        assert seen["sluicegate_refused_requests_total 404 unknown_path"] == 1


def test_workers_are_summed_and_what_they_say_alike_is_not() -> None:
    gathered, workers = Gathered(), [Metrics() for _ in range(3)]
    for number, worker in enumerate(workers):
        gathered.add(worker.bank, os.getpid())
        worker.stream_opened()
        for _ in range(number + 1):
            leave(worker, STREAMED)
    seen = shown(gathered)

    assert seen["sluicegate_request_duration_seconds_count"] == 6
    assert seen[STREAMS_ACTIVE.name] == 3
    assert [value for name, value in seen.items() if name.startswith("sluicegate_build_info")] == [1]


def test_many_generations_of_workers_add_up() -> None:
    gathered, before = Gathered(), 0.0
    for generation in range(1, 6):
        worker = Metrics()
        gathered.add(worker.bank, os.getpid())
        leave(worker, STREAMED)
        gathered.end(worker.bank, os.getpid())
        now = shown(gathered)["sluicegate_request_duration_seconds_count"]
        assert now == generation > before
        before = now


def test_a_worker_of_another_version_is_shown_with_its_own_series() -> None:
    table = (("sluicegate_new_total", "counter", "New.", ("x",), (), 4), *TABLE[1:])
    memory = shared_memory()
    os.ftruncate(memory, 8 << 20)
    worker = read_from(memory, table)
    gathered, known = Gathered(), Metrics()
    gathered.add(worker, os.getpid())
    gathered.add(known.bank, os.getpid())
    leave(known, STREAMED)

    assert shown(gathered)["sluicegate_request_duration_seconds_count"] == 1
    gathered.end(worker, os.getpid(), table)
    assert b"# TYPE sluicegate_new_total counter" in gathered.exposition()
    os.close(memory)


def test_memory_that_is_too_small_is_refused() -> None:
    memory = shared_memory()
    os.ftruncate(memory, 4096)
    with pytest.raises(ValueError, match="needs more cells than there are"):
        read_from(memory, TABLE)
    os.close(memory)


def test_memory_of_a_process_is_zeros_until_it_counts() -> None:
    memory = shared_memory()
    count_in(memory)
    gathered = Gathered()
    gathered.add(read_from(memory, TABLE), os.getpid())
    os.close(memory)

    assert shown(gathered)["sluicegate_request_duration_seconds_count"] == 0


def test_a_watched_gauge_is_the_sum_of_all_who_are_asked_and_nothing_stays_of_those_who_are_not() -> None:
    metrics, gathered = Metrics(), Gathered()
    gathered.add(metrics.bank, os.getpid())
    former = metrics.watch(CONNECTIONS, lambda: {("a", "idle"): 2, ("b", "idle"): 1})
    metrics.watch(CONNECTIONS, lambda: {("a", "idle"): 5})
    metrics.refresh()
    assert shown(gathered)[f"{CONNECTIONS.name} a idle"] == 7
    former()
    metrics.refresh()
    seen = shown(gathered)
    assert (seen[f"{CONNECTIONS.name} a idle"], seen[f"{CONNECTIONS.name} b idle"]) == (5, 0)


def test_processes_are_summed_and_their_time_never_goes_back() -> None:
    gathered = Gathered()
    alone = shown(gathered)
    with subprocess.Popen([sys.executable, "-c", "sum(range(10**7)); input()"], stdin=subprocess.PIPE) as child:
        worker = Metrics()
        gathered.add(worker.bank, child.pid)
        together = shown(gathered)
        assert together["process_open_fds"] > alone["process_open_fds"]
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
    gathered.end(worker.bank, child.pid)
    afterwards = shown(gathered)

    assert afterwards["process_cpu_seconds_total"] >= together["process_cpu_seconds_total"]
    assert together["process_start_time_seconds"] == alone["process_start_time_seconds"]
