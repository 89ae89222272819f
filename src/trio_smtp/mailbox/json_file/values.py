"""Checks of parsed JSON: each function returns its argument with the required type, or raises `RecordError`."""

from __future__ import annotations

from typing import cast

_MAX_INTEGER = 2**63 - 1


class RecordError(Exception):
    """A line is not a record, or not a valid one; the text says why."""


def members(value: object) -> dict[str, object]:
    """An object."""
    if not isinstance(value, dict):
        raise RecordError("no object where one belongs")
    return cast("dict[str, object]", value)


def array(value: object) -> list[object]:
    """An array."""
    if not isinstance(value, list):
        raise RecordError("no array where one belongs")
    return cast("list[object]", value)


def text(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise RecordError("no string where one belongs")
    return value


def optional_text(value: object) -> str | None:
    """A string or null."""
    return None if value is None else text(value)


def texts(value: object) -> tuple[str, ...]:
    """An array of strings."""
    return tuple([text(each) for each in array(value)])


def flags(value: object) -> frozenset[str]:
    """An array of strings, as a set."""
    return frozenset(texts(value))


def integer(value: object) -> int:
    """An integer of at most 63 bits and a sign."""
    if type(value) is not int or not -_MAX_INTEGER <= value <= _MAX_INTEGER:
        raise RecordError("no integer where one belongs")
    return value


def number(value: object) -> int:
    """An integer that is not negative."""
    checked = integer(value)
    if checked < 0:
        raise RecordError("a number is negative")
    return checked


def optional_number(value: object) -> int | None:
    """A number or null."""
    return None if value is None else number(value)


def integers(value: object) -> tuple[int, ...]:
    """An array of integers."""
    checked = cast("list[int]", array(value))
    # Not one by one, which is slow for many, and snapshots consist of these.
    if (
        not {int}.issuperset(map(type, checked))
        or min(checked, default=0) < -_MAX_INTEGER
        or max(checked, default=0) > _MAX_INTEGER
    ):
        raise RecordError("no integers where they belong")
    return tuple(checked)


def numbers(value: object) -> tuple[int, ...]:
    """An array of numbers."""
    checked = integers(value)
    if min(checked, default=0) < 0:
        raise RecordError("a number is negative")
    return checked


def truth(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise RecordError("neither true nor false")
    return value
