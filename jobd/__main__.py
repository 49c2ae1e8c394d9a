"""`jobd`, and `python -m jobd`: the daemon in the foreground, as a plain command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import IO

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python import usage

from jobd.logs import open_log, reopen_log
from jobd.tap import Options, makeService


class CommandOptions(Options):
    """As those of `twistd jobd`, and where the log goes."""

    synopsis = "Usage: jobd [options]"
    optParameters = [  # noqa: RUF012, N815
        ["logfile", None, None, "Where the log goes, appended; SIGHUP opens it anew (stderr)."],
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT. A wrong option ends it with status 2."""
    if os.getpid() == 1:
        # The kernel keeps from init what it does not handle; the reactor does, but when the jobs are loaded.
        later = IReactorFromThreads(reactor).callFromThread
        signal.signal(signal.SIGTERM, lambda _number, _frame: later(reactor.stop))
    options = CommandOptions()
    try:
        options.parseOptions(sys.argv[1:] if arguments is None else arguments)
    except usage.UsageError as error:
        print(f"jobd: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    log = _log(options["logfile"])
    globalLogBeginner.beginLoggingTo([textFileLogObserver(log)], redirectStandardIO=False)
    service = makeService(options)
    if options["logfile"] is not None:
        service.on_hangup.append(lambda: reopen_log(log))
    service.setServiceParent(Application("jobd"))
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


def _log(path: str | None) -> IO[str]:
    try:
        return sys.stderr if path is None else open_log(path)
    except OSError as error:
        print(f"jobd: --logfile {path}: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
