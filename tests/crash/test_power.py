"""Power cuts on real ext4 and XFS file systems (`power`); skipped where they cannot be mounted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.mounts import IMAGES, make_image, mounted
from tests.crash.power import PowerCuts
from trio_smtp.mailbox.json_file import files

pytestmark = pytest.mark.hypothesis  # see test_crash


@pytest.fixture
def disk_folder() -> Iterator[Path]:
    """A directory on a disk: not every system can mount an image that is in memory."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def may_mount(disk_folder: Path) -> None:
    with mounted(disk_folder / "try", "-t", "tmpfs", "tmpfs"):
        pass


@pytest.mark.usefixtures("may_mount")
@pytest.mark.parametrize("kind", IMAGES)
async def test_power_cuts(kind: str, disk_folder: Path, thorough: bool) -> None:
    cuts = PowerCuts(make_image(disk_folder, kind))
    for _ in range(50 if thorough else 2):
        await cuts.cut()
    await cuts.look()
    assert cuts.acknowledged


@pytest.mark.usefixtures("may_mount")
@pytest.mark.parametrize("kind", IMAGES)
async def test_a_store_that_does_not_sync_is_caught(
    kind: str, disk_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = PowerCuts(make_image(disk_folder, kind))
    await cuts.cut()
    monkeypatch.setattr(files, "sync_data", lambda _: None)
    await cuts.cut()
    with pytest.raises(AssertionError, match="lost"):
        await cuts.look()
