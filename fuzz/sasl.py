"""Targets: one SASL exchange, fed with octets or with the words of the mechanisms.

Whatever the client sends, nothing must raise, the exchange must end after a few challenges, the claims for the
application must be what a second parser finds in the responses, SCRAM must accept only the right proof, and no `repr`
must show a secret.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Final

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
    ScramPlus,
    Step,
    Verify,
    XOAuth2,
    derive_keys,
    saslprep,
)

NEXT = b"\xff"
"""Separates the responses in the input."""
HONEST = b"\xfe"
"""Is replaced by the response to the last SCRAM challenge that a client with the password of ann would give."""

MECHANISMS: Final[Sequence[tuple[Callable[[], Mechanism], int]]] = (  # each with its maximum number of challenges
    (Plain, 1),
    (Login, 2),
    (lambda: Scram("server"), 3),
    (lambda: Scram("server", plus_offered=True), 3),
    (lambda: ScramPlus("server", bytes(32)), 3),
    (OAuthBearer, 2),
    (XOAuth2, 2),
    (External, 1),
)
WORDS = (
    *(NEXT, NEXT, HONEST, HONEST, b"\0", b"\0ann\0secret", b"ann\0ann\0secret", b"ann", b"secret", b"\0\0"),
    *(b"n,,", b"y,,", b"p=tls-server-end-point,,", b"p=tls-exporter,,", b"n,a=ann,", b"n=ann", b"r=client", b"m=1"),
    *(b",", b"c=biws", b"c=eSws", b"c=" + b64encode(b"p=tls-server-end-point,," + bytes(32)), b"r=clientserver"),
    *(b"x=y", b"i=1", b"p=" + b64encode(bytes(32)), b"p=" + b64encode(bytes(31)), b"p=", b"=", b"=2C", b"=3D"),
    *(b"=2c", b"e=other-error", b"auth=Bearer ", b"auth=bearer", b"dG9r.en_~+/-==", b"\x01", b"\x01\x01"),
    *(b"user=ann", b"host=mx", b"port=25", b"a="),
    *(b"n,a=ann,\x01auth=Bearer t\x01\x01", b"user=ann\x01auth=Bearer t\x01\x01", b" ", b"\t", b"\r\n", b"\x7f", b"e"),
    *(b"\xc3\xa9", b"e\xcc\x81", b"\xc2\xad", b"\xc2\xa0", b"\xd7\x90", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\x80"),
    *(b"\xef\xbc\x9d", b"\xef\xbc\x8c", b"\xe2\x85\xa8", b"\xf0\x9f\x93\xa7", b"x" * 255, b"x" * 1024),
)
"""The words of the input. Some have composed or right-to-left letters, or ones that SASLprep drops, maps or refuses."""

SALT, ITERATIONS, PASSWORD = b"salt", 1, b"secret"
KEYS = derive_keys(PASSWORD, SALT, ITERATIONS)
CLIENT_KEY = hmac.digest(hashlib.pbkdf2_hmac("sha256", PASSWORD, SALT, ITERATIONS), b"Client Key", "sha256")


def sasl(data: bytes) -> None:
    """Run an exchange. The first octet selects the mechanism, its highest bit no initial response; responses follow."""
    choice, text = data[0] if data else 0, data[1:]
    exchange(choice, text.split(NEXT))


def sasl_words(data: bytes) -> None:
    """Run an exchange. The first octet is as in `sasl`; then each octet selects one word of the responses."""
    choice, text = data[0] if data else 0, b"".join(WORDS[octet % len(WORDS)] for octet in data[1:])
    exchange(choice, text.split(NEXT))


def exchange(choice: int, responses: Sequence[bytes]) -> None:
    make, most_challenges = MECHANISMS[choice % len(MECHANISMS)]
    mechanism = make()
    said: list[bytes] = []
    challenges: list[bytes] = []
    if choice >= 128:
        step = mechanism.step(None)
        assert isinstance(step, Challenge)
        challenges.append(step.data)
    for words in responses:
        response = words.replace(HONEST, honest(mechanism, said, challenges)) if HONEST in words else words
        said.append(response)
        step = mechanism.step(response)
        check(mechanism, step, said, challenges)
        if isinstance(step, FetchKeys):
            step = step.resume(KEYS)
        elif isinstance(step, CheckToken):
            step = step.refusal
        if not isinstance(step, Challenge):
            is_honest = isinstance(mechanism, Scram) and [*responses[:3]] == [HONEST, HONEST, b""]
            assert step == Proved() or not is_honest
            assert mechanism.step(b"") != Proved()
            return
        assert step.data.isascii()
        challenges.append(step.data)
        assert len(challenges) <= most_challenges
        assert len(step.data) < 400  # octets; its longest part is the client's nonce, at most 256


def check(mechanism: Mechanism, step: Step, said: Sequence[bytes], challenges: Sequence[bytes]) -> None:
    """Check that the step is what the client has sent, and that its `repr` shows no secret."""
    if isinstance(mechanism, Plain):
        assert (step if isinstance(step, Verify) else None) == read_plain(said[0])
    elif isinstance(mechanism, Login) and len(said) == 2:
        assert (step if isinstance(step, Verify) else None) == read_claim(*said)
    elif isinstance(mechanism, External):
        name = None if said[0] == b"" else read_name(said[0])
        assert (step == CheckCertificate(name)) is (said[0] == b"" or name is not None)
    if isinstance(step, Verify):
        assert repr(step) == f"Verify(username={step.username!r})"
    elif isinstance(step, FetchKeys):
        assert is_name(step.username)
        assert repr(step) == f"FetchKeys(username={step.username!r})"
    elif isinstance(step, CheckToken):
        assert step.username is None or is_name(step.username)
        assert b"auth=bearer " + step.token.lower().encode("ascii") in said[0].lower()
        assert repr(step) == f"CheckToken(username={step.username!r}, refusal={step.refusal!r})"
    elif isinstance(step, Proved):
        final, proof = said[1].rsplit(b",p=", 1)
        assert said[2:] == [b""]
        assert b64decode(proof) == right_proof(bare(said[0]), challenges[-2], final)


def read_plain(response: bytes) -> Verify | None:
    """Parse a PLAIN response (RFC 4616 §2) by its NULs."""
    authzid, nul, rest = response.partition(b"\0")
    authcid, second_nul, password = rest.partition(b"\0")
    return read_claim(authcid, password) if nul and second_nul and authzid in (b"", authcid) else None


def read_claim(name: bytes, password: bytes) -> Verify | None:
    username, secret = read_name(name), read_text(password)
    return None if username is None or secret is None else Verify(username, secret)


def read_name(name: bytes) -> str | None:
    text = read_text(name)
    prepared = None if text is None else saslprep(text)
    assert not prepared or is_name(prepared)
    return prepared or None


def read_text(octets: bytes) -> str | None:
    try:
        return octets.decode() if 0 < len(octets) <= 1024 and b"\0" not in octets else None
    except UnicodeDecodeError:
        return None


def is_name(text: str) -> bool:
    """Whether a name is not empty and has no control characters, which could break a line of the log."""
    return text != "" and not any(character < " " or "\x7f" <= character <= "\x9f" for character in text)


def bare(client_first: bytes) -> bytes:
    """The client-first-message without the gs2-header (RFC 5802 §7)."""
    return client_first.split(b",", 2)[2]


def honest(mechanism: Mechanism, said: Sequence[bytes], challenges: Sequence[bytes]) -> bytes:
    """The next response of a client that knows the password (RFC 5802 §3)."""
    header = b"p=tls-server-end-point,," if isinstance(mechanism, ScramPlus) else b"n,,"
    if not said:
        return header + b"n=ann,r=client"
    if len(said) > 1 or not challenges or not challenges[-1].startswith(b"r="):
        return b""
    channel = header + bytes(32) if isinstance(mechanism, ScramPlus) else header
    final = b"c=%b,%b" % (b64encode(channel), challenges[-1].partition(b",")[0])
    return b"%b,p=%b" % (final, b64encode(right_proof(bare(said[0]), challenges[-1], final)))


def right_proof(client_first_bare: bytes, server_first: bytes, final: bytes) -> bytes:
    message = b",".join((client_first_bare, server_first, final))
    signature = hmac.digest(hashlib.sha256(CLIENT_KEY).digest(), message, "sha256")
    return bytes(a ^ b for a, b in zip(CLIENT_KEY, signature, strict=True))
