"""MAIL and RCPT: arguments, parameters, sequence, the recipient limit. RFC 5321 §3.3."""

from __future__ import annotations

import dataclasses

import pytest

from tests.protocol.dialogue import (
    ANN,
    AT_GREETED,
    AT_MAIL,
    AT_RCPT,
    AT_READY,
    BOB,
    CONFIG,
    DATA,
    MAIL,
    RCPT,
    RCPT_CAT,
    Dialogue,
    check,
)
from trio_smtp.protocol import (
    Address,
    Limits,
    MailFrom,
    MailParameters,
    MessageEnd,
    MessageStart,
    RcptParameters,
    RcptTo,
    Reply,
    State,
    replies,
)

BAD_SIZES = ["=" + "9" * 1000, "=" + "9" * 400, "=" + "9" * 21, "=-1", "=1_0", "=+5", "=\u0661", "", "=", "=1 SIZE=1"]


def rcpt_to(local_part: str, domain: str) -> RcptTo:
    return RcptTo(Address(local_part, domain), RcptParameters())


MAILS = [
    Dialogue("null sender", AT_READY, b"MAIL FROM:<>\r\n", "250", [MailFrom(None, MailParameters())], state=State.MAIL),
    Dialogue("case of the command", AT_READY, b"mail from:<ann@a.example>\r\n", "250/2.1.0", [MAIL]),
    Dialogue("trailing space", AT_READY, b"MAIL FROM:<ann@a.example>  \r\n", "250", [MAIL]),
    Dialogue(
        "parameters",
        AT_READY,
        b"MAIL FROM:<ann@a.example> SIZE=5 body=8bitmime SMTPUTF8 \r\n",
        "250",
        [MailFrom(ANN, MailParameters(size=5, body="8BITMIME", smtputf8=True))],
    ),
    Dialogue(
        "bad syntax",
        AT_READY,
        b"MAIL\r\nMAIL <ann@a.example>\r\nMAIL FROM: <ann@a.example>\r\nMAIL FROM:ann@a.example\r\nMAIL  FROM:<>\r\n",
        "501/5.5.4 501/5.5.4 501/5.5.4 501/5.5.4 501/5.5.4",
        state=State.READY,
    ),
    *(
        Dialogue(
            f"loose paths: {line!r}",
            AT_READY,
            line + b"\r\n",
            "250",
            [MAIL],
            config=dataclasses.replace(CONFIG, loose_paths=True),
        )
        for line in (
            b"MAIL FROM:<ann@a.example>",
            b"MAIL FROM:ann@a.example",
            b"MAIL FROM: ann@a.example",
            b"MAIL FROM:  <ann@a.example>",
            b"mail from: <ann@a.example> ",
        )
    ),
    Dialogue(
        "loose paths: RCPT, and faults",
        AT_MAIL,
        b"RCPT TO: bob@b.example\r\nRCPT TO:\r\nRCPT TO: \r\n"
        b"RCPT TO:bob\r\nRCPT bob@b.example\r\nRCPT TO:bob@b.example>\r\n",
        "250 501 501 501 501 501",
        [RCPT],
        config=dataclasses.replace(CONFIG, loose_paths=True),
    ),
    *(
        Dialogue(
            f"loose paths: {path!r}",
            AT_READY,
            b"MAIL FROM:%b BODY=8BITMIME\r\n" % path,
            "250" if sender else "501/5.1.7",
            [MailFrom(sender, MailParameters(body="8BITMIME"))] if sender else [],
            config=dataclasses.replace(CONFIG, loose_paths=True),
        )
        for path, sender in [
            (b"<ann.@a.example>", Address("ann.", "a.example")),
            (b" ..ann..b@a.example", Address("..ann..b", "a.example")),
            (b"<.@a.example>", Address(".", "a.example")),
            (b'<"ann."@a.example>', Address("ann.", "a.example")),
            (b"<%b@a.example>" % (b"x" * 65), Address("x" * 65, "a.example")),
            (b"<%b.@d>" % (b"x" * 251), Address("x" * 251 + ".", "d")),
            (b"<%b.@d>" % (b"x" * 252), None),
            (b"<@b_1:ann.@_a-b_.1_>", Address("ann.", "_a-b_.1_")),
            (b"<@a.example>", None),
            (b"<ann@a..example>", None),
            (b"<ann@-a>", None),
            (b"<ann@a.>", None),
            (b"<ann.(b)@a.example>", None),
            (b"<ann. @a.example>", None),
        ]
    ),
    Dialogue(
        "what loose paths would take",
        AT_READY,
        b"MAIL FROM:<ann.@a.example>\r\nMAIL FROM:<ann@web_1>\r\nMAIL FROM:<%b@a.example>\r\n" % (b"x" * 65),
        "501/5.1.7 501/5.1.7 501/5.1.7",
    ),
    Dialogue(
        "loose paths: parameters",
        AT_READY,
        b"MAIL FROM: ann@a.example SIZE=5 X=1\r\nMAIL FROM: ann@a.example SIZE=5\r\n",
        "555 250",
        [MailFrom(ANN, MailParameters(size=5))],
        config=dataclasses.replace(CONFIG, loose_paths=True),
    ),
    Dialogue(
        "before EHLO, and nested",
        AT_GREETED,
        b"MAIL FROM:<ann@a.example>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\n",
        "503/5.5.1 503 503",
        state=State.GREETED,
    ),
    Dialogue(
        "nested MAIL keeps the transaction",
        AT_RCPT,
        b"MAIL FROM:<eve@e.example>\r\nDATA\r\n.\r\n",
        "503/5.5.1 354 250",
        [DATA, MessageEnd(0)],
    ),
    Dialogue(
        "the application refuses",
        AT_READY,
        b"MAIL FROM:<ann@a.example>\r\nRCPT TO:<bob@b.example>\r\nMAIL FROM:<ann@a.example>\r\n",
        "550/5.7.1 503 250/2.1.5",
        [MAIL, MAIL],
        {MailFrom: [Reply(550, "no", "5.7.1"), Reply(250, "well", "2.1.5")]},
        state=State.MAIL,
    ),
    *(
        Dialogue(f"SIZE{value}", AT_READY, f"MAIL FROM:<a@b> SIZE{value}\r\n".encode(), "501/5.5.4", state=State.READY)
        for value in BAD_SIZES
    ),
    Dialogue("5,000 digits", AT_READY, b"MAIL FROM:<a@b> SIZE=%b\r\n" % (b"9" * 5000), "500", state=State.READY),
    Dialogue(
        "SIZE over the limit and at it",
        AT_READY,
        b"MAIL FROM:<ann@a.example> SIZE=99999999999999999999\r\n"
        b"MAIL FROM:<ann@a.example> SIZE=33554433\r\n"
        b"MAIL FROM:<ann@a.example> SIZE=33554432\r\n"
        b"RCPT TO:<bob@b.example>\r\nDATA\r\n.\r\n",
        "552/5.3.4 552 250 250 354 250",
        [MailFrom(ANN, MailParameters(size=33554432)), RCPT, MessageStart(False, 33554432), MessageEnd(0)],
    ),
    Dialogue(
        "parameters that are unknown, or of an extension that is not offered",
        AT_READY,
        b"MAIL FROM:<a@b> FOO=1\r\nMAIL FROM:<a@b> RET=FULL\r\nMAIL FROM:<a@b> AUTH=<>\r\n",
        "555/5.5.4 555 555",
    ),
    Dialogue(
        "DSN where it is offered",
        AT_READY,
        b"MAIL FROM:<ann@a.example> RET=HDRS ENVID=x+2By\r\nRCPT TO:<bob@b.example> NOTIFY=NEVER\r\n",
        "250 250",
        [
            MailFrom(ANN, MailParameters(ret="HDRS", envid="x+y")),
            RcptTo(BOB, RcptParameters(notify=frozenset({"NEVER"}))),
        ],
        config=dataclasses.replace(CONFIG, dsn=True),
    ),
    Dialogue(
        "AUTH= where AUTH is offered (RFC 4954 5)",
        AT_READY,
        b"MAIL FROM:<ann@a.example> AUTH=<>\r\n",
        "250",
        [MailFrom(ANN, MailParameters(auth="<>"))],
        tls_active=True,
    ),
    Dialogue(
        "xtext that hides a newline",
        AT_READY,
        b"MAIL FROM:<a@b> AUTH=a@b+0D+0A\r\nMAIL FROM:<a@b> AUTH=a+0A@b\r\n",
        "501 501",
        tls_active=True,
    ),
    Dialogue(
        "paths that are too long",
        AT_READY,
        b"MAIL FROM:<%b@b>\r\nMAIL FROM:<a@%b>\r\nMAIL FROM:<a@%b>\r\nMAIL FROM:<%b@b>\r\n"
        % (b"x" * 65, b"x" * 256, b"x." * 150 + b"x", b"x" * 64),
        "501/5.1.7 501/5.1.7 501/5.1.7 250",
        [MailFrom(Address("x" * 64, "b"), MailParameters())],
    ),
    Dialogue(
        "an 8-bit address needs SMTPUTF8",
        AT_READY,
        "MAIL FROM:<é@b>\r\nMAIL FROM:<é@b> SMTPUTF8\r\nRCPT TO:<ü@b>\r\n".encode(),
        "553/5.6.7 250 250",
        [MailFrom(Address("é", "b"), MailParameters(smtputf8=True)), rcpt_to("ü", "b")],
    ),
    Dialogue("not UTF-8", AT_READY, b"MAIL FROM:<\xff@b> SMTPUTF8\r\n", "501", state=State.READY),
    Dialogue(
        "what a client says is never echoed",
        AT_READY,
        b"MAIL FROM:<\x80\r\nRCPT TO:<evil\r\nFOO <script>\r\n",
        "501 503 500",
    ),
]

