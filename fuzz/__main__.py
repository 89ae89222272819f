"""Run the fuzz targets with atheris: ``python -m fuzz [--seconds N] [TARGET ...]``.

Each target runs in a separate process, as many at a time as there are processors, and starts from its corpus and its
earlier crashers. An input that crashes it is stored in ``fuzz/crashers/TARGET``, where the tests find and replay it;
the exit code is then 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.targets import TARGETS

HERE = Path(__file__).parent
SECONDS_PER_INPUT = 10  # longer counts as a hang
MAX_OCTETS = 1024  # enough to exceed every limit


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Run the fuzz targets with atheris.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each target (default: %(default)s)")
    options = parser.parse_args()
    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: python -m pip install --group fuzz")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return max(pool.map(lambda name: fuzz(name, options.seconds), options.targets or TARGETS))


def fuzz(name: str, seconds: int) -> int:
    """Run one target and print the result in one line."""
    crashers = HERE / "crashers" / name
    crashers.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as found:  # libFuzzer writes new inputs to the first corpus
        process = subprocess.run(
            [
                *(sys.executable, "-m", "fuzz.one", name),
                f"-max_total_time={seconds}",
                f"-timeout={SECONDS_PER_INPUT}",
                f"-max_len={MAX_OCTETS}",
                f"-dict={HERE / 'smtp.dict'}",
                f"-artifact_prefix={crashers}/",
                "-print_final_stats=1",
                *(found, str(HERE / "corpus" / name), str(crashers)),
            ],
            check=False,
            cwd=HERE.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
        )
    if process.returncode:
        print(process.stdout[-5000:])
        print(f"{name}: failed; an input that crashed it is in {crashers}", flush=True)
        return 1
    runs = re.search(r"number_of_executed_units: *([0-9]+)", process.stdout)
    print(f"{name}: {runs[1] if runs else 'no'} runs in {seconds} s, no crash", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
