"""`JSONFileStore`: mailboxes in a directory of JSON lines, shared by several processes of one machine.

How a message is stored: `store` collects its body. The thread of the `writer` takes all waiting messages as one group,
appends them to the `journal` and syncs once. Then it adds them to the `replica`, the index that each process builds
from the journal, and the clients get their 250. Other processes read the new records at their next look-up.

- `files`: the calls of the operating system; `values` and `records`: a change as a line of JSON, and back
- `locks`: the lock of the store; `journal`: the segments, and the manifest that names them; `blobs`: the largest bodies
- `replica`: the state that the journal describes; `places`: where in the files each body is; `lost`: see below
- `snapshot`: the index at some point of the journal; `database`: all of these as one process has them open
- `changes` and `writer`: how tasks have changes written
- `compaction` and `housekeeping`: keep the store small and fast to open; `pace`: without delaying the event loop
- `store`: the interface for programs; `maintenance`: the interface for administrators

Damage affects nothing but the damaged record. The `replica` skips a record that it cannot read and remembers its place.
`lost` infers what the record did from later ones that do not fit without it. The UIDs that the record may have assigned
are never assigned again (`Replica.burn_uids`). Its segment is never removed: a compaction moves it to quarantine.
"""

from __future__ import annotations

from trio_smtp.mailbox.json_file.store import JSONFileStore

__all__ = ["JSONFileStore"]
