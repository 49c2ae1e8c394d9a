"""A real Linux kernel in user mode that mounts a 9P server and runs a shell script on it.

    python -m tests.guest --port 5640 -c 'ls -l'

is the same by hand; docs/design/contributing.md tells what it needs.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.guest.kernel import is_prepared, prepare
from tests.guest.machine import GuestError, Result, run
from tests.guest.packages import MissingError
from tests.optional import in_ci, lacking

__all__ = ["GuestError", "MissingError", "Result", "require", "run", "run_in_thread"]


def run_in_thread(script: str, port: int, options: str = "", timeout: float = 60) -> Deferred[Result]:
    """`run` for a test whose server is on the reactor of this process."""
    return deferToThread(run, script, port, options, timeout)


def require() -> None:
    """Skip the test that runs now where no guest can run; in CI, fail it."""
    if not (is_prepared() or in_ci()):
        lacking("a guest kernel; `python -m tests.guest --prepare` fetches one from Debian")
    try:
        prepare()
    except MissingError as error:
        lacking(str(error))
