"""Bearer tokens that are JSON Web Tokens (RFC 7519), checked with joserfc, which comes with the extra ``auth``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from trio_smtp._checks import check_type

try:
    from joserfc import jwt
    from joserfc.jwk import Key, KeySet
except ImportError as error:
    raise ImportError("JWTValidator needs the package joserfc; install trio-smtp[auth]") from error

__all__ = ["JWTValidator"]


class JWTValidator:
    """Checks signed tokens: signature, issuer, audience, times. For `Authenticator.check_token`.

    Args:
        key: the issuer's key or keys, as joserfc's `Key` or `KeySet`.
        algorithms: the signature algorithms to trust, such as ``["RS256"]``: those of the issuer, no more.
        issuer: the issuer that a token must name (``iss``).
        audience: the audience that a token must name (``aud``): the issuer's name for this server.
        claim: the claim with the identity.
        leeway: seconds by which the clocks may differ.

    Raises:
        TypeError: if an argument is of another type, such as None for `issuer`, with which joserfc trusts every issuer.
        ValueError: if there is no algorithm, in which case joserfc trusts those that it recommends, or a name is empty.
    """

    def __init__(
        self,
        key: Key | KeySet,
        *,
        algorithms: Sequence[str],
        issuer: str,
        audience: str,
        claim: str = "email",
        leeway: int = 30,
    ) -> None:
        check_type("key", key, *get_args(Key), KeySet)
        if isinstance(algorithms, str):
            raise TypeError(f"algorithms must be a list such as [{algorithms!r}], not a string")
        for name, value in (("issuer", issuer), ("audience", audience), ("claim", claim)):
            check_type(name, value, str)
        check_type("leeway", leeway, int)
        if not (algorithms and issuer and audience and claim):
            raise ValueError("algorithms, issuer, audience and claim must not be empty")
        self._key = key
        self._algorithms = list(algorithms)
        self._claim = claim
        self._claims = jwt.JWTClaimsRegistry(
            leeway=leeway,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )

    def __call__(self, token: str, username: str | None) -> str | None:
        """The identity that the token is for; None if it is not valid, or is for another user than `username`."""
        try:
            claims = jwt.decode(token, self._key, algorithms=self._algorithms).claims
            self._claims.validate(claims)
        except Exception:  # noqa: BLE001 - hostile headers make joserfc raise TypeError, RecursionError and more
            return None
        identity = claims.get(self._claim)
        return identity if isinstance(identity, str) and identity and username in (None, identity) else None
