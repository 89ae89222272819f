"""`StoreLock`: readers and writers, turns among processes and threads, the mark of a dead writer, and notes."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.locks import StoreLock

# Each `StoreLock` has its own descriptors, so for the kernel two of them are like two processes.


@pytest.fixture
def root(tmp_path: Path) -> Iterator[files.Directory]:
    root = files.Directory.at(str(tmp_path), create=False)
    yield root
    root.close()


@pytest.fixture
def lock(root: files.Directory) -> Iterator[StoreLock]:
    lock = StoreLock(root)
    yield lock
    lock.close()


@pytest.fixture
def other(root: files.Directory) -> Iterator[StoreLock]:
    other = StoreLock(root)
    yield other
    other.close()


def is_free(path: Path, *, exclusive: bool) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_NB | (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH))
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_lock_is_held_and_the_gate_is_not(tmp_path: Path, lock: StoreLock, exclusive: bool) -> None:
    with lock.hold(exclusive=exclusive):
        assert not is_free(tmp_path / "lock", exclusive=True)
        assert is_free(tmp_path / "lock", exclusive=False) is not exclusive
        assert is_free(tmp_path / "gate", exclusive=True)
    assert is_free(tmp_path / "lock", exclusive=True)


def test_readers_share(tmp_path: Path, lock: StoreLock, other: StoreLock) -> None:
    with lock.hold(exclusive=False):
        with other.hold(exclusive=False):
            assert not is_free(tmp_path / "lock", exclusive=True)
        assert not is_free(tmp_path / "lock", exclusive=True)
    assert is_free(tmp_path / "lock", exclusive=True)


def test_threads_take_turns(lock: StoreLock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of a process share its descriptors, so the flocks alone would not exclude them."""
    wanted, entered = threading.Event(), threading.Event()

    class Mutex:
        mutex = threading.Lock()

        def __enter__(self) -> None:
            if threading.current_thread() is waiting:
                wanted.set()
            self.mutex.acquire()

        def __exit__(self, *_: object) -> None:
            self.mutex.release()

    def enter() -> None:
        with lock.hold(exclusive=True):
            entered.set()

    monkeypatch.setattr(lock, "_mutex", Mutex())
    waiting = threading.Thread(target=enter)
    with lock.hold(exclusive=True):
        waiting.start()
        assert wanted.wait(10)
        assert not entered.is_set()
    waiting.join()
    assert entered.is_set()


@pytest.mark.parametrize("same_process", [True, False])
def test_who_waits_is_next(lock: StoreLock, other: StoreLock, system: System, same_process: bool) -> None:
    order: list[str] = []
    has_the_gate = threading.Event()

    def wait_and_hold() -> None:
        with (lock if same_process else other).hold(exclusive=True):
            order.append("second")

    def flock(call: Callable[[], None], *_: int) -> None:
        call()
        if threading.current_thread() is waiting:
            has_the_gate.set()

    waiting = threading.Thread(target=wait_and_hold)
    with lock.hold(exclusive=True):
        order.append("first")
        system.hooks["flock"] = flock
        waiting.start()
        has_the_gate.wait()
    with lock.hold(exclusive=True):
        order.append("first again")
    waiting.join()
    assert order == ["first", "second", "first again"]


def test_a_lock_that_cannot_be_had_leaves_nothing_locked(tmp_path: Path, lock: StoreLock, system: System) -> None:
    for failing in (1, 2):
        calls = iter(range(1, 10))

        def fail(
            call: Callable[[], None], _: int, operation: int, calls: Iterator[int] = calls, failing: int = failing
        ) -> None:
            if operation != fcntl.LOCK_UN and next(calls) == failing:
                raise OSError(errno.ENOLCK, "no locks available")
            call()

        system.hooks["flock"] = fail
        with pytest.raises(OSError, match="no locks"), lock.hold(exclusive=True):
            pass
        assert is_free(tmp_path / "gate", exclusive=True)
    with lock.hold(exclusive=True):
        pass


def test_who_comes_too_late_does_not_touch_the_lock_of_another(root: files.Directory, tmp_path: Path) -> None:
    """A thread may still want the lock when the store has been closed, and opened again with the same descriptors."""
    closed = StoreLock(root)
    closed.close()
    again = StoreLock(root)
    with again.hold(exclusive=True):
        for exclusive in (True, False):
            with pytest.raises(OSError, match="closed"), closed.hold(exclusive=exclusive):
                pass
        assert not is_free(tmp_path / "lock", exclusive=False)
    again.close()


def test_an_exception_inside_frees_the_lock(tmp_path: Path, lock: StoreLock) -> None:
    with pytest.raises(ZeroDivisionError), lock.hold(exclusive=True):
        raise ZeroDivisionError
    assert is_free(tmp_path / "lock", exclusive=True)


def test_who_dies_or_fails_at_work_is_noticed(lock: StoreLock, other: StoreLock) -> None:
    with lock.hold(exclusive=True) as held:
        assert not held.writer_died
    for _ in range(2):
        with other.hold(exclusive=False) as held:
            assert not held.writer_died
    with pytest.raises(ZeroDivisionError), lock.hold(exclusive=True):
        raise ZeroDivisionError
    for _ in range(2):
        with other.hold(exclusive=False) as held:
            assert held.writer_died
    with other.hold(exclusive=True) as held:
        assert held.writer_died
    with lock.hold(exclusive=True) as held:
        assert not held.writer_died


def test_a_note_stays_until_there_is_another(lock: StoreLock, other: StoreLock) -> None:
    with lock.hold(exclusive=True) as held:
        assert held.note == b""
        held.note = b"a long note, with a line end \n"
    with other.hold(exclusive=True):
        pass
    with other.hold(exclusive=False) as held:
        assert held.note == b"a long note, with a line end \n"
        held.note = b"readers leave none"
    with pytest.raises(ZeroDivisionError), other.hold(exclusive=True) as held:
        held.note = b"nor do those who fail"
        raise ZeroDivisionError
    with lock.hold(exclusive=True) as held:
        assert held.note == b"a long note, with a line end \n"
        held.note = b"short\n"
    with other.hold(exclusive=False) as held:
        assert held.note == b"short\n"


def test_no_note_where_two_stores_share_the_file(tmp_path: Path, lock: StoreLock) -> None:
    with lock.hold(exclusive=True) as held:
        held.note = b"one\n"
    (tmp_path / "copy").hardlink_to(tmp_path / "lock")
    with lock.hold(exclusive=True) as held:
        assert held.note == b""
        held.note = b"two\n"
    (tmp_path / "copy").unlink()
    with lock.hold(exclusive=True) as held:
        assert held.note == b"one\n"


def test_a_lock_that_cannot_be_opened_leaves_nothing_open(root: files.Directory, tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="lock"):
        StoreLock(root)
    assert len(os.listdir("/proc/self/fd")) == before
    assert not (tmp_path / "target").exists()
