"""What applications answer and raise, checked before it goes to the core."""

from __future__ import annotations

from collections.abc import Sequence

from trio_smtp.protocol import Reply, replies

__all__ = ["as_identity", "as_reply", "as_verdicts", "bare"]


def bare(error: Exception) -> Exception:
    """The exception as it was raised, whatever nurseries have put round it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def as_identity(answer: object) -> str | None:
    """An authenticator's answer. What means no, False or ``""``, must not pass for somebody's name.

    Raises:
        TypeError: if it is neither a name nor None.
    """
    if answer is None or (isinstance(answer, str) and answer):
        return answer
    raise TypeError(f"an authenticator returns the identity or None, not {answer!r}")


def as_reply(answer: object, hook: object) -> Reply | None:
    """A hook's answer.

    Raises:
        TypeError: if the core cannot take it.
    """
    if answer is None:
        return None
    if isinstance(answer, Reply) and answer.code // 100 != 3:
        return answer
    name = getattr(hook, "__name__", hook)  # which the traceback does not show, for it has returned
    raise TypeError(
        f"a hook returns a Reply (not 3xx) or None, and raises Refuse to say no; {name} returned {answer!r}"
    ) from None  # whatever told us that it has


def as_verdicts(answer: object, due: int) -> list[Reply]:
    """The message hook's answer as so many replies: one per recipient in LMTP, one in SMTP.

    Raises:
        TypeError: if the core cannot take it, or it has another number of replies.
    """
    if answer is None:  # nearly always; to ask whether it is a Sequence takes longer than all the rest
        return [replies.MESSAGE_ACCEPTED] * due
    if isinstance(answer, (Reply, str)) or not isinstance(answer, Sequence):
        return [as_reply(answer, "message") or replies.MESSAGE_ACCEPTED] * due
    answers = [as_reply(reply, "message") or replies.MESSAGE_ACCEPTED for reply in answer]
    if len(answers) != due:
        raise TypeError(f"the message hook returned {len(answers)} replies where {due} are due")
    return answers
