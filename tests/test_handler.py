"""The classes that an application writes and is given; how a session uses them is tested in tests/server."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest

from trio_smtp.handler import HOOKS, Handler, HandlerFactory, Mail, MessageAborted, Peer, Refuse, Session
from trio_smtp.protocol import AbortReason, Address, Envelope, MailParameters, RcptTo, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_smtp.handler import Body


def mail(content: bytes) -> Mail:
    session = Session("0a1b2c3d", Peer("192.0.2.1", 40000), "mx.example.com")
    return Mail(Address("ann", "example.com"), (Address("bob", "example.com"),), MailParameters(), content, session)


# --- what a subclass may look like


def test_overrides_are_the_hooks_that_a_class_defines_or_inherits() -> None:
    class Base(Handler):
        async def message(self, envelope: Envelope, body: Body) -> None: ...

    class Derived(Base):
        async def rcpt(self, event: RcptTo) -> None: ...

    class Mixin:
        async def close(self) -> None: ...

    class Mixed(Mixin, Derived):
        pass

    assert Handler.overrides == set()
    assert Base.overrides == {"message"}
    assert Derived.overrides == {"message", "rcpt"}
    assert Mixed.overrides == {"message", "rcpt", "close"}
    assert Derived.overrides < set(HOOKS)


def test_hooks_are_the_public_coroutines_of_the_class() -> None:
    public = [name for name, member in vars(Handler).items() if callable(member) and not name.startswith("_")]
    assert sorted(public) == sorted(HOOKS)


def sync(self: object, *arguments: object) -> None: ...


async def coroutine(self: object, *arguments: object) -> None: ...


async def generator(self: object, *arguments: object) -> Any:
    yield


async def without_arguments(self: object) -> None: ...


async def one_too_many(self: object, event: object) -> None: ...


@wraps(coroutine)
def wrapper(self: object, *arguments: object) -> Any:
    return coroutine(self, *arguments)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (
            {"recpt": coroutine},
            r"Wrong\.recpt is not a hook of Handler \(connect, hello, .*\); .* must begin with _",
        ),
        ({"rset": sync}, r"Wrong\.rset is not a hook of Handler"),
        ({"helper": coroutine}, r"Wrong\.helper is not a hook of Handler"),
        ({"rcpt": sync}, r"Wrong\.rcpt must be an async method"),
        ({"message": generator}, r"Wrong\.message must be an async method"),
        ({"close": wrapper}, r"Wrong\.close must be an async method"),
        ({"mail": None}, r"Wrong\.mail must be an async method"),
        ({"hello": staticmethod(sync)}, r"Wrong\.hello must be an async method"),
        ({"rcpt": without_arguments}, r"Wrong\.rcpt must take \(self, event\)"),
        ({"close": one_too_many}, r"Wrong\.close must take \(self\)"),
    ],
)
def test_mistakes_are_found_when_the_class_is_defined(members: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        type("Wrong", (Handler,), members)


@pytest.mark.parametrize(
    ("member", "complaint"),
    [(sync, r"Wrong\.rcpt must be an async method"), (without_arguments, r"Wrong\.rcpt must take \(self, event\)")],
)
def test_mistakes_in_a_mixin_class_are_found_too(member: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        type("Wrong", (type("Mixin", (), {"rcpt": member}), Handler), {})


def test_a_mixin_class_comes_before_the_handler() -> None:
    mixin = type("Mixin", (), {"rcpt": coroutine})
    with pytest.raises(TypeError, match=r"^Wrong does not use Mixin\.rcpt; put Mixin before Handler$"):
        type("Wrong", (Handler, mixin), {})
    type("Right", (mixin, Handler), {})
    type("OfAnotherKind", (Handler, type("Resource", (), {"close": sync})), {})


def test_a_hook_may_be_given_back() -> None:
    class Base(Handler):
        async def rcpt(self, event: RcptTo) -> None: ...

    class Derived(Base):
        rcpt = Handler.rcpt  # type: ignore[assignment]  # it returns more than None

    assert Derived.overrides == set()


def test_helpers_and_everything_that_is_no_method_are_welcome() -> None:
    class Fine(Handler):
        limit = 5
        parse: Callable[[str], int] = int

        def __init__(self) -> None:
            self.count = 0

        async def _helper(self) -> None: ...

        def headers(self) -> None: ...

        @property
        def remaining(self) -> int:
            return self.limit - self.count

        @classmethod
        def factory(cls) -> HandlerFactory:
            return HandlerFactory(cls)

        @staticmethod
        def now() -> int:
            return 0

    assert Fine.overrides == set()


# --- values


@pytest.mark.parametrize(
    ("arguments", "wire"),
    [
        ((550, "No such user", "5.1.1"), b"550 5.1.1 No such user\r\n"),
        ((452, "Full"), b"452 4.0.0 Full\r\n"),
        ((421, "Busy", "4.3.2"), b"421 4.3.2 Busy\r\n"),
    ],
)
def test_refuse_makes_its_reply(arguments: tuple[int, str], wire: bytes) -> None:
    assert Refuse(*arguments).reply.wire == wire


@pytest.mark.parametrize(
    "arguments",
    [
        (250, "Ok"),  # refuses nothing
        (354, "Go on"),
        (550, "No\r\n250 Yes"),  # would be two replies
        (550, "Grüße"),
        (550, "x" * 600),
        (550, "No", "4.1.1"),  # not its class
        (1000, "No"),
    ],
)
def test_refuse_checks_its_reply(arguments: tuple[int, str]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the texts are those of Reply
        Refuse(*arguments)


def test_message_aborted_says_why() -> None:
    error = MessageAborted(AbortReason.EOF)
    assert error.reason is AbortReason.EOF
    assert str(error) == "the client went away"


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (Peer("192.0.2.1", 40000), "192.0.2.1:40000"),
        (Peer("2001:db8::1", 40000), "[2001:db8::1]:40000"),
        (Peer("", 0), "local"),
    ],
)
def test_peer_as_text(peer: Peer, text: str) -> None:
    assert str(peer) == text


async def test_the_hooks_of_the_base_class_say_yes_but_to_the_message() -> None:
    handler = Handler()
    assert await handler.connect() is None
    assert await handler.rcpt(RcptTo(Address("ann", "example.com"), None)) is None  # type: ignore[arg-type]  # not looked at
    with pytest.raises(Refuse) as raised:
        await handler.message(Envelope(None, MailParameters()), None)  # type: ignore[arg-type]  # not looked at
    assert raised.value.reply == Reply(554, "This server takes no mail", "5.3.2")


def test_mail_is_parsed_on_demand_and_once() -> None:
    it = mail(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello\r\n")
    assert it.parsed.subject == "Grüße"
    assert it.parsed.text == "Hello\n"
    assert it.parsed is it.parsed


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"no header\r\n", b"To: " + b"(" * 500 + b"\r\n\r\n"])
def test_bad_mail_is_parsed_too(content: bytes) -> None:
    it = mail(content)
    assert it.parsed.subject == ""
    assert it.content == content


def test_the_content_is_not_in_the_representation() -> None:
    assert "secret" not in repr(mail(b"a secret"))
