"""What the pages say is so: commands, words, codes and ways in stand in them, and nothing that is not there.

The tables of settings and of series are compared in tests/config and tests/telemetry.
"""

from __future__ import annotations

import ast
from pathlib import Path
import re

import click
import pytest

from sluicegate import cli, errors
from sluicegate.web.profiles import ENDPOINTS, PROFILES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRACT = (ROOT / "docs" / "CONTRACT.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "python" / "sluicegate"
CODE = re.compile(r"`((?:upstream|gateway|invalid|missing|duplicate|unsupported|model|request|client)_[a-z_]+)`")


def test_every_command_of_the_readme_exists_and_every_command_is_in_it() -> None:
    named = set(re.findall(r"sluicegate ([a-z]+)", README))
    assert isinstance(cli.main, click.Group)
    assert named == set(cli.main.commands)


def test_every_word_of_the_makefile_is_explained_and_the_readmes_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    assert words == set(phony)
    assert set(re.findall(r"`make ([a-z-]+)", README)) <= words


def raised_codes() -> set[str]:
    """Every code that an error of ours is made with, anywhere in the package."""
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    found = set(errors.STREAM_ENDS)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in classes and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return found


def test_every_code_that_is_raised_stands_in_the_contract() -> None:
    admins_own = {"missing_admin_token", "invalid_admin_token"}
    assert sorted(code for code in raised_codes() - admins_own if f"`{code}`" not in CONTRACT) == []


def test_every_code_of_the_contract_exists() -> None:
    known = (PACKAGE / "errors.py").read_text(encoding="utf-8") + "".join(sorted(raised_codes()))
    sources = known + "".join(path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py")))
    assert sorted(code for code in set(CODE.findall(CONTRACT)) if code not in sources) == []


def test_every_code_of_the_error_tree_stands_in_the_contract() -> None:
    tree = (errors.__doc__ or "").split("An error has a stable")[0]
    codes = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", tree))
    assert sorted(code for code in codes if f"`{code}`" not in CONTRACT) == []


def test_every_profile_and_every_way_in_is_named() -> None:
    assert [name for name in PROFILES if f"`{name}`" not in CONTRACT] == []
    assert [endpoint.path for endpoint in ENDPOINTS if endpoint.path not in README + CONTRACT] == []


@pytest.mark.parametrize("page", ["README.md", "docs/CONTRACT.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
