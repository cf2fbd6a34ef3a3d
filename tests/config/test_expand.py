"""``${...}`` in string values."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
import pytest

from sluicegate.config.expand import Sources, expand, expand_tree
from sluicegate.config.read import Problems
from sluicegate.config.readers import Wrong

FILES = {"/run/secrets/key": "sk-file\n", "empty": "", "dos": "a\r\n", "two": "a\n\n", "sly": "${HOME}"}


def read_file(path: str) -> str:
    if path not in FILES:
        raise Wrong(f"no {path}")
    return FILES[path]


def sources(environ: Mapping[str, str]) -> Sources:
    return Sources(environ, read_file)


ENVIRON = {"HOME": "/root", "EMPTY": "", "SLY": "${HOME}", "_a1": "x"}
CASES = {
    "plain": "plain",
    "": "",
    "$HOME": "$HOME",
    "${HOME}": "/root",
    "a${HOME}b${HOME}": "a/rootb/root",
    "${_a1}": "x",
    "${EMPTY}": "",
    "${EMPTY:-d}": "d",
    "${NONE:-}": "",
    "${NONE:-a:-b}": "a:-b",
    "${NONE:-two\nlines}": "two\nlines",
    "${HOME:-d}": "/root",
    "${SLY}": "${HOME}",
    "${NONE:-$HOME}": "$HOME",
    "${file:/run/secrets/key}": "sk-file",
    "Bearer ${file:/run/secrets/key}": "Bearer sk-file",
    "${file:empty}": "",
    "${file:dos}": "a",
    "${file:two}": "a\n",
    "${file:sly}": "${HOME}",
    "$${HOME}": "${HOME}",
    "$$${HOME}": "$${HOME}",
    "$$": "$$",
    "a}": "a}",
}


@pytest.mark.parametrize("written, expected", CASES.items(), ids=[repr(case) for case in CASES])
def test_expands_to(written: str, expected: str) -> None:
    assert expected == expand(written, sources(ENVIRON))


@pytest.mark.parametrize(
    "written", ["${", "a${b", "${}", "${1a}", "${a b}", "${NONE}", "${file:none}", "${HOME:=d}", "${é}"]
)
def test_refuses(written: str) -> None:
    with pytest.raises(Wrong):
        expand(written, sources(ENVIRON))


@given(st.text())
def test_text_without_references_stays(text: str) -> None:
    text = text.replace("${", "")

    assert text == expand(text, sources({}))


@given(st.text(), st.text(), st.text())
def test_what_comes_out_is_not_looked_at_again(before: str, value: str, after: str) -> None:
    before, after = before.replace("$", ""), after.replace("$", "")

    assert f"{before}{value}{after}" == expand(f"{before}${{NAME}}{after}", sources({"NAME": value}))


@given(st.text())
def test_a_doubled_dollar_keeps_any_text_plain(text: str) -> None:
    text = text.replace("$$", "$")

    assert text == expand(text.replace("${", "$${"), sources({}))


def test_only_values_are_expanded_and_every_failure_is_noted() -> None:
    problems = Problems()

    tree = expand_tree(
        {"${HOME}": ["${HOME}", 5, None, {"a b": "${NONE}"}], "c": "${file:none}"}, sources(ENVIRON), problems
    )

    assert {"${HOME}": ["/root", 5, None, {"a b": "${NONE}"}], "c": "${file:none}"} == tree
    assert [
        '"${HOME}"[3]."a b": the environment variable NONE is not set; set it, or write ${NONE:-default}',
        "c: no none",
    ] == [str(problem) for problem in problems]
