"""Workers: the supervisor that restarts them, a worker in this process, and the server with real processes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import smtplib
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.cli.test_limits import settings
from tests.cli.test_serve import CONTENT, DEMO, FREE, Run, stored
from tests.cli.test_tls import issue
from tests.cli.tools import Serving
from tests.server.tools import begin
from trio_smtp.cli import worker
from trio_smtp.cli.control import CUT_OFF, DRAIN, RELOAD, Assignment, Control, packed_stats, unpacked_stats
from trio_smtp.cli.errors import CommandError
from trio_smtp.cli.limits import WINDOWS, login_limits
from trio_smtp.cli.workers import Supervisor, Worker
from trio_smtp.server import Certificates, Stats, shared_memory
from trio_smtp.testing.client import ScriptedClient

# --- the supervisor


class Fake:
    """A worker without a process."""

    def __init__(self, number: int, *, ready: bool = True) -> None:
        self.number = number
        self.pid = 1000 + number
        self.orders: list[bytes] = []
        self.to_report, self._reports = trio.open_memory_channel[Stats](10)
        self._ended = trio.Event()
        self._code = 0
        if ready:
            self.to_report.send_nowait(Stats())

    async def reports(self) -> AsyncIterator[Stats]:
        async for stats in self._reports:
            yield stats

    async def wait(self) -> int:
        await self._ended.wait()
        return self._code

    def tell(self, order: bytes) -> None:
        self.orders.append(order)

    def kill(self) -> None:
        self.end(-signal.SIGKILL)

    def end(self, code: int) -> None:
        self._code = code
        self._ended.set()
        self.to_report.close()


class Fakes:
    """Starts fake workers and records which, and when."""

    def __init__(self, make: Callable[[int], Fake] = Fake) -> None:
        self.started: list[Fake] = []
        self.times: list[float] = []
        self.forgotten: list[int] = []
        self._make = make

    async def start(self, number: int) -> Worker:
        self.times.append(round(trio.current_time(), 3))
        await trio.lowlevel.checkpoint()
        worker = self._make(number)
        self.started.append(worker)
        return worker

    def supervisor(self, count: int) -> Supervisor:
        return Supervisor(count, self.start, self.forgotten.append)


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "trio_smtp")
    return lambda: [record.getMessage() for record in caplog.records]


async def test_one_that_ends_is_started_again(
    nursery: trio.Nursery, autojump_clock: MockClock, messages: Callable[[], list[str]]
) -> None:
    fakes = Fakes()
    supervisor = fakes.supervisor(2)
    nursery.start_soon(supervisor.run)
    await supervisor.settled.wait()
    next(worker for worker in fakes.started if worker.number == 1).end(-signal.SIGKILL)
    await trio.sleep(1)
    assert [worker.number for worker in fakes.started[2:]] == fakes.forgotten == [1]
    assert set(messages()[:2]) == {"worker 1 takes mail (process 1000)", "worker 2 takes mail (process 1001)"}
    assert messages()[2:] == [
        "worker 2 was ended by signal 9 (Killed); another one starts in 0.1 s",
        "worker 2 takes mail (process 1001)",
    ]
    nursery.cancel_scope.cancel()


async def test_one_that_dies_young_waits_ever_longer(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    def make(number: int) -> Fake:
        worker = Fake(number, ready=False)
        if len(fakes.started) < 12:
            worker.end(1)
        return worker

    fakes = Fakes(make)
    supervisor = fakes.supervisor(1)
    nursery.start_soon(supervisor.run)
    await supervisor.settled.wait()
    assert len(fakes.started) == 1
    await trio.sleep(300)
    gaps = [round(later - earlier, 3) for earlier, later in zip(fakes.times, fakes.times[1:], strict=False)]
    assert gaps == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30]
    fakes.started[-1].end(1)  # after a long life
    await trio.sleep(0.2)
    assert len(fakes.started) == 14
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (OSError(11, "Resource temporarily unavailable"), "resource temporarily unavailable"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (MemoryError(), "out of memory"),
    ],
)
async def test_what_cannot_be_started_is_tried_again(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    messages: Callable[[], list[str]],
    failure: Exception,
    reason: str,
) -> None:
    failures = [failure]
    fakes = Fakes()

    async def start(number: int) -> Worker:
        if failures:
            raise failures.pop()
        return await fakes.start(number)

    nursery.start_soon(Supervisor(1, start).run)
    await trio.sleep(1)
    assert messages()[0] == f"worker 1 cannot be started: {reason}; another one starts in 0.1 s"
    assert len(fakes.started) == 1
    nursery.cancel_scope.cancel()


async def test_it_ends_when_all_have_drained(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    fakes = Fakes()
    supervisor = fakes.supervisor(3)
    finished = trio.Event()

    async def run() -> None:
        await supervisor.run()
        finished.set()

    nursery.start_soon(run)
    await supervisor.settled.wait()
    fakes.started[0].end(1)  # it waits to be started again when the others drain
    await wait_all_tasks_blocked()
    began = trio.current_time()
    await supervisor.drain()
    supervisor.cut_off()
    for each in fakes.started[1:]:
        assert each.orders == [DRAIN, CUT_OFF]
    fakes.started[1].end(0)
    await wait_all_tasks_blocked()
    assert not finished.is_set()
    supervisor.kill()
    await finished.wait()
    assert trio.current_time() == began
    assert len(fakes.started) == 3


async def test_one_that_is_being_started_drains_too(
    nursery: trio.Nursery, autojump_clock: MockClock, messages: Callable[[], list[str]]
) -> None:
    """`drain` waits until it has started, since it needs the listening sockets for that.

    Nobody is told that it takes mail, and the server that stops is not announced as ready.
    """
    fakes = Fakes()

    async def start(number: int) -> Worker:
        await trio.sleep(1)
        return await fakes.start(number)

    supervisor = Supervisor(2, start)
    nursery.start_soon(supervisor.run)
    await trio.sleep(0.5)
    await supervisor.drain()
    await wait_all_tasks_blocked()
    assert trio.current_time() - fakes.times[0] < 0.1
    [worker] = fakes.started
    assert worker.orders == [DRAIN]
    worker.end(0)
    await wait_all_tasks_blocked()
    assert messages() == []
    assert not supervisor.settled.is_set()


async def test_stats_are_added_up(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    fakes = Fakes()
    supervisor = fakes.supervisor(2)
    nursery.start_soon(supervisor.run)
    await supervisor.settled.wait()
    first, second = fakes.started
    first.to_report.send_nowait(Stats(connections=1, rules=Counter({"connections": 2})))
    second.to_report.send_nowait(Stats(connections=10, messages_accepted=5, rules=Counter({"message-rate": 1})))
    await wait_all_tasks_blocked()
    first.end(-signal.SIGKILL)
    await trio.sleep(1)
    fakes.started[2].to_report.send_nowait(Stats(connections=100, rules=Counter({"connections": 1})))
    await wait_all_tasks_blocked()
    rules = Counter({"connections": 3, "message-rate": 1})
    assert supervisor.stats == Stats(connections=111, messages_accepted=5, rules=rules)
    nursery.cancel_scope.cancel()


def test_stats_travel_whole() -> None:
    stats = Stats(1, 2, 3, 4, 5, 6, 7, 8, Counter({"open-files": 9}))
    assert unpacked_stats(packed_stats(stats)) == stats
    assert type(unpacked_stats(packed_stats(stats)).rules) is Counter


# --- flags


@pytest.mark.parametrize(
    ("flags", "fragments"),
    [
        (["--store", "memory:"], ["--workers", "memory", "--store json:DIRECTORY"]),
        (["--store", "null:", "--workers", "257"], ["--workers", "256"]),
        (["--store", "null:", "--greylist"], ["--greylist", "--workers", "--store json:DIRECTORY"]),
    ],
)
def test_what_workers_cannot_share(run: Run, folder: Path, flags: list[str], fragments: list[str]) -> None:
    run("serve", *FREE, "--workers", "2", *flags).fails(2, *fragments)
    assert not list(folder.iterdir())


def test_one_worker_is_none() -> None:
    assert settings("--workers", "1", "--store", "memory:").workers == settings().workers == 1


@pytest.mark.parametrize(("count", "at_once", "waiting"), [(1, 2, 64), (2, 1, 32), (3, 1, 21), (100, 1, 1)])
def test_passwords_hashed_by_each(count: int, at_once: int, waiting: int) -> None:
    assert login_limits(settings("--workers", str(count))) == {"at_once": at_once, "waiting": waiting}


# --- a worker, in this process


@pytest.fixture(autouse=True)
def frequent_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_REPORTS", 0.001)


@contextlib.asynccontextmanager
async def working(*flags: str) -> AsyncIterator[tuple[Control, int, trio.Event]]:
    """Run a worker. Yield the parent's end of its control socket, its port, and an event that is set at its end."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours, theirs = socket.socketpair()
    control, ended = Control(ours), trio.Event()
    told = settings(*flags)
    with shared_memory(2, 1, WINDOWS) as memory, contextlib.closing(control):
        port = listener.getsockname()[1]
        async with trio.open_nursery() as nursery:

            async def work() -> None:
                with theirs:
                    await worker.work(Control(theirs))
                ended.set()

            nursery.start_soon(work)
            listeners = [(told.listen[0], [listener.detach()])]
            await control.send(Assignment(0, told, listeners, memory, None).packed())
            yield control, port, ended


