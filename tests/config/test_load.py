"""What a right configuration becomes."""

from __future__ import annotations

import json
from pathlib import Path
import ssl
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import msgspec
import pytest
import trustme

from sluicegate.config import Address, BaseUrl, ConfigError, Limits, Problem, Secret, Settings, Timeouts, load

DESIGN = """
listen: 127.0.0.1:8080          # clients
admin: 127.0.0.1:9090
tls: null
workers: 1
store: sqlite:///sluicegate.db
shared: null
upstreams:
  openai: {dialect: openai, base_url: "https://api.openai.com/v1", api_key: "${OPENAI_API_KEY}", headers: {},
           ca_file: null, usage_request: inject}
  local:  {dialect: openai, base_url: "http://127.0.0.1:8000/v1"}
models:
  fast:       {targets: [{upstream: openai, model: gpt-4o-mini}], max_output: 16384}
  "openai/*": {targets: [{upstream: openai, model: "*"}]}
mounts:
  - {prefix: /v1, profile: openai, public_url: null}
keys:
  - {name: dev, key: "${SLUICEGATE_KEY}", models: ["*"], requests_per_minute: 600, concurrent_streams: 50}
timeouts: {connect: 5, header: 10, body: 60, first_content: 600, idle: 300, total: 3600, write: 60, heartbeat: 15,
           pool_idle: 30, done_grace: 5, drain: 60, drain_delay: 0}
limits: {head: 32KiB, body: 64MiB, event: 16MiB, held: 256KiB, held_total: 512MiB, error_body: 64KiB,
         connections: 10000, per_upstream: 1000, queue: 1000}
on_disconnect: cancel
"""
ENVIRON = {"OPENAI_API_KEY": "sk-provider", "SLUICEGATE_KEY": "sk-caller-key"}
SMALL: dict[str, Any] = {
    "upstreams": {"local": {"dialect": "openai", "base_url": "http://127.0.0.1:8000/v1"}},
    "models": {"fast": {"targets": [{"upstream": "local", "model": "qwen3-8b"}]}},
}


def loaded(tree: object, folder: Path, name: str = "gate.yaml") -> Settings:
    file = folder / name
    file.write_text(tree if isinstance(tree, str) else json.dumps(tree), encoding="utf-8")
    return load(file, ENVIRON)


def test_the_designs_example_is_the_defaults(tmp_path: Path) -> None:
    found = loaded(DESIGN, tmp_path)

    assert Timeouts(pool_idle=30.0) == found.timeouts
    assert Limits() == found.limits
    assert (Address("127.0.0.1", 8080), Address("127.0.0.1", 9090)) == (found.listen, found.admin)
    assert BaseUrl("https", "api.openai.com", 443, "/v1") == found.upstreams["openai"].base_url
    assert Secret("sk-provider") == found.upstreams["openai"].api_key
    assert [30.0, 30.0] == [upstream.pool_idle for upstream in found.upstreams.values()]
    assert (600, None, 50) == (
        found.keys[0].requests_per_minute,
        found.keys[0].tokens_per_minute,
        found.keys[0].concurrent_streams,
    )
    assert (16384, 4096, "allow") == (found.models["fast"].max_output, found.reserve_default, found.limits_unavailable)
    assert () == found.warnings


def test_toml_says_the_same(tmp_path: Path) -> None:
    toml = """
        [upstreams.local]
        dialect = "openai"
        base_url = "http://127.0.0.1:8000/v1"
        [models.fast]
        targets = [{upstream = "local", model = "qwen3-8b"}]
    """

    yaml = loaded(SMALL, tmp_path)

    read = loaded(toml, tmp_path, "gate.toml")
    assert yaml == msgspec.structs.replace(read, version=yaml.version, written=yaml.written)


def test_without_a_file_openai_is_served_on_loopback() -> None:
    found = load(None, {"OPENAI_API_KEY": "sk-provider"})

    assert Address("127.0.0.1", 8080) == found.listen
    assert ["openai/*"] == list(found.models)
    assert "https://api.openai.com/v1" == str(found.upstreams["openai"].base_url)
    assert Secret("sk-provider") == found.upstreams["openai"].api_key


