"""Run one target with atheris: ``python -m fuzz.one TARGET [libFuzzer arguments]``, for example with a crasher."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    atheris = importlib.import_module("atheris")  # not installed where types are checked
    with atheris.instrument_imports(include=["trio_smtp"]):
        targets = importlib.import_module("fuzz.targets").TARGETS
    name, *options = sys.argv[1:]
    if name not in targets:
        sys.exit(f"{name} is none of the targets {', '.join(targets)}")
    atheris.Setup([name, *options], targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
