"""Checks of what an application passes in, before it is used: a mistake must show at once, not when mail comes.

This matters most for hooks: a misspelt one would go unnoticed, and what it should refuse would be accepted.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
from collections.abc import Awaitable, Callable, Collection
from types import NoneType
from typing import Any, Final, TypeGuard

__all__ = ["check_hooks", "check_type", "hint", "is_async", "takes"]

_SIMILAR: Final = 0.85  # the difflib ratio from which a name is taken for a misspelt hook


def check_hooks(cls: type, base: type, hooks: Collection[str]) -> frozenset[str]:
    """Check a new subclass of `base`; return the hooks that it or one of its bases overrides.

    Raises:
        TypeError: if a hook is not async or cannot be called with its arguments, if one of a mixin class is hidden
            because the class comes after `base`, or if a public method looks like a hook but is not one: it is async,
            or has nearly the name of one.
    """
    overrides = frozenset(name for name in hooks if getattr(cls, name) is not getattr(base, name))
    for name in overrides:
        member = inspect.getattr_static(cls, name)  # perhaps from a mixin class, which has not been checked
        if not inspect.iscoroutinefunction(member):
            raise TypeError(f"{cls.__name__}.{name} must be an async method")
        arguments = list(inspect.signature(getattr(base, name)).parameters)
        if not takes(member, len(arguments)):
            raise TypeError(f"{cls.__name__}.{name} must take ({', '.join(arguments)})")
    for other, name in itertools.product(cls.__mro__, hooks):
        is_hook = not issubclass(other, base) and inspect.iscoroutinefunction(vars(other).get(name))
        if is_hook and name not in overrides:
            raise TypeError(
                f"{cls.__name__} does not use {other.__name__}.{name}; put {other.__name__} before {base.__name__}"
            )
    for name, member in vars(cls).items():
        if not name.startswith("_") and not hasattr(base, name) and _looks_like_a_hook(name, member, hooks):
            raise TypeError(
                f"{cls.__name__}.{name} is not a hook of {base.__name__} ({', '.join(hooks)}); "
                "the name of a helper method must begin with _"
            )
    return overrides


def _looks_like_a_hook(name: str, member: object, hooks: Collection[str]) -> bool:
    return inspect.iscoroutinefunction(member) or (
        inspect.isfunction(member) and bool(difflib.get_close_matches(name, hooks, cutoff=_SIMILAR))
    )


def check_type(name: str, value: object, *kinds: type) -> None:
    """Raise TypeError if the argument of that name is of none of these types."""
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds if kind is not NoneType)
        raise TypeError(f"{name} must be of type {names}, not {value!r}")


def takes(function: Callable[..., object], count: int) -> bool:
    """Whether `function` can be called with so many positional arguments; True if its signature is unknown."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a function in C without a signature
        return True
    return True


def is_async(candidate: object) -> TypeGuard[Callable[..., Awaitable[Any]]]:
    """Whether `candidate` is an async function, a partial of one, or an object whose ``__call__`` is one."""
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    return inspect.iscoroutinefunction(candidate) or (
        not isinstance(candidate, type) and inspect.iscoroutinefunction(getattr(type(candidate), "__call__", None))  # noqa: B004 - it must be async, not just callable
    )


def hint(candidate: object) -> str:
    """The end of an error message: what to do with an object that should be an async function and is not one."""
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    if inspect.iscoroutine(candidate):
        return "; pass the function itself, without calling it"
    if inspect.isasyncgenfunction(candidate):
        return "; it must return, not yield"
    if inspect.isfunction(candidate) and candidate.__name__ == "<lambda>":
        return "; a lambda is never async, so write an async def"
    if inspect.isroutine(candidate):
        return "; make it an async def"
    return ""
