"""The rules of the house (docs/ARCHITECTURE.md), each a function from a source tree to the lines that break it.

A rule gives `path:line what` for every offence and an empty list for a tree in good order. The rules read text and
syntax trees only; nothing is imported, so a tree that cannot run can still be judged.
"""

from __future__ import annotations

import ast
import re
from typing import TypeVar

from tests.kit.source import (
    PACKAGE,
    Tree,
    docstrings,
    functions,
    imports,
    parsed,
    python_names,
    rust_imports,
    rust_lines,
    rust_names,
    target_module,
)

# Top to bottom; rooms in one line may see each other (never in a circle). `_native` is Rust: it is below everything.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"demo", "server"},
    {"web"},
    {"finishing"},
    {"gateway"},
    {"attempts", "heartbeats"},
    {"upstream"},
    {"ledger", "access"},
    {"dialects", "telemetry", "limits"},
    {"policy", "store"},
    {"config"},
    {"exchange"},
    {"errors"},
    {"_native", ""},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

AIOHTTP_ROOMS = {"web", "demo"}
# `ledger`: a cost is worked out in one place, for rows and for the usage events that Rust writes; its records are read
# where they are written.
# `errors`: a panic of the core's is a fault like any other.
# `limits`: what a request reserves and settles is counted where its bytes are, in one call each.
NATIVE_ROOMS = {"errors", "upstream", "telemetry", "dialects", "ledger", "store", "limits", "web"}
VENDOR_ROOMS = {"dialects", "config", "demo"}
VENDOR_FILES = {"web/profiles.py"}
VENDORS = re.compile(
    r"openai|open_ai|anthropic|claude|gemini|cohere|mistral|groq|deepseek|openrouter|azure|bedrock|vertex|ollama|vllm|perplexity",
    re.IGNORECASE,
)
IMPURE_MODULES = {
    "asyncio", "time", "datetime", "random", "secrets", "socket", "ssl", "os", "io", "pathlib", "sys", "logging",
    "subprocess", "threading", "urllib", "http", "tempfile", "shutil", "signal", "select",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input"}
#: Maps the memory that metrics outlive a process in; says itself why.
UNSAFE_FILE = "python/lent.rs"
SETTINGS_MODULES = {"yaml", "tomllib"}
MUTABLE_MAKERS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
MUTATORS = {
    "append", "extend", "insert", "remove", "pop", "popleft", "appendleft", "clear", "add", "discard", "update",
    "setdefault", "popitem", "sort", "reverse",
}  # fmt: skip
BANNED_FILE = re.compile(r"^(utils?|helpers?|common|managers?)$|_(utils?|helpers?|manager)$")
BANNED_NAME = re.compile(r"^_*(handle|process)_|[Mm]anager$|^_*(utils?|helpers?)$|[a-z_](Utils?|Helpers?)$")
OUTSIDE_WORLD = re.compile(r"\b(Instant|SystemTime)::now|std::(net|fs|thread|env)\b")
LINES = 400
Node = TypeVar("Node", str, tuple[str, ...])
CASE_TABLE = re.compile(r"(^|_)cases\.py$|(^|[/_])tests\.rs$|/tests/[^/]+\.rs$")


def room_of(name: str) -> str:
    """The room of a dotted name of ours."""
    return [*name.split("."), ""][1]


def imports_go_down(tree: Tree) -> list[str]:
    """Nobody imports a room above his own, and every room has its place in the layers."""
    found = []
    modules = {source.module for source in tree.python()} | {f"{PACKAGE}._native"}
    for source in tree.python():
        if source.room not in LEVEL:
            found.append(source.at(1, f"the room {source.room!r} has no place in the layers"))
            continue
        for line, name in imports(source):
            target = target_module(name, modules)
            room = room_of(target) if target else ""
            if target and room in LEVEL and LEVEL[room] < LEVEL[source.room]:
                found.append(source.at(line, f"imports {target}, which is above it"))
    return found


def no_circles(tree: Tree) -> list[str]:
    """No module imports itself, however long the way round."""
    sources = {source.module: source for source in tree.python()}
    graph = {
        module: {target for _, name in imports(source) if (target := target_module(name, set(sources)))} - {module}
        for module, source in sources.items()
    }
    return [sources[module].at(1, "imports itself by a circle, or leads into one") for module in knotted(graph)]


def rust_has_no_circles(tree: Tree) -> list[str]:
    """No two modules of the core that lie beside each other need each other, with what lies below them, however long
    the way round. A module and what lies in it are one thing, seen from beside; inside it, they may name each other."""
    sources = {source.rust_module: source for source in tree.rust() if not CASE_TABLE.search(source.inside)}
    modules = set(sources)
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {module: set() for module in modules}
    for module, source in sources.items():
        for target in rust_imports(source, modules):
            shared = next((n for n, (a, b) in enumerate(zip(module, target, strict=False)) if a != b), None)
            if shared is not None:
                graph[module[: shared + 1]].add(target[: shared + 1])
    return [sources[module].at(1, "needs itself by a circle, or leads into one") for module in knotted(graph)]


def knotted(graph: dict[Node, set[Node]]) -> list[Node]:
    """What is left of a graph after taking away, again and again, whoever needs nothing that is left."""
    left = dict(graph)
    while leaves := [node for node, targets in left.items() if not targets & left.keys()]:
        for node in leaves:
            del left[node]
    return sorted(left)


def imports_stand_at_the_top(tree: Tree) -> list[str]:
    """No import inside a function."""
    found = []
    for source in tree.python():
        for function in functions(parsed(source.path)):
            found += [
                source.at(node.lineno, f"import inside {function.name}")
                for node in ast.walk(function)
                if isinstance(node, ast.Import | ast.ImportFrom)
            ]
    return found


def imported_only_in(tree: Tree, name: str, rooms: set[str]) -> list[str]:
    """Nobody but these rooms imports this module."""
    found = []
    for source in tree.python():
        for line, imported in imports(source):
            if source.room not in rooms and (imported == name or imported.startswith(f"{name}.")):
                found.append(source.at(line, f"imports {name}"))
    return found


def aiohttp_is_the_edge(tree: Tree) -> list[str]:
    """aiohttp only in web/ and demo/."""
    return imported_only_in(tree, "aiohttp", AIOHTTP_ROOMS)


def rust_is_behind_seven_rooms(tree: Tree) -> list[str]:
    """`_native` only where bytes, costs, counts or its faults are: the rooms named above."""
    return imported_only_in(tree, f"{PACKAGE}._native", NATIVE_ROOMS)


def settings_come_from_config(tree: Tree) -> list[str]:
    """The environment and configuration formats are read in config alone."""
    found = [line for name in SETTINGS_MODULES for line in imported_only_in(tree, name, {"config"})]
    for source in tree.python():
        if source.room == "config":
            continue
        for node in ast.walk(parsed(source.path)):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if name in ("environ", "getenv", "environb"):
                found.append(source.at(getattr(node, "lineno", 1), f"reads os.{name}"))
    return found


def policy_is_pure(tree: Tree) -> list[str]:
    """policy/ decides: nothing asynchronous, no clock, no I/O, no chance."""
    found = []
    for source in tree.python("policy"):
        for line, name in imports(source):
            if name.split(".")[0] in IMPURE_MODULES:
                found.append(source.at(line, f"imports {name}"))
        for node in ast.walk(parsed(source.path)):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                found.append(source.at(node.lineno, "is asynchronous"))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                found.append(source.at(node.lineno, f"calls {node.func.id}"))
    return found


def vendors_stay_in_their_rooms(tree: Tree) -> list[str]:
    """A vendor's name in code only where vendors are known. Comments and docstrings may name whom they are about."""
    found = []
    for source in tree.python():
        if source.room in VENDOR_ROOMS or source.inside in VENDOR_FILES:
            continue
        documentation = docstrings(parsed(source.path))
        for node in ast.walk(parsed(source.path)):
            match node:
                case ast.Constant(value=str(words)) if id(node) not in documentation:
                    said = words
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name):
                    said = name
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    said = name
                case _:
                    continue
            if vendor := VENDORS.search(said):
                found.append(source.at(getattr(node, "lineno", 1), f"names {vendor[0]}"))
    for source in tree.rust():
        if source.inside.startswith("dialect") or CASE_TABLE.search(source.inside):
            continue
        for line, words in rust_lines(source):
            if vendor := VENDORS.search(words):
                found.append(source.at(line, f"names {vendor[0]}"))
    return found