async def connect(port: int) -> ScriptedClient:
    client = ScriptedClient(await trio.open_tcp_stream("127.0.0.1", port))
    await begin(client)
    return client


NULL = ("--workers", "2", "--store", "null:", "--account", "bob=bob@example.com")


@pytest.mark.parametrize("how", ["order", "signals", "parent gone"])
async def test_a_worker_reports_and_drains(how: str, messages: Callable[[], list[str]]) -> None:
    async with working(*NULL) as (control, port, ended):
        assert unpacked_stats(await anext(control)) == Stats()
        async with await connect(port) as client, await connect(port) as idle:
            while (stats := unpacked_stats(await anext(control))).connections < 2:
                pass
            assert stats == Stats(connections=2)
            assert (await client.command("MAIL FROM:<ann@example.com>")).code == 250
            if how == "order":
                control.tell(DRAIN)
            elif how == "signals":  # any number of them
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
                    os.kill(os.getpid(), number)
            else:
                control.close()
            await idle.expect_close("421")
            with pytest.raises(OSError, match="all attempts to connect"):
                await trio.open_tcp_stream("127.0.0.1", port)
            assert not ended.is_set()
            assert (await client.command("RCPT TO:<bob@example.com>")).code == 250
            assert (await client.command("DATA")).code == 354
            assert (await client.command(".")).code == 250
            await client.expect_close("421")
        if how != "parent gone":
            last = [unpacked_stats(line) async for line in control][-1]
            assert (last.connections, last.messages_accepted) == (2, 1)
    gone = "a worker drains, for the process that started it is gone"
    assert (gone in messages()) == (how == "parent gone")


