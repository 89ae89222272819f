"""The values of `Timeouts`; what happens when one expires is in test_clock.py."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from trio_smtp.server.timeouts import Timeouts

NAMES = [field.name for field in fields(Timeouts)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_every_value_is_positive(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"Timeouts\.{name} must be greater than 0, not {value}"):
        Timeouts(**{name: value})


@pytest.mark.parametrize("value", ["30", None])
def test_every_value_is_a_number(value: object) -> None:
    with pytest.raises(TypeError, match=r"Timeouts\.command must be a number, not "):
        Timeouts(command=value)  # type: ignore[arg-type]  # what somebody without a type checker may write


@pytest.mark.parametrize("name", NAMES)
def test_infinity_is_a_value(name: str) -> None:
    assert getattr(Timeouts(**{name: math.inf}), name) == math.inf


@pytest.mark.parametrize(
    ("name", "minutes"),
    [("command", 5), ("data", 3)],  # RFC 5321 §4.5.3.2.7, §4.5.3.2.5
)
def test_defaults_are_as_patient_as_the_standard_asks(name: str, minutes: int) -> None:
    assert getattr(Timeouts(), name) >= minutes * 60
