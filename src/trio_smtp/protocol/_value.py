"""How the core's values are made: slotted dataclasses with equality and a hash.

They are frozen for the type checker only. Freezing them at run time would triple the cost of making one, and the core
makes several for each message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

__all__ = ["value"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make `cls` a value."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