RCPTS = [
    Dialogue(
        "bad syntax",
        AT_MAIL,
        b"RCPT\r\nRCPT <bob@b.example>\r\nRCPT TO:<>\r\nRCPT TO:<bob>\r\nRCPT FROM:<bob@b.example>\r\n",
        "501/5.5.4 501/5.5.4 501/5.1.3 501/5.1.3 501/5.5.4",
        state=State.MAIL,
    ),
    Dialogue(
        "postmaster, source route, quoted string, literal",
        AT_MAIL,
        b"RCPT TO:<Postmaster>\r\nRCPT TO:<@x.example,@y.example:bob@b.example>\r\n"
        b'RCPT TO:<"a\\ b"@b.example>\r\nRCPT TO:<bob@[IPv6:::1]>\r\nRCPT TO:<"bob@b.example>\r\n',
        "250 250 250 250 501",
        [rcpt_to("Postmaster", ""), RCPT, rcpt_to("a b", "b.example"), rcpt_to("bob", "[IPv6:::1]")],
    ),
    Dialogue("unknown parameter", AT_MAIL, b"RCPT TO:<a@b> FOO\r\n", "555/5.5.4", state=State.MAIL),
    Dialogue("extension not offered", AT_MAIL, b"RCPT TO:<a@b> NOTIFY=NEVER\r\n", "555", state=State.MAIL),
    Dialogue("local part of 65", AT_MAIL, b"RCPT TO:<%b@b>\r\n" % (b"x" * 65), "501/5.1.3"),
    Dialogue("SMTPUTF8 is MAIL's to ask for", AT_MAIL, "RCPT TO:<ü@b>\r\n".encode(), "553/5.6.7"),
    Dialogue(
        "what a shell would run is data, or no address",
        AT_MAIL,
        b"RCPT TO:<x;sh@d>\r\nRCPT TO:<`id`@d>\r\nRCPT TO:<|cmd@d>\r\nRCPT TO:<$(id)@d>\r\nRCPT TO:<../../etc@d>\r\n",
        "501 250 250 501 501",
        [rcpt_to("`id`", "d"), rcpt_to("|cmd", "d")],
    ),
    Dialogue("before MAIL", AT_READY, b"RCPT TO:<bob@b.example>\r\nDATA\r\n", "503/5.5.1 503", state=State.READY),
    Dialogue(
        "the application refuses some",
        AT_MAIL,
        b"RCPT TO:<bob@b.example>\r\nRCPT TO:<cat@b.example>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\n.\r\n",
        "550/5.1.1 450 251/2.1.5 354 250",
        [RCPT, RCPT_CAT, RCPT, DATA, MessageEnd(0)],
        {RcptTo: [replies.MAILBOX_UNKNOWN, replies.MAILBOX_BUSY, Reply(251, "will forward", "2.1.5")]},
    ),
    Dialogue(
        "over the limit 452, and no errors",
        AT_MAIL,
        b"RCPT TO:<bob@b.example>\r\n" * 50,
        "250 250" + " 452/4.5.3" * 48,
        [RCPT, RCPT],
        config=dataclasses.replace(CONFIG, limits=Limits(recipients=2, errors=3)),
        state=State.RCPT,
    ),
    Dialogue(
        "over the limit a bad address is still one",
        AT_MAIL,
        b"RCPT TO:<bob@b.example>\r\nRCPT TO:<>\r\n",
        "250 501",
        [RCPT],
        config=dataclasses.replace(CONFIG, limits=Limits(recipients=1)),
    ),
    Dialogue(
        "refused recipients count for nothing but errors",
        AT_MAIL,
        b"RCPT TO:<bob@b.example>\r\n" * 4,
        "550 550 250 452",
        [RCPT, RCPT, RCPT],
        {RcptTo: [replies.MAILBOX_UNKNOWN] * 2},
        config=dataclasses.replace(CONFIG, limits=Limits(recipients=1)),
    ),
]


@pytest.mark.parametrize("dialogue", MAILS, ids=str)
def test_mail(dialogue: Dialogue) -> None:
    check(dialogue)


@pytest.mark.parametrize("dialogue", RCPTS, ids=str)
def test_rcpt(dialogue: Dialogue) -> None:
    check(dialogue)
