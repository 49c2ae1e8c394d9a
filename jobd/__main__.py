"""`jobd`, and `python -m jobd`: the daemon in the foreground, as a plain command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from twisted.application.service import Application, IService
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python import usage

from jobd.tap import Options, makeService


class CommandOptions(Options):
    """As those of `twistd jobd`."""

    synopsis = "Usage: jobd [options]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT; the log goes to stderr. A wrong option ends it with status 2."""
    options = CommandOptions()
    try:
        options.parseOptions(sys.argv[1:] if arguments is None else arguments)
    except usage.UsageError as error:
        print(f"jobd: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    service = IService(makeService(options))
    service.setServiceParent(Application("jobd"))
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


if __name__ == "__main__":
    main()
