"""One connection from the greeting to the last reply: drives the protocol core, calls the hooks, enforces timeouts.

Rules:

- **One task, one cancel scope**, that of its `Clock`. If it expires while the session waits for the client, the client
  gets 421. If it expires in a hook, the command gets 451 and the session goes on with a new scope.
- **Replies go out before every blocking read**, so that a pipelined burst is answered in one send. Only the reply to a
  message goes out earlier, if the hook of a command that the client pipelined behind it has to wait (RFC 2920 §3.2).
- **Policies come before the handler**, in the same hook and under the same clock.
- **Reading the body drives the connection**: a hook that reads its message receives and parses, in the same task.
- **A session is shielded from outside cancellation.** Only `drain` and `abort` stop it. So a message whose last octet
  has arrived is committed and answered whatever happens elsewhere, within the commit deadline.
- **No exception escapes**: a fault in one session must not end the server (unless `on_error` is ``"raise"``).
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Awaitable
from functools import partial
from typing import Final, Protocol

import trio

from trio_smtp._escape import escape
from trio_smtp.handler import MessageAborted, Peer, Session
from trio_smtp.protocol import (
    NEED_DATA,
    PAUSED,
    Auth,
    AuthAborted,
    AuthResponse,
    CloseReason,
    ConnectionClosed,
    Event,
    Hello,
    LocalProtocolError,
    MailFrom,
    MessageStart,
    NoEvent,
    RcptTo,
    Reply,
    SMTPConnection,
    StartTLS,
    State,
    TransactionAborted,
    TranscribedConnection,
    Verify,
    replies,
)
from trio_smtp.sasl import Challenge
from trio_smtp.server.answers import as_verdicts, bare
from trio_smtp.server.body import IncomingBody
from trio_smtp.server.channel_binding import end_point_of
from trio_smtp.server.clock import Clock, Phase
from trio_smtp.server.hooks import Hooks
from trio_smtp.server.incoming import IncomingMessage
from trio_smtp.server.log import SessionLog, log, transcript
from trio_smtp.server.login import LoginExchange, offered_mechanisms
from trio_smtp.server.proxy import ProxyError, receive_peer
from trio_smtp.server.settings import Settings
from trio_smtp.server.tls import TLSTransport
from trio_smtp.server.transport import Transport, Unsent

__all__ = ["ServerSession"]

_COMMAND_READ: Final = 16 * 1024  # octets; limits the memory that an idle connection may cost
# A session's turn is short, so that ten flooding clients and ten bulk senders do not delay other clients by more than
# 20 ms (bench/attacks/rabble.py).
_BODY_READ: Final = 64 * 1024
_EVENTS_IN_A_ROW: Final = 5


class Register(Protocol):
    """The list of connections, as a session sees it."""

    def admit_announced(self, session: ServerSession, peer: Peer) -> bool:
        """Whether to admit the client that a proxy has announced on this connection."""
        ...

    def forget(self, session: ServerSession) -> None:
        """Remove a session that has ended."""
        ...


class ServerSession:
    """The server's side of one connection.

    Args:
        settings: what the server was started with.
        transport: the connection.
        peer: its other end.
        register: the list of connections that this one is in, None if there is none.
    """

    __slots__ = (  # which save a tenth of the memory of an idle connection
        "_aborting",
        "_clock",
        "_end_point",
        "_events",
        "_faults",
        "_hooks",
        "_idle",
        "_info",
        "_log",
        "_login",
        "_mute",
        "_register",
        "_stopping",
        "_transport",
        "_unsent",
        "connection",
        "settings",
    )

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        peer: Peer,
        register: Register | None = None,
    ) -> None:
        self.settings: Final = settings
        self._info = info = Session(secrets.token_hex(8), peer, settings.config.hostname, settings.config.lmtp)
        self._log = SessionLog(info, settings.stats)
        is_transcribed = transcript.isEnabledFor(logging.DEBUG)
        connect = partial(TranscribedConnection, write=self._log.transcribe) if is_transcribed else SMTPConnection
        self.connection: Final[SMTPConnection] = connect(
            settings.config,
            tls_active=settings.implicit_tls,
            tls_available=settings.ssl_context is not None,
            auth_mechanisms=offered_mechanisms(settings.authenticator, None, None),
        )
        info._connection = self.connection
        self._transport = transport
        self._clock = Clock(settings.timeouts)
        self._hooks = Hooks(settings, self._info, self._log, self._clock)
        self._register = register
        self._login: LoginExchange | None = None
        self._end_point: bytes | None = None  # the channel binding of the TLS session
        self._stopping = False  # the server drains: finish what has begun and begin nothing new
        self._aborting = False  # finish nothing but a commit
        self._idle = False  # waiting for a command, outside a transaction
        # Send nothing. At first because the proxy has not announced the client or TLS has not begun; later because the
        # connection is lost, or sending a reply or the TLS handshake was cut off.
        self._mute = bool(settings.proxy_networks) or settings.implicit_tls
        self._unsent = False  # the transport holds unsent output, to be flushed before anything else
        self._events = 0  # handled since the last read
        self._faults = 0  # errors and junk commands that were reported to the policies

    # Life -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the connection to its end and close it."""
        goodbye = replies.CLOSING
        try:
            clock = self._clock
            while not self._aborting:
                try:
                    with clock.scope:
                        await self._converse()
                except ExceptionGroup as error:
                    if not clock.scope.cancelled_caught:
                        raise
                    self._hooks.reply_to(bare(error))  # logs what a hook raised besides; the client is not told of it
                if not clock.scope.cancel_called or self._aborting:
                    break
                if clock.scope.cancelled_caught:
                    if clock.phase is not Phase.PEER:
                        self._give_up_hook()
                    elif clock.is_over():
                        if not self._stopping:
                            self._log.timed_out(clock.waits_for)
                            goodbye = replies.TIMED_OUT
                        break
                clock.renew()
        except Exception as error:  # noqa: BLE001 - see `_report_fault`
            self._report_fault(error)
        finally:
            try:
                await self._finish(goodbye)  # noqa: ASYNC102 - it shields each step
            except Exception as error:  # noqa: BLE001 - see `_report_fault`
                self._report_fault(error)
            finally:
                if self._register is not None:
                    self._register.forget(self)

    def _report_fault(self, error: Exception) -> None:
        """Log an exception that would otherwise end the server; the log itself may be what fails."""
        if self.settings.on_error == "raise":
            raise error
        with contextlib.suppress(Exception):
            log.error("%s internal error", self._info.id, exc_info=error)

    def drain(self) -> None:
        """Finish what has begun, then close with 421; close at once if nothing has."""
        self._stopping = True
        self.connection.auto_accept = frozenset()  # so that MAIL becomes an event, which `_on_mail` refuses
        if self._idle:
            self._clock.cancel()

    def abort(self) -> None:
        """Close with 421 now; only a completely received message is still committed and answered."""
        self._stopping = self._aborting = True
        if self._clock.phase is Phase.REPLY:  # perhaps the reply to a message
            self._clock.hurry(self.settings.timeouts.goodbye)
        elif self._clock.phase is not Phase.COMMIT:
            self._clock.cancel()

    async def _converse(self) -> None:
        connection = self.connection
        if connection.state is State.CONNECTED and not await self._begin():
            return
        while not self._aborting:
            self._events += 1
            if self._events > _EVENTS_IN_A_ROW:
                await self._give_way()
            event = connection.next_event()
            if event is NEED_DATA:
                await self.exchange()
            elif type(event) in connection.auto_accept:
                connection.accept()
                continue
            elif type(event) is MessageStart:
                await self._take_message()
            elif type(event) is ConnectionClosed:
                return
            else:
                await self._dispatch(event)
            # Input or a hook's result may have arrived in the same turn of the loop as the deadline. It counts, a
            # committed message above all, but the next wait in this scope would be cancelled.
            if self._clock.has_expired():
                return

    async def _begin(self) -> bool:
        """Read the PROXY header, do implicit TLS, make the handler, greet; return whether the session goes on."""
        settings = self.settings
        if settings.proxy_networks and not await self._learn_peer():
            return False
        if settings.implicit_tls and not await self._start_tls():
            return False
        self.connection.auto_accept = self._hooks.begin()
        await self._greet()
        return True

    async def _learn_peer(self) -> bool:
        """Read the client's address from the PROXY header; return whether to serve it. Without one, send nothing."""
        settings, proxy = self.settings, self._info.peer
        if self._stopping:
            return False
        self._idle = True  # nothing has begun yet that a drain must wait for
        self._clock.stop()  # `receive_peer` has its own timeout
        try:
            peer = await receive_peer(self._transport, proxy, settings.proxy_networks, settings.timeouts.handshake)
        except (ProxyError, trio.BrokenResourceError, trio.TooSlowError) as error:
            self._log.strike("proxy-header")
            reason = "too slow" if isinstance(error, trio.TooSlowError) else str(error)
            log.info("%s refused peer=%s: PROXY protocol: %s", self._info.id, proxy, escape(reason))
            return False
        finally:
            self._idle = False
        self._mute = settings.implicit_tls
        if peer is not None:
            self._info.peer = peer
            if self._register is not None and not self._register.admit_announced(self, peer):
                self.connection.greet(replies.TOO_MANY_CONNECTIONS)
                return False
        return True

    async def _greet(self) -> None:
        reply = await self._hooks.ask("connect")
        if self.settings.early_talkers == "refuse" and self._transport.has_input():
            self._log.strike("early-talker")
            reply = replies.EARLY_TALKER
        try:
            self.connection.greet(reply)
        except LocalProtocolError as error:  # a positive reply other than 220
            reply = self._hooks.reply_to(error)
            self.connection.greet(reply)
        if reply is not None and not reply.positive:
            self._log.refusal(None, reply)

    async def _finish(self, goodbye: Reply) -> None:
        """Send the last replies, call the hooks reset and close, close the transport; each step has its own timeout."""
        connection, seconds = self.connection, self.settings.timeouts.goodbye
        connection.close(goodbye)
        self._clock.before_wait = None
        is_busy = not self._idle or self._transport.has_output()  # an idle client is expected to send nothing more
        linger = False
        try:
            self._log_refused()
            if answer := connection.data_to_send():
                self._unsent = not self._send_now(answer)
            if self._unsent and not self._mute:
                with trio.move_on_after(seconds, shield=True):
                    await self._send_rest()
            while type(event := connection.next_event()) is not ConnectionClosed:
                if type(event) is TransactionAborted:
                    self._log.broken_off(event)
                    await self._hooks.ask_last(seconds, "reset", event.reason)
            self._log.closed(event.reason)
            # A client that has sent QUIT or EOF has nothing more under way that `linger` would wait for, except that in
            # TLS close_notify may follow QUIT.
            ends = (CloseReason.EOF,) if self._info.tls else (CloseReason.QUIT, CloseReason.EOF)
            linger = is_busy and event.reason not in ends
            if self._hooks.is_heard("close"):  # the scope alone takes a twentieth of the time of a short connection
                await self._hooks.ask_last(seconds, "close")
        finally:
            if self._mute or self._unsent:  # nothing can be sent: no TLS close_notify, and no last reply to wait for
                linger, seconds = False, 0
            await self._transport.aclose(linger=linger, seconds=seconds)  # noqa: ASYNC102 - it shields itself

    # Bytes ----------------------------------------------------------------------------------------------------------

    async def exchange(self) -> None:
        """Send pending replies, then wait for the client. If a hook is reading its message, its clock is paused."""
        connection, clock = self.connection, self._clock
        hook_left = clock.pause_hook()
        receiving = connection.receiving_message
        data = b""
        try:
            faults = connection.error_count + connection.junk_count
            if faults != self._faults:
                await self._report_faults(faults)
            if connection.refused:
                self._log_refused()
            answer = connection.data_to_send()
            if answer and not self._mute and not self._transport.send_soon(answer):
                self._unsent = True
            if self._unsent:
                await self._send_rest()
            self._events = 0
            clock.before_wait = None
            idle = not receiving and connection.envelope is None
            if self._aborting or (idle and self._stopping):
                connection.close()
                return
            self._idle = idle
            clock.wait_for_peer(receiving=receiving, replied=bool(answer), in_hook=hook_left is not None)
            if not self._mute:
                data = await self._transport.receive(_BODY_READ if receiving else _COMMAND_READ)
        except Unsent:  # the next exchange begins with sending the rest
            self._idle, self._unsent = False, True
            clock.resume_hook(hook_left)
            return
        except trio.BrokenResourceError as error:
            self._lose(error)
        except trio.Cancelled:
            clock.abandon_pause(hook_left)
            raise
        self._idle = False
        connection.receive_data(data)
        if receiving or hook_left is not None:  # the latter alone: the hook waits between two BDAT chunks
            clock.count_body(len(data))
            clock.resume_hook(hook_left)

    def has_had_its_turn(self) -> bool:
        """Count an event; return whether the session should let other tasks run now."""
        self._events += 1
        return self._events > _EVENTS_IN_A_ROW

    async def outside_hook(self, event: Event | NoEvent | None) -> None:
        """Handle an event (None: let other tasks run) while a hook reads its message; the hook's clock is paused."""
        left = self._clock.pause_hook()
        try:
            if event is PAUSED:  # the hook gave up reading while an event was being answered: go on with that event
                event = self.connection.waiting
            if event is not None:
                await self._dispatch(event)
            if event is None or self.has_had_its_turn():
                await self._give_way(in_hook=True)
        except trio.Cancelled:
            self._clock.abandon_pause(left)
            raise
        self._clock.resume_hook(left)

    async def _give_way(self, *, in_hook: bool = False) -> None:
        """Let other tasks run. Pending replies wait for the next read, so that a burst is answered in one send."""
        self._events = 0
        self._clock.wait_for_peer(receiving=self.connection.receiving_message, replied=True, in_hook=in_hook)
        await trio.lowlevel.checkpoint()

    def start_commit_clock(self) -> None:
        """The message is complete: from now on only the commit deadline cancels the hook."""
        self._clock.start_commit()

    def _log_refused(self) -> None:
        refused, self.connection.refused = self.connection.refused, ()
        for command, reply in refused:
            self._log.wrong_command(command, reply)

    def _send_now(self, data: bytes) -> bool:
        """Send as much as possible without waiting; return False if `_send_rest` has to send the rest."""
        if not self._mute:
            try:
                return self._transport.send_now(data)
            except trio.BrokenResourceError as error:
                self._lose(error)
        return True

    async def _send_rest(self) -> None:
        self._mute, self._unsent = True, False  # until all of it is sent
        phase = self._clock.wait_for_reply_to_go()
        try:
            await self._transport.flush()
            self._mute = False
        except trio.BrokenResourceError as error:
            self._lose(error)
        except trio.Cancelled:  # if the session's deadline has not passed, the hook itself has given up waiting
            self._mute = self._clock.has_expired()
            self._unsent = not self._mute
            raise
        finally:
            self._clock.phase = phase

    def _lose(self, error: Exception) -> None:
        self._mute = True
        log.info("%s peer=%s lost the connection: %s", self._info.id, self._info.peer, escape(str(error)))

    async def _start_tls(self) -> bool:
        """Do the TLS handshake; return whether it succeeded. If not, nothing more is sent, as it would go in clear."""
        context = self.settings.ssl_context
        assert context is not None  # otherwise the core does not offer STARTTLS
        tls = TLSTransport(self._transport, context)
        self._mute = True
        self._clock.stop()  # the handshake has its own timeout
        try:
            await tls.handshake(self.settings.timeouts.handshake)
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            too_slow = isinstance(error, trio.TooSlowError)
            self._log.strike("handshake-timeout" if too_slow else "tls-handshake")
            reason = "too slow" if too_slow else str(error.__cause__ or error)
            log.info("%s peer=%s TLS handshake failed: %s", self._info.id, self._info.peer, escape(reason))
            return False
        self._transport = tls
        self._info.tls = tls.info()
        self._end_point = end_point_of(tls.context)
        self.connection.auth_mechanisms = offered_mechanisms(
            self.settings.authenticator, self._info.tls.client_name, self._end_point
        )
        self._mute = False
        return True

    # Events ---------------------------------------------------------------------------------------------------------

    def _dispatch(self, event: Event | NoEvent) -> Awaitable[None]:
        """The coroutine that handles an event which is not part of a message."""
        if type(event) is RcptTo:
            return self._answer("rcpt", event)
        if type(event) is MailFrom:
            return self._on_mail(event)
        if type(event) is Hello:
            return self._answer("hello", event)
        if type(event) is TransactionAborted:
            return self._reset(event)
        if type(event) is StartTLS:
            return self._on_starttls()
        if type(event) is Auth:
            return self._begin_login(event)
        if type(event) is AuthResponse and self._login is not None:
            return self._authenticate(self._login, event.data)
        if type(event) is AuthAborted:
            return self._end_login()
        if type(event) is Verify:
            return self._answer("verify", event)
        raise RuntimeError(f"nobody handles {event!r}")

    async def _on_mail(self, event: MailFrom) -> None:
        if self._stopping:
            self.connection.reject(replies.CLOSING)
        else:
            await self._answer("mail", event)

    async def _answer(self, name: str, event: Event) -> None:
        reply = await self._hooks.ask(name, event)
        if reply is None or reply.positive:
            try:
                self.connection.accept(reply)
            except LocalProtocolError as error:  # its text is too long to follow our host name in the reply to HELO
                reply = self._hooks.reply_to(error)
            else:
                return
        self._log.refusal(event, reply)
        self.connection.reject(reply)

    async def _take_message(self) -> None:
        """Handle a message, from DATA or the first BDAT to the verdict."""
        connection, session, hooks = self.connection, self._info, self._hooks
        envelope = connection.envelope
        assert envelope is not None  # the core opens a message inside a transaction only
        if connection.refused:  # logged before the message, in the order in which they came
            self._log_refused()
        due = len(envelope.recipients) if session.lmtp else 1  # read now, as a hook may change the envelope
        message = IncomingMessage(self, session, envelope, hooks)
        body = IncomingBody(message, hooks.policies, self.settings.memory)
        self._clock.start_hook()
        try:
            answer = await self._clock.run(hooks.handler.message(envelope, body))
            verdicts = as_verdicts(answer, due)
        except Exception as raised:  # noqa: BLE001 - a fault of the hook is the client's 451
            error = bare(raised)
            broken_off = message.aborted is not None and isinstance(error, MessageAborted)
            verdicts = [] if broken_off else [hooks.reply_to(error)] * due
        finally:
            await body.aclose()
        if message.refusal is not None:
            verdicts = [message.refusal.reply] * due
        self._clock.end_hook()
        if message.aborted is not None:
            await self._reset(message.aborted, message.size)
            return
        if not body.was_read and any(verdict.positive for verdict in verdicts):
            log.error("%s the message hook accepted a message without reading it to its end", session.id)
            verdicts = [replies.LOCAL_ERROR] * len(verdicts)
        if not message.complete:
            if connection.waiting is not None and type(connection.waiting) is not MessageStart:
                connection.reject(replies.LOCAL_ERROR)  # a command between chunks, not answered when the hook returned
            connection.reject(verdicts[0])
        elif session.lmtp:
            connection.accept_each(verdicts)
        elif verdicts[0].positive:
            connection.accept(verdicts[0])
        else:
            connection.reject(verdicts[0])
        self._log.message(envelope, message.size, verdicts)
        self._clock.before_wait = self._send_verdict

    def _send_verdict(self) -> None:
        """Send pending replies, as far as possible without waiting, because a hook is about to wait."""
        self._clock.before_wait = None
        self._unsent = not self._send_now(self.connection.data_to_send())

    async def _reset(self, event: TransactionAborted, size: int = 0) -> None:
        self._log.broken_off(event, size)
        await self._hooks.ask("reset", event.reason)

    async def _on_starttls(self) -> None:
        connection = self.connection
        connection.accept()
        if not self._send_now(connection.data_to_send()):
            await self._send_rest()
        if await self._start_tls():
            connection.tls_established()
            self._info.identity = None
        else:
            connection.receive_data(b"")

    async def _begin_login(self, event: Auth) -> None:
        authenticator, tls = self.settings.authenticator, self._info.tls
        assert authenticator is not None  # otherwise the core offers no mechanism
        client_name = None if tls is None else tls.client_name
        self._login = LoginExchange(
            event.mechanism, authenticator, client_name, self._end_point, before_check=self._hooks.before_login
        )
        await self._authenticate(self._login, event.initial_response)

    async def _end_login(self) -> None:
        login, self._login = self._login, None  # drops the secrets in it
        if login is not None and login.has_failed:
            self.connection.count_auth_failure()

    async def _authenticate(self, login: LoginExchange, response: bytes | None) -> None:
        answer = await self._hooks.authenticate(login, response)
        self._login = login if isinstance(answer, Challenge) else None  # drops the secrets in it
        if isinstance(answer, Challenge):
            self.connection.challenge(answer.data)
        elif isinstance(answer, Reply):
            self.connection.reject(answer)
            if login.has_failed and answer.code < 500:  # the answer of a policy
                self.connection.count_auth_failure()
        else:
            self.settings.stats.logins += 1
            self._info.identity = answer
            self.connection.accept()

    async def _report_faults(self, faults: int) -> None:
        """Report new errors and junk commands to the policies, before the replies to them go out."""
        grown, self._faults = faults > self._faults, faults
        if grown:
            connection, limits = self.connection, self.settings.config.limits
            await self._hooks.report_faults(
                connection.error_count / limits.errors, connection.junk_count / limits.junk_commands
            )

    def _give_up_hook(self) -> None:
        """Answer for a hook that took too long and was cancelled."""
        self._log.hook_timed_out()
        connection = self.connection
        event = connection.waiting
        self._log.unanswered(connection.state, event, connection.envelope)
        self._login = None  # drops the secrets in it
        if connection.state is State.CONNECTED:
            connection.greet(replies.CLOSING)
        while event is not None and connection.waiting is event:  # in LMTP once for each recipient
            is_login = type(event) is Auth or type(event) is AuthResponse
            connection.reject(replies.AUTH_UNAVAILABLE if is_login else replies.LOCAL_ERROR)
        if connection.state in (State.DATA, State.BDAT):
            connection.reject(replies.LOCAL_ERROR)
