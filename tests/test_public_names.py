"""What `import trio_smtp` offers."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import trio_smtp

SOURCE = ast.parse(inspect.getsource(trio_smtp))


def names_for_type_checkers() -> dict[str, str]:
    """Each name that the module imports for type checkers, and from where."""
    return {
        alias.asname or alias.name: node.module or ""
        for statement in SOURCE.body
        if isinstance(statement, ast.If)
        for node in statement.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", trio_smtp.__all__)
def test_every_name_is_that_of_its_module(name: str) -> None:
    home = importlib.import_module(names_for_type_checkers()[name])
    assert getattr(trio_smtp, name) is getattr(home, name)
    assert name in home.__all__


def test_type_checkers_see_the_same_names() -> None:
    assert sorted(names_for_type_checkers()) == sorted(trio_smtp.__all__)


def test_dir() -> None:
    assert {*trio_smtp.__all__, "__version__"} <= set(dir(trio_smtp))


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'trio_smtp' has no attribute 'serve_sntp'"):
        _ = trio_smtp.serve_sntp
    assert not hasattr(trio_smtp, "serve_sntp")


def test_importing_it_loads_no_trio() -> None:
    script = "import sys, trio_smtp; sys.exit('trio' in sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
