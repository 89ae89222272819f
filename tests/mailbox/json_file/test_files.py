"""The file system calls of the store: directories, names, publishing, writing and reading, and errors."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import files


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[files.Directory]:
    folder = files.Directory.at(str(tmp_path / "folder"), create=True)
    yield folder
    folder.close()


@pytest.fixture(params=[0o000, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- directories


@pytest.mark.usefixtures("umask")
def test_modes(tmp_path: Path) -> None:
    folder = files.Directory.at(str(tmp_path / "folder"), create=True)
    folder.directory("inner").close()
    files.close(folder.create("file"))
    folder.publish("published", [b"x"])
    folder.close()
    assert mode(tmp_path / "folder") == mode(tmp_path / "folder/inner") == 0o700
    assert mode(tmp_path / "folder/file") == mode(tmp_path / "folder/published") == 0o600


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    folder = files.Directory.at(str(tmp_path), create=True)
    assert folder.mode() == 0o750
    folder.close()


def test_a_directory_is_made_only_on_demand(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.Directory.at(str(tmp_path / "none"), create=False)
    assert not (tmp_path / "none").exists()


def test_links_are_followed_to_the_first_directory_only(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real/inner").symlink_to(tmp_path)
    for create in (False, True):
        folder = files.Directory.at(str(tmp_path / "link"), create=create)
        assert folder.names() == ["inner"]
        with pytest.raises(OSError, match="Not a directory"):
            folder.directory("inner")
        folder.close()


def test_a_closed_directory_is_not_used_by_mistake(tmp_path: Path) -> None:
    folder = files.Directory.at(str(tmp_path), create=False)
    folder.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        folder.open("file")


def test_a_sync_is_never_tried_again_on_the_same_descriptor(folder: files.Directory, system: System) -> None:
    synced: list[int] = []
    system.hooks["fsync"] = lambda _, fd: synced.append(fd)
    folder.sync()
    folder.sync_name()
    assert folder.fd not in synced
    assert len(synced) == 2


# --- names in a directory


@pytest.fixture
def planted(folder: files.Directory, tmp_path: Path) -> Path:
    """Entries that are no regular files: a symbolic link, a dangling one, a FIFO, a directory."""
    (tmp_path / "target").write_bytes(b"untouched")
    inside = tmp_path / "folder"
    (inside / "link").symlink_to(tmp_path / "target")
    (inside / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(inside / "fifo")
    (inside / "directory").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ["link", "dangling", "fifo", "directory"])
def test_what_is_planted_is_not_opened(folder: files.Directory, planted: Path, name: str) -> None:
    with pytest.raises(OSError, match=name):
        folder.open(name)
    with pytest.raises(OSError, match=name):
        folder.open(name, writable=True)
    with pytest.raises(OSError, match=name):
        folder.open_or_create(name)
    with pytest.raises(FileExistsError):
        folder.create(name)
    assert (planted / "target").read_bytes() == b"untouched"
    assert not (planted / "nothing").exists()


def test_a_file_that_exists_is_not_created(folder: files.Directory, tmp_path: Path) -> None:
    (tmp_path / "folder/file").write_bytes(b"untouched")
    with pytest.raises(FileExistsError):
        folder.create("file")
    files.close(folder.open_or_create("file"))
    assert (tmp_path / "folder/file").read_bytes() == b"untouched"


def test_a_file_that_cannot_be_made_ours_is_closed(folder: files.Directory, system: System) -> None:
    system.fail("fchmod", errno.EPERM)
    with pytest.raises(PermissionError):
        folder.create("file")
    assert system.calls[-1] == "close"


# --- publishing


def test_publish(folder: files.Directory, tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        folder.publish("file", [text[:1], b"", text[1:]])
        assert (tmp_path / "folder/file").read_bytes() == text
    assert folder.names() == ["file"]


def test_publish_after_somebody_died(folder: files.Directory, tmp_path: Path) -> None:
    (tmp_path / "folder/file.new").write_bytes(b"left behind")
    folder.publish("file", [b"text"])
    assert folder.names() == ["file"]
    assert (tmp_path / "folder/file").read_bytes() == b"text"


@pytest.mark.parametrize("call", ["unlink", "open", "pwrite", "fsync", "rename"])
def test_publish_that_fails_changes_nothing(folder: files.Directory, tmp_path: Path, system: System, call: str) -> None:
    folder.publish("file", [b"old"])
    system.fail(call, errno.EIO)
    with pytest.raises(OSError, match="made to fail"):
        folder.publish("file", [b"new"])
    assert (tmp_path / "folder/file").read_bytes() == b"old"
    assert folder.names() == ["file"]


def test_publish_that_is_broken_off_leaves_nothing(folder: files.Directory) -> None:
    with pytest.raises(ZeroDivisionError):
        folder.publish("file", (b"%d" % (1 // number) for number in (1, 0)))
    assert folder.names() == []


def test_a_file_has_its_name_only_when_it_is_on_disk(folder: files.Directory, system: System) -> None:
    folder.publish("file", [b"text"])
    written = [call for call in system.calls if call in ("pwrite", "fsync", "rename")]
    assert written == ["pwrite", "fsync", "rename"]


# --- writing and reading


@pytest.fixture
def fd(folder: files.Directory) -> Iterator[int]:
    fd = folder.create("file")
    yield fd
    files.close(fd)


def test_short_writes_and_reads(fd: int, system: System) -> None:
    data = bytes(range(256)) * 20
    system.hooks["pwrite"] = lambda _, fd, view, offset: os.pwrite(fd, view[:1000], offset)
    system.hooks["pread"] = lambda _, fd, length, offset: os.pread(fd, min(length, 700), offset)
    files.write_at(fd, 3, data)
    assert files.size(fd) == 3 + len(data)
    assert files.read_at(fd, 3, len(data)) == data
    assert files.read_at(fd, 3 + len(data), 10) == b""
    assert system.count("pwrite") == 6


def test_a_write_that_writes_nothing_is_an_error(fd: int, system: System) -> None:
    system.hooks["pwrite"] = lambda *_: 0
    with pytest.raises(OSError, match="nothing was written"):
        files.write_at(fd, 0, b"xy")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"\n", [(0, b"\n")]),
        (b"a\nbc\n\n", [(0, b"a\n"), (2, b"bc\n"), (5, b"\n")]),
        (b"a\ntorn", [(0, b"a\n"), (2, b"torn")]),
        (b"torn", [(0, b"torn")]),
        (b"\xff\x00\r\x85\n", [(0, b"\xff\x00\r\x85\n")]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 3, 1024])
def test_lines(
    fd: int, monkeypatch: pytest.MonkeyPatch, text: bytes, lines: list[tuple[int, bytes]], chunk: int
) -> None:
    monkeypatch.setattr(files, "_CHUNK", chunk)
    files.write_at(fd, 0, text)
    assert list(files.lines(fd, 0, len(text))) == lines
    assert list(files.lines(fd, 0, len(text) + 10)) == lines, "a file that ends before the end"
    assert list(files.lines(fd, 2, 4)) == ([(2, text[2:4])] if text[2:4] else [])


def test_a_failed_close_is_nothing_to_worry_about(system: System, fd: int) -> None:
    system.fail("close", errno.EIO)
    files.close(fd)
    assert system.count("close") == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), "/x: No such file or directory"),
        (OSError("odd"), "odd"),
    ],
)
def test_reason(error: OSError, reason: str) -> None:
    assert files.reason(error) == reason


def test_nobody_else_calls_the_system() -> None:
    """A stand-in for `os` and `fcntl` in this module must see every call."""
    package = Path(files.__file__).parent
    for module in package.glob("*.py"):
        if module.name != "files.py":
            text = module.read_text()
            assert "import fcntl" not in text, module
            assert "open(" not in text.replace(".open(", "").replace("_open(", ""), module
            assert not re.search(r"\bos\.(?!PathLike|fspath|getpid)", text), module
