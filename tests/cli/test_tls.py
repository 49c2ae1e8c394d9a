"""jobctl and a jobd behind TLS."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

from tests.cli.support import run
from tests.daemon import free_port
from tests.optional import lacking
from tests.processes import JOBD, ProcessTest

try:
    from tests.security.certificates import SERVER, Authority, dns
except ImportError:
    Authority = None  # type: ignore[assignment,misc]


class TlsTests(ProcessTest):
    """A daemon whose certificate is localhost's and whose authority is `ca.pem`."""

    def setUp(self) -> None:
        super().setUp()
        if Authority is None:
            lacking("Twisted[tls]")
        self.ca = Authority(self.directory)
        self.ca.server()
        self.ca.sign("client.pem", names=dns("laptop.example"))
        self.ca.sign("late.pem", names=dns("laptop.example"), days=(-3, -1))
        self.ca.sign("elsewhere.pem", names=dns("server.example"), purpose=SERVER)
        Authority(self.directory, "other").sign("alien.pem", names=dns("laptop.example"))
        (self.directory / "users").write_text(f"laptop.example = {pwd.getpwuid(os.getuid()).pw_name}\n")

    def path(self, name: str) -> str:
        """The path of one of those files."""
        return str(self.directory / name)

    def serve(self) -> None:
        """Start it: at `port` with its certificate, at `misnamed` with another's, at `plain` without TLS."""
        self.port, self.misnamed, self.plain = free_port(), free_port(), free_port()
        plain = f"127.0.0.1:{self.plain}"
        addresses = (
            plain,
            f"ssl:{self.port}:privateKey=server.pem:interface=127.0.0.1",
            f"ssl:{self.misnamed}:privateKey=elsewhere.pem:interface=127.0.0.1",
        )
        trust = ("--tls-ca", "ca.pem", "--tls-users", "users")
        self.connect(self.start(JOBD, *self.arguments(*addresses), *trust), plain)

    def test_who(self) -> None:
        """Good certificates at both ends let one in; of others it is said what is wrong, with status 4."""
        self.serve()
        host = f"tls:localhost:{self.port}"
        trust = ("--tls-ca", "ca.pem")
        own = (*trust, "--tls-cert", "client.pem")
        for address, files, status, words in (
            (host, own, 0, ""),
            (f"tls:127.0.0.1:{self.port}", own, 0, ""),
            (host, (*own, "--tls-key", "client.pem"), 0, ""),
            (host, trust, 4, "nothing proves who you are"),
            (host, ("--tls-cert", "client.pem"), 4, "not signed by whom you trust"),
            (host, ("--tls-ca", "other.pem", "--tls-cert", "client.pem"), 4, "not signed by whom you trust"),
            (host, (*trust, "--tls-cert", "alien.pem"), 4, "it ended the handshake: unknown ca"),
            (host, (*trust, "--tls-cert", "late.pem"), 4, "it ended the handshake: certificate expired"),
            (f"tls:localhost:{self.misnamed}", own, 4, "its certificate has another name"),
            (f"tls:localhost:{self.plain}", own, 4, f"tls:localhost:{self.plain} was lost"),
            (f"localhost:{self.port}", (), 4, f"localhost:{self.port} was lost"),
        ):
            with self.subTest(address=address, files=files):
                given = [self.path(each) if each.endswith(".pem") else each for each in files]
                result = run("--addr", address, *given, "ls")
                self.assertEqual(result.exit_code, status, result.output)
                self.assertIn(words, result.stderr)
                self.assertEqual(result.stderr.count("\n"), int(status != 0))

    def test_environment(self) -> None:
        """What the environment says counts for the commands, and for what a shell completes."""
        self.serve()
        environment = {
            "JOBD_ADDR": f"tls:localhost:{self.port}",
            "JOBD_TLS_CA": self.path("ca.pem"),
            "JOBD_TLS_CERT": self.path("client.pem"),
        }
        self.assertEqual(run("add", "backup", "@daily", "true", env=environment).output, "")
        self.assertIn("backup  stopped", run("ls", env=environment).stdout)
        # They may stay in the environment while another address is used.
        self.assertEqual(run("--addr", f"127.0.0.1:{self.plain}", "ls", env=environment).exit_code, 0)
        completing = {
            "_JOBCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": "jobctl start b",
            "COMP_CWORD": "2",
        }
        self.assertEqual(run(env=environment | completing).stdout, "plain,backup\n")

    def test_wrong_files(self) -> None:
        """Files that don't do, and options for no TLS, are wrong usage, said before anybody is asked."""
        (self.directory / "empty.pem").write_text("")
        client = ("--tls-cert", self.path("client.pem"))
        for address, files, words in (
            ("tls:localhost:1", ("--tls-ca", self.path("none.pem")), "none.pem: No such file"),
            ("tls:localhost:1", ("--tls-ca", self.path("empty.pem")), "no certificate in PEM form"),
            ("tls:localhost:1", ("--tls-cert", self.path("ca.pem")), "no private key in PEM form"),
            ("tls:localhost:1", (*client, "--tls-key", self.path("late.pem")), "has not the key"),
            ("tls:localhost:1", ("--tls-key", self.path("client.pem")), "without --tls-cert"),
            ("localhost:1", client, "--tls-cert is for a tls: address"),
            ("tls:", (), "can't be read"),
            ("tls:unix:/x", (), "can't be read"),
        ):
            with self.subTest(address=address, files=files):
                result = run("--addr", address, *files, "ls")
                self.assertEqual(result.exit_code, 2, result.output)
                self.assertIn(words, result.stderr)

    def test_without_pyopenssl(self) -> None:
        """Where TLS isn't installed, a sentence says how to have it."""
        (self.directory / "OpenSSL.py").write_text("raise ImportError")
        root = Path(__file__).parents[2]
        result = subprocess.run(
            [sys.executable, "-c", "from jobd.cli.main import main; main()", "--addr", "tls:localhost", "ls"],
            env=os.environ | {"PYTHONPATH": f"{self.directory}{os.pathsep}{root}"},
            capture_output=True,
            text=True,
        )
        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stderr, "jobctl: TLS is not installed: pip install 'jobd[tls]'\n")
