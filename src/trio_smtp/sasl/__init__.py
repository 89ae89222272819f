"""SASL mechanisms, the server's side, as pure step machines (RFC 4422): no I/O, no passwords looked up.

A mechanism is fed the client's responses one by one and says what comes next: a `Challenge` to send, a `Verify` (what
the client claims, for the application to check) or `Failed`. Whether the claim is true is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from trio_smtp.sasl.login import Login
from trio_smtp.sasl.mechanism import Challenge, Failed, Mechanism, Step, Verify
from trio_smtp.sasl.plain import Plain

__all__ = ["MECHANISMS", "Challenge", "Failed", "Login", "Mechanism", "Plain", "Step", "Verify"]

MECHANISMS: Final[Mapping[str, Callable[[], Mechanism]]] = {Plain.name: Plain, Login.name: Login}
"""Each mechanism by its name; every exchange takes a fresh one."""
