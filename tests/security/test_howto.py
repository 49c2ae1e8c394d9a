"""docs/howto/mount.md, from another machine through ssh: what tests/docs leaves to this."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

from tests import guest
from tests.daemon import ROOT, free_port
from tests.docs.page import read_page
from tests.optional import lacking
from tests.security import ALICE, Client, Jobd, SecurityTest, uid_of, wait_until

PAGE = ROOT / "docs" / "howto" / "mount.md"

SESSION = """
cd /mnt
echo 'hello:@yearly:id -un' >clone
echo run >jobs/hello/ctl
cat jobs/hello/runs/1/wait >/tmp/end
cat jobs/hello/runs/1/output
stat -c %u jobs/hello
su guest -c 'echo true >jobs/hello/cmd; stat -c %u jobs/hello'
"""
LOCAL = 1000
"""The number of the guest's user, who has another one here, or none."""


class SshTest(SecurityTest):
    """The section Through ssh."""

    def setUp(self) -> None:
        super().setUp()
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir(parents=True)
        self.port = free_port()

    def step(self, text: str) -> None:
        """Have a shell do a step, in the directory of this test."""
        subprocess.run(["sh", "-eu", "-c", text], cwd=self.place, check=True, capture_output=True)

    def background(self, *command: str) -> None:
        """Run COMMAND until the end of the test, and wait until it listens on `port`."""
        process = subprocess.Popen(
            command,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

        def stop() -> None:
            process.terminate()
            process.communicate(timeout=30)

        self.addCleanup(stop)

        def listens() -> bool:
            if process.poll() is not None:
                assert process.stderr is not None
                raise AssertionError(process.stderr.read().decode())
            with socket.socket() as probe:
                return not probe.connect_ex(("127.0.0.1", self.port))

        wait_until(listens, " ".join(command))

    def mounted(self, command: str) -> None:
        """The mount of the page works, and all on it is alice's, whoever it is there."""
        self.assertEqual(command, "sudo mount -t 9p -o trans=tcp,port=5641 127.0.0.1 /mnt")
        guest.require()
        result = guest.run(SESSION, self.port, timeout=120)
        self.assertEqual((result.status, result.stderr), (0, ""))
        self.assertEqual(result.stdout.splitlines(), [ALICE, "0", str(LOCAL)])

    def test_ssh(self) -> None:
        """A mount through ssh -L is the user who logged in; the files show as the local user's."""
        for program in ("ssh", "sshd", "ssh-keygen"):
            if shutil.which(program) is None:
                lacking(program)
        commands = [command.text for block in read_page(PAGE) for command in block.commands]
        tunnel, mount = (command for command in commands if "5641" in command)
        jobd = Jobd(self)
        sshd = self.serve_ssh()
        words = tunnel.split()
        self.assertEqual(words[0], "ssh")
        words = [
            word.replace(":5640", f":{jobd.port}").replace(":5641", f":{self.port}") for word in words[1:]
        ]
        words[-1] = words[-1].replace("glenda", ALICE).replace("server.example", "127.0.0.1")
        options = ["-F", "none", "-i", str(self.place / "user"), "-p", str(sshd), "-o", "BatchMode=yes"]
        options += ["-o", f"UserKnownHostsFile={self.place}/known", "-o", "StrictHostKeyChecking=accept-new"]
        self.background("ssh", *options, *words)
        # The tunnel is there before it is used: what listens is ssh itself.
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            client = Client(connection)
            user = client.attach("root", 0)
            user.make("made", "true")
            found = user.stat("/jobs/made")
            self.assertEqual((found.uid, found.n_uid), (ALICE, 0))
            self.assertEqual(client.attach("", 4711).stat("/jobs/made").n_uid, 4711)
            self.assertEqual(client.attach().stat("/jobs/made").n_uid, uid_of(ALICE))
        self.mounted(mount)

    def serve_ssh(self) -> int:
        """An ssh server for alice's key; its port."""
        port = free_port()
        for name in ("host", "user"):
            self.step(f"ssh-keygen -q -t ed25519 -N '' -f {name}")
        keys = Path(f"/run/jobd-test-{port}.keys")
        self.addCleanup(keys.unlink)
        keys.write_text((self.place / "user.pub").read_text())
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (self.place / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {self.place}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {keys}\nPasswordAuthentication no\nAllowUsers {ALICE}\n"
        )
        own, self.port = self.port, port
        self.background(str(shutil.which("sshd")), "-D", "-e", "-f", str(self.place / "sshd_config"))
        self.port = own
        return port
