"""Configurations that cannot be used: what is wrong with each, the file, and the very words it is refused with.

A file is a tree (written as JSON) or text. The environment is ``ENVIRON``; beside the file lies ``ca.pem``.
"""

from __future__ import annotations

import json
from typing import Any

ENVIRON = {"EMPTY": "", "KEY": "sk-from-the-environment", "LINES": "one\ntwo", "OFF": "0.0.0.0:80"}
UPSTREAM = {"dialect": "openai", "base_url": "https://api.example.com/v1"}
LOCAL = {"dialect": "openai", "base_url": "http://127.0.0.1:8000/v1"}
MODEL = {"targets": [{"upstream": "openai", "model": "gpt-4o-mini"}]}
KEY = {"name": "dev", "key": "sk-0123456789"}


def configuration(**settings: Any) -> dict[str, Any]:
    return {"upstreams": {"openai": UPSTREAM, "local": LOCAL}, "models": {"fast": MODEL}} | settings


def upstream(**settings: Any) -> dict[str, Any]:
    return configuration(upstreams={"openai": UPSTREAM | settings})


def model(**settings: Any) -> dict[str, Any]:
    return configuration(models={"fast": MODEL | settings})


def target(**settings: Any) -> dict[str, Any]:
    return model(targets=[MODEL["targets"][0] | settings])


def key(**settings: Any) -> dict[str, Any]:
    return configuration(keys=[KEY | settings])


UNKNOWN_TIMEOUTS = (
    "connect, header, body, first_content, idle, total, write, heartbeat, pool_idle, done_grace, drain, drain_delay"
)
MODELS_TIMEOUTS = "connect, first_content, idle, total, done_grace, heartbeat"
TARGETS_TIMEOUTS = "connect, first_content, idle, done_grace"
A_SIZE = "is not a size; write bytes, or a whole number with KiB, MiB or GiB (64MiB)"
A_DURATION = "is not a duration; write seconds, above 0 to 604,800"
AN_ADDRESS = 'is not HOST:PORT; write "127.0.0.1:8080" or "[::1]:8080" (in quotes)'
A_URL = "is not a URL of scheme http or https, a host, maybe a port and a path prefix"
A_KEY = "is not a key; use 8 to 1024 visible ASCII characters without spaces"
A_MODEL = "is not a model name; use up to 256 characters without spaces, and a `*` only at the end, after a slash"
NO_EFFECT = 'has no effect under `routing: order`; write "routing: weight", or leave it out'
IN_A_HEADER = "holds characters that cannot be sent in a header (control characters, spaces at an end, non-ASCII)"

