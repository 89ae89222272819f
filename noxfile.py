"""All checks of the project. Plain ``nox`` runs those that a change must pass.

The tests run once on each version of Python: from ``src/`` and with coverage on the version that runs nox, against the
built wheel on the newest one, and from ``src/`` on the others. (The wheel has only Python files, so it is the same for
all versions.) The tests with mutants of the store, which test the tests, run only on the version that runs nox. The
tests that simulate power failures or need other programs run on that version and on the newest one, because what they
find hardly depends on the version. On a version between those two, the tests run with the oldest versions of the
project's requirements that pyproject.toml allows.

The versions and the dependencies come from pyproject.toml: versions from the classifiers, dependencies from the groups.
An interpreter that is not installed is skipped. Arguments after ``--`` are passed to the tool that the session runs,
e.g. ``nox -s tests -- tests/protocol -k bdat``.
"""

from __future__ import annotations

import itertools
import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")
RUNNING = ".".join(platform.python_version_tuple()[:2])
VERSIONS = sorted({*nox.project.python_versions(PYPROJECT), RUNNING}, key=lambda v: int(v.split(".")[1]))
PROJECT = PYPROJECT["project"]
REQUIREMENTS = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]
FULLY_COVERED = "*/trio_smtp/protocol/*,*/trio_smtp/mailbox/*,*/trio_smtp/mime/*"

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "typing", "typing_compat", "tests"]

# pyenv's shims fail for a version that is not selected, although it is installed. With its interpreters at the end of
# PATH, a search for a version by name finds them, and nothing else changes.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
for version in VERSIONS:
    for directory in sorted(PYENV.glob(f"versions/{version}.*/bin")):
        os.environ["PATH"] += f"{os.pathsep}{directory}"

NEWEST = [version for version in VERSIONS if version == RUNNING or shutil.which(f"python{version}")][-1]

PYTEST = ("-m", "pytest", "--numprocesses=auto", "--dist=worksteal")  # all processors, kept busy to the end
STARTS_PROGRAMS = ["tests/bench", "tests/cli", "tests/crash", "tests/interop"]
WITHOUT_MUTANTS = ["--ignore=tests/crash/test_mutants.py"]
IN_BETWEEN = ["--ignore=tests/crash", "--ignore=tests/interop"]
os.environ["PYTHONDONTWRITEBYTECODE"] = ""  # the tests start the program many times; let Python cache its bytecode


def install(session: nox.Session, *groups: str, project: str = "-e.") -> None:
    """Install the project and the named dependency groups."""
    session.install(project, *nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session(python=VERSIONS)
def tests(session: nox.Session) -> None:
    """Run the tests; a whole run on the version that runs nox also measures coverage.

    The property tests and the tests that start programs run without coverage, because what they cover depends on
    chance, and coverage doubles their time.
    """
    if session.python == NEWEST != RUNNING and os.environ.get("BUILD_FOLLOWS"):
        session.skip("build runs all of them on this version")
    install(session, "test")
    if session.python not in (RUNNING, NEWEST):
        session.install(*[requirement.replace(">=", "==") for requirement in REQUIREMENTS])
    if session.posargs or session.python != RUNNING:
        some = WITHOUT_MUTANTS if session.python == NEWEST else IN_BETWEEN
        session.run("python", *PYTEST, *(session.posargs or some))
        return
    session.env["COVERAGE_FILE"] = str(session.env_dir / "coverage")
    session.run("coverage", "erase")
    without_programs = [f"--ignore={folder}" for folder in STARTS_PROGRAMS]
    session.run("coverage", "run", *PYTEST, "-m", "not hypothesis", *without_programs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=0")
    session.run("coverage", "report", f"--include={FULLY_COVERED}", "--fail-under=100")
    session.run("python", *PYTEST, "-m", "hypothesis", *without_programs)
    session.run("python", *PYTEST, *STARTS_PROGRAMS)


@nox.session(name="property")
def property_(session: nox.Session) -> None:
    """Run the property tests with many more examples."""
    install(session, "test")
    paths = session.posargs or ["tests"]
    options = ["--hypothesis-profile=property", "-m", "hypothesis", "-o", "faulthandler_timeout=1800"]
    session.run("python", *PYTEST, *options, *paths)


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff, and flake8-async for the trio mistakes that ruff does not know."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    # 109: see pyproject.toml; 124: a hook is async because the interface is, whether it awaits or not
    rules = ["--select=ASYNC1,ASYNC2", "--enable=ASYNC1,ASYNC2", "--disable=ASYNC109,ASYNC124"]
    rules += ["--startable-in-context-manager=serve_smtp,serve_sockets,serve_one,run"]
    # flake8 is slow, a minute for half of the files. The other half has no async code to check.
    files = [path for folder in ("src", "tests", "bench", "fuzz") for path in Path(folder).rglob("*.py")]
    session.run("flake8", *rules, *[str(path) for path in files if re.search(r"\b(async|trio)\b", path.read_text())])


@nox.session
def typing(session: nox.Session) -> None:
    """Run mypy and pyright on everything."""
    install(session, "typing")
    session.run("mypy", "src", "tests", "bench", "fuzz", "noxfile.py")
    session.run("pyright")


@nox.session
def typing_compat(session: nox.Session) -> None:
    """Check and run an application that is typed with trio-typing."""
    install(session, "typing-compat", project=".")
    consumer = Path("tests", "typing_compat", "consumer.py").resolve()
    with session.chdir(session.env_dir):  # so that src/ is not importable, as for an installed application
        session.run("mypy", "--strict", str(consumer))
        session.run("python", "-W", "error", str(consumer))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run every fuzz target, ``--seconds N`` each."""
    install(session, "fuzz")
    session.run("python", "-m", "fuzz", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run a benchmark by its name in bench/; by default the short version of ``run``, which compares other servers."""
    install(session, "bench", project=".[auth,tls]")
    program, *options = session.posargs or ["run", "--quick"]
    session.run("python", "-m", f"bench.{program}", *options)


@nox.session(python=VERSIONS)
def instructions(session: nox.Session) -> None:
    """Count the instructions of the core per message with valgrind; ``--record`` records them."""
    install(session)
    session.run("python", "-m", "bench.instructions", *session.posargs)


@nox.session(python=NEWEST)
def build(session: nox.Session) -> None:
    """Build the wheel from the source archive, and run the tests against it, without src/."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "build"))
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        session.run("python", "-m", "build", "--outdir", str(work / "dist"))
        session.install(*map(str, (work / "dist").glob("*.whl")))
        for name in ("tests", "fuzz", "bench", "docs"):
            shutil.copytree(name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
            shutil.copy(name, work)
        with session.chdir(work):
            session.run("python", *PYTEST, *(session.posargs or WITHOUT_MUTANTS))
