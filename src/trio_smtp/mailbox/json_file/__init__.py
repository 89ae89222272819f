"""`JSONFileStore`: mailboxes in a directory of JSON lines, shared by several processes of one machine."""

from __future__ import annotations

from trio_smtp.mailbox.json_file.store import JSONFileStore

__all__ = ["JSONFileStore"]
