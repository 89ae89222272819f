"""``python -m trio_smtp`` is the command ``trio-smtp``."""

from __future__ import annotations

import sys

from trio_smtp.cli import main

if __name__ == "__main__":
    sys.exit(main())