CASES: dict[str, tuple[object, list[str]]] = {
    "the design's own example": (
        model(targets=[{"upstream": "openai", "model": "a"}, {"upstream": "opnai", "model": "b"}]),
        [
            'models.fast.targets[1].upstream: unknown upstream "opnai"; known: openai, local; did you mean "openai"?',
        ],
    ),
    "all at once": (
        configuration(workers="many", timeouts={"connect": 0}, keys=[KEY | {"key": "short"}]),
        [
            'workers: "many" is not a whole number from 1 to 1,024',
            f"keys[0].key: {A_KEY}",
            f"timeouts.connect: 0 {A_DURATION}",
        ],
    ),
    "not a mapping": ([1], ["gate.json: must be a mapping of names to values, not a list"]),
    "empty": (
        {},
        [
            (
                "upstreams: none is configured; write one, such as "
                '{openai: {dialect: openai, base_url: "https://api.openai.com/v1", api_key: "${OPENAI_API_KEY}"}}'
            ),
            'models: none is configured; write one, such as {"openai/*": {targets: [{upstream: openai, model: "*"}]}}',
        ],
    ),
    "unknown setting": (
        configuration(timeouts={"conect": 5}),
        [f'timeouts.conect: unknown setting "conect"; known: {UNKNOWN_TIMEOUTS}; did you mean "connect"?'],
    ),
    "unknown setting, nothing near": (
        configuration(timeouts={"x": "sk-secret"}),
        [f'timeouts.x: unknown setting "x"; known: {UNKNOWN_TIMEOUTS}'],
    ),
    "text where a group stands": (
        configuration(timeouts="sk-secret"),
        ["timeouts: must be a mapping of names to values, not text"],
    ),
    "text where a list stands": (configuration(keys="sk-secret"), ["keys: must be a list, not text"]),
    "a number as a name": (
        f"models: {json.dumps({'fast': MODEL})}\nupstreams: {{1: {{}}, openai: {json.dumps(UPSTREAM)}}}",
        ["upstreams.1: 1 is not a name; quote it"],
    ),
    # Numbers
    "a fraction": (configuration(workers=1.5), ["workers: 1.5 is not a whole number from 1 to 1,024"]),
    "a truth": (configuration(workers=True), ["workers: true is not a whole number from 1 to 1,024"]),
    "zero": (
        configuration(limits={"connections": 0}),
        ["limits.connections: 0 is not a whole number from 1 to 1,000,000"],
    ),
    "a size in words": (configuration(limits={"body": "64MB"}), [f'limits.body: "64MB" {A_SIZE}']),
    "a negative size": (configuration(limits={"body": -1}), ["limits.body: -1 is out of range; write 1KiB to 1024GiB"]),
    "a size too large": (
        configuration(limits={"body": "2000GiB"}),
        ['limits.body: "2000GiB" is out of range; write 1KiB to 1024GiB'],
    ),
    "a duration with a unit": (configuration(timeouts={"idle": "10s"}), [f'timeouts.idle: "10s" {A_DURATION}']),
    "no duration at all": (configuration(timeouts={"idle": [5]}), [f"timeouts.idle: a list {A_DURATION}"]),
    "not a number": ("timeouts: {idle: .nan}", [f"timeouts.idle: nan {A_DURATION}"]),
    "infinite": (
        "timeouts: {drain: .inf}",
        ["timeouts.drain: inf is not a duration; write seconds, from 0 to 604,800"],
    ),
    # Addresses
    "a port alone": (configuration(listen="8080"), [f'listen: "8080" {AN_ADDRESS}']),
    "an unquoted port": (configuration(listen=8080), [f"listen: 8080 {AN_ADDRESS}"]),
    "a port too high": (
        configuration(listen="127.0.0.1:65536"),
        ['listen: "127.0.0.1:65536" has no such port; write 0 to 65535 (0 picks a free one)'],
    ),
    "broken IPv6": (
        configuration(listen="[:::1]:80"),
        ['listen: "[:::1]:80" holds no IPv6 address between its brackets'],
    ),
    "a key prefix without an end": (
        configuration(key_prefix="sk"),
        ['key_prefix: "sk" is no prefix; write letters, digits, `-` and `_`, one of these two at its end: sk-me-'],
    ),
    "keys that are stale at once": (
        configuration(keys_max_stale=0),
        ["keys_max_stale: 0 is not a duration; write seconds, above 0 to 604,800"],
    ),
    "another word for stale keys": (
        configuration(keys_unavailable="drop"),
        ['keys_unavailable: unknown choice "drop"; known: allow, deny'],
    ),
    "a wide bind without keys": (
        configuration(listen="0.0.0.0:8080"),
        [
            (
                'listen: "0.0.0.0:8080" can be reached from elsewhere and there are no keys; '
                'add some, or require_key: true, or write "127.0.0.1:8080"'
            )
        ],
    ),
    "a wide admin address": (
        configuration(admin="[::]:9090"),
        ['admin: "[::]:9090" can be reached from elsewhere; set admin_token, or write "127.0.0.1:9090"'],
    ),
    "admin on the public port": (
        configuration(admin="127.0.0.1:8080"),
        ['admin: "127.0.0.1:8080" is also `listen`; the admin API never stands on the public port'],
    ),
    "a short admin token": (configuration(admin_token="short"), [f"admin_token: {A_KEY}"]),
    # Upstreams
    "no base_url": (
        configuration(upstreams={"openai": {"dialect": "openai"}}),
        [
            (
                "upstreams.openai.base_url: is missing; "
                "http or https, host, maybe a port and a path prefix; no trailing slash, user or query"
            )
        ],
    ),
    "unknown dialect": (
        upstream(dialect="antropic"),
        [
            (
                'upstreams.openai.dialect: unknown dialect "antropic"; known: openai, anthropic, gemini, cohere; '
                'did you mean "anthropic"?'
            )
        ],
    ),
    "no scheme": (
        upstream(base_url="api.example.com/v1"),
        [f'upstreams.openai.base_url: "api.example.com/v1" {A_URL}'],
    ),
    "another scheme": (upstream(base_url="ftp://a/v1"), [f'upstreams.openai.base_url: "ftp://a/v1" {A_URL}']),
    "a space in the path": (upstream(base_url="http://a/v 1"), [f'upstreams.openai.base_url: "http://a/v 1" {A_URL}']),
    "a trailing slash": (
        upstream(base_url="https://a/v1/"),
        ['upstreams.openai.base_url: "https://a/v1/" ends in a slash; leave it out'],
    ),
    "a user": (
        upstream(base_url="https://me:pass@a/v1"),
        [
            (
                "upstreams.openai.base_url: a URL must not hold a user or password; "
                "put the credential into api_key or headers"
            )
        ],
    ),
    "a query": (
        upstream(base_url="https://a/v1?key=pass"),
        [
            (
                "upstreams.openai.base_url: a URL must not have a query or fragment; "
                "end it with the path prefix, such as /v1"
            )
        ],
    ),
    "an endpoint": (
        upstream(base_url="https://a/v1/chat/completions"),
        [
            (
                'upstreams.openai.base_url: "https://a/v1/chat/completions" names an endpoint; '
                "leave out /chat/completions, which the gateway appends"
            )
        ],
    ),
    "port 0": (
        upstream(base_url="https://a:0/v1"),
        ['upstreams.openai.base_url: "https://a:0/v1" has no such port; write 1 to 65535'],
    ),
    "an upstream's odd name": (
        configuration(upstreams={"openai": UPSTREAM, "a b": LOCAL}),
        ['upstreams."a b": "a b" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores'],
    ),
    "an empty api_key": (upstream(api_key="${EMPTY}"), ["upstreams.openai.api_key: is empty"]),
    "a numeric api_key": (upstream(api_key=12345678), ["upstreams.openai.api_key: is not text; quote it"]),
    "an api_key of two lines": (upstream(api_key="${LINES}"), [f"upstreams.openai.api_key: {IN_A_HEADER}"]),
    "a header of two lines": (upstream(headers={"x-a": "a\r\nb: c"}), [f"upstreams.openai.headers.x-a: {IN_A_HEADER}"]),
    "a header with NUL": (upstream(headers={"x-a": "a\0b"}), [f"upstreams.openai.headers.x-a: {IN_A_HEADER}"]),
    "a framing header": (
        upstream(headers={"Content-Length": "5"}),
        ['upstreams.openai.headers.Content-Length: "Content-Length" is set by the gateway itself; leave it out'],
    ),
    "a header that is none": (
        upstream(headers={"x a": "b"}),
        ['upstreams.openai.headers."x a": "x a" is not a header name'],
    ),
    "two credentials": (
        upstream(api_key="sk-1", headers={"Authorization": "Bearer sk-2"}),
        ["upstreams.openai.headers.authorization: is set by api_key; leave one of them out"],
    ),
    "a ca_file that is not there": (
        upstream(ca_file="no.pem"),
        ['upstreams.openai.ca_file: cannot read the file "no.pem": No such file or directory'],
    ),
    "a ca_file of something else": (
        upstream(ca_file="gate.json"),
        ['upstreams.openai.ca_file: the file "gate.json" holds no PEM certificate that can be read'],
    ),
    "authorities without TLS": (
        upstream(base_url="http://a/v1", ca_file="ca.pem"),
        ["upstreams.openai.ca_file: is of no use without TLS; write base_url with https, or leave it out"],
    ),
    "an api_key beside credentials": (
        upstream(api_key="sk-1", credentials=[{"name": "a", "api_key": "sk-2"}]),
        ["upstreams.openai.credentials: stand beside api_key; write it as one of them, and leave api_key out"],
    ),
    "two credentials of one name": (
        upstream(credentials=[{"name": "a", "api_key": "sk-2"}, {"name": "a", "api_key": "sk-3"}]),
        ['upstreams.openai.credentials[1].name: "a" is credentials[0]\'s already'],
    ),
    "a credential without its key, with a weight of none": (
        upstream(credentials=[{"name": "a", "weight": 0}]),
        [
            "upstreams.openai.credentials[0].api_key: is missing; the credential, sent as the upstream's dialect says",
            "upstreams.openai.credentials[0].weight: 0 is not a whole number from 1 to 1,000",
        ],
    ),
    "a header that a listed credential sets": (
        upstream(credentials=[{"name": "a", "api_key": "sk-2"}], headers={"Authorization": "Bearer x"}),
        ["upstreams.openai.headers.authorization: is set by api_key; leave one of them out"],
    ),
    "a refusal that no target recovers from": (
        target(recoverable=["refusal"]),
        ['models.fast.targets[0].recoverable[0]: unknown refusal "refusal"; known: context_length, stream_options'],
    ),
    "a budget above the whole": (
        configuration(retries={"budget": 1.5}),
        ["retries.budget: 1.5 is not a part of a whole; write a number from 0 to 1"],
    ),
    # Models
    "no target": (
        model(targets=[]),
        ["models.fast.targets: is empty; name one, such as [{upstream: openai, model: gpt-4o-mini}]"],
    ),
    "a target in a dialect without endpoint": (
        configuration(
            upstreams={"openai": UPSTREAM, "g": UPSTREAM | {"dialect": "gemini"}},
            models={"fast": {"targets": [{"upstream": "g", "model": "flash"}]}},
        ),
        [
            (
                'models.fast.targets[0].upstream: "g" speaks gemini, which no endpoint relays yet; '
                "upstreams of these dialects can be named: openai, anthropic"
            )
        ],
    ),
    "a star without a star": (
        target(model="gpt-*"),
        ['models.fast.targets[0].model: "gpt-*" has a `*`, but the name "fast" has none that it could stand for'],
    ),
    "two stars": (
        configuration(models={"a/*": {"targets": [{"upstream": "openai", "model": "*/*"}]}}),
        ['models."a/*".targets[0].model: "*/*" has more than one `*`; one stands for what the name\'s `*` matched'],
    ),
    "a star in the middle": (
        configuration(models={"a*b": MODEL}),
        [f'models."a*b": "a*b" {A_MODEL}'],
    ),
    "an override": (
        model(usage_event="strip"),
        ['models.fast.usage_event: unknown choice "strip"; known: asked, pass, always'],
    ),
    "nothing below a name": (
        "models: {fast: }\nupstreams: {openai: {dialect: openai, base_url: http://a}}",
        ["models.fast: must be a mapping of names to values, not nothing"],
    ),
    # Mounts
    "no mount": (
        configuration(mounts=[]),
        ["mounts: is empty; leave it out, or write one, such as [{prefix: /v1, profile: openai}]"],
    ),
    "a prefix without a slash": (
        configuration(mounts=[{"prefix": "v1"}]),
        ['mounts[0].prefix: "v1" is not a path prefix; write one such as /v1, without a trailing slash'],
    ),
    "a prefix twice": (
        configuration(mounts=[{"prefix": "/v1"}, {"prefix": "/v1", "profile": "transparent"}]),
        ['mounts[1].prefix: "/v1" is mounts[0]\'s already'],
    ),
    "a page that names credits, without their rate": (
        configuration(mounts=[{"prefix": "/v1", "profile": "caicaini"}]),
        [
            (
                'mounts[0].profile: "caicaini" names the credits of each answer; write `credits`, such as '
                "{per_dollar: 1000}"
            ),
            'models: mounts[0].profile "caicaini" serves those whose names begin with "caicaini/", and there is none',
        ],
    ),
    "an unknown profile": (
        configuration(mounts=[{"prefix": "/v1", "profile": "bifröst"}]),
        [
            (
                'mounts[0].profile: unknown profile "bifr\\u00f6st"; known: openai, transparent, prefixed, bifrost, '
                'caicaini; did you mean "bifrost"?'
            )
        ],
    ),
    # Keys
    "a short key": (key(key="sk-1"), [f"keys[0].key: {A_KEY}"]),
    "a key with a space": (key(key="sk-0123 456789"), [f"keys[0].key: {A_KEY}"]),
    "a key of digits, unquoted": (key(key=1234567890), ["keys[0].key: is not text; quote it"]),
    "a name twice": (
        configuration(keys=[KEY, KEY | {"key": "sk-9876543210"}]),
        ['keys[1].name: "dev" is keys[0]\'s already'],
    ),
    "a key twice": (
        configuration(keys=[KEY, KEY | {"name": "ops"}]),
        ["keys[1].key: is the same key as keys[0]'s; each caller has its own"],
    ),
    "a model that is not there": (
        key(models=["fsat"]),
        ['keys[0].models[0]: unknown model "fsat"; known: fast; did you mean "fast"?'],
    ),
    "no models": (key(models=[]), ["keys[0].models: is empty; leave it out for all models, or name some"]),
    # Limits against each other
    "held above held_total": (
        configuration(limits={"held": "2MiB", "held_total": "1MiB", "event": "1MiB"}),
        ["limits.held: 2MiB is more than limits.held_total, 1MiB"],
    ),
    "bodies_total below body": (
        configuration(limits={"body": "8MiB", "bodies_total": "4MiB"}),
        ["limits.bodies_total: 4MiB is less than limits.body, 8MiB"],
    ),
    "concurrency: 0": (
        upstream(concurrency=0),
        ["upstreams.openai.concurrency: 0 is not a whole number from 1 to 1,000,000"],
    ),
    # Not built yet
    "a group nobody configured": (
        configuration(keys=[KEY | {"group": "blue"}], groups={"blu": {"requests_per_minute": 5}}),
        ['keys[0].group: unknown group "blue"; known: blu; did you mean "blu"?'],
    ),
    "limits that limit nothing": (
        configuration(
            keys=[KEY | {"requests_per_minute": 0}],
            groups={"blue": {"tokens_per_minute": -1}},
            models={"fast": MODEL | {"limits": {"concurrent_streams": 1.5}}},
        ),
        [
            "models.fast.limits.concurrent_streams: 1.5 is not a whole number from 1 to 1,099,511,627,776",
            "keys[0].requests_per_minute: 0 is not a whole number from 1 to 1,099,511,627,776",
            "groups.blue.tokens_per_minute: -1 is not a whole number from 1 to 1,125,899,906,842,624",
        ],
    ),
    "budgets": (
        configuration(
            keys=[
                KEY
                | {
                    "budgets": [
                        {"dollars": 5, "per": "day"},
                        {"dollars": "5.50", "per": "day"},
                        {"dollars": 5, "credits": 5},
                        {"per": "week"},
                        {"dollars": 0},
                        {"dollars": -1},
                        {"credits": 7},
                        {"dollars": 1, "per": "hour"},
                    ]
                }
            ],
        ),
        [
            "keys[0].budgets[5].dollars: -1 is not an amount of dollars; write a decimal from 0 to 1,000,000",
            'keys[0].budgets[7].per: unknown window "hour"; known: day, week, month',
            "keys[0].budgets[1]: limits what budgets[0] does; leave the higher one out",
            "keys[0].budgets[2]: must say either dollars or credits, such as {dollars: 25, per: month}",
            "keys[0].budgets[3]: must say either dollars or credits, such as {dollars: 25, per: month}",
            "keys[0].budgets[4].dollars: 0 allows nothing that costs anything; leave models out of `models` instead",
            "keys[0].budgets[6].credits: nothing is billed in credits; write `credits` with its rate, or dollars",
        ],
    ),
    "what to do without limits' keeper": (
        configuration(limits_unavailable="ask"),
        ['limits_unavailable: unknown choice "ask"; known: allow, deny'],
    ),
    "a weight without its routing": (
        target(weight=3),
        [
            f"models.fast.targets[0].weight: 3 {NO_EFFECT}",
        ],
    ),
    "no weight at all": (
        model(routing="weight", targets=[MODEL["targets"][0] | {"weight": 0}]),
        ["models.fast.targets: all have the weight 0, so that none would be tried first; give one more"],
    ),
    "an unknown routing": (
        model(routing="random"),
        ['models.fast.routing: unknown choice "random"; known: order, weight, least_loaded'],
    ),
    "a cool-down above its maximum": (
        configuration(health={"cooldown": 90}),
        ["health.cooldown_max: 60 s is less than health.cooldown, 90 s; write as much at least"],
    ),
    "an unknown way to be down": (
        configuration(health={"all_down": "panic", "failures": -1}),
        [
            "health.failures: -1 is not a whole number from 0 to 1,000,000",
            'health.all_down: unknown choice "panic"; known: fail, wait',
        ],
    ),
    "workers": (configuration(workers=0), ["workers: 0 is not a whole number from 1 to 1,024"]),
    "store": (
        configuration(store="mysql://me:pass@db/x"),
        ['store: is no store; write "sqlite:///FILE", "postgresql://USER:PASSWORD@HOST/DATABASE" or "none"'],
    ),
    "shared": (
        configuration(shared="http://:pass@cache"),
        ["shared: is not redis://HOST:PORT/DB, rediss:// (TLS) or unix:///PATH, with USER:PASSWORD@ if need be"],
    ),
    "on_disconnect": (
        configuration(on_disconnect="wait"),
        ['on_disconnect: unknown choice "wait"; known: cancel, finish'],
    ),
    # Times of one's own
    "a model's times": (
        model(timeouts={"idle": 0, "heartbeat": -1, "write": 5}),
        [
            f'models.fast.timeouts.write: unknown setting "write"; known: {MODELS_TIMEOUTS}',
            f"models.fast.timeouts.idle: 0 {A_DURATION}",
            f"models.fast.timeouts.heartbeat: -1 {A_DURATION.replace('above', 'from')}",
        ],
    ),
    "a target's times": (
        target(timeouts={"connect": "soon", "total": 60}),
        [
            f'models.fast.targets[0].timeouts.total: unknown setting "total"; known: {TARGETS_TIMEOUTS}',
            f'models.fast.targets[0].timeouts.connect: "soon" {A_DURATION}',
        ],
    ),
    "times that are no mapping": (
        model(timeouts=30),
        ["models.fast.timeouts: must be a mapping of names to values, not a number"],
    ),
    "a switch": (configuration(heartbeat_early="maybe"), ['heartbeat_early: "maybe" is not true or false']),
    # References
    "an unset variable": (
        key(key="${NOT_SET}"),
        ["keys[0].key: the environment variable NOT_SET is not set; set it, or write ${NOT_SET:-default}"],
    ),
    "a reference that is none": (
        target(model="${a b}"),
        ['models.fast.targets[0].model: "${a b}" is not a reference; write ${VAR}, ${VAR:-default} or ${file:PATH}'],
    ),
    "an open reference": (
        target(model="a${KEY"),
        ["models.fast.targets[0].model: a ${ has no closing brace; a plain ${ is written $${"],
    ),
    "a missing file": (
        key(key="${file:no.key}"),
        ['keys[0].key: cannot read the file "no.key": No such file or directory'],
    ),
    "what came from a variable is not shown": (
        configuration(listen="${OFF}999"),
        ['listen: "${OFF}999" has no such port; write 0 to 65535 (0 picks a free one)'],
    ),
    # The file itself
    "broken YAML": (
        "keys:\n  - {name: dev, key: 'sk-secret",
        ["gate.json: is not YAML: line 2, column 32: found unexpected end of stream"],
    ),
    "a tab": (
        "a:\n\t- b",
        ["gate.json: is not YAML: line 2, column 1: found character '\\t' that cannot start any token"],
    ),
    "a name twice in YAML": (
        "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2",
        ['gate.json: is not YAML: line 2, column 1: the name "listen" stands here for the second time'],
    ),
    "a tag": (
        "a: !!python/object:os.system x",
        [
            (
                "gate.json: is not YAML: line 1, column 4: "
                "could not determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system'"
            )
        ],
    ),
    "an alias in itself": ("models: &a\n  b: *a\n", ["gate.json: is nested too deep, or a YAML alias contains itself"]),
    "too deep": ("[" * 2_000, ["gate.json: is nested too deep"]),
    "two documents": ("a: 1\n---\nb: 2", ["gate.json: is not YAML: line 2, column 1: but found another document"]),
    "control characters": (
        "a: \0",
        ["gate.json: is not YAML: it holds characters or values that YAML does not allow"],
    ),
}
