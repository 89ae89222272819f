"""The checks of parsed JSON: values that they accept and values that they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trio_smtp.mailbox.json_file import values
from trio_smtp.mailbox.json_file.values import RecordError

Check = Callable[[object], object]

GOOD: list[tuple[Check, object, object]] = [
    (values.members, {"a": 1}, {"a": 1}),
    (values.array, [1, "a"], [1, "a"]),
    (values.text, "a", "a"),
    (values.optional_text, None, None),
    (values.optional_text, "a", "a"),
    (values.texts, ["a", "b"], ("a", "b")),
    (values.flags, ["a", "b", "a"], frozenset("ab")),
    (values.integer, -(2**63) + 1, -(2**63) + 1),
    (values.number, 0, 0),
    (values.number, 2**63 - 1, 2**63 - 1),
    (values.optional_number, None, None),
    (values.optional_number, 7, 7),
    (values.integers, [], ()),
    (values.integers, [-(2**63) + 1, 2**63 - 1], (-(2**63) + 1, 2**63 - 1)),
    (values.numbers, [], ()),
    (values.numbers, [1, 2], (1, 2)),
    (values.truth, False, False),
]

BAD: list[tuple[Check, object]] = [
    (values.members, []),
    (values.array, {}),
    (values.array, "ab"),
    (values.text, 1),
    (values.text, None),
    (values.optional_text, 0),
    (values.texts, ["a", 1]),
    (values.texts, "ab"),
    (values.flags, None),
    (values.integer, 1.0),
    (values.integer, True),
    (values.integer, "1"),
    (values.integer, 2**63),
    (values.integer, -(2**63)),
    (values.number, -1),
    (values.optional_number, -1),
    (values.integers, "1"),
    (values.integers, [1, 1.0]),
    (values.integers, [1, True]),
    (values.integers, [0, -(2**63)]),
    (values.integers, [0, 2**63]),
    (values.numbers, [1, -1]),
    (values.truth, 0),
    (values.truth, None),
]


@pytest.mark.parametrize(("check", "value", "expected"), GOOD)
def test_good(check: Check, value: object, expected: object) -> None:
    checked = check(value)
    assert (checked, type(checked)) == (expected, type(expected))


@pytest.mark.parametrize(("check", "value"), BAD)
def test_bad(check: Check, value: object) -> None:
    with pytest.raises(RecordError):
        check(value)
