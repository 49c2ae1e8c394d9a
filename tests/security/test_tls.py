"""TLS: a client is whom its certificate says, and nobody else."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT
from tests.optional import lacking
from tests.security import ALICE, BOB, Client, Jobd, SecurityTest, acting_as, start_jobd, uid_of, wait_until

try:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    from jobd.tls import names_of, parse_users, tls_endpoint
    from tests.security.certificates import SERVER, Authority, common_name, dns
except ImportError:
    Authority = None  # type: ignore[assignment,misc]

USERS = f"""
# Who is who.
alice.example = {ALICE}
bob.example={BOB}     # as written by others
CN=bob,O=Example = {BOB}
spiffe://example/alice = {ALICE}
alice@example.org = {ALICE}
carol = {BOB}
root.example = root
"""


class TlsTest(SecurityTest):
    """A jobd that listens with TLS."""

    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        if Authority is None:
            lacking("Twisted[tls]")
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        self.ca = Authority(self.place)
        self.server = self.ca.server()
        self.users = self.place / "users"
        self.users.write_text(USERS)
        self.jobd = self.serve(*self.options)

    def serve(self, *options: str, **more: Any) -> Jobd:
        """A jobd with the files of this test."""
        given = ("--tls-ca", str(self.ca.path), "--tls-users", str(self.users), *options)
        return Jobd(self, *given, tls=f"privateKey={self.server}", **more)

    def whose(self, certificate: Path | None, **versions: Any) -> str:
        """Whose job is made over a connection with CERTIFICATE; what came instead."""
        try:
            client = self.jobd.over_tls(self.ca.trusting(certificate, **versions))
            user = client.attach("root", 0)
        except (ssl.SSLError, ConnectionError):
            return "no connection"
        except Exception as error:
            self.sentence = str(error)
            return "no attach"
        user.make("made", "id -un")
        owner: str = user.stat("/jobs/made").uid
        user.remove("/jobs/made")
        return owner


class ClientsTest(TlsTest):
    """Who tried what, and what happened."""

    def test_table(self) -> None:
        """Good certificates are their users; others get no connection, or no attach and a reason."""
        sign, other = self.ca.sign, Authority(self.place, "other")
        lookalike = Authority(self.place / "..", "ca")
        email, uri = (
            x509.RFC822Name("alice@example.org"),
            x509.UniformResourceIdentifier("spiffe://example/alice"),
        )
        organisation = [(NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "bob")]
        for what, certificate, expected in (
            ("a host name", sign("1", names=dns("alice.example")), ALICE),
            ("in capitals", sign("2", names=dns("ALICE.Example")), ALICE),
            ("another user's", sign("3", names=dns("bob.example")), BOB),
            ("one name of several", sign("4", names=dns("x.example", "bob.example")), BOB),
            ("an address of mail", sign("5", names=[email]), ALICE),
            ("a URI", sign("6", names=[uri]), ALICE),
            ("a common name", sign("7", subject=common_name("carol")), BOB),
            ("a whole subject", sign("8", subject=organisation), BOB),
            ("for any purpose", sign("9", names=dns("bob.example"), purpose=None), BOB),
            ("root by certificate", sign("10", names=dns("root.example")), "root"),
            ("none", None, "no attach: .*nothing proves who you are"),
            ("nobody's name", sign("11", names=dns("eve.example")), "no attach: .*eve.example"),
            ("no name at all", sign("12"), "no attach: .*no line"),
            (
                "two users' names",
                sign("13", names=dns("alice.example", "bob.example")),
                "no attach: .*several",
            ),
            ("a name below", sign("14", names=dns("x.alice.example")), "no attach"),
            ("all names", sign("15", names=dns("*.example")), "no attach"),
            # What only looks like one of another kind.
            (
                "common name beside others",
                sign("16", subject=common_name("carol"), names=dns("x")),
                "no attach",
            ),
            ("a subject as common name", sign("17", subject=common_name("CN=bob,O=Example")), "no attach"),
            (
                "a subject as URI",
                sign("18", names=[x509.UniformResourceIdentifier("CN=bob,O=Example")]),
                "no attach",
            ),
            ("expired", sign("19", names=dns("alice.example"), days=(-9, -1)), "no connection"),
            ("not valid yet", sign("20", names=dns("alice.example"), days=(1, 9)), "no connection"),
            ("of an unknown authority", other.sign("21", names=dns("alice.example")), "no connection"),
            ("of one of the same name", lookalike.sign("22", names=dns("alice.example")), "no connection"),
            ("of a server", sign("23", names=dns("alice.example"), purpose=SERVER), "no connection"),
            ("the server's own", self.server, "no connection"),
        ):
            with self.subTest(what):
                got = self.whose(certificate)
                self.assertRegex(f"{got}: {self.sentence}" if got == "no attach" else got, f"^{expected}")

    def test_signed_by_a_client(self) -> None:
        """A client's certificate signs nobody else's."""
        intermediate = self.ca.sign("client", names=dns("alice.example"))
        signer = Authority(self.place / "..", "signer")
        forged = signer.sign("forged", names=dns("bob.example"))
        forged.write_bytes(forged.read_bytes() + intermediate.read_bytes())
        self.assertEqual(self.whose(forged), "no connection")

    def test_versions(self) -> None:
        """TLS 1.3 is spoken, 1.2 where the client has no better, and nothing older."""
        certificate = self.ca.sign("1", names=dns("alice.example"))
        best = self.jobd.over_tls(self.ca.trusting(certificate))
        self.assertEqual(best.connection.version(), "TLSv1.3")
        self.assertEqual(self.whose(certificate, maximum_version=ssl.TLSVersion.TLSv1_2), ALICE)
        context = self.ca.trusting(
            certificate, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
        )
        context.set_ciphers("ALL:@SECLEVEL=0")
        self.assertRaises((ssl.SSLError, ConnectionError), self.jobd.over_tls, context)

    def test_sessions_are_not_taken_up(self) -> None:
        """A session can't be resumed, which would bring back a certificate without another look at it."""
        context = self.ca.trusting(self.ca.sign("1", names=dns("alice.example")))
        first = self.jobd.over_tls(context)
        first.attach().read("/version")
        session = first.connection.session
        with (
            socket.create_connection(("127.0.0.1", self.jobd.port)) as connection,
            context.wrap_socket(connection, server_hostname="localhost", session=session) as second,
        ):
            self.assertFalse(second.session_reused)

    def test_the_certificate_and_nothing_else(self) -> None:
        """Over TLS the owner of the local socket counts for nothing, and root speaks for nobody else."""
        certificate = self.ca.sign("1", names=dns("bob.example"))
        self.assertEqual(self.whose(certificate), BOB)  # the socket is root's
        with acting_as(uid_of(ALICE)):
            connection = socket.socket()
            connection.connect(("127.0.0.1", self.jobd.port))
        self.addCleanup(connection.close)
        self.assertRaises(ConnectionError, Client, connection)  # plain 9P, where TLS is spoken
        root = self.jobd.over_tls(self.ca.trusting(self.ca.sign("2", names=dns("root.example"))))
        user = root.attach(ALICE, uid_of(ALICE))
        user.make("made", "true")
        self.assertEqual(user.stat("/jobs/made").uid, "root")

    def test_audit(self) -> None:
        """What is changed over TLS names the user, the address and the certificate."""
        client = self.jobd.over_tls(self.ca.trusting(self.ca.sign("1", names=dns("alice.example"))))
        user = client.attach()
        user.make("made", "true")
        port = client.connection.getsockname()[1]
        self.assertRegex(user.read("/events"), f"by='{ALICE} 127.0.0.1:{port} certificate alice.example'")

    def test_refusals_are_logged(self) -> None:
        """A handshake that failed and an attach that was refused are in the log."""
        self.whose(self.ca.sign("1", names=dns("alice.example"), days=(-9, -1)))
        self.whose(self.ca.sign("2", names=dns("eve.example")))
        wait_until(
            lambda: "certificate verify failed" in self.jobd.log.read_text(), "the handshake in the log"
        )
        self.assertRegex(
            self.jobd.log.read_text(), r"refused attach .*by='127\.0\.0\.1:\d+ certificate eve\.example'"
        )


