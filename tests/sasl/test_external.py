"""EXTERNAL: RFC 4422, appendix A."""

from __future__ import annotations

import pytest

from trio_smtp.sasl import Challenge, CheckCertificate, External, Failed, Step


@pytest.mark.parametrize(
    ("response", "step"),
    [
        (None, Challenge(b"")),
        (b"", CheckCertificate(None)),
        (b"ann", CheckCertificate("ann")),
        (b"I\xc2\xadX", CheckCertificate("IX")),
        (b"\xff", Failed()),
        (b"a\0b", Failed()),
    ],
)
def test_external(response: bytes | None, step: Step) -> None:
    assert External().step(response) == step