async def test_a_worker_is_cut_off() -> None:
    async with working(*NULL) as (control, port, _), await connect(port) as client:
        assert (await client.command("MAIL FROM:<ann@example.com>")).code == 250
        control.tell(DRAIN)
        control.tell(CUT_OFF)
        await client.expect_close("421")


async def test_a_worker_reads_certificates_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, again = issue(trustme.CA(), tmp_path / "mx.pem", "127.0.0.1"), trio.Event()

    async def reload(_: Certificates) -> bool:
        again.set()
        return True

    monkeypatch.setattr(Certificates, "reload", reload)
    async with working(*NULL, f"--tls-cert={file}") as (control, _, _):
        await anext(control)
        control.tell(RELOAD)
        await again.wait()
        control.tell(DRAIN)


async def test_a_worker_whose_parent_is_gone_before_it_begins() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        await worker.work(Control(theirs))


async def test_a_worker_without_its_store(folder: Path) -> None:
    """A worker does not create the store, since that would be an empty one."""
    with pytest.RaisesGroup(pytest.RaisesExc(CommandError, match="cannot use the store json:mail: ")):
        async with working("--workers=2"):
            pass
    assert not list(folder.iterdir())


def test_a_worker_is_not_started_by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert worker.main() == 2
    assert capsys.readouterr().err == "trio-smtp: workers are started by trio-smtp serve --workers N\n"


