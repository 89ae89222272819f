"""Passwords that cost next to nothing to hash, for all tests but those of the costs.

The costs are lowered when this is imported, which conftest.py does before anything else: some passwords are hashed
while the tests are collected.
"""

from __future__ import annotations

from typing import Any, Final

from trio_smtp.mailbox import passwords

_CHEAP: Final[dict[str, Any]] = {
    "_ARGON2": passwords._Method("argon2id", (256, 1, 1)),
    "_SCRYPT": passwords._Method("scrypt", (4, 8, 1)),
    "SCRAM_ITERATIONS": 5000,
}
COSTS: Final[dict[str, Any]] = {name: getattr(passwords, name) for name in _CHEAP}
"""The costs in the program."""

for name, cost in _CHEAP.items():
    setattr(passwords, name, cost)
