"""Checks of what an application hands in, before it is used: a mistake must show at once, not when mail comes.

That goes above all for hooks: a misspelt one would go unnoticed, and what it was to refuse would be let in.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeGuard

__all__ = ["check_hooks", "hint", "is_async", "takes"]

_SIMILAR: Final = 0.85  # of the measure of difflib: a slip of the finger


def check_hooks(cls: type, base: type, hooks: Collection[str]) -> frozenset[str]:
    """Check a new subclass of `base`; the hooks that it overrides, itself or by what it inherits.

    Raises:
        TypeError: for a hook that is not async, or does not take what it is called with, and for a public method that
            looks like a hook and is none: it is async, or has nearly the name of one.
    """
    for name, member in vars(cls).items():
        if name in hooks:
            if not inspect.iscoroutinefunction(member):
                raise TypeError(f"{cls.__name__}.{name} must be an async method")
            arguments = list(inspect.signature(getattr(base, name)).parameters)
            if not takes(member, len(arguments)):
                raise TypeError(f"{cls.__name__}.{name} must take ({', '.join(arguments)})")
        elif not name.startswith("_") and not hasattr(base, name) and _looks_like_a_hook(name, member, hooks):
            raise TypeError(
                f"{cls.__name__}.{name} is no hook of {base.__name__} ({', '.join(hooks)}); "
                "the name of an async helper begins with _"
            )
    return frozenset(name for name in hooks if getattr(cls, name) is not getattr(base, name))


def _looks_like_a_hook(name: str, member: object, hooks: Collection[str]) -> bool:
    return inspect.iscoroutinefunction(member) or (
        inspect.isfunction(member) and bool(difflib.get_close_matches(name, hooks, cutoff=_SIMILAR))
    )


def takes(function: Callable[..., object], count: int) -> bool:
    """Whether it can be called with so many positional arguments, as far as can be seen."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # something of C that does not tell
        return True
    return True


def is_async(candidate: object) -> TypeGuard[Callable[..., Awaitable[Any]]]:
    """Whether it is an async function, a partial one, or an object that is called like one."""
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    return inspect.iscoroutinefunction(candidate) or (
        not isinstance(candidate, type) and inspect.iscoroutinefunction(getattr(type(candidate), "__call__", None))  # noqa: B004 - of what kind it is matters
    )


def hint(candidate: object) -> str:
    """What to do with something that was handed in for an async function and is none, to end an error with."""
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    if inspect.iscoroutine(candidate):
        return "; hand in the function itself, without calling it"
    if inspect.isasyncgenfunction(candidate):
        return "; it must return, not yield"
    if inspect.isfunction(candidate) and candidate.__name__ == "<lambda>":
        return "; a lambda is never async, so write an async def"
    if inspect.isroutine(candidate):
        return "; make it an async def"
    return ""