class AnonymousTest(TlsTest):
    """The same with --anonymous."""

    options = ("--anonymous", "nobody")

    def test_anonymous(self) -> None:
        """Who shows none, or one of nobody's, is the anonymous user; who shows a wrong one is not let in."""
        self.assertEqual(self.whose(None), "nobody")
        self.assertEqual(self.whose(self.ca.sign("1", names=dns("eve.example"))), "nobody")
        self.assertEqual(self.whose(self.ca.sign("2", names=dns("bob.example"))), BOB)
        self.assertEqual(self.whose(Authority(self.place, "other").sign("3")), "no connection")


class ReloadTest(TlsTest):
    """Files that change while jobd runs."""

    def test_users(self) -> None:
        """A line that was added, changed or taken away counts from the next attach on; open ones stay."""
        certificate = self.ca.sign("1", names=dns("eve.example"))
        self.assertEqual(self.whose(certificate), "no attach")
        self.users.write_text(f"eve.example = {ALICE}\n")
        self.assertEqual(self.whose(certificate), ALICE)
        client = self.jobd.over_tls(self.ca.trusting(certificate))
        first = client.attach()
        self.users.write_text(f"eve.example = {BOB}\n")
        self.assertEqual(self.whose(certificate), BOB)
        second = client.attach()
        first.make("first", "true")
        second.make("second", "true")
        self.assertEqual([second.stat(f"/jobs/{name}").uid for name in ("first", "second")], [ALICE, BOB])
        self.users.write_text("# nobody\n")
        self.assertEqual(self.whose(certificate), "no attach")

    def test_broken_users(self) -> None:
        """A file that is wrong changes nothing, and the log says which line; put right, it counts."""
        certificate = self.ca.sign("1", names=dns("alice.example"))
        for text in (f"alice.example = {BOB}\nnonsense\n", f"alice.example = {BOB}\nx = no-such-user\n"):
            self.users.write_text(text)
            self.assertEqual(self.whose(certificate), ALICE)
            self.assertIn(f"{self.users}: line 2", self.jobd.log.read_text())
        self.users.unlink()
        self.assertEqual(self.whose(certificate), ALICE)
        self.users.write_text(f"alice.example = {BOB}\n")
        self.assertEqual(self.whose(certificate), BOB)

    def test_authority(self) -> None:
        """Another authority counts from the next connection on, and the old one no more."""
        old = self.ca.sign("1", names=dns("alice.example"))
        other = Authority(self.place, "other")
        new = other.sign("2", names=dns("alice.example"))
        self.assertEqual((self.whose(old), self.whose(new)), (ALICE, "no connection"))
        own = self.ca.path.read_bytes()
        # The clients of this test go on trusting the server's own authority.
        copy = self.place / "copy.pem"
        copy.write_bytes(own)
        self.ca.path.write_bytes(other.path.read_bytes())
        self.ca.path = copy
        self.assertEqual((self.whose(old), self.whose(new)), ("no connection", ALICE))

    def test_key(self) -> None:
        """A renewed certificate is shown at the next connection; a broken one is not taken."""
        certificate = self.ca.sign("1", names=dns("alice.example"))

        def shown() -> Any:
            client = self.jobd.over_tls(self.ca.trusting(certificate))
            return client.connection.getpeercert()["serialNumber"]

        first = shown()
        self.assertEqual(shown(), first)
        self.server.write_text("half a fi")
        self.assertEqual(shown(), first)
        self.assertIn("has no private key", self.jobd.log.read_text())
        self.ca.server()
        self.assertNotEqual(shown(), first)


