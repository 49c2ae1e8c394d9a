"""docs/reference/access.md, done as it says: ssh and TLS, from an authority to a mount."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests import guest
from tests.daemon import ROOT, free_port
from tests.optional import lacking
from tests.security import ALICE, Client, Jobd, SecurityTest, uid_of, wait_until

PAGE = ROOT / "docs" / "reference" / "access.md"

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


def blocks(section: str) -> list[tuple[str, str]]:
    """The examples of a SECTION of the page: what each is for, and its text."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```\w+ (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class HowToTest(SecurityTest):
    """Each step of the page."""

    def setUp(self) -> None:
        super().setUp()
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir(parents=True)
        self.port = free_port()

    def step(self, text: str) -> None:
        """Have a shell do a step, in the directory of this test."""
        subprocess.run(["sh", "-eu", "-c", text], cwd=self.place, check=True, capture_output=True)

    def options(self, text: str) -> tuple[list[str], str]:
        """The options of an example of jobd, and its address."""
        words = text.split()
        self.assertEqual(words[:2], ["jobd", "--fsaddr"])
        return words[3:], words[2]

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

    def mounted(self, text: str, port: str) -> None:
        """The mount of the page works, and all on it is alice's, whoever it is there."""
        options = re.fullmatch(r"mount -t 9p -o trans=tcp,port=(\d+)(\S*) 127\.0\.0\.1 /mnt\n", text)
        assert options is not None
        self.assertEqual(options[1], port)
        guest.require()
        result = guest.run(SESSION, self.port, options[2].lstrip(","), timeout=120)
        self.assertEqual((result.status, result.stderr), (0, ""))
        self.assertEqual(result.stdout.splitlines(), [ALICE, "0", str(LOCAL)])

    def test_tls(self) -> None:
        """An authority, a server, a client, stunnel, and a mount, whose user is the certificate's."""
        for program in ("openssl", "stunnel"):
            if shutil.which(program) is None:
                lacking(program)
        steps = blocks("Through TLS")
        self.assertEqual(
            [kind for kind, _ in steps],
            ["authority"] * 3 + ["users", "server", "stunnel.conf", "stunnel", "mount"],
        )
        texts: dict[str, Any] = dict(steps)
        for kind, text in steps:
            if kind in ("authority", "users"):
                self.step(text.replace("glenda", ALICE))
        options, address = self.options(texts["server"])
        kind, port, *files = address.split(":")
        self.assertEqual((kind, port), ("ssl", "5641"))
        options = [str(self.place / word) if not word.startswith("-") else word for word in options]
        tls = ":".join(re.sub("=(.*)", rf"={self.place}/\1", file) for file in files)
        jobd = Jobd(self, *options, tls=tls)
        configuration = texts["stunnel.conf"].replace("server.example:5641", f"127.0.0.1:{jobd.port}")
        self.assertIn("accept = 127.0.0.1:5640\n", configuration)
        (self.place / "stunnel.conf").write_text(configuration.replace(":5640", f":{self.port}"))
        self.background(*texts["stunnel"].split())
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            user = Client(connection).attach("root", 0)
            user.make("made", "true")
            self.assertEqual(user.stat("/jobs/made").uid, ALICE)
        self.mounted(texts["mount"], "5640")

    def test_ssh(self) -> None:
        """A mount through ssh -L is the user who logged in; the files show as the local user's."""
        for program in ("ssh", "sshd", "ssh-keygen"):
            if shutil.which(program) is None:
                lacking(program)
        texts: dict[str, Any] = dict(blocks("Through ssh"))
        self.assertEqual(self.options(texts["server"]), ([], "127.0.0.1:5640"))
        jobd = Jobd(self)
        sshd = self.serve_ssh()
        words = texts["ssh"].split()
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
        self.mounted(texts["mount"], "5641")

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
