"""`resolve_handler`: what can be used as a handler, and the errors for everything else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from trio_smtp.handler import Handler, HandlerFactory, Mail
from trio_smtp.server.login import resolve_authenticator
from trio_smtp.server.settings import resolve_handler
from trio_smtp.testing import open_session


async def on_mail(mail: Mail) -> None: ...


async def with_options(mail: Mail, *, option: int) -> None: ...


def not_async(mail: Mail) -> None: ...


class Callee:
    async def __call__(self, mail: Mail) -> None: ...

    async def method(self, mail: Mail) -> None: ...


class SyncCallee:
    def __call__(self, mail: Mail) -> None: ...


class Special(Handler):
    def __init__(self, number: int = 0) -> None:
        self.number = number


@pytest.mark.parametrize(
    "function",
    [
        on_mail,
        partial(with_options, option=1),
        partial(partial(with_options, option=1), option=2),
        Callee(),
        Callee().method,
        partial(Callee()),
    ],
    ids=["function", "partial", "partial-of-partial", "callable-object", "method", "partial-of-callable-object"],
)
def test_async_functions(function: Callable[[Mail], Any]) -> None:
    make = resolve_handler(function)
    assert make().overrides == {"message"}
    assert make() is not make()


def test_handler_class() -> None:
    first, second = (resolve_handler(Special)() for _ in range(2))
    assert isinstance(first, Special)
    assert first is not second


class Needy(Handler):
    def __init__(self, number: int) -> None: ...


class Made(Needy):
    @classmethod
    def factory(cls, number: int) -> HandlerFactory:
        return HandlerFactory(lambda: cls(number))


async def on_two(mail: Mail, more: object) -> None: ...


async def on_nothing() -> None: ...


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (Needy, r"Needy cannot be created without arguments; pass HandlerFactory\(lambda: Needy\(\.\.\.\)\)"),
        (Made, r"Made cannot be created without arguments; pass Made\.factory\(\.\.\.\)"),
        (
            HandlerFactory(Needy),  # type: ignore[arg-type]  # that is the test
            "needs a synchronous function without arguments, not <class",
        ),
        (HandlerFactory(Special(7)), "needs a synchronous function without arguments, not <"),  # type: ignore[arg-type]  # that is the test
        (HandlerFactory(on_nothing), "needs a synchronous function without arguments, not <function on_nothing"),  # type: ignore[arg-type]  # that is the test
        (on_two, "must take one argument, the Mail, and <function on_two"),
        (on_nothing, "must take one argument, the Mail"),
    ],
)
def test_what_could_not_be_called(wrong: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        resolve_handler(wrong)


def test_handler_factory() -> None:
    handler = resolve_handler(HandlerFactory(lambda: Special(7)))()
    assert isinstance(handler, Special)
    assert handler.number == 7


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "on_mail",
        not_async,
        lambda mail: on_mail(mail),  # noqa: PLW0108 - nothing shows that it returns a coroutine
        partial(not_async),
        SyncCallee(),
        Callee,  # the class: calling it gives no coroutine
        Special(),  # an instance: it could serve one connection only
        dict,
        object(),
    ],
    ids=[
        "none",
        "text",
        "function",
        "lambda",
        "partial",
        "callable-object",
        "class",
        "handler-instance",
        "another-class",
        "object",
    ],
)
def test_anything_else_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="a handler must be an async function of one Mail, a subclass of Handler"):
        resolve_handler(wrong)


async def generator(mail: Mail) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        (not_async, "make it an async def"),
        (partial(not_async), "make it an async def"),
        (lambda mail: on_mail(mail), "a lambda is never async, so write an async def"),  # noqa: PLW0108 - as above
        (generator, "it must return, not yield"),
    ],
    ids=["function", "partial", "lambda", "generator"],
)
def test_the_error_says_what_to_write_instead(wrong: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=f">; {advice}$|\\); {advice}$"):
        resolve_handler(wrong)
    with pytest.raises(TypeError, match=f">; {advice}$|\\); {advice}$"):
        resolve_authenticator(wrong)


def test_a_handler_that_was_called() -> None:
    called: Any = on_nothing()
    with pytest.raises(TypeError, match=r"pass the function itself, without calling it$"):
        resolve_handler(called)
    called.close()


async def test_a_handler_serves_one_connection_only() -> None:
    handler = Special()
    factory = HandlerFactory(lambda: handler)
    async with open_session(factory) as client:
        await client.expect("220")
    with pytest.raises(TypeError, match=r"must make a new Handler each time, and <function .*> did not"):
        async with open_session(factory, on_error="raise"):
            pass
