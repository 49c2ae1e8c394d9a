"""What one connection may make the server hold."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """The bounds of a connection, and of how many there are."""

    msize: int = 1 << 20
    """Bytes of the largest message. Linux asks for 128 KiB by default and for at most 1 MiB."""
    fids: int = 1 << 16
    """A Linux client holds one for each user and each open file, other kernels one for each cached name."""
    requests: int = 1 << 10
    """Requests that wait at once; EAGAIN beyond. Each blocked process of a client is one."""
    waiting_bytes: int = 1 << 26
    """The counts of all reads that wait, together: what their replies can come to if all end at once; EAGAIN
    beyond."""
    reply_bytes: int = 1 << 16
    """Replies made before those made are sent, and the peer must read some. More to join and send at once
    than stays in a processor's cache takes twice the time."""
    name: int = 255
    """Bytes of a name: NAME_MAX of Linux."""
    xattr: int = 1 << 16
    """Bytes of an extended attribute: XATTR_SIZE_MAX of Linux."""
    connections: int = 512
    """Of one factory. Half of the 1,024 files that a process may usually have open."""
    greeting: float | None = 60.0
    """Seconds until the first attach. A mount attaches at once; who never does, lest it take a place
    for ever, is anybody: nothing has proved yet who it is."""
    idle: float | None = None
    """Seconds without a byte from the peer. A mount may rightly be silent for days, so none."""


MIN_MSIZE = 256
"""Below it not even an Rwalk of 16 qids or an Rerror fits."""
