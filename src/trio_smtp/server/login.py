"""How a client logs in: what an application can check, which mechanisms that makes possible, and one exchange.

A mechanism is offered only if it can succeed: if the authenticator has the hook that the mechanism needs and, for
EXTERNAL and SCRAM-SHA-256-PLUS, if the TLS session provides what they need.
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
    """Finds out who a client is. Override the hooks for what you can check; the matching mechanisms are then offered.

    A public async method that is not a hook is an error when the class is defined, as for a `Handler`.

    Every hook is a coroutine method that returns the identity for the session, usually the account's name, or None to
    refuse; `scram_keys` also returns keys. An exception becomes 454 (RFC 4954 §6) and is logged, except `Refuse`, whose
    reply is sent. User names are in the form of SASLprep (RFC 4013).
    """

    overrides: ClassVar[frozenset[str]] = frozenset()
    """The hooks that this class or one of its bases overrides."""

    async def check_password(self, username: str, password: str) -> str | None:
        """PLAIN and LOGIN: the identity of the user with this password.

        It should take the same time for a user who does not exist.
        """
        raise NotImplementedError

    async def scram_keys(self, username: str) -> tuple[str | None, ScramKeys]:
        """SCRAM-SHA-256 and, inside TLS, SCRAM-SHA-256-PLUS: the identity and the keys of a user.

        For a user who does not exist, return None and `keys_of_nobody`, so that the exchange fails only at its end.
        """
        raise NotImplementedError

    async def check_token(self, token: str, username: str | None) -> str | None:
        """OAUTHBEARER and XOAUTH2: the identity that a bearer token (RFC 6750) is for, if it is valid for this server.

        `username` is the user that the client claims to be, None if it leaves that to the token. Refuse if they differ.
        """
        raise NotImplementedError

    async def check_certificate(self, name: str, username: str | None) -> str | None:
        """EXTERNAL: the identity for the name in the client's verified certificate (`TLSInfo.client_name`).

        `username` is the user that the client wants to be, None if it leaves that to the certificate. Refuse if they
        differ.
        """
        raise NotImplementedError

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.overrides = check_hooks(cls, Authenticator, HOOKS)


HOOKS: Final = ("check_password", "scram_keys", "check_token", "check_certificate")

AnyAuthenticator: TypeAlias = Callable[[str, str], Awaitable[str | None]] | Authenticator
"""What a server takes as its authenticator: an `Authenticator`, or an async function used as `check_password`."""


class _PasswordFunction(Authenticator):
    """The authenticator made of an async function of name and password."""

    def __init__(self, function: Callable[[str, str], Awaitable[str | None]]) -> None:
        self._function = function

    async def check_password(self, username: str, password: str) -> str | None:
        return await self._function(username, password)


def resolve_authenticator(authenticator: AnyAuthenticator | None) -> Authenticator | None:
    """The authenticator of a server, None where nobody can log in.

    Raises:
        TypeError: if it is of neither form, or overrides no hook.
    """
    if authenticator is None:
        return None
    if isinstance(authenticator, Authenticator):
        name = type(authenticator).__name__
        if not authenticator.overrides and type(authenticator) is not Authenticator:
            raise TypeError(f"{name} must override at least one hook of Authenticator ({', '.join(HOOKS)})")
        return authenticator
    if not is_async(authenticator):
        raise TypeError(
            "an authenticator must be an async function of a user name and a password, or an instance of a subclass of "
            f"Authenticator (not the class), not {authenticator!r}{hint(authenticator)}"
        )
    if not takes(authenticator, 2):
        raise TypeError(
            "an authenticator function must take two arguments, the user name and the password, and "
            f"{authenticator!r} does not"
        )
    return _PasswordFunction(authenticator)


# The hook that each mechanism needs; the best first, for clients that take the first one they know.
_HOOK_OF: Final = {
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
        authenticator: what checks the client; None if nobody can log in.
        client_name: the verified name in the client's certificate; EXTERNAL needs it.
        end_point: the hash of our certificate (`tls_server_end_point`); SCRAM-SHA-256-PLUS needs it.
    """
    if authenticator is None:
        return ()
    lacking = {name for name, given in ((External.name, client_name), (ScramPlus.name, end_point)) if given is None}
    return tuple(name for name, hook in _HOOK_OF.items() if hook in authenticator.overrides and name not in lacking)


class LoginExchange:
    """One exchange, from AUTH to its end.

    Args:
        mechanism: the name of one that was offered.
        authenticator, client_name, end_point: see `offered_mechanisms`.
        before_check: called before anything is checked, with the user that the client claims to be, or ``""`` if that
            is left to a token or a certificate; `step` raises what it raises. In SCRAM it is called twice: before the
            keys are fetched, and before the proof is checked.
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
        """The user that the client claims to be, as far as is known."""
        self.has_failed = False
        """Whether the client failed to prove who it is. For a bad token that is known before the exchange ends
        (RFC 7628 §3.2.3)."""
        self._authenticator = authenticator
        self._client_name = client_name
        self._identity: str | None = None  # the one whose keys were fetched
        self._mechanism: Mechanism
        if mechanism == ScramPlus.name and end_point is not None:
            self._mechanism = ScramPlus(secrets.token_urlsafe(18), end_point)
        elif mechanism == Scram.name:
            self._mechanism = Scram(secrets.token_urlsafe(18), plus_offered=end_point is not None)
        else:
            self._mechanism = _CONTEXT_FREE[mechanism]()

    async def step(self, response: bytes | None) -> Challenge | str | None:
        """Take a response (None: no initial one); return the next challenge, the identity, or None if it failed."""
        answer = await self._step(response)
        self.has_failed = self.has_failed or answer is None
        return answer

    async def _step(self, response: bytes | None) -> Challenge | str | None:
        authenticator = self._authenticator
        if self.username and response and isinstance(self._mechanism, Scram):
            await self._before_check(self.username)  # again, as others may have failed since the challenge was sent
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
