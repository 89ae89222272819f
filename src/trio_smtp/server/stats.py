"""What a server counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Final

__all__ = ["Stats"]

_HELP: Final = {
    "connections": "Connections accepted.",
    "connections_refused": "Connections refused.",
    "messages_accepted": "Messages accepted.",
    "messages_refused": "Messages refused after their content was received.",
    "octets_accepted": "Octets of the accepted messages.",
    "logins": "Successful logins.",
    "login_failures": "Failed logins.",
    "hook_errors": "Errors in hooks of the application.",
    "rules": "Refusals and closed connections by limit or policy.",
}


@dataclass(slots=True)
class Stats:
    """Counters since the server started. Those of several servers can be added up."""

    connections: int = 0
    connections_refused: int = 0
    messages_accepted: int = 0
    messages_refused: int = 0
    octets_accepted: int = 0
    logins: int = 0
    login_failures: int = 0
    hook_errors: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    """How often each limit and policy has struck, by the names in docs/dos-mitigations.md."""

    def __add__(self, other: Stats) -> Stats:
        return Stats(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(Stats)})

    def prometheus(self) -> str:
        """All of them in the text format of Prometheus (0.0.4): ``trio_smtp_messages_accepted_total 3``.

        `rules` becomes one metric, ``trio_smtp_rules_total``, with a label ``rule``.
        """
        lines: list[str] = []
        for each in fields(Stats):
            name, value = f"trio_smtp_{each.name}_total", getattr(self, each.name)
            lines += [f"# HELP {name} {_HELP[each.name]}", f"# TYPE {name} counter"]
            if isinstance(value, Counter):
                lines += [f'{name}{{rule="{_label(rule)}"}} {count}' for rule, count in sorted(value.items())]
            else:
                lines.append(f"{name} {value}")
        return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
