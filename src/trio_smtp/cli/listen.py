"""Where the server listens: URLs of the flag ``--listen``.

| scheme               | TLS                               | login                     |
|----------------------|-----------------------------------|---------------------------|
| ``smtp``             | STARTTLS if there is a certificate | never                     |
| ``smtps``            | implicit                          | never                     |
| ``submission``       | STARTTLS                          | required, inside TLS only |
| ``submissions``      | implicit                          | required                  |
| ``lmtp, lmtp+unix``  | none                              | none                      |
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from trio_smtp.cli.values import Endpoint, endpoint

__all__ = ["ListenSpec", "Scheme", "parse_listen"]


@dataclass(frozen=True)
class Scheme:
    """What a scheme means."""

    name: str
    tls: Literal["never", "if possible", "starttls", "implicit"]
    login: bool = False
    lmtp: bool = False


SCHEMES: Final = {
    scheme.name: scheme
    for scheme in (
        Scheme("smtp", tls="if possible"),
        Scheme("smtps", tls="implicit"),
        Scheme("submission", tls="starttls", login=True),
        Scheme("submissions", tls="implicit", login=True),
        Scheme("lmtp", tls="never", lmtp=True),
        Scheme("lmtp+unix", tls="never", lmtp=True),
    )
}


@dataclass(frozen=True)
class ListenSpec:
    """One listener: on a TCP port (0 is any free one) or on a Unix socket."""

    scheme: Scheme
    where: Endpoint | Path

    def __str__(self) -> str:
        return f"{self.scheme.name}://{self.where}"


def parse_listen(url: str) -> ListenSpec:
    """Read a URL such as ``smtp://127.0.0.1:1025`` or ``lmtp+unix:///run/lmtp.sock``.

    Raises:
        ArgumentTypeError: with a sentence that says what is wrong.
    """
    name, separator, rest = url.partition("://")
    scheme = SCHEMES.get(name)
    if not separator or scheme is None:
        raise ArgumentTypeError(f"{url!a} is no URL that begins with {', '.join(SCHEMES)} and ://")
    where, question_mark, query = rest.partition("?")
    if question_mark:
        raise ArgumentTypeError(f"{url!a} has an unknown option, {query.partition('=')[0]!a}")
    if scheme.name != "lmtp+unix":
        host_and_port = endpoint(where)
        if scheme.lmtp and host_and_port.port == 25:
            raise ArgumentTypeError(f"{url!a} names the port of SMTP, on which LMTP is forbidden (RFC 2033 section 5)")
        return ListenSpec(scheme, host_and_port)
    if not where.startswith("/"):
        raise ArgumentTypeError(f"{url!a} names no absolute path, as lmtp+unix:///run/lmtp.sock does")
    return ListenSpec(scheme, Path(where))
