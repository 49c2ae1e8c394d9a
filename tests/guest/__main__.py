"""The command `python -m tests.guest`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.guest import GuestError, MissingError, run
from tests.guest.kernel import prepare

EPILOG = """\
The exit status is the script's; 32 if the mount failed, 124 if the guest did not end in time or died, 125 if
there is none here.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.guest",
        description="Run a shell script on a 9P mount in a Linux guest.",
        epilog=EPILOG,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("script", nargs="?", type=Path, help="a file with the script")
    what.add_argument("-c", dest="command", help="the script itself")
    what.add_argument("--prepare", action="store_true", help="only fetch and build what the guest needs")
    parser.add_argument(
        "--port", type=int, default=5640, help="where on 127.0.0.1 the server listens (%(default)s)"
    )
    parser.add_argument("-o", dest="options", default="", help="more mount options, such as version=9p2000.u")
    parser.add_argument("--timeout", type=float, default=60, help="seconds, the boot included (%(default)s)")
    arguments = parser.parse_args()
    try:
        if arguments.prepare:
            prepare()
            return 0
        script = arguments.command if arguments.script is None else arguments.script.read_text()
        result = run(script, arguments.port, arguments.options, arguments.timeout)
    except GuestError as error:
        print(error, file=sys.stderr)
        return 124
    except MissingError as error:
        print(error, file=sys.stderr)
        return 125
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    return result.status


if __name__ == "__main__":
    sys.exit(main())
