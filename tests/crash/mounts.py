"""Real file systems for the crash tests. If they cannot be mounted, the test is skipped with the reason."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_SHUTDOWN: Final = 0x8004587D  # the value of both EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN
_NO_LOG_FLUSH: Final = 2  # write nothing more, not even the pending log of the file system

IMAGES: Final = {
    "ext4": (64, ["mkfs.ext4", "-q", "-F"], "e2fsprogs"),
    "xfs": (320, ["mkfs.xfs", "-q", "-f"], "xfsprogs"),
}
"""By kind of file system: the size of its image in MiB, the command that makes it, and the package of that command."""


@contextmanager
def mounted(where: Path, *arguments: str | Path) -> Iterator[None]:
    """Create a directory, mount something there, and unmount it at the end."""
    where.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mount = subprocess.run(["mount", *arguments, where], check=False, capture_output=True, text=True)
    if mount.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", where], check=True)


def make_image(folder: Path, kind: str) -> Path:
    """Make a file system of this kind in a file; return its path."""
    size, command, package = IMAGES[kind]
    if shutil.which(command[0], path=f"{os.defpath}:/usr/sbin:/sbin") is None:
        if os.environ.get("CI"):
            pytest.fail(f"not installed: {package}")
        pytest.skip(f"not installed: {package}")
    image = folder / kind
    with image.open("wb") as file:
        file.truncate(size * 1024 * 1024)
    _run([*command, image])
    return image


def cut_power(where: Path) -> None:
    """Shut a file system down as a power cut does: what is not on the disk by now is lost."""
    fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(fd)


def _run(command: Sequence[str | Path]) -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": path})
