"""What `GET /metrics` shows after requests of every kind, compared with the rows, never with the code that counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
import os
from pathlib import Path
import random
import shutil
import subprocess
import threading

from prometheus_client.parser import text_string_to_metric_families
import pytest
from tests.telemetry.rows import ENDED, STREAMED, USAGE, Row, exchange, leave, row

from sluicegate import _native
from sluicegate.exchange import Provenance, Tokens, Usage
from sluicegate.telemetry.gathered import Gathered
from sluicegate.telemetry.metrics import Metrics
from sluicegate.telemetry.series import CONNECTIONS, SERIES, Series

#: What stands for every name that is not configured.
OTHER = "_other"
ROOT = Path(__file__).resolve().parent.parent.parent
PROVENANCES: list[Provenance] = ["provider", "partial", "estimated", "none"]
Sample = tuple[str, tuple[tuple[str, str], ...]]


def exposition(metrics: Metrics) -> bytes:
    """What is shown of one worker."""
    metrics.refresh()
    gathered = Gathered()
    gathered.add(metrics.bank, os.getpid())
    return gathered.exposition()


def shown(metrics: Metrics) -> dict[Sample, float]:
    """Every sample by its name and labels, read by the reference parser."""
    families = text_string_to_metric_families(exposition(metrics).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def sample(name: str, **labels: str) -> Sample:
    return name, tuple(sorted(labels.items()))


def ours(samples: dict[Sample, float]) -> dict[Sample, float]:
    """Without the process's own, which move by themselves."""
    return {key: value for key, value in samples.items() if not key[0].startswith(("process_", "python_"))}


def counted(metrics: Metrics, name: str, **labels: str) -> float | None:
    return shown(metrics).get(sample(name, **labels))


def asked(row: Row, **more: str) -> dict[str, str]:
    return {
        "gen_ai_operation_name": row.operation,
        "gen_ai_provider_name": row.upstream or OTHER,
        "gen_ai_request_model": row.model,
        "gen_ai_response_model": row.target.removeprefix(f"{row.upstream}/"),
        **more,
    }


def expected(rows: list[Row]) -> dict[Sample, float]:
    """What the rows say, series by series: the slow twin of rust/src/row/counts.rs."""
    counters: Counter[Sample] = Counter()
    observed: dict[Sample, list[float]] = defaultdict(list)
    for ended in rows:
        by = {"model": ended.model, "target": ended.target}
        counters[sample("sluicegate_requests_total", **by, status=str(ended.status), error_type=ended.error_code)] += 1
        for side, direction, size in (
            ("client", "in", ended.bytes_in),
            ("client", "out", ended.bytes_out),
            ("upstream", "in", ended.upstream_bytes_in),
            ("upstream", "out", ended.upstream_bytes_out),
        ):
            counters[sample("sluicegate_bytes_total", side=side, direction=direction)] += size
        observed[sample("sluicegate_request_duration_seconds")].append(ended.duration)
        observed[sample("sluicegate_overhead_seconds")].append(ended.overhead)
        observed[sample("gen_ai_server_request_duration_seconds", **asked(ended, error_type=ended.error_code))].append(
            ended.duration
        )
        tokens = ended.usage.tokens
        for direction, provenance, count in (
            ("input", ended.usage.input_provenance, tokens.input),
            ("cached_input", ended.usage.input_provenance, tokens.cached_input),
            ("cache_write", ended.usage.input_provenance, tokens.cache_write),
            ("output", ended.usage.output_provenance, tokens.output),
            ("reasoning", ended.usage.output_provenance, tokens.reasoning),
        ):
            if provenance == "none":
                continue
            counters[sample("sluicegate_tokens_total", **by, direction=direction, provenance=provenance)] += count
            if direction in {"input", "output"}:
                observed[sample("gen_ai_client_token_usage", **asked(ended, gen_ai_token_type=direction))].append(count)
        first = ended.time_to_first_content
        if first is not None:
            observed[sample("sluicegate_time_to_first_content_seconds")].append(first)
            if not ended.error_code:
                observed[sample("gen_ai_server_time_to_first_token_seconds", **asked(ended))].append(first)
                if tokens.output > 1:
                    per_token = (ended.duration - first) / (tokens.output - 1)
                    observed[sample("gen_ai_server_time_per_output_token_seconds", **asked(ended))].append(per_token)
        if ended.malformed_events:
            counters[sample("sluicegate_malformed_events_total", target=ended.target)] += ended.malformed_events
        if ended.heartbeats:
            counters[sample("sluicegate_heartbeats_total")] += ended.heartbeats
        if ended.left:
            counters[sample("sluicegate_client_disconnects_total", phase=ended.left)] += 1
    return {**counters, **dict(histograms(observed))}


