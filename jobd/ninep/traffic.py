"""How much a server did: counts that only ever grow, shared by all its sessions."""

from __future__ import annotations

from collections import Counter

from jobd.ninep import messages as m

_NAMES = {number: cls.__name__ for cls, number in m.TYPES.items()}


class Traffic:
    """Counts since the server began."""

    __slots__ = ("connections", "errors", "refused", "types")

    def __init__(self) -> None:
        self.connections = 0
        """Connections that were taken."""
        self.refused = 0
        """Connections that were closed before a byte was read: too many, or without a known peer."""
        self.types = [0] * 256
        """Requests, by the number of their type: a session adds to it for each message."""
        self.errors: Counter[int] = Counter()
        """Requests that were refused, by errno."""

    @property
    def requests(self) -> dict[str, int]:
        """Requests by the name of their type; `unknown` are those that 9P has no name for."""
        counts = {name: self.types[number] for number, name in _NAMES.items() if self.types[number]}
        unknown = sum(self.types) - sum(counts.values())
        return counts | ({"unknown": unknown} if unknown else {})
