"""Hooks: the replies to what they return and raise, faults, the session as they see it, and when they are called."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Literal

import pytest
import trio

from tests.server.tools import (
    ACCEPTED,
    CONTENT,
    DATA,
    HELLO,
    TRANSACTION,
    TRANSACTION_ACCEPTED,
    Recorder,
    begin,
    connected,
    deliver,
    handler_with,
)
from trio_smtp.handler import Body, Handler, HandlerFactory, Mail, Refuse
from trio_smtp.protocol import Config, Envelope, Hello, Limits, RcptTo, Reply, Verify
from trio_smtp.server import open_server
from trio_smtp.testing.client import ClientReply, ScriptedClient, open_session

Hook = Callable[..., Awaitable[Any]]

STANDARD = {
    "connect": "220 localhost ESMTP",
    "hello": "250 localhost",
    "mail": "250 2.1.0",
    "rcpt": "250 2.1.5",
    "verify": "252 2.5.2",
    "message": ACCEPTED,
}
COMMANDS = {
    "hello": b"EHLO client.example\r\n",
    "mail": b"MAIL FROM:<ann@example.com>\r\n",
    "rcpt": b"RCPT TO:<bob@example.com>\r\n",
    "verify": b"VRFY bob\r\n",
    "message": DATA,
}
WITHOUT_ENHANCED_CODE = ("connect", "hello")  # RFC 2034 §4

every_hook = pytest.mark.parametrize("hook", STANDARD)


def handler(hook: str, outcome: Callable[[], Awaitable[Any]]) -> type[Handler]:
    """A handler with one hook, which has this outcome; the `message` hook reads its body first."""

    async def call(*arguments: Any) -> Any:
        if hook == "message":
            await arguments[1].read()
        return await outcome()

    return handler_with(**{hook: call})


def returning(value: object) -> Callable[[], Awaitable[Any]]:
    async def outcome() -> object:
        return value

    return outcome


def raising(error: Exception) -> Callable[[], Awaitable[Any]]:
    async def outcome() -> object:
        raise error

    return outcome


async def answer(client: ScriptedClient, hook: str) -> ClientReply:
    """The reply to the command that calls this hook, after all those that come before it."""
    reply = await client.read_reply()
    for name, command in COMMANDS.items():
        if hook == "connect":
            break
        await client.send(command)
        if name == "message":
            await client.expect("354")
        reply = await client.read_reply()
        if name == hook:
            break
    return reply


# --- outcomes


@every_hook
async def test_none_stands_for_the_standard_reply(hook: str) -> None:
    async with open_session(handler(hook, returning(None))) as client:
        assert str(await answer(client, hook)).startswith(STANDARD[hook])


@every_hook
async def test_a_positive_reply_takes_its_place(hook: str, log: pytest.LogCaptureFixture) -> None:
    code = 220 if hook == "connect" else 250
    async with open_session(handler(hook, returning(Reply(code, "Nice to see you", "2.7.7")))) as client:
        reply = str(await answer(client, hook))
    if hook == "hello":  # the host name comes first, RFC 5321 §4.1.1.1
        assert reply == "250 localhost Nice to see you"
    else:
        assert reply == f"{code} {'' if hook in WITHOUT_ENHANCED_CODE else '2.7.7 '}Nice to see you"
    assert "refused" not in log.text


@every_hook
@pytest.mark.parametrize("form", ["raised", "returned", "in a nursery", "in two nurseries"])
async def test_a_refusal_is_the_answer(hook: str, form: str, caplog: pytest.LogCaptureFixture) -> None:
    async def refuse() -> Reply:
        if form == "returned":
            return Reply(450, "Not today", "4.7.1")
        raise Refuse(450, "Not today", "4.7.1")

    async def in_nurseries(depth: int) -> Reply:
        if depth == 0:
            return await refuse()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_nurseries, depth - 1)
            await trio.sleep_forever()
        raise AssertionError("the nursery raises")

    depth = {"in a nursery": 1, "in two nurseries": 2}.get(form, 0)
    async with open_session(handler(hook, lambda: in_nurseries(depth))) as client:
        reply = await answer(client, hook)
        assert str(reply) == f"450 {'' if hook in WITHOUT_ENHANCED_CODE else '4.7.1 '}Not today"
        if hook == "connect":
            await client.expect_close()
        else:
            assert (await client.command("NOOP")).code == 250
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


FAULTS = {
    "exception": raising(Exception("my secret")),
    "assertion": raising(AssertionError("my secret")),
    "group": raising(ExceptionGroup("my secret", [ValueError("my secret"), Refuse(550, "my secret")])),
    "memory": raising(MemoryError("my secret")),
    "no-threads": raising(RuntimeError("can't start new thread: my secret")),
    "os-error": raising(OSError(24, "my secret")),
    "unprintable": raising(type("Unprintable", (Exception,), {"__str__": lambda self: 1 / 0})()),
    "stop-iteration": raising(StopIteration("my secret")),
    "closed": raising(trio.ClosedResourceError("my secret")),
    "broken": raising(trio.BrokenResourceError("my secret")),
    "too-slow": raising(trio.TooSlowError("my secret")),
    "text": returning("250 my secret"),
    "number": returning(250),
    "truth": returning(True),
    "intermediate-reply": returning(Reply(354, "my secret")),
}


async def recurse() -> None:
    await recurse()


@every_hook
@pytest.mark.parametrize("outcome", [*FAULTS.values(), recurse], ids=[*FAULTS, "recursion"])
async def test_a_fault_is_451_with_a_reference_to_the_log(
    hook: str, outcome: Callable[[], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session(handler(hook, outcome)) as client:
        reply = await answer(client, hook)
        assert reply.code == 451
        assert "secret" not in str(reply)
        match = re.search(r"Internal error, reference ([0-9a-f]+)$", str(reply))
        assert match is not None
        if hook == "connect":
            await client.expect_close()
        else:
            assert (await client.command("NOOP")).code == 250
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info
    assert match[1] in record.getMessage()


@every_hook
@pytest.mark.parametrize("answered", ["250 OK", True, Refuse(550, "No")], ids=["text", "truth", "refusal"])
async def test_the_log_says_what_a_hook_may_return(
    hook: str, answered: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session(handler(hook, returning(answered))) as client:
        await answer(client, hook)
    rule = "a hook must return a Reply (not 3xx) or None, or raise Refuse"
    assert re.search(rf"{re.escape(rule)}; \w+ returned {re.escape(repr(answered))}", caplog.text)


async def test_the_log_says_which_hook_returned_what_it_may_not(caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(Handler):
        async def rcpt(self, event: RcptTo) -> str:  # type: ignore[override]  # as a mistake
            return "550 No"

    async with open_session(Wrong) as client:
        await answer(client, "rcpt")
    assert "; rcpt returned '550 No'" in caplog.text
    assert caplog.text.count("Traceback") == 1  # no other traceback


async def test_after_a_fault_the_next_message_is_taken() -> None:
    outcomes = [raising(ValueError()), returning(None)]

    async def next_outcome() -> object:
        return await outcomes.pop(0)()

    async with open_session(handler("message", next_outcome)) as client:
        await begin(client)
        assert (await client.send_mail("ann@example.com", ["bob@example.com"], CONTENT)).code == 451
        await deliver(client)


@every_hook
async def test_other_sessions_do_not_notice(hook: str) -> None:
    """Neither sessions that were open before nor later ones."""
    outcomes = [returning(None), raising(ValueError()), returning(None)]
    handlers = [handler(hook, outcome)() for outcome in outcomes]
    async with open_server(HandlerFactory(lambda: handlers.pop(0))) as server, connected(server) as before:
        await begin(before)
        async with connected(server) as client:
            assert (await answer(client, hook)).code == 451
        await deliver(before)
        async with connected(server) as after:
            await begin(after)
            await deliver(after)
        assert server.stats.hook_errors == 1


@pytest.mark.parametrize("hook", ["reset", "close"])
@pytest.mark.parametrize("outcome", [*FAULTS.values(), raising(Refuse(550, "No"))], ids=[*FAULTS, "refuse"])
async def test_faults_of_the_hooks_that_answer_nothing(
    hook: str, outcome: Callable[[], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()

    async def call(*arguments: object) -> object:
        recorder.calls.append(hook)
        return await outcome()

    async with open_session(handler_with(**{hook: call})) as client:
        await begin(client)
        await client.send(TRANSACTION + b"RSET\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "250")
        await deliver(client)
        await client.send(b"QUIT\r\n")
        await client.expect_close("221")
    assert recorder.calls == [hook]
    assert "secret" not in "".join(record.getMessage() for record in caplog.records)


async def test_a_factory_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Handler:
        raise ValueError("my secret")

    async with open_session(HandlerFactory(make)) as client:
        await client.expect_close("421")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_factory_that_makes_no_handler(caplog: pytest.LogCaptureFixture) -> None:
    make: Any = lambda: Handler  # noqa: E731 - it returns the class instead of an instance, an easy mistake
    async with open_session(HandlerFactory(make)) as client:
        await client.expect_close("421")
    assert "must return a Handler, and <function" in caplog.text


class Foreign:
    """An awaitable of another event loop, such as an asyncio future."""

    def __await__(self) -> Generator[str]:
        yield "a future of another loop"


@pytest.mark.parametrize(
    ("hook", "sent", "answers"),
    [
        ("connect", b"", []),
        ("hello", HELLO, ["220"]),
        ("mail", HELLO + TRANSACTION, ["220", "250"]),
        ("rcpt", HELLO + TRANSACTION, ["220", "250", "250"]),
        ("verify", HELLO + COMMANDS["verify"], ["220", "250"]),
        ("message", HELLO + TRANSACTION + DATA, ["220", "250", "250", "250", "354"]),
    ],
)
async def test_a_hook_that_waits_for_another_loop_can_clean_up(hook: str, sent: bytes, answers: list[str]) -> None:
    ended: list[str] = []

    async def outcome() -> None:
        try:
            await Foreign()
        finally:
            ended.append(hook)

    async with open_session(handler(hook, outcome)) as client:
        await client.send(sent)
        await client.expect(*answers, "451")
    assert ended == [hook]


async def test_a_text_that_does_not_fit_behind_the_host_name_is_a_fault_of_the_hook() -> None:
    """The text may contain what the client sent. The command gets 451, and the connection goes on."""

    async def hello(event: Hello) -> Reply:
        return Reply(250, f"greets {event.domain} " * 3)

    async with open_session(handler_with(hello=hello)) as client:
        await client.expect("220")
        for domain, answer in (
            ("client.example", "250"),
            (".".join(["x" * 60] * 4), "451 "),
            ("client.example", "250"),
        ):
            await client.send(f"EHLO {domain}\r\n".encode())
            await client.expect(answer)


async def test_a_positive_reply_that_is_no_greeting(caplog: pytest.LogCaptureFixture) -> None:
    async with open_session(handler("connect", returning(Reply(250, "Welcome")))) as client:
        await client.expect_close("451 Internal error, reference ")
    assert "not a greeting" in caplog.text


# --- on_error="raise"


@pytest.mark.parametrize("hook", [*STANDARD, "reset", "close"])
async def test_faults_come_out_of_the_server_for_tests(hook: str) -> None:
    with pytest.raises(ValueError, match=r"^mine$"):
        async with open_session(handler(hook, raising(ValueError("mine"))), on_error="raise") as client:
            await client.expect(STANDARD["connect"] if hook != "connect" else "421")
            await client.send(HELLO + TRANSACTION + COMMANDS["verify"])
            if hook == "message":
                await client.send(DATA)
            await client.send(b"RSET\r\nQUIT\r\n")
            await client.rest()


async def test_several_faults_come_out_together() -> None:
    faults = ExceptionGroup("of children", [ValueError("mine"), KeyError("too")])
    with pytest.RaisesGroup(ValueError, KeyError, flatten_subgroups=True):
        async with open_session(handler("mail", raising(faults)), on_error="raise") as client:
            await begin(client)
            await client.send(TRANSACTION)
            await client.rest()


async def test_refusals_are_no_faults_for_tests() -> None:
    async with open_session(handler("rcpt", raising(Refuse(550, "No"))), on_error="raise") as client:
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect("250", "550 5.0.0 No")


@pytest.mark.parametrize("on_error", ["reply", "raise"])
async def test_what_is_no_exception_is_not_for_us(on_error: Literal["reply", "raise"]) -> None:
    """A KeyboardInterrupt, or any other BaseException, is never swallowed; the client still gets 421."""

    class Stop(BaseException):
        pass

    async def stop(event: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        async with open_session(handler_with(mail=stop), on_error=on_error) as client:
            await begin(client)
            assert (await client.command("MAIL FROM:<>")).code == 421


# --- VRFY


async def test_the_verify_hook_is_asked_without_an_option_and_a_refusal_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def verify(event: Verify) -> Reply:
        if event.argument == "bob":
            return Reply(250, "Bob <bob@example.com>", "2.1.5")
        raise Refuse(553, "Say which", "5.1.4")

    async with open_session(handler_with(verify=verify)) as client:
        await begin(client)
        await client.send(b"VRFY bob\r\nVRFY Smith\x7f\r\nVRFY Sm\xc3\xafth\r\n")
        with caplog.at_level(logging.INFO):
            await client.expect("250 2.1.5 Bob <bob@example.com>", "501", "553 5.1.4 Say which")
    assert "refused VRFY Smïth peer=local reply=553 5.1.4 Say which" in caplog.text


# --- the function handler


async def test_the_function_gets_a_mail() -> None:
    mails: list[Mail] = []

    async def on_mail(mail: Mail) -> None:
        mails.append(mail)

    async with open_session(on_mail) as client:
        await begin(client)
        await client.send(b"MAIL FROM:<> SIZE=10 BODY=8BITMIME\r\n" + b"RCPT TO:<bob@example.com>\r\n")
        await client.send(b"RCPT TO:<postmaster>\r\n" + DATA)
        await client.expect("250", "250", "250", "354", ACCEPTED)
    [mail] = mails
    assert mail.sender is None
    assert [str(recipient) for recipient in mail.recipients] == ["bob@example.com", "postmaster"]
    assert (mail.options.size, mail.options.body) == (10, "8BITMIME")
    assert mail.content == CONTENT
    assert mail.parsed.subject == "hello"
    assert mail.session.hello is not None
    assert mail.session.hello.domain == "client.example"


async def test_the_function_refuses_one_message_and_takes_the_next() -> None:
    async def on_mail(mail: Mail) -> Reply | None:
        if not mail.content:
            raise Refuse(554, "Empty", "5.6.0")
        return Reply(250, "Thanks", "2.6.0")

    async with open_session(on_mail) as client:
        await begin(client)
        assert str(await client.send_mail("ann@example.com", ["bob@example.com"], b"")) == "554 5.6.0 Empty"
        assert str(await client.send_mail("ann@example.com", ["bob@example.com"], b"x")) == "250 2.6.0 Thanks"


async def test_the_function_is_asked_even_if_a_client_is_pipelining() -> None:
    mails: list[bytes] = []

    async def on_mail(mail: Mail) -> None:
        mails.append(mail.content)

    async with open_session(on_mail) as client:
        await client.expect("220")
        await client.send(HELLO + (TRANSACTION + DATA) * 3 + b"QUIT\r\n")
        await client.expect("250", *(*TRANSACTION_ACCEPTED, "354", ACCEPTED) * 3)
        await client.expect_close("221")
    assert mails == [CONTENT] * 3


# --- what a handler knows of its session


async def test_the_session_as_hooks_see_it() -> None:
    seen: list[object] = []

    class Looking(Handler):
        async def connect(self) -> None:
            self.session.extras["mine"] = 1
            seen.append((self.session.hello, self.session.tls, self.session.identity, self.session.hostname))

        async def message(self, envelope: Envelope, body: Body) -> None:
            await body.read()
            seen.append((self.session.hello, self.session.extras, self.session.lmtp, str(self.session.peer)))

        async def close(self) -> None:
            seen.append(self.session.id)

    async with open_session(Looking, config=Config(hostname="mx.example.com")) as client:
        await client.expect("220 mx.example.com ESMTP")
        hello = await client.command("HELO first.example")
        assert hello.lines == ("mx.example.com",)
        assert (await client.command("EHLO client.example")).code == 250
        await deliver(client)
    connect, message, session_id = seen
    assert connect == (None, None, None, "mx.example.com")
    assert isinstance(message, tuple)
    hello, *others = message
    assert (hello.verb, hello.domain) == ("EHLO", "client.example")
    assert others == [{"mine": 1}, False, "local"]
    assert re.fullmatch(r"[0-9a-f]+", str(session_id))


async def test_a_refused_hello_is_not_remembered() -> None:
    hellos: list[Hello | None] = []

    class Picky(Handler):
        async def hello(self, event: Hello) -> None:
            if event.domain == "bad.example":
                raise Refuse(550, "Go away")

        async def close(self) -> None:
            hellos.append(self.session.hello)

    async with open_session(Picky) as client:
        await client.expect("220")
        assert (await client.command("EHLO good.example")).code == 250
        assert (await client.command("EHLO bad.example")).code == 550
    assert hellos == [Hello("EHLO", "good.example")]


# --- when they are called


ENVELOPE = ["connect", "EHLO", "mail ann@example.com", "rcpt bob@example.com"]
READ = f"read {len(CONTENT)}"
CALLS = {
    "nothing": (b"", ["connect", "close"]),
    "quit": (HELLO + b"QUIT\r\n", ["connect", "EHLO", "close"]),
    "delivery": (HELLO + TRANSACTION + DATA, [*ENVELOPE, "message", READ, "close"]),
    "two-deliveries": (
        HELLO + (TRANSACTION + DATA) * 2,
        [*ENVELOPE, "message", READ, *ENVELOPE[2:], "message", READ, "close"],
    ),
    "bdat": (HELLO + TRANSACTION + b"BDAT 2\r\nabBDAT 1 LAST\r\nc", [*ENVELOPE, "message", "read 3", "close"]),
    "rset-outside": (HELLO + b"RSET\r\n", ["connect", "EHLO", "close"]),
    "rset": (HELLO + TRANSACTION + b"RSET\r\n", [*ENVELOPE, "reset RSET", "close"]),
    "rset-twice": (HELLO + TRANSACTION + b"RSET\r\nRSET\r\n", [*ENVELOPE, "reset RSET", "close"]),
    "hello": (HELLO + TRANSACTION + b"HELO x\r\n", [*ENVELOPE, "HELO", "reset HELLO", "close"]),
    "quit-inside": (HELLO + TRANSACTION + b"QUIT\r\n", [*ENVELOPE, "reset QUIT", "close"]),
    "eof-inside": (HELLO + TRANSACTION, [*ENVELOPE, "reset EOF", "close"]),
    "eof-in-the-body": (HELLO + TRANSACTION + b"DATA\r\nabc", [*ENVELOPE, "message", "reset EOF", "close"]),
    "eof-in-a-chunk": (HELLO + TRANSACTION + b"BDAT 5\r\nabc", [*ENVELOPE, "message", "reset EOF", "close"]),
    "size": (
        HELLO + TRANSACTION + b"DATA\r\n" + b"x" * 200 + b"\r\n.\r\n",
        [*ENVELOPE, "message", "reset SIZE", "close"],
    ),
    "bare-newline": (
        HELLO + TRANSACTION + b"DATA\r\na\nb\r\n.\r\n",
        [*ENVELOPE, "message", "reset BARE_NEWLINE", "close"],
    ),
    "rset-between-chunks": (
        HELLO + TRANSACTION + b"BDAT 2\r\nabRSET\r\n",
        [*ENVELOPE, "message", "reset RSET", "close"],
    ),
    "hello-between-chunks": (
        HELLO + TRANSACTION + b"BDAT 2\r\nabEHLO x\r\n",
        [*ENVELOPE, "message", "EHLO", "reset HELLO", "close"],
    ),
    "quit-between-chunks": (
        HELLO + TRANSACTION + b"BDAT 2\r\nabQUIT\r\n",
        [*ENVELOPE, "message", "reset QUIT", "close"],
    ),
    "too-many-errors": (HELLO + TRANSACTION + b"WHAT\r\n" * 3, [*ENVELOPE, "reset CLOSING", "close"]),
    "not-smtp": (HELLO + TRANSACTION + b"GET / HTTP/1.1\r\n", [*ENVELOPE, "reset CLOSING", "close"]),
    "syntax-errors-call-nobody": (
        HELLO + b"MAIL FROM:\r\nMAIL FROM:<a@b> X=Y\r\n",
        ["connect", "EHLO", "close"],
    ),
}


@pytest.mark.parametrize(("sent", "calls"), CALLS.values(), ids=CALLS)
async def test_hooks_are_called_when_promised(sent: bytes, calls: list[str]) -> None:
    recorder = Recorder()
    config = Config(limits=Limits(message_size=100, errors=3))
    async with open_session(recorder.factory, config=config) as client:
        await client.send(sent)
        await client.send_eof()
        await client.rest()
    assert recorder.calls == calls


async def test_a_handler_without_hooks_refuses_all_mail() -> None:
    async with open_session(Handler) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "554 5.3.2")


async def test_an_instance_for_each_connection() -> None:
    made: list[Handler] = []

    class Counted(Handler):
        def __init__(self) -> None:
            made.append(self)

    async with open_server(Counted) as server, connected(server) as first, connected(server) as second:
        await begin(first)
        await begin(second)
    assert len(set(made)) == 2


@every_hook
async def test_421_ends_the_connection(hook: str) -> None:
    async with open_session(handler(hook, raising(Refuse(421, "Going down")))) as client:
        assert (await answer(client, hook)).code == 421
        await client.expect_close()
