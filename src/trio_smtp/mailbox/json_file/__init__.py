"""`JSONFileStore`: mailboxes in a directory of JSON lines, shared by several processes of one machine.

The way of a message: `store` collects its body; the thread of the `writer` takes all messages that wait as one group,
appends them to the `journal` and syncs once; then they are in the `replica`, the index that each process makes of the
journal, and the senders hear 250. Other processes read what is new in the journal when they next look.

- `files`: the calls of the operating system; `values` and `records`: a change as a line of JSON, and back
- `locks`: who may write; `journal`: the segments, and the manifest that names them; `blobs`: the largest bodies
- `replica`: what the journal amounts to; `places`: where in the files each body is; `lost`: see below
- `snapshot`: the index at some point of the journal; `database`: all of these as one process has them open
- `changes` and `writer`: how tasks have something written
- `compaction` and `housekeeping`: the store stays small and opens fast; `pace`: without keeping the event loop waiting
- `store`: the interface for programs; `maintenance`: that for people who look after a store

Damage hides nothing but itself. The `replica` passes over a record that cannot be read and remembers where it is;
`lost` finds what it must have said by later ones that do not fit without it; the UIDs that it may have given are never
given again (`Replica.burn_uids`); and its segment is kept, until `maintenance` moves it to quarantine.
"""

from __future__ import annotations

from trio_smtp.mailbox.json_file.store import JSONFileStore

__all__ = ["JSONFileStore"]