def python_is_behind_one_rust_room(tree: Tree) -> list[str]:
    """pyo3 only in rust/src/python/."""
    return [
        source.at(line, "names pyo3")
        for source in tree.rust()
        if not source.inside.startswith("python/")
        for line, words in rust_lines(source)
        if re.search(r"\bpyo3\b|\bPython<", words)
    ]


def nothing_is_unsafe(tree: Tree) -> list[str]:
    """No `unsafe` but in one file; the core has no clock, no socket, no file; its tests may, to find recordings."""
    found = []
    for source in tree.rust():
        for line, words in rust_lines(source):
            if source.inside != UNSAFE_FILE and re.search(r"\bunsafe\b", words):
                found.append(source.at(line, "is unsafe"))
            core = not source.inside.startswith("python/") and not CASE_TABLE.search(source.inside)
            if core and OUTSIDE_WORLD.search(words):
                found.append(source.at(line, "the core has no I/O and no clock"))
    return found


def modules_hold_no_state(tree: Tree) -> list[str]:
    """Module level holds constants: nothing there changes after import."""
    found = []
    for source in tree.python():
        module = parsed(source.path)
        mutable: set[str] = set()
        for node in module.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            if not is_mutable(node.value):
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and target.id != "__all__":
                    mutable.add(target.id)
                    if target.id.upper() != target.id:
                        found.append(source.at(node.lineno, f"{target.id} is mutable and no constant"))
        for inner in ast.walk(module):
            if isinstance(inner, ast.Global):
                found.append(source.at(inner.lineno, "global"))
            elif (name := mutated(inner)) in mutable:
                found.append(source.at(getattr(inner, "lineno", 1), f"changes {name}"))
    return found