def histograms(observed: dict[Sample, list[float]]) -> Iterator[tuple[Sample, float]]:
    buckets = {series.name: series.buckets for series in SERIES}
    for (name, labels), values in observed.items():
        micros = [round(value * 1e6) if name.endswith("_seconds") else round(value) for value in values]
        scale = 1e6 if name.endswith("_seconds") else 1
        for bound in buckets[name]:
            le = ("le", format(Decimal(str(round(bound, 6))), "f"))
            yield (
                (f"{name}_bucket", tuple(sorted((*labels, le)))),
                sum(value <= round(bound * scale) for value in micros),
            )
        yield (f"{name}_bucket", tuple(sorted((*labels, ("le", "+Inf"))))), len(values)
        yield (f"{name}_count", labels), len(values)
        yield (f"{name}_sum", labels), sum(micros) / scale


def some_rows(count: int, seed: int) -> list[Row]:
    """Requests of every kind: streamed and not, refused, cut, left, with and without usage."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        model, upstream = chance.choice([("fast", "a"), ("fast", "b"), ("b/*", "b"), (OTHER, "")])
        target = f"{upstream}/{chance.choice(['small', 'big/quick', '*'])}" if upstream else ""
        status, error = chance.choice(
            [(200, ""), (200, "upstream_truncated"), (429, "upstream_rate_limited"), (499, "")]
        )
        first = chance.choice([None, chance.lognormvariate(-2, 2)])
        tokens = Tokens(*(chance.choice([0, 1, 17, 5000, 10**8]) for _ in range(5)))
        rows.append(
            row(
                model=model,
                upstream=upstream,
                target=target,
                status=status,
                error_code=error,
                usage=Usage(tokens, chance.choice(PROVENANCES), chance.choice(PROVENANCES)),
                duration=(first or 0) + chance.lognormvariate(0, 3),
                time_to_first_content=first,
                overhead=chance.lognormvariate(-8, 1),
                bytes_in=chance.randrange(10**6),
                malformed_events=chance.choice([0, 0, 3]),
                heartbeats=chance.choice([0, 0, 2]),
                left=chance.choice(["", "", "before_head", "before_commit", "streaming"]),
            )
        )
    return rows


def test_every_figure_is_what_the_rows_say() -> None:
    metrics = Metrics()
    rows = some_rows(2000, seed=7)
    leave(metrics, *rows)

    seen = ours(shown(metrics))
    for key, value in expected(rows).items():
        assert pytest.approx(value, abs=1e-9) == seen.pop(key, None), key
    untouched = {key: value for key, value in seen.items() if value != 0}
    assert untouched == {sample("sluicegate_build_info", version=_native.version, profile=_native.build_profile): 1}


def promtool(text: bytes) -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    checked = subprocess.run([found, "check", "metrics"], input=text, capture_output=True, check=False)
    return checked.stdout.decode() + checked.stderr.decode() + f"exit {checked.returncode}"


@pytest.mark.parametrize("requests", [0, 2000])
def test_promtool_finds_nothing_to_say(requests: int) -> None:
    metrics = Metrics()
    rows = list(some_rows(requests, seed=3))
    metrics.watch(CONNECTIONS, lambda: {(ended.upstream, "idle"): 1 for ended in rows})
    leave(metrics, *rows)

    assert promtool(exposition(metrics)) == "exit 0"


def test_100000_junk_models_do_not_grow_a_scrape() -> None:  # fault 43
    metrics = Metrics()
    refused = {"model": OTHER, "target": "", "upstream": "", "status": 404, "error_code": "model_not_found"}
    leave(metrics, row(**refused, requested_model="junk"))
    series = len(shown(metrics))
    leave(metrics, *(row(**refused, requested_model=f"junk-{number}") for number in range(100_000)))

    assert len(shown(metrics)) == series
    assert (
        counted(
            metrics, "sluicegate_requests_total", model=OTHER, target="", status="404", error_type="model_not_found"
        )
        == 100_001
    )


def test_names_that_slip_through_stop_at_the_cap_and_are_counted_as_other() -> None:
    metrics = Metrics()
    left = metrics.rows("1", {})
    sizes = []
    for number in range(20_000):
        left.ended(exchange(row(model=f"junk-{number}", target=f"a/junk-{number}")), ENDED)
        if number in {9_999, 19_999}:
            sizes.append(exposition(metrics).count(b"\n"))

    lines = _native.exposition([metrics.bank]).decode().splitlines()
    requests = [line for line in lines if line.startswith("sluicegate_requests_total{")]
    labels = ",".join(f'{label}="{OTHER}"' for label in ("model", "target", "status", "error_type"))
    assert sizes[0] == sizes[1]
    assert len(requests) == 4097
    assert requests[-1] == f"sluicegate_requests_total{{{labels}}} {20_000 - 4096}"
    assert f'sluicegate_metrics_dropped_label_sets_total{{metric="sluicegate_requests_total"}} {20_000 - 4096}' in lines


def test_labels_from_the_configuration_may_hold_anything() -> None:
    odd = 'a "quoted\\name"\nsluicegate_requests_total{} 9'
    metrics = Metrics()
    leave(metrics, row(model=odd, target=f"a/{odd}"))

    assert counted(metrics, "sluicegate_requests_total", model=odd, target=f"a/{odd}", status="200", error_type="") == 1
    assert promtool(exposition(metrics)) == "exit 0"


def test_a_provider_is_called_what_the_configuration_calls_it() -> None:
    metrics = Metrics()
    for providers in ({}, {"a": "example.cloud"}):
        metrics.rows("1", providers).ended(exchange(row()), ENDED)
    leave(metrics, row(upstream="b", target="b/small"))

    counts = {
        dict(labels)["gen_ai_provider_name"]: value
        for (name, labels), value in shown(metrics).items()
        if name == "gen_ai_server_request_duration_seconds_count"
    }
    assert counts == {"a": 1, "example.cloud": 1, "b": 1}


def test_gauges_follow_streams_and_connections() -> None:
    metrics = Metrics()
    metrics.stream_opened()
    metrics.stream_opened()
    metrics.stream_closed()
    open_now: dict[tuple[str, ...], int] = {("a", "connecting"): 2, ("a", "active"): 1, ("b", "idle"): 1}
    metrics.watch(CONNECTIONS, lambda: open_now)
    exposition(metrics)
    open_now["a", "connecting"] = 0

    connections = {
        tuple(label for _, label in labels): value
        for (name, labels), value in shown(metrics).items()
        if name == "sluicegate_upstream_connections"
    }
    assert counted(metrics, "sluicegate_streams_active") == 1
    assert connections == {("connecting", "a"): 0, ("active", "a"): 1, ("idle", "b"): 1}


def test_lag_gaps_and_lost_log_lines_are_counted() -> None:
    metrics = Metrics()
    metrics.loop_lagged(0.0015)
    metrics.bank.observe(metrics.event_gap, 20_000)
    metrics.log_lines_dropped(3)

    seen = shown(metrics)
    assert seen[sample("sluicegate_loop_lag_seconds_bucket", le="0.001")] == 0
    assert seen[sample("sluicegate_loop_lag_seconds_bucket", le="0.0025")] == 1
    assert seen[sample("sluicegate_event_gap_seconds_sum")] == 0.02
    assert seen[sample("sluicegate_access_log_dropped_total")] == 3


def test_the_process_speaks_for_itself() -> None:
    names = {name for name, _ in shown(Metrics())}

    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "python_gc_collections_total"} <= names


def test_requests_on_many_threads_are_all_counted() -> None:
    metrics = Metrics()

    def ask() -> None:
        leave(metrics, *([STREAMED] * 2_000))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counted(metrics, "sluicegate_request_duration_seconds_count") == 8_000


def table(series: tuple[Series, ...]) -> str:
    """The README's table, as the code would write it."""
    lines = ["| series | kind | labels | what it says |", "|---|---|---|---|"]
    for one in series:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.help} |")
    return "\n".join(lines)


def test_the_readme_lists_every_series() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")

    assert table(SERIES) in page, f"the table should read:\n{table(SERIES)}"


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.name)
def test_a_series_is_named_as_prometheus_asks(series: Series) -> None:
    assert series.name.endswith("_total") == (series.kind == "counter")
    assert bool(series.buckets) == (series.kind == "histogram")
    assert bool(series.cap) == bool(series.labels)
    assert series.help.endswith((".", ")"))


def test_usage_that_nobody_reported_is_no_zero() -> None:
    metrics = Metrics()
    leave(metrics, row(usage=Usage()))

    assert [name for name, _ in shown(metrics) if name.startswith(("sluicegate_tokens", "gen_ai_client"))] == []
    leave(metrics, row(usage=USAGE))
    assert (
        counted(
            metrics,
            "sluicegate_tokens_total",
            model="fast",
            target="a/small",
            direction="reasoning",
            provenance="provider",
        )
        == 10
    )
