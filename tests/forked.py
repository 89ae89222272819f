"""Processes of their own that are forked from one which has imported the program.

To start Python and to import trio takes longer than what most of them do. tests/cli/test_main.py starts the program as
a shell does.
"""

from __future__ import annotations

import multiprocessing

from trio_smtp.cli import serve  # noqa: F401 - in time for those that are forked

__all__ = ["FORKED"]

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([__name__])
