"""``${VAR}``, ``${VAR:-default}`` and ``${file:PATH}`` in string values, after the file has been parsed.

Rules: text that came out is not looked at again, so that nothing in the environment or a file can act as configuration;
names of settings are never expanded; ``$${`` stands for a plain ``${``. As in a shell, ``:-`` also stands in for a
variable that is empty. The line end at the end of a file is dropped, since editors put one there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import re

from sluicegate.config.read import Problems, child
from sluicegate.config.readers import Wrong
from sluicegate.config.values import Expanded, shown

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.ASCII | re.DOTALL)


class Sources:
    """Where expansion looks things up: an environment, and how to read a file's text (raises Wrong)."""

    def __init__(self, environ: Mapping[str, str], read_file: Callable[[str], str]) -> None:
        self.environ = environ
        self.read_file = read_file


def expand_tree(tree: object, sources: Sources, problems: Problems, path: str = "") -> object:
    """Return a parsed file with every string value expanded; what cannot be is noted and left as it is."""
    if isinstance(tree, dict):
        return {name: expand_tree(value, sources, problems, child(path, str(name))) for name, value in tree.items()}
    if isinstance(tree, list):
        return [expand_tree(value, sources, problems, f"{path}[{i}]") for i, value in enumerate(tree)]
    if not isinstance(tree, str):
        return tree
    try:
        return expand(tree, sources)
    except Wrong as wrong:
        problems.add(path, str(wrong))
        return tree


def expand(written: str, sources: Sources) -> str:
    """Return a string value with its references replaced. Raises Wrong."""
    if "${" not in written:
        return written
    return Expanded(_REFERENCE.sub(lambda found: _replacement(found, sources), written), written)


def _replacement(found: re.Match[str], sources: Sources) -> str:
    if found[1] is None:
        return "${"
    if not found[2]:
        raise Wrong("a ${ has no closing brace; a plain ${ is written $${")
    if found[1].startswith("file:"):
        return sources.read_file(found[1].removeprefix("file:")).removesuffix("\n").removesuffix("\r")
    variable = _VARIABLE.fullmatch(found[1])
    if variable is None:
        raise Wrong(f"{shown(found[0])} is not a reference; write ${{VAR}}, ${{VAR:-default}} or ${{file:PATH}}")
    name, default = variable[1], variable[2]
    value = sources.environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise Wrong(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    return value