def test_the_version_is_the_files(tmp_path: Path) -> None:
    one, same, other = (loaded(SMALL | {"workers": n}, tmp_path, f"{i}.json") for i, n in enumerate(("1", "1", 1)))

    assert one.version == same.version != other.version
    assert 12 == len(one.version)


@pytest.mark.parametrize(
    "base_url, idle",
    [
        ("http://127.0.0.1:8000/v1", 4.0),
        ("http://localhost/v1", 4.0),
        ("http://[::1]/v1", 4.0),
        ("https://127.0.0.1/v1", 30.0),
        ("http://10.0.0.1/v1", 30.0),
    ],
)
def test_plain_upstreams_on_loopback_are_let_go_early(base_url: str, idle: float, tmp_path: Path) -> None:
    upstreams = {"local": {"dialect": "openai", "base_url": base_url}}

    assert idle == loaded(SMALL | {"upstreams": upstreams}, tmp_path).upstreams["local"].pool_idle
    assert (
        7.0
        == loaded(SMALL | {"upstreams": upstreams, "timeouts": {"pool_idle": 7}}, tmp_path).upstreams["local"].pool_idle
    )


@pytest.mark.parametrize(
    "written, expected, authority",
    [
        ("https://API.example.com/v1", BaseUrl("https", "api.example.com", 443, "/v1"), "api.example.com"),
        ("http://a:80", BaseUrl("http", "a", 80, ""), "a"),
        ("https://a:8443/x/y", BaseUrl("https", "a", 8443, "/x/y"), "a:8443"),
        ("http://[0:0:0:0:0:0:0:1]:80/v1", BaseUrl("http", "::1", 80, "/v1"), "[::1]"),
        ("http://[::1]:8080/v1", BaseUrl("http", "::1", 8080, "/v1"), "[::1]:8080"),
    ],
)
def test_base_urls(written: str, expected: BaseUrl, authority: str, tmp_path: Path) -> None:
    found = loaded(SMALL | {"upstreams": {"local": {"dialect": "openai", "base_url": written}}}, tmp_path)

    assert (expected, authority) == (found.upstreams["local"].base_url, found.upstreams["local"].base_url.authority)


@pytest.mark.parametrize(
    "written, expected",
    [(1024, 1024), ("1024", 1024), ("2048B", 2048), ("32KiB", 32 << 10), ("64MiB", 64 << 20), ("1GiB", 1 << 30)],
)
def test_sizes(written: object, expected: int, tmp_path: Path) -> None:
    assert expected == loaded(SMALL | {"limits": {"body": written}}, tmp_path).limits.body


@pytest.mark.parametrize("written, expected", [(5, 5.0), (0.5, 0.5), ("2.5", 2.5)])
def test_durations(written: object, expected: float, tmp_path: Path) -> None:
    assert expected == loaded(SMALL | {"timeouts": {"idle": written}}, tmp_path).timeouts.idle


def test_the_most_specific_time_holds(tmp_path: Path) -> None:
    targets = [
        {"upstream": "local", "model": "a", "timeouts": {"connect": 1, "idle": 3}},
        {"upstream": "local", "model": "b"},
    ]
    models = {"m": {"targets": targets[:1], "timeouts": {"idle": 4, "total": 90, "heartbeat": None}}}
    models["n"] = {"targets": targets[1:], "timeouts": {"done_grace": 0}}
    found = loaded(SMALL | {"timeouts": {"connect": 7, "idle": 9}, "models": models}, tmp_path)

    times = [found.models["m"].targets[0].times, found.models["m"].times, found.models["n"].targets[0].times]
    assert [(t.connect, t.idle, t.total, t.heartbeat, t.done_grace) for t in times] == [
        (1, 3, 90, 0, 5),
        (7, 4, 90, 0, 5),
        (7, 9, 3600, 15, 0),
    ]


@pytest.mark.parametrize("written, expected", [(0, 0), (None, 0), (2.5, 2.5)])
def test_heartbeats_end_with_zero_and_with_null(written: object, expected: float, tmp_path: Path) -> None:
    assert expected == loaded(SMALL | {"timeouts": {"heartbeat": written}}, tmp_path).timeouts.heartbeat


@pytest.mark.parametrize("written, expected", [(True, True), ("false", False), ("true", True)])
def test_switches(written: object, expected: bool, tmp_path: Path) -> None:
    assert expected == loaded(SMALL | {"heartbeat_early": written}, tmp_path).heartbeat_early