class StartTest(SecurityTest):
    """Starts that fail: one line, and a status other than 0."""

    def setUp(self) -> None:
        super().setUp()
        if Authority is None:
            lacking("Twisted[tls]")

    def test_table(self) -> None:
        """Each of these files and options ends the start with one line that says what is wrong."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        ca = Authority(place)
        good, client = ca.server(), ca.sign("client", names=dns("x"))
        key_of_another = place / "mixed"
        key_of_another.write_text(
            good.read_text().partition("-----BEGIN PRIVATE")[0] + client.read_text()[-300:]
        )
        certificates = place / "certificates"
        certificates.write_text(good.read_text().partition("-----BEGIN PRIVATE")[0])
        users, empty = place / "users", place / "empty"
        users.write_text(USERS)
        empty.write_text("")
        wrong = place / "wrong"
        wrong.write_text("# of clients\n\nalice.example daemon\n")
        unknown = place / "unknown"
        unknown.write_text("alice.example = no-such-user\n")
        twice = place / "twice"
        twice.write_text(f"a.example = {ALICE}\nA.example = {BOB}\n")
        tls = ["--tls-ca", ca.path, "--tls-users", users]
        ssl_ = ["--fsaddr", f"ssl:0:privateKey={good}:interface=127.0.0.1"]
        for arguments, sentence in (
            ([*ssl_, "--tls-ca", ca.path], "--tls-users FILE is needed too"),
            ([*ssl_, "--tls-users", users], "--tls-ca FILE is needed too"),
            (["--fsaddr", "127.0.0.1:0", *tls], "no --fsaddr is ssl:"),
            ([*ssl_, "--tls-ca", place / "none", "--tls-users", users], "none: No such file"),
            ([*ssl_, "--tls-ca", empty, "--tls-users", users], "empty has no certificate"),
            ([*ssl_, "--tls-ca", ca.path, "--tls-users", wrong], "line 3 is not NAME = USER"),
            ([*ssl_, "--tls-ca", ca.path, "--tls-users", unknown], "line 1: there is no user no-such-user"),
            ([*ssl_, "--tls-ca", ca.path, "--tls-users", twice], "line 2: A.example is another user already"),
            ([*ssl_, "--tls-ca", ca.path, "--tls-users", place / "none"], "none: No such file"),
            (["--fsaddr", "ssl:0"], "needs privateKey=FILE"),
            (["--fsaddr", f"ssl:0:privateKey={place}/none"], "No such file"),
            (["--fsaddr", f"ssl:0:privateKey={certificates}"], "has no private key"),
            (["--fsaddr", f"ssl:0:privateKey={good}:certKey={empty}"], "has no certificate"),
            (
                ["--fsaddr", f"ssl:0:privateKey={client}:certKey={good}"],
                "the key is not that of the certificate",
            ),
            (["--fsaddr", f"ssl:0:privateKey={good}:sslmethod=SSLv3_METHOD"], "ssl: has no sslmethod"),
            (["--fsaddr", f"ssl:http:privateKey={good}"], "'http' is not a number"),
            (["--max-jobs-per-user", "0", "--fsaddr", ":0"], "a number from 1"),
            (["--anonymous", "no-such-user", "--fsaddr", ":0"], "no such user"),
            (["--trust-tcp", "some", "--fsaddr", ":0"], "all, users, none"),
        ):
            with self.subTest(sentence):
                log = place / "log"
                log.unlink(missing_ok=True)
                process = start_jobd([*map(str, arguments), "--dbdir", str(place / "state")], log)
                self.assertNotEqual(process.wait(30), 0)
                lines = log.read_text().splitlines()
                self.assertEqual(len(lines), 1, lines)
                self.assertIn(sentence, lines[0])

    def test_not_installed(self) -> None:
        """Without pyOpenSSL the options of TLS end the start with a sentence that says what is missing."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        (place / "OpenSSL.py").write_text("raise ImportError")
        ca = Authority(place)
        users = place / "users"
        users.write_text(USERS)
        address = ["--fsaddr", f"ssl:0:privateKey={ca.server()}"]
        for options in ([], ["--tls-ca", str(ca.path), "--tls-users", str(users)]):
            log = place / "log"
            log.unlink(missing_ok=True)
            process = start_jobd(
                [*address, *options, "--dbdir", str(place / "state")],
                log,
                environment={"PYTHONPATH": f"{place}{os.pathsep}{ROOT}"},
            )
            self.assertNotEqual(process.wait(30), 0)
            self.assertRegex(
                log.read_text(), r"\Ajobd: --.*: TLS is not installed: pip install 'jobd\[tls\]'\n\Z"
            )