def is_mutable(value: ast.expr) -> bool:
    """Whether an expression makes something that can be changed."""
    if isinstance(value, ast.Call):
        function = value.func
        name = (
            function.attr
            if isinstance(function, ast.Attribute)
            else function.id
            if isinstance(function, ast.Name)
            else ""
        )
        return name in MUTABLE_MAKERS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def mutated(node: ast.AST) -> str | None:
    """The plain name that a node changes in place, if it does."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in MUTATORS:
            return name
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            return name
        case ast.AugAssign(target=ast.Name(id=name)):
            return name
    return None


def files_are_short(tree: Tree) -> list[str]:
    """No code file above 400 lines; tables of cases and .pyi aside."""
    return [
        source.at(LINES, f"has {lines} lines")
        for source in tree.code()
        if not CASE_TABLE.search(source.inside) and (lines := source.text.count("\n")) > LINES
    ]


def names_say_something(tree: Tree) -> list[str]:
    """No utils, helpers, common, manager, handle_, process_."""
    found = []
    for source in tree.code():
        if BANNED_FILE.search(source.path.stem) or BANNED_FILE.search(source.path.parent.name):
            found.append(source.at(1, "has a name that says nothing"))
        names = rust_names(source) if source.path.suffix == ".rs" else python_names(source)
        found += [source.at(line, f"{name} says nothing") for line, name in names if BANNED_NAME.search(name)]
    return found


def tests_mirror_policy(tree: Tree) -> list[str]:
    """Each module of policy/ has its tests under the same name, and no test there is without its module."""
    modules = {source.path.stem for source in tree.python("policy")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in (tree.root / "tests" / "policy").glob("test_*.py")}
    return [f"tests/policy/test_{name}.py:1 is missing" for name in sorted(modules - tests)] + [
        f"tests/policy/test_{name}.py:1 tests no module" for name in sorted(tests - modules)
    ]
