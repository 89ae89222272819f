"""Which part of the package may import which, by the design; the imports are read from the installed package."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trio_smtp

ROOT = Path(trio_smtp.__file__).parent

# A part of the package may import the parts of the rows above its own, and itself.
ROWS = [
    {"protocol", "sasl", "mime", "_checks", "_escape"},
    {"mailbox", "header_section"},
    {"handler"},
    {"policy", "trace"},
    {"mailbox_handler", "server"},
    {"submission"},
    {"cli", "testing"},
    {"__init__", "__main__"},
]
ROW = {part: number for number, parts in enumerate(ROWS) for part in parts}

# Modules for I/O, time and randomness. They must not be used by code that must give the same results every time.
IMPURE = {"asyncio", "logging", "os", "random", "secrets", "select", "socket", "ssl", "threading", "time"}


def module_name(path: Path) -> str:
    parts = ["trio_smtp", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def part_of(module: str) -> str:
    """The part of the package that holds a module: ``trio_smtp.protocol.states`` is in ``protocol``."""
    return (*module.split("."), "__init__")[1]


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING:``, which never run."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from run_time_nodes(other)
        else:
            yield from run_time_nodes(child)


def imports(module: str) -> set[str]:
    """Return the modules that a module imports, at its top or later. An import of `__version__` does not count."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set[str]()
    for node in run_time_nodes(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, node.module] if node.module else base)
            members = {f"{source}.{alias.name}" for alias in node.names if alias.name != "__version__"}
            submodules = members & MODULES.keys()
            found |= submodules if submodules == members else {source, *submodules}
    return found


def is_within(part: str, module: str) -> bool:
    return f"{module}.".startswith(f"trio_smtp.{part}.")


def modules_of(*parts: str) -> list[str]:
    return [module for module in MODULES if part_of(module) in parts]


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_one_way(module: str) -> None:
    assert part_of(module) in ROW, "a new part of the package needs its place in ROWS"
    for imported in imports(module) & MODULES.keys():
        if part_of(imported) != part_of(module):
            assert ROW[part_of(imported)] < ROW[part_of(module)], f"{module} imports {imported}"


def test_no_cycles() -> None:
    graph = {module: imports(module) & MODULES.keys() - {module} for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", modules_of("protocol", "sasl", "mime"))
def test_pure_parts_use_the_standard_library_only(module: str) -> None:
    allowed = sys.stdlib_module_names - IMPURE
    for imported in imports(module):
        assert is_within(part_of(module), imported) or imported.split(".")[0] in allowed, imported


@pytest.mark.parametrize("module", ["trio_smtp.mailbox.store", "trio_smtp.mailbox.memory"])
def test_stores_know_neither_trio_nor_smtp(module: str) -> None:
    for imported in imports(module):
        is_ours = is_within("mailbox", imported) or is_within("mime", imported)
        assert is_ours or imported.split(".")[0] in sys.stdlib_module_names, imported


def test_core_imports_without_trio() -> None:
    script = (
        "import sys; sys.modules['trio'] = None\n"
        "import trio_smtp.protocol, trio_smtp.sasl, trio_smtp.mime, trio_smtp.mailbox\n"
        "import trio_smtp.mailbox.memory, trio_smtp.mailbox.store"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
