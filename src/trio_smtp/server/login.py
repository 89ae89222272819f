"""How a client logs in: what an application can check, which mechanisms that makes possible, and one exchange.

A mechanism is offered only where it can succeed: where the authenticator has the hook that answers its question, and,
for those that depend on it, where the TLS session has what they need.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final, TypeAlias

from trio_smtp._checks import check_hooks, hint, is_async, takes
from trio_smtp.sasl import (
    Challenge,
    CheckCertificate,
    CheckToken,
    External,
    FetchKeys,
    Login,
    Mechanism,
    OAuthBearer,
    Plain,
    Proved,
    Scram,
    ScramKeys,
    ScramPlus,
    Verify,
    XOAuth2,
)

__all__ = ["AnyAuthenticator", "Authenticator", "LoginExchange", "offered_mechanisms", "resolve_authenticator"]


class Authenticator:
    """Says who a client is. Override what you can check; the mechanisms that go with it are then offered.

    A public async method that is no hook is an error when the class is defined, as for a `Handler`.

    Every hook is a coroutine method that returns the identity to note for the session, usually the account's name, or
    None to refuse; `scram_keys` returns keys beside it. What it raises becomes 454 (RFC 4954 §6) and is logged, but for
    `Refuse`, which is the answer. User names come in the form of SASLprep (RFC 4013).
    """

    overrides: ClassVar[frozenset[str]] = frozenset()
    """The hooks that a class overrides, itself or by what it inherits."""

    async def check_password(self, username: str, password: str) -> str | None:
        """PLAIN and LOGIN: whose password this is. It should take the same time for a user who does not exist."""
        raise NotImplementedError

    async def scram_keys(self, username: str) -> tuple[str | None, ScramKeys]:
        """SCRAM-SHA-256 and, inside TLS, SCRAM-SHA-256-PLUS: the identity and the keys of a user.

        For a user who does not exist None and `keys_of_nobody`, so that the exchange goes on and fails in the end.
        """
        raise NotImplementedError

    async def check_token(self, token: str, username: str | None) -> str | None:
        """OAUTHBEARER and XOAUTH2: whom a bearer token (RFC 6750) is for, if it is good for this server.

        `username` is whom the client claims to be, None if it leaves that to the token; refuse if they differ.
        """
        raise NotImplementedError

    async def check_certificate(self, name: str, username: str | None) -> str | None:
        """EXTERNAL, for a client with a certificate that was verified: who its `name` (`TLSInfo.client_name`) is.

        `username` is whom the client wants to be, None if it leaves that to the certificate; refuse if they differ.
        """
        raise NotImplementedError

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.overrides = check_hooks(cls, Authenticator, HOOKS)


HOOKS: Final = ("check_password", "scram_keys", "check_token", "check_certificate")

AnyAuthenticator: TypeAlias = Callable[[str, str], Awaitable[str | None]] | Authenticator
"""What a server takes: an `Authenticator`, or an async function of name and password, its `check_password`."""


class _PasswordFunction(Authenticator):
    """The short form."""

    def __init__(self, function: Callable[[str, str], Awaitable[str | None]]) -> None:
        self._function = function

    async def check_password(self, username: str, password: str) -> str | None:
        return await self._function(username, password)


def resolve_authenticator(authenticator: AnyAuthenticator | None) -> Authenticator | None:
    """The authenticator of a server, None where nobody can log in.

    Raises:
        TypeError: if it is of neither form, has no hook, or one that is not async.
    """
    if authenticator is None:
        return None
    if isinstance(authenticator, Authenticator):
        name = type(authenticator).__name__
        if not authenticator.overrides and type(authenticator) is not Authenticator:
            raise TypeError(f"{name} overrides no hook of Authenticator ({', '.join(HOOKS)})")
        for hook in authenticator.overrides:  # which may come from a class that is no Authenticator
            if not is_async(getattr(authenticator, hook)):
                raise TypeError(f"{name}.{hook} must be an async method")
        return authenticator
    if not is_async(authenticator):
        raise TypeError(
            "an authenticator is an async function of a name and a password or an instance of a subclass of "
            f"Authenticator (not the class), not {authenticator!r}{hint(authenticator)}"
        )
    if not takes(authenticator, 2):
        raise TypeError(
            "a function that is an authenticator takes two arguments, the name and the password, and "
            f"{authenticator!r} does not"
        )
    return _PasswordFunction(authenticator)


# The best first, for clients that take the first they know.
_HOOKS: Final = {
    ScramPlus.name: "scram_keys",
    Scram.name: "scram_keys",
    OAuthBearer.name: "check_token",
    XOAuth2.name: "check_token",
    External.name: "check_certificate",
    Plain.name: "check_password",
    Login.name: "check_password",
}
_CONTEXT_FREE: Final[dict[str, Callable[[], Mechanism]]] = {
    mechanism.name: mechanism for mechanism in (OAuthBearer, XOAuth2, External, Plain, Login)
}


def offered_mechanisms(
    authenticator: Authenticator | None, client_name: str | None, end_point: bytes | None
) -> tuple[str, ...]:
    """The mechanisms that can succeed.

    Args:
        authenticator: who checks.
        client_name: the verified name in the client's certificate; EXTERNAL needs it.
        end_point: the hash of our certificate (`tls_server_end_point`); SCRAM-SHA-256-PLUS needs it.
    """
    if authenticator is None:
        return ()
    lacking = {name for name, given in ((External.name, client_name), (ScramPlus.name, end_point)) if given is None}
    return tuple(name for name, hook in _HOOKS.items() if hook in authenticator.overrides and name not in lacking)


class LoginExchange:
    """One exchange, from AUTH to its end.

    Args:
        mechanism: the name of one that was offered.
        authenticator, client_name, end_point: see `offered_mechanisms`.
        before_check: is told who the client claims to be, ``""`` where that is left to a token or a certificate, before
            anything is checked; what it raises comes out of `step`.
    """

    def __init__(
        self,
        mechanism: str,
        authenticator: Authenticator,
        client_name: str | None,
        end_point: bytes | None,
        *,
        before_check: Callable[[str], Awaitable[None]],
    ) -> None:
        self._before_check = before_check
        self.username = ""
        """Who the client claims to be, as far as is known."""
        self.has_failed = False
        """Whether the client did not prove who it is. A bad token is known before the end (RFC 7628 §3.2.3)."""
        self._authenticator = authenticator
        self._client_name = client_name
        self._identity: str | None = None  # whose keys were fetched
        self._mechanism: Mechanism
        if mechanism == ScramPlus.name and end_point is not None:
            self._mechanism = ScramPlus(secrets.token_urlsafe(18), end_point)
        elif mechanism == Scram.name:
            self._mechanism = Scram(secrets.token_urlsafe(18), plus_offered=end_point is not None)
        else:
            self._mechanism = _CONTEXT_FREE[mechanism]()

    async def step(self, response: bytes | None) -> Challenge | str | None:
        """Take a response (None: no initial one): what to send next, or who the client is, None if nobody."""
        answer = await self._step(response)
        self.has_failed = self.has_failed or answer is None
        return answer

    async def _step(self, response: bytes | None) -> Challenge | str | None:
        authenticator = self._authenticator
        step = self._mechanism.step(response)
        if isinstance(step, FetchKeys | Verify | CheckToken | CheckCertificate):
            self.username = step.username or ""
            await self._before_check(self.username)
        if isinstance(step, FetchKeys):
            self._identity, keys = await authenticator.scram_keys(step.username)
            step = step.resume(keys)
        if isinstance(step, Challenge):
            return step
        if isinstance(step, Verify):
            return await authenticator.check_password(step.username, step.password)
        if isinstance(step, CheckToken):
            identity = await authenticator.check_token(step.token, step.username)
            self.has_failed = identity is None
            return step.refusal if identity is None else identity
        if isinstance(step, CheckCertificate) and self._client_name is not None:
            return await authenticator.check_certificate(self._client_name, step.username)
        return self._identity if isinstance(step, Proved) else None
