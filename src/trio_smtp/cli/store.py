"""``trio-smtp store``: maintain a store, also while a server uses it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from trio_smtp._escape import escape
from trio_smtp.cli.confirm import ask
from trio_smtp.cli.errors import CommandError, reason
from trio_smtp.cli.output import Record, counted, say, say_json, say_record, say_result, say_table
from trio_smtp.cli.progress import progress
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import check_owner, unusable
from trio_smtp.cli.undo import undone_unless_complete
from trio_smtp.mailbox.json_file.maintenance import (
    Checked,
    Fault,
    Quarantined,
    check_store,
    compact_store,
    export_quarantine,
    get_info,
    list_quarantine,
    repair_store,
)
from trio_smtp.mailbox.store import StoreUnavailable

__all__ = ["check", "compact", "info", "quarantine", "repair"]


def info(*, store: StoreURL, as_json: bool) -> None:
    """Print how much a store contains."""
    with _using(store):
        counted = get_info(store.path)
    say_record({"path": str(store.path), "format": store.kind, **counted._asdict()}, as_json=as_json)


def check(*, store: StoreURL, as_json: bool) -> None:
    """Read the whole store and print what is damaged. Fail if anything is."""
    checked = _checked(store)
    faults = checked.faults
    if as_json:
        say_json({**checked._asdict(), "faults": [_fault(fault) for fault in faults]})
    else:
        _say_faults(faults)
        unneeded = f"; {counted(checked.unneeded, 'unneeded blob')}" if checked.unneeded else ""
        say(f"{counted(checked.records, 'record')} and {counted(checked.messages, 'message')} read{unneeded}.")
    if faults:
        raise CommandError(f"{_summary(faults)}; trio-smtp store repair moves the damaged files to quarantine")


def repair(*, yes: bool, store: StoreURL, as_json: bool) -> None:
    """Move damaged files to quarantine, so that the store works without them."""
    check_owner(store)
    faults = _checked(store).faults
    if not as_json:
        _say_faults(faults)
    moved: list[Quarantined] = []
    if faults:
        if not yes:
            ask(_summary(faults), "move the damaged files to quarantine", refusal="nothing was changed")
        with _using(store), progress("Repairing") as advance:
            moved = repair_store(store.path, faults, advance)
    if as_json:
        say_json({"faults": [_fault(fault) for fault in faults], "quarantined": [file.name for file in moved]})
    elif faults:
        say(f"Repaired; {counted(len(moved), 'file')} moved to quarantine.")
    else:
        say("No damage found.")


def quarantine(*, output: Path | None, store: StoreURL, as_json: bool) -> None:
    """List the files in quarantine, or copy them."""
    with _using(store):
        listed = list_quarantine(store.path)
    if output is not None:
        try:
            output.mkdir(mode=0o700)
            with undone_unless_complete(partial(shutil.rmtree, output, ignore_errors=True)):
                listed = export_quarantine(store.path, output)
        except OSError as error:
            raise CommandError(f"cannot copy to {output}: {reason(error)}; choose another --output") from error
    if output is None or as_json:
        say_table(map(_record, listed), ("octets", "name"), as_json=as_json)
    else:
        say(f"{counted(len(listed), 'file')} copied to {escape(str(output))}.")


def compact(*, store: StoreURL, as_json: bool) -> None:
    """Free the space of deleted messages."""
    check_owner(store)
    with _using(store), progress("Compacting") as advance:
        before, after = compact_store(store.path, advance)
    why = " The deleted mail is gone, but the new index is larger than that." * (after > before)
    say_result({"before": before, "after": after}, f"{before} octets before, {after} now.{why}", as_json=as_json)


@contextmanager
def _using(store: StoreURL) -> Generator[None]:
    # The commands print what they find, so the log need not repeat it.
    logging.getLogger("trio_smtp.mailbox").addHandler(logging.NullHandler())
    try:
        yield
    except (StoreUnavailable, OSError) as error:
        raise unusable(store, error) from error


def _checked(store: StoreURL) -> Checked:
    with _using(store), progress("Checking") as advance:
        return check_store(store.path, advance)


def _say_faults(faults: Sequence[Fault]) -> None:
    for fault in faults:
        lost = "; ".join(f"{escape(account)} {escape(mailbox)} {uid}" for account, mailbox, uid in fault.messages)
        say(
            f"{fault.file} at {fault.offset}, {counted(fault.octets, 'octet')}: {escape(fault.reason)}"
            + (f" ({lost})" if lost else "")
        )


def _summary(faults: Sequence[Fault]) -> str:
    lost = sum(len(fault.messages) for fault in faults)
    return f"damage in {counted(len(faults), 'place')}, with {counted(lost, 'unreadable message')}"


def _fault(fault: Fault) -> dict[str, object]:
    names = ("account", "mailbox", "uid")
    return {**fault._asdict(), "messages": [dict(zip(names, message, strict=True)) for message in fault.messages]}


def _record(file: Quarantined) -> Record:
    return {"name": file.name, "octets": file.octets}
