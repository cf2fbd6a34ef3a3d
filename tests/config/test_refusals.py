"""Every way a configuration can be wrong, and the very words it is refused with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.config.refusal_cases import CASES, ENVIRON, MODEL, UPSTREAM, configuration
import trustme

from sluicegate.config import ConfigError, load


def refusals(tree: object, folder: Path, name: str = "gate.json") -> list[str]:
    file = folder / name
    trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
    file.write_text(tree if isinstance(tree, str) else json.dumps(tree), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(file, ENVIRON)
    return [str(problem).replace(f"{folder}/", "") for problem in refused.value.problems]


@pytest.mark.parametrize("tree, expected", CASES.values(), ids=CASES)
def test_is_refused_with(tree: object, expected: list[str], tmp_path: Path) -> None:
    if isinstance(tree, str) and tree.startswith("timeouts"):
        tree += f"\nupstreams: {json.dumps({'openai': UPSTREAM})}\nmodels: {json.dumps({'fast': MODEL})}"

    assert expected == refusals(tree, tmp_path)


def test_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    assert ["gate.toml: is not TOML: Expected '=' after a key in a key/value pair (at line 2, column 5)"] == refusals(
        'listen = "127.0.0.1:1"\nkey sk-secret', tmp_path, "gate.toml"
    )


def test_a_file_of_no_known_kind(tmp_path: Path) -> None:
    assert ["gate.conf: is of no known kind; name it .yaml, .yml, .json or .toml"] == refusals(
        "", tmp_path, "gate.conf"
    )


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_bytes(b"listen: \xff")

    with pytest.raises(ConfigError) as refused:
        load(file, {})

    assert f'{file}: the file "{file}" is not UTF-8 text' == str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("gate.yaml")

    with pytest.raises(ConfigError) as refused:
        load(file, {})

    assert f'{file}: cannot read the file "{file}": No such file or directory' == str(refused.value)


def test_no_file_and_no_key() -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, {})

    assert "OPENAI_API_KEY: is not set; set it, or name a configuration file with --config FILE" == str(refused.value)


def test_a_certificate_without_its_key(tmp_path: Path) -> None:
    authority = trustme.CA()
    for name in ("one", "other"):
        cert = authority.issue_cert("localhost")
        cert.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        cert.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")

    assert ["tls: the certificate and key cannot be used together: KEY_VALUES_MISMATCH"] == refusals(
        configuration(tls={"cert": "one.pem", "key": "other.key"}), tmp_path
    )
    assert [
        "tls.key: is missing; PEM file of its key, without a password",
        'tls.cert: cannot read the file "no.pem": No such file or directory',
    ] == refusals(configuration(tls={"cert": "no.pem"}), tmp_path)
