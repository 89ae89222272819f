"""Checks of what applications return and raise, before the core gets it."""

from __future__ import annotations

from collections.abc import Sequence

from trio_smtp.protocol import Reply, replies

__all__ = ["as_identity", "as_reply", "as_verdicts", "bare", "check_consent"]


def bare(error: Exception) -> Exception:
    """The exception as it was raised, without the groups that nurseries have put around it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def as_identity(answer: object) -> str | None:
    """Check an authenticator's answer: False or ``""``, meant as a refusal, must not pass as an identity.

    Raises:
        TypeError: if it is neither a name nor None.
    """
    if answer is None or (isinstance(answer, str) and answer):
        return answer
    what = f"an object of type {type(answer).__name__}" if answer else repr(answer)  # it may hold a password or a hash
    raise TypeError(f"an authenticator must return the identity or None, not {what}")


def as_reply(answer: object, hook: object) -> Reply | None:
    """Check a hook's answer.

    Raises:
        TypeError: if it is neither None nor a `Reply` other than 3xx.
    """
    if answer is None:
        return None
    if isinstance(answer, Reply) and answer.code // 100 != 3:
        return answer
    name = getattr(hook, "__name__", hook)  # the hook has returned, so the traceback does not show it
    raise TypeError(
        f"a hook must return a Reply (not 3xx) or None, or raise Refuse; {name} returned {answer!r}"
    ) from None  # without the StopIteration by which the hook returned


def check_consent(answer: object, hook: object) -> None:
    """Check the answer of a policy's hook: a refusal that is returned must not pass as consent.

    Raises:
        TypeError: if it is not None.
    """
    if answer is not None:
        name = getattr(hook, "__qualname__", hook)
        raise TypeError(f"a hook of a policy must return None or raise Refuse; {name} returned {answer!r}")


def as_verdicts(answer: object, due: int) -> list[Reply]:
    """The message hook's answer as a list of `due` replies: one per recipient in LMTP, one in SMTP.

    Raises:
        TypeError: if `as_reply` would raise for one of them, or there is another number of replies.
    """
    if answer is None:  # the usual case; checking for a Sequence takes longer than all the rest
        return [replies.MESSAGE_ACCEPTED] * due
    if isinstance(answer, (Reply, str)) or not isinstance(answer, Sequence):
        return [as_reply(answer, "message") or replies.MESSAGE_ACCEPTED] * due
    answers = [as_reply(reply, "message") or replies.MESSAGE_ACCEPTED for reply in answer]
    if len(answers) != due:
        raise TypeError(f"the message hook must return {due} replies, not {len(answers)}")
    return answers