# --- all of it


@contextlib.contextmanager
def workers(*flags: str, folder: Path) -> Generator[tuple[Serving, dict[str, int]]]:
    """Run a server with two workers. When both take mail, yield the server and the process IDs of the workers."""
    with Serving("--workers", "2", *flags, folder=folder) as server:
        yield server, dict(worker_in(server.log("takes mail")) for _ in range(2))


def worker_in(line: str) -> tuple[str, int]:
    """Return the name and the process ID in the log message of a worker that takes mail."""
    found = re.fullmatch(r"(worker \d) takes mail \(process (\d+)\)", line)
    assert found is not None
    return found[1], int(found[2])


def test_nothing_is_lost_when_a_worker_is_killed(run: Run, folder: Path) -> None:
    """No accepted message is lost. If the parent is killed, its workers end."""
    with workers(*FREE, *DEMO, folder=folder) as (server, processes):
        contents = [CONTENT + b"%d\r\n" % number for number in range(12)]
        accepted = list[bytes]()
        for number, content in enumerate(contents):
            with contextlib.suppress(smtplib.SMTPServerDisconnected, ConnectionError), server.connect() as client:
                client.ehlo()
                if number == 5:  # whichever worker serves this client
                    os.kill(processes["worker 1"], signal.SIGKILL)
                client.sendmail("sender@example.com", ["demo@example.com"], content)
                accepted.append(content)
            if number == 5:
                assert "another one starts in" in server.log("worker 1 was ended by signal 9")
            if number == 9:
                processes.update([worker_in(server.log("takes mail"))])
        assert len(accepted) >= len(contents) - 1
        assert set(accepted) <= {*stored(run)} <= {*contents}
        server.send(signal.SIGKILL)
        for _ in processes:
            server.log("a worker drains, for the process that started it is gone")
        assert not [*server.messages()]  # no process has the log open any more
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_what_holds_for_all_workers_together(folder: Path, tmp_path: Path) -> None:
    """Limits, SIGHUP, the end and the counters."""
    file, unix = issue(trustme.CA(), tmp_path / "mx.pem", "127.0.0.1"), tmp_path / "s"
    limits = ("--max-connections-per-peer=2", "--message-rate=3/1d")
    flags = (*FREE, f"--listen=lmtp+unix://{unix}", *DEMO, "--store=null:", f"--tls-cert={file}", *limits)
    with workers(*flags, folder=folder) as (server, processes):
        with server.connect() as one, server.connect() as other:  # of one worker each
            with pytest.raises(smtplib.SMTPConnectError, match="421"):
                server.connect()
            answers = list[int]()
            for client in (one, other, one, other, one):
                client.ehlo()
                answers.append(client.mail("sender@example.com")[0])
                client.rset()
            assert answers == [250, 250, 250, 451, 451]

        server.send(signal.SIGHUP)
        for _ in processes:
            server.log("certificates read again")
        server.send(signal.SIGUSR1)
        server.log("stats connections=")

        busy = [smtplib.LMTP(str(unix)) for _ in range(4)]
        for client in busy:
            client.ehlo()
            client.mail("sender@example.com")
            client.rcpt("demo@example.com")
        server.send(signal.SIGTERM)
        server.log("stopping")
        for client in busy:
            assert client.data(CONTENT)[0] == 250
            assert client.getreply()[0] == 421
            client.close()
        assert server.wait() == 0
        assert not unix.exists()
        assert "stats connections=6 connections_refused=1 messages_accepted=4 " in (stats := server.log("stats "))
        assert stats.endswith(" connections-per-peer=1 message-rate=2")
