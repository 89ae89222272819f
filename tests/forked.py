"""Separate processes for tests, forked from a fork server that has already imported the program.

Starting Python and importing trio takes longer than what most of these processes do. tests/cli/test_main.py starts the
program as a shell does.
"""

from __future__ import annotations

import multiprocessing

__all__ = ["FORKED"]

FORKED = multiprocessing.get_context("forkserver")
# An installed module, which is found in every working directory: the fork server ignores a module that is not found.
FORKED.set_forkserver_preload(["trio_smtp.cli.serve"])
