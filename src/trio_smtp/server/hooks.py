"""The hooks of one session: policies before the handler, under one clock, and the replies to what they raise."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

import trio

from trio_smtp.handler import Handler, Refuse, Session
from trio_smtp.protocol import Hello, MailFrom, RcptTo, Reply, replies
from trio_smtp.sasl import Challenge
from trio_smtp.server.answers import as_identity, as_reply, bare, check_consent
from trio_smtp.server.clock import Clock
from trio_smtp.server.log import SessionLog, log
from trio_smtp.server.login import LoginExchange
from trio_smtp.server.policies import PolicyHooks
from trio_smtp.server.settings import Settings

__all__ = ["Hooks"]

_NO_HANDLER: Final = Handler()
_NO_HOOKS: Final = PolicyHooks()
# What the core accepts without asking, by whether there is a hook for each of these events.
_AUTO_ACCEPT: Final[dict[tuple[bool, ...], frozenset[type[Hello | MailFrom | RcptTo]]]] = {
    heard: frozenset(kind for kind, is_heard in zip((Hello, MailFrom, RcptTo), heard, strict=True) if not is_heard)
    for heard in itertools.product((False, True), repeat=3)
}


class Hooks:
    """The hooks of an application for one connection, and how to call them.

    Args:
        settings: of the server.
        session: the connection, as hooks see it.
        session_log: where refusals of policies are counted.
        clock: the clock of the session, which limits the time of hooks that wait.
    """

    __slots__ = ("_clock", "_log", "_session", "_settings", "handler", "policies")

    def __init__(self, settings: Settings, session: Session, session_log: SessionLog, clock: Clock) -> None:
        self._settings = settings
        self._session = session
        self._log = session_log
        self._clock = clock
        self.handler = _NO_HANDLER  # until it is known who the client is
        self.policies = _NO_HOOKS

    def begin(self) -> frozenset[type[Hello | MailFrom | RcptTo]]:
        """Make the handler of the client, now that it is known, and find the policies that apply to it.

        Returns the value for `SMTPConnection.auto_accept`: the events for which there is no hook.
        """
        settings, session = self._settings, self._session
        self.handler = settings.make_handler()
        self.handler.session = session
        self.policies = settings.policies.hooks_for(session)
        return _AUTO_ACCEPT[self.is_heard("hello"), self.is_heard("mail"), self.is_heard("rcpt")]

    def is_heard(self, name: str) -> bool:
        """Whether the handler or a policy has the hook of that name."""
        return name in self.handler.overrides or bool(getattr(self.policies, name, None))

    async def ask(self, name: str, *event: object) -> Reply | None:
        """Call the hook of that name; return a policy's refusal, else the handler's answer, else None."""
        if policies := getattr(self.policies, name, None):  # some hooks exist for handlers only
            reply = await self._call(self.consult, policies, *event)
            if reply is not None:
                return reply
        if name in self.handler.overrides:
            return await self._call(getattr(self.handler, name), *event)
        return None

    async def ask_last(self, seconds: float, name: str, *event: object) -> None:
        """Call a hook at the end of the session, shielded, for so many seconds at most."""
        scope = trio.CancelScope(deadline=trio.current_time() + seconds, shield=True)
        try:
            with scope:
                await self.ask(name, *event)
        except ExceptionGroup as error:  # the hook was cancelled, and raised something besides
            self.reply_to(bare(error))
        if scope.cancelled_caught:
            self._log.hook_timed_out()

    async def before_login(self, username: str) -> None:
        """Ask the policies, inside `authenticate`, whether the client may try to log in as this user."""
        await self.consult(self.policies.login, username)

    async def authenticate(self, login: LoginExchange, response: bytes | None) -> Challenge | str | Reply:
        """Have the authenticator check a response; return the next challenge, the client's identity, or the refusal."""
        answer: Challenge | str | Reply
        had_failed = login.has_failed  # which has been reported to the policies and logged
        self._clock.start_hook()
        try:
            outcome = await self._clock.run(login.step(response))
            if login.has_failed and not had_failed:
                await self._clock.run(self.consult(self.policies.login_failed, login.username))
            answer = outcome if isinstance(outcome, Challenge) else as_identity(outcome) or replies.BAD_CREDENTIALS
        except Exception as raised:  # noqa: BLE001 - a fault of the application is the client's 454
            error = bare(raised)
            reply = self.reply_to(error)  # which logs a fault
            answer = reply if isinstance(error, Refuse) else replies.AUTH_UNAVAILABLE
        self._clock.end_hook()
        if login.has_failed or (isinstance(answer, Reply) and answer.code >= 500):  # 4xx: the login was not checked
            if not had_failed:
                self._settings.stats.login_failures += 1
                self._log.login_failed(login.username)
        elif isinstance(answer, Reply):
            self._log.login_refused(answer)
        return answer

    async def report_faults(self, errors: float, junk: float) -> None:
        """Report errors and junk commands to the policies, as fractions of their limits."""
        if self.policies.fault:
            await self._call(self.consult, self.policies.fault, errors, junk)

    async def consult(self, policies: Iterable[Callable[..., Awaitable[object]]], *event: object) -> None:
        """Ask policies one after the other, inside a hook that is already running.

        Raises:
            Refuse: if a policy refuses; the remaining ones are not asked.
            TypeError: if a policy returns anything.
        """
        for policy in policies:
            try:
                check_consent(await policy(self._session, *event), policy)
            except Exception as error:
                if isinstance(refusal := bare(error), Refuse):
                    self.count_refusal(policy, refusal)
                raise

    def count_refusal(self, policy: object, refusal: Refuse) -> None:
        """Count the refusal of a policy."""
        self._log.strike(refusal.rule or type(getattr(policy, "__self__", policy)).__name__)

    def reply_to(self, error: Exception) -> Reply:
        """The reply to an exception: that of a `Refuse`, else 451 with a reference to its traceback in the log."""
        if isinstance(error, Refuse):
            return error.reply
        if self._settings.on_error == "raise":
            raise error
        self._settings.stats.hook_errors += 1
        log.error("%s internal error", self._session.id, exc_info=error)
        return Reply(451, f"Internal error, reference {self._session.id}", "4.3.0")

    async def _call(self, hook: Callable[..., Coroutine[Any, Any, Reply | None]], *event: object) -> Reply | None:
        """Call a hook; return its answer, the reply of its refusal, or 451 for a fault."""
        try:
            coroutine = hook(*event)
            try:
                trap = coroutine.send(None)
            except StopIteration as result:  # it returned without waiting, so it needs no time limit
                return as_reply(result.value, hook)
            self._clock.start_hook()
            answer = as_reply(await self._clock.run(coroutine, trap), hook)
        except Exception as error:  # noqa: BLE001 - a fault of the hook is the client's 451
            answer = self.reply_to(bare(error))
        self._clock.end_hook()
        return answer
