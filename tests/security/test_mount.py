"""A Linux kernel's mount, by root, with two users of it: the kernel's own checks agree with the server's."""

from __future__ import annotations

from tests import guest
from tests.security import ALICE, BOB, Jobd, SecurityTest, uid_of

PRELUDE = """
as() {
    uid=$1; shift
    host setpriv --reuid="$uid" --regid="$uid" --clear-groups -- sh -c "cd /mnt; $*"
}
try() { as "$@" 2>/dev/null && echo yes || echo no; }
"""


class Mount:
    """The tests, for a mount whose OPTIONS have the kernel attach for each user."""

    options: str

    def setUp(self) -> None:
        guest.require()
        super().setUp()  # type: ignore[misc]
        self.jobd = Jobd(self)  # type: ignore[arg-type]

    def lines(self, script: str) -> list[str]:
        """What SCRIPT prints in the guest, with A and B for the numbers of alice and bob."""
        users = f"A={uid_of(ALICE)} B={uid_of(BOB)}\n"
        result = guest.run(users + PRELUDE + script, self.jobd.port, self.options, timeout=120)
        self.assertEqual((result.status, result.stderr), (0, ""))  # type: ignore[attr-defined]
        return result.stdout.splitlines()

    def test_two_users(self) -> None:
        """Each makes jobs, which run as their makers; neither changes or looks into those of the other."""
        lines = self.lines("""
            as $A "echo 'a:@yearly:id -un' >clone; echo run >jobs/a/ctl"
            as $B "mkdir jobs/b; echo 'id -un' >jobs/b/cmd; echo run >jobs/b/ctl"
            cat jobs/[ab]/runs/1/wait >/tmp/ends
            as $A 'cat jobs/a/runs/1/output'
            as $B 'cat jobs/b/runs/1/output'
            stat -c '%n %u %g %a' jobs/a jobs/b jobs/a/cmd jobs/a/ctl jobs/a/runs
            echo what others may
            for path in ctl schedule status next history cmd log options runs/1/env; do
                try $B "cat jobs/a/$path >/dev/null"
            done
            for change in 'echo run >jobs/a/ctl' 'echo id >jobs/a/cmd' 'echo "nice 1" >jobs/a/options' \\
                'rmdir jobs/a' 'mv jobs/a jobs/c' 'chmod 777 jobs/a' 'chown bin jobs/a' 'echo pause >ctl' \\
                ': >jobs/a/cmd'; do
                try $B "$change"
            done
            echo what the owner may
            for change in 'chmod 755 jobs/a' 'chown bin jobs/a' 'chgrp bin jobs/a' 'mv jobs/a jobs/c' \\
                'echo pause >ctl'; do
                try $A "$change"
            done
            echo what others may then
            for path in cmd log options runs/1/output; do try $B "cat jobs/c/$path >/dev/null"; done
            echo what root may
            chown $B jobs/c && try $A 'echo run >jobs/c/ctl' && try $B 'rmdir jobs/c'
            echo pause >ctl && head -n1 ctl
            ls jobs
        """)
        a, b = uid_of(ALICE), uid_of(BOB)
        expected = [
            *(ALICE, BOB),
            *(f"jobs/a {a} {a} 711", f"jobs/b {b} {b} 711"),
            *(f"jobs/a/cmd {a} {a} 600", f"jobs/a/ctl {a} {a} 644", f"jobs/a/runs {a} {a} 500"),
            *("what others may", *["yes"] * 5, *["no"] * 4, *["no"] * 9),
            *("what the owner may", "yes", "no", "no", "yes", "no"),
            *("what others may then", *["yes"] * 4),
            *("what root may", "no", "yes", "paused", "b"),
        ]
        self.assertEqual(lines, expected)  # type: ignore[attr-defined]


class LinuxMountTest(Mount, SecurityTest):
    """9P2000.L, as mount does without further words: access=user."""

    options = ""


class ClientAccessTest(Mount, SecurityTest):
    """9P2000.L, where the kernel checks by itself as well."""

    options = "access=client"


class UnixMountTest(Mount, SecurityTest):
    """9P2000.u."""

    options = "version=9p2000.u"


class WholeMountTest(SecurityTest):
    """Mounts that attach once."""

    def setUp(self) -> None:
        guest.require()
        super().setUp()
        self.jobd = Jobd(self)

    def test_plain(self) -> None:
        """With version=9p2000 all users of the mount are whom it names."""
        script = PRELUDE + f"mkdir jobs/roots; as {uid_of(BOB)} 'mkdir jobs/bobs'"
        result = guest.run(script, self.jobd.port, f"version=9p2000,uname={ALICE}", timeout=120)
        self.assertEqual((result.status, result.stderr), (0, ""))
        root = self.jobd.user("root")
        self.assertEqual([root.stat(f"/jobs/{name}").uid for name in ("roots", "bobs")], [ALICE, ALICE])
