"""Processes of their own that are forked from one which has imported the program.

To start Python and to import trio takes longer than what most of them do. tests/cli/test_main.py starts the program as
a shell does.
"""

from __future__ import annotations

import multiprocessing

__all__ = ["FORKED"]

FORKED = multiprocessing.get_context("forkserver")
# A name that is found wherever the first test that needs it has gone, for what cannot be imported is passed over.
FORKED.set_forkserver_preload(["trio_smtp.cli.serve"])
