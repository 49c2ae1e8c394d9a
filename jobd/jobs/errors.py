"""The one exception of the job layer."""

from __future__ import annotations

import os


class JobError(Exception):
    """A change or a look-up that is refused.

    `errno` is the Unix number a caller sees; `str()` is one sentence that names what is wrong and what
    is allowed.
    """

    def __init__(self, errno: int, sentence: str = "") -> None:
        super().__init__(sentence or os.strerror(errno))
        self.errno = errno
