"""Where the server listens: the URLs of the flag ``--listen``.

| scheme               | TLS                               | login                     |
|----------------------|-----------------------------------|---------------------------|
| ``smtp``             | STARTTLS if there is a certificate | never                     |
| ``smtps``            | implicit                          | never                     |
| ``submission``       | STARTTLS                          | required, inside TLS only |
| ``submissions``      | implicit                          | required                  |
| ``lmtp, lmtp+unix``  | none                              | none                      |

A listener has one option, given as a query: with ``?proxy=10.0.0.0/8,2001:db8::/32`` it accepts connections only from
proxies in these networks, which must send a header of the PROXY protocol.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final, Literal

from trio_smtp.cli.values import Endpoint, endpoint

__all__ = ["ListenSpec", "Scheme", "parse_listen", "parse_smtp"]


@dataclass(frozen=True)
class Scheme:
    """The properties of a URL scheme."""

    name: str
    tls: Literal["never", "if possible", "starttls", "implicit"]
    login: bool = False
    lmtp: bool = False

    @property
    def greylists(self) -> bool:
        """Whether unknown senders may deliver mail here, so that greylisting makes sense."""
        return not (self.login or self.lmtp)


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
    """One listener, on a TCP port (0 for any free one) or on a Unix socket."""

    scheme: Scheme
    where: Endpoint | Path
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    def __str__(self) -> str:
        return f"{self.scheme.name}://{self.where}{self.query}"

    @property
    def query(self) -> str:
        """The option of the listener as the query of its URL, ``""`` if it has none."""
        return f"?proxy={','.join(map(str, self.proxies))}" if self.proxies else ""


def parse_listen(url: str) -> ListenSpec:
    """Read a URL such as ``smtp://127.0.0.1:1025``, ``smtp://[::]:25?proxy=10.0.0.0/8``, ``lmtp+unix:///run/lmtp.sock``.

    Raises:
        ArgumentTypeError: if the URL is invalid; the text of the error says why.
    """
    name, separator, rest = url.partition("://")
    scheme = SCHEMES.get(name)
    if not separator or scheme is None:
        raise ArgumentTypeError(f"{url!a} does not begin with one of {', '.join(f'{each}://' for each in SCHEMES)}")
    where, question_mark, query = rest.partition("?")
    proxies = _proxies(url, query) if question_mark else ()
    if scheme.name != "lmtp+unix":
        host_and_port = endpoint(where)
        if scheme.lmtp and host_and_port.port == 25:
            raise ArgumentTypeError(f"{url!a}: LMTP must not use port 25 (RFC 2033 section 5); choose another port")
        return ListenSpec(scheme, host_and_port, proxies)
    if proxies:
        raise ArgumentTypeError(
            f"{url!a}: ?proxy= cannot be used with a Unix socket, because its clients have no address"
        )
    if not where.startswith("/"):
        raise ArgumentTypeError(f"{url!a} needs an absolute path, as in lmtp+unix:///run/lmtp.sock")
    return ListenSpec(scheme, Path(where))


def parse_smtp(where: str, scheme: str = "smtp") -> ListenSpec:
    """Read ``HOST:PORT``, or ``PORT`` alone for a listener on 127.0.0.1.

    Raises:
        ArgumentTypeError: if `where` is invalid; the text of the error says why.
    """
    alone = where.isascii() and where.isdigit()
    return ListenSpec(SCHEMES[scheme], endpoint(f"127.0.0.1:{where}" if alone else where))


def _proxies(url: str, query: str) -> tuple[IPv4Network | IPv6Network, ...]:
    option, _, networks = query.partition("=")
    if option != "proxy":
        raise ArgumentTypeError(f"{url!a} has the unknown option {option!a}; the only option is proxy")
    from trio_smtp.server.proxy import parse_networks  # noqa: PLC0415  # --help need not load the server

    try:
        return parse_networks(networks.split(","))
    except ValueError as error:
        raise ArgumentTypeError(f"{url!a} has an invalid list of proxy networks: {error}") from error
