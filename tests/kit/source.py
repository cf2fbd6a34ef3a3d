"""A checkout as text and syntax trees: what tests/kit/house.py judges. Nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
import re

PACKAGE = "sluicegate"
CODE_FOLDERS = ("python", "rust", "tests", "bench", "fuzz/fuzz_targets")
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(?:pub )?mod (\w+);")
RUST_USE = re.compile(r"\buse\s+([^;]+);")
RUST_PATH = re.compile(r"\b(?:crate|super|self)(?:::\w+)+")
RUST_ITEM = re.compile(r"\b(?:fn|struct|enum|mod|trait) (\w+)")


@dataclass(frozen=True)
class Tree:
    """A checkout (or a small bad one that a test has made)."""

    root: Path

    def python(self, room: str = "") -> Iterator[Source]:
        """The package's modules, or those of one room (a module or a folder at its top)."""
        base = self.root / "python" / PACKAGE
        for path in sorted(base.rglob("*.py")):
            source = Source(self.root, path, path.relative_to(base).as_posix())
            if room in ("", source.room):
                yield source

    def rust(self) -> Iterator[Source]:
        """The crate's files, but for the modules that lib.rs declares for tests alone."""
        base = self.root / "rust" / "src"
        face = base / "lib.rs"
        for_tests = TEST_MODULE.findall(face.read_text(encoding="utf-8")) if face.exists() else []
        for path in sorted(base.rglob("*.rs")):
            source = Source(self.root, path, path.relative_to(base).as_posix())
            if source.inside.split("/")[0].removesuffix(".rs") not in for_tests:
                yield source

    def code(self) -> Iterator[Source]:
        """Every file a human wrote code in."""
        for folder in CODE_FOLDERS:
            for path in sorted((self.root / folder).rglob("*")):
                if path.suffix in (".py", ".rs"):
                    yield Source(self.root, path, path.relative_to(self.root).as_posix())


@dataclass(frozen=True)
class Source:
    """One file. `inside` is its path below the package or the crate."""

    root: Path
    path: Path
    inside: str

    @property
    def room(self) -> str:
        """The first part of its name: `web` for web/app.py, `gateway` for gateway.py, empty for the package itself."""
        first = self.inside.split("/")[0].removesuffix(".py")
        return "" if first == "__init__" else first

    @property
    def module(self) -> str:
        """Its dotted name."""
        return ".".join((PACKAGE, *self.inside.removesuffix(".py").split("/"))).removesuffix(".__init__")

    @property
    def rust_module(self) -> tuple[str, ...]:
        """Its place in the crate: `("relay", "story")` for relay/story.rs, `("json",)` for json/mod.rs."""
        return tuple(self.inside.removesuffix(".rs").removesuffix("/mod").split("/"))

    @property
    def text(self) -> str:
        """What it says."""
        return self.path.read_text(encoding="utf-8")

    def at(self, line: int, what: str) -> str:
        """An offence."""
        return f"{self.path.relative_to(self.root).as_posix()}:{line} {what}"


@cache
def parsed(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions(module: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module."""
    return [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Every module the file imports, by its full dotted name, with the line."""
    package = source.module if source.path.name == "__init__.py" else source.module.rpartition(".")[0]
    for node in ast.walk(parsed(source.path)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join((*above, *filter(None, [node.module])))
            for name in node.names:
                yield node.lineno, f"{base}.{name.name}"


def target_module(name: str, modules: set[str]) -> str | None:
    """The module of ours that an imported name lies in."""
    while name.startswith(PACKAGE):
        if name in modules:
            return name
        name = name.rpartition(".")[0]
    return None


def docstrings(tree: ast.Module) -> set[int]:
    """The identities of the nodes that are bare strings: docstrings, and the words under attributes."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


def rust_lines(source: Source) -> Iterator[tuple[int, str]]:
    """The file's lines of code: without comments, and without what follows the first `#[cfg(test)] mod tests {`."""
    text = re.split(r"#\[cfg\(test\)\]\s*mod \w+ \{", source.text)[0]
    for number, line in enumerate(text.split("\n"), 1):
        if code := re.sub(r"(^|\s)//.*", "", line).strip():
            yield number, code


def python_names(source: Source) -> list[tuple[int, str]]:
    """What functions and classes are called."""
    classes = [node for node in ast.walk(parsed(source.path)) if isinstance(node, ast.ClassDef)]
    return [(node.lineno, node.name) for node in (*functions(parsed(source.path)), *classes)]


def rust_names(source: Source) -> list[tuple[int, str]]:
    """What functions, types and modules are called."""
    return [(line, name) for line, words in rust_lines(source) for name in RUST_ITEM.findall(words)]


def rust_imports(source: Source, modules: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The modules of the crate whose items the file names, by `use` or by their path."""
    code = "\n".join(words for _, words in rust_lines(source))
    paths = [path for tree in RUST_USE.findall(code) for path in rust_use(tree)]
    paths += RUST_PATH.findall(RUST_USE.sub("", code))
    here, found = source.rust_module, set()
    for path in paths:
        first, *rest = path.split("::")
        base: tuple[str, ...] = here
        if first == "crate":
            base = ()
        elif first == "super":
            ups = 1 + next((n for n, part in enumerate(rest) if part != "super"), len(rest))
            base, rest = here[:-ups], rest[ups - 1 :]
        elif first != "self":
            rest = [first, *rest]
        target = (*base, *rest)
        while target and target not in modules:
            target = target[:-1]
        found.add(target)
    return found - {here, ()}


def rust_use(tree: str) -> list[str]:
    """The paths of a `use` declaration: `a::{b, c::D}` are `a::b` and `a::c::D`."""
    head, brace, rest = re.sub(r"\s", "", tree).partition("{")
    if not brace:
        return [head]
    parts, depth = [""], 0
    for char in rest.removesuffix("}"):
        depth += (char == "{") - (char == "}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [head + path for part in parts if part for path in rust_use(part)]
