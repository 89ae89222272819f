"""Classes whose methods are hooks: a misspelt hook must not go unnoticed, for what it was to refuse would be let in."""

from __future__ import annotations

import inspect
from collections.abc import Collection

__all__ = ["check_hooks"]


def check_hooks(cls: type, base: type, hooks: Collection[str]) -> frozenset[str]:
    """Check a new subclass of `base`; the hooks that it overrides, itself or by what it inherits.

    Raises:
        TypeError: for a hook that is not async, and for a public method that is no hook.
    """
    for name, member in vars(cls).items():
        if name in hooks and not inspect.iscoroutinefunction(member):
            raise TypeError(f"{cls.__name__}.{name} must be an async method")
        if inspect.isfunction(member) and not name.startswith("_") and not hasattr(base, name):
            raise TypeError(
                f"{cls.__name__}.{name} is no hook of {base.__name__} ({', '.join(hooks)}); "
                "the name of a helper begins with _"
            )
    return frozenset(name for name in hooks if getattr(cls, name) is not getattr(base, name))