class TextsTest(SynchronousTestCase):
    """Lines of --tls-users, names of certificates, and endpoint strings; pure."""

    def setUp(self) -> None:
        if Authority is None:
            lacking("Twisted[tls]")

    def test_users(self) -> None:
        """Names are compared as DNS does, whole subjects letter by letter; comments are dropped."""
        text = "A.Example=root\n  # x = y\nCN=Root,O=X = root # y\nhttps://x/#y = root\n\r\n"
        self.assertEqual(
            parse_users(text), {"a.example": "root", "CN=Root,O=X": "root", "https://x/#y": "root"}
        )
        for text, line in (("x", 1), ("= root", 1), ("x =", 1), ("\nx = y z", 2), ("x = root\n=", 2)):
            error = self.assertRaises(ValueError, parse_users, text)
            self.assertIn(f"line {line}", str(error))

    def test_names(self) -> None:
        """Alternative names come first; without one the common name; the whole subject always."""
        place = Path(self.mktemp())
        place.mkdir()
        sign = Authority(place).sign
        for names, subject, expected in (
            (dns("a", "b"), common_name("c"), ["a", "b", "CN=c"]),
            ((), common_name("c"), ["c", "CN=c"]),
            ((), common_name("CN=x"), ["CN=CN=x"]),
            ((), (), [""]),
        ):
            path = sign("x", names=names, subject=subject)
            self.assertEqual(names_of(x509.load_pem_x509_certificate(path.read_bytes())), expected)

    def test_endpoints(self) -> None:
        """Colons and equals signs stand behind a backslash, as in all endpoint strings."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        path = Authority(place).server("a:b=c.pem")
        quoted = str(path).replace(":", r"\:").replace("=", r"\=")
        endpoint = tls_endpoint(None, rf"ssl:port=5641:privateKey={quoted}:interface=\:\:1", None)
        self.assertEqual((endpoint._port, endpoint._interface), (5641, "::1"))
        os.unlink(path)
        self.assertRaises(OSError, tls_endpoint, None, f"ssl:5641:privateKey={quoted}", None)
        self.assertEqual(errno.ENOENT, self.assertRaises(OSError, open, path).errno)
