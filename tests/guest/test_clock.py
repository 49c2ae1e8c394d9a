"""The clock of a machine is set while jobd runs on it: a real daemon, a real `date -s`, in the guest."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import guest
from tests.daemon import Daemon

ROOT = Path(__file__).resolve().parents[2]

# Starts the guest's own daemon shortly before noon of its clock, with a job at noon and one every second, and
# mounts it at /tmp/own. `runs JOB` counts runs that ended well.
PRELUDE = f"""
set -e
mount -t tmpfs state /host/media
mount --bind /proc /host/proc
mount --bind /dev /host/dev
date -s '2026-06-01 11:59:50' >/dev/null
host env TZ=UTC PYTHONPATH={ROOT} {sys.executable} -m jobd --fsaddr 127.0.0.1:5641 --dbdir /media/state \\
    >/tmp/daemon.log 2>&1 &
mkdir /tmp/own
until mount -t 9p -o trans=tcp,port=5641 127.0.0.1 /tmp/own 2>/dev/null; do usleep 200000; done
cd /tmp/own
# However long the start took, the story begins some seconds before noon.
date -s '2026-06-01 11:59:50' >/dev/null
echo 'noon:0 12 * * *:echo noon' >clone
echo 'each:* * * * * * *:echo each' >clone
echo start >jobs/noon/ctl
echo start >jobs/each/ctl
runs() {{ grep -c outcome=ok jobs/$1/history || true; }}
until_noon_ran() {{ until [ "$(runs noon)" = "$1" ]; do usleep 200000; done; }}
lines() {{ grep -c '^' jobs/each/log; }}
until_more() {{ was=$(lines); until [ "$(lines)" -gt "$was" ]; do usleep 200000; done; }}
seen() {{ grep -c ' UTC:clock-step' events || true; }}
sleep 2
before=$(seen)
steps() {{ echo $(($(seen) - before)); }}
"""


class SetClockTests(SynchronousTestCase):
    """Forward, back, and back again."""

    def setUp(self) -> None:
        guest.require()
        self.daemon = Daemon(self)

    def run_script(self, script: str) -> list[str]:
        """Run a script in the guest; the lines it printed."""
        result = guest.run(PRELUDE + script, self.daemon.port, timeout=120)
        self.assertEqual((result.status, result.stderr), (0, ""), result.stdout)
        return result.stdout.splitlines()

    def test_forward_and_back(self) -> None:
        """A job at noon runs once a day, whatever the clock is set to; one every second never stops."""
        lines = self.run_script(
            """
            until_noon_ran 1
            date -s '2026-06-01 11:59:55' >/dev/null       # back over noon
            sleep 8
            echo "back: noon ran $(runs noon), steps $(steps)"
            date -s '2026-06-02 12:30:00' >/dev/null       # a day forward, over the next noon
            until_noon_ran 2
            until_more
            echo "forward: noon ran $(runs noon), steps $(steps)"
            grep -c '^missed' jobs/each/history
            date -s '2026-06-02 11:59:55' >/dev/null       # and back again
            sleep 8
            echo "back again: noon ran $(runs noon), steps $(steps)"
            date -s '2026-05-20 11:59:55' >/dev/null       # further than anybody sets a clock by mistake
            until_noon_ran 3
            until_more
            echo "far back: noon ran $(runs noon), steps $(steps)"
            cut -d: -f4- jobs/noon/log | grep -v -e '^noon$'
            """
        )
        self.assertEqual(
            lines,
            [
                "back: noon ran 1, steps 1",
                "forward: noon ran 2, steps 2",
                "1",
                "back again: noon ran 2, steps 3",
                "far back: noon ran 3, steps 4",
                "started",
            ],
        )
