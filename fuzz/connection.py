"""Targets: a whole connection, fed with octets or with the words of the protocol.

Whatever the client sends and the application answers, the events and the replies must not depend on how the input is
cut, each line must get its reply, the messages must be those that were sent, and the buffer must stay small.
"""

from __future__ import annotations

from fuzz.client import Client
from fuzz.cuts import CUTS
from fuzz.scenario import FLIGHT, HEADER, Scenario, play
from trio_smtp.protocol import CloseReason

_MESSAGE = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nHi\r\n.\r\n"
WORDS = (
    *(b"EHLO x\r\n", b"LHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n"),
    *(b"BDAT 3\r\nabc", b"BDAT 3 LAST\r\nabc", b"BDAT 0 LAST\r\n", b"BDAT 0\r\n", b"BDAT 65\r\n", b"BDAT 65 LAST\r\n"),
    *(b"BDAT 641\r\n", b"BDAT\r\n", b"BDAT 9999999999 LAST\r\n", b"BDAT -1\r\n", b"x" * 65, b"x" * 641, _MESSAGE),
    *(b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"HELP\r\n", b"VRFY x\r\n", b"EXPN x\r\n", b"STARTTLS\r\n", FLIGHT),
    *(b"AUTH PLAIN\r\n", b"AUTH PLAIN =\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"AUTH LOGIN\r\n", b"AUTH X\r\n"),
    *(b"YQ==\r\n", b"*\r\n", b".\r\n", b"\r\n.", b"\r\n", b"\r", b"\n", b".", b"..", b" ", b"\t", b"\0", b"\x7f", b"x"),
    *(b"MAIL FROM:", b"RCPT TO:", b"<>", b"<a@b>", b"<postmaster>", b'<@r:"q"@[IPv6:::1]>', b"<\xc3\xa9@d>", b"\xff"),
    *(b" SIZE=64", b" SIZE=65", b" BODY=BINARYMIME", b" BODY=8BITMIME", b" SMTPUTF8", b" RET=HDRS", b" ENVID=+2B"),
    *(b" AUTH=<>", b" NOTIFY=NEVER", b" ORCPT=rfc822;a@b", b" X=y", b"mail from:<a@b>\r\n", b"rSeT\r\n"),
    *(b"EHLO", b"MAIL", b"BDAT ", b"AUTH ", b" LAST", b"1", b"0", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01"),
)
"""The words from which the target `connection_words` makes its input."""


def connection(data: bytes) -> None:
    """Play a scenario. The input is its header, then what the client sends."""
    data = data.ljust(HEADER, b"\0")
    check(Scenario.decode(data[:HEADER], data[HEADER:]))


def connection_words(data: bytes) -> None:
    """Play a scenario. The input is its header, then one octet for each word that the client sends."""
    data = data.ljust(HEADER, b"\0")
    check(Scenario.decode(data[:HEADER], b"".join(WORDS[octet % len(WORDS)] for octet in data[HEADER:])))


def check(scenario: Scenario) -> None:
    transcripts = {name: play(scenario, cut) for name, cut in CUTS.items()}
    transcript = transcripts["whole"]
    for name, other in transcripts.items():
        assert other == transcript, f"{name}: {other} is not {transcript}"
    first, *others = scenario.flights
    client = Client(
        [scenario.prefix + first, *others],
        transcript.out,
        lmtp=scenario.config.lmtp,
        hung_up=transcript.closed is not CloseReason.EOF,
    )
    client.read()
    sent = iter(client.messages)
    assert all(message in sent for message in transcript.messages), "a message that was not sent"