@pytest.mark.parametrize("listen, loopback", [("[::1]:0", True), ("localhost:0", True), ("127.9.9.9:0", True)])
def test_loopback_needs_no_keys(listen: str, loopback: bool, tmp_path: Path) -> None:
    assert loopback == loaded(SMALL | {"listen": listen}, tmp_path).listen.loopback


def test_other_addresses_need_keys_and_a_token(tmp_path: Path) -> None:
    wide = {
        "listen": "0.0.0.0:8080",
        "admin": "[::]:9090",
        "admin_token": "admin-token",
        "keys": [{"name": "dev", "key": "sk-0123456789"}],
    }

    found = loaded(SMALL | wide, tmp_path)

    assert ("0.0.0.0:8080", "[::]:9090") == (str(found.listen), str(found.admin))


def test_what_is_null_is_as_if_left_out(tmp_path: Path) -> None:
    left_out = loaded(SMALL, tmp_path)
    null = loaded(SMALL | {"keys": None, "timeouts": {"idle": None}, "mounts": None}, tmp_path)

    assert left_out == msgspec.structs.replace(null, version=left_out.version, written=left_out.written)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    cert = authority.issue_cert("localhost")
    cert.private_key_pem.write_to_path(tmp_path / "tls.key")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "tls.pem")
    (tmp_path / "key").write_text("sk-from-a-file\n", encoding="utf-8")
    upstream = {"dialect": "openai", "base_url": "https://a/v1", "ca_file": "ca.pem", "api_key": "${file:key}"}

    found = loaded(SMALL | {"upstreams": {"local": upstream}, "tls": {"cert": "tls.pem", "key": "tls.key"}}, tmp_path)

    assert authority.cert_pem.bytes() == found.upstreams["local"].ca_pem
    assert Secret("sk-from-a-file") == found.upstreams["local"].api_key
    assert found.tls is not None
    assert isinstance(found.tls.context, ssl.SSLContext)


def test_header_names_are_lower_case(tmp_path: Path) -> None:
    upstream = SMALL["upstreams"]["local"] | {"headers": {"X-Team": "blue"}}

    found = loaded(SMALL | {"upstreams": {"local": upstream}}, tmp_path)

    assert {"x-team": Secret("blue")} == dict(found.upstreams["local"].headers)


def test_yaml_aliases_work(tmp_path: Path) -> None:
    text = """
    upstreams:
      local: &base {dialect: openai, base_url: "http://127.0.0.1:8000/v1"}
      other: {<<: *base, base_url: "http://127.0.0.1:8001/v1"}
    models: {fast: {targets: [{upstream: other, model: a}]}}
    """

    assert 8001 == loaded(text, tmp_path).upstreams["other"].base_url.port


def test_the_snapshot_cannot_be_changed(tmp_path: Path) -> None:
    found = loaded(SMALL, tmp_path)

    with pytest.raises(AttributeError):
        found.workers = 2  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        found.models["other"] = found.models["fast"]  # type: ignore[index]  # that is the point


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FULL: dict[str, Any] = SMALL | {
    "listen": "127.0.0.1:0",
    "tls": {"cert": "a", "key": "b"},
    "mounts": [{"prefix": "/v1"}],
    "keys": [{"name": "dev", "key": "sk-0123456789", "models": ["fast"]}],
    "timeouts": {"idle": 5},
    "limits": {"body": "1MiB"},
}


def places(tree: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for name, part in parts for place in places(part, (*path, name)))]


def replaced(tree: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    copy = tree.copy()
    copy[path[0]] = replaced(tree[path[0]], path[1:], value)
    return copy


@settings(max_examples=100, deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from(places(FULL)[1:]), JUNK), min_size=1, max_size=2))
def test_whatever_stands_anywhere_is_refused_in_words(
    changes: list[tuple[tuple[Any, ...], object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "junk.json"
    tree = FULL
    for path, value in changes:
        try:
            tree = replaced(tree, path, value)
        except (KeyError, TypeError, IndexError, AttributeError):
            return
    file.write_text(json.dumps(tree), encoding="utf-8")

    assert all(problem.path and problem.message for problem in problems(file))


def problems(file: Path) -> tuple[Problem, ...]:
    try:
        load(file, {})
    except ConfigError as refused:
        return refused.problems
    return ()
