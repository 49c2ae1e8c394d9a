"""README.md, the tutorial and the how-to pages do what they show."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT
from tests.docs.page import Block, read_page
from tests.docs.shown import pattern
from tests.docs.walk import Walk
from tests.optional import lacking
from tests.security import ALICE
from tests.systemd.manager import PREFIX, STAND_IN, Manager

# What no test runs. Why not stands beside it in the page.
NOT_RUN = {
    "README": [
        "python3 -m venv .venv && .venv/bin/pip install .",
        "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox -e py",
    ],
    "tutorial": ["python3 -m venv .venv", ".venv/bin/pip install ."],
    "mount": [
        "ssh -N -L 127.0.0.1:5641:127.0.0.1:5640 glenda@server.example",
        "sudo mount -t 9p -o trans=tcp,port=5641 127.0.0.1 /mnt",
        "mkdir -p ~/jobd",
        "9pfuse 'tcp!127.0.0.1!5640' ~/jobd",
        "cat ~/jobd/version",
        "fusermount -u ~/jobd",
    ],
    "serve": [
        "python3 -m venv /opt/jobd",
        "/opt/jobd/bin/pip install '.[tls]'",
        "ln -s /opt/jobd/bin/jobd /opt/jobd/bin/jobctl /usr/local/bin",
    ],
    "tls": ["pip install 'jobd[tls]'"],
    "upgrade": [
        "jobctl backup /var/backups/jobd-before",
        "/opt/jobd/bin/pip install --upgrade '.[tls]'",
        "systemctl restart jobd",
    ],
}


def pages() -> dict[str, list[Block]]:
    """README.md, the tutorial and each how-to page that shows commands, by name."""
    paths = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/howto/*.md")]
    found = {path.stem: read_page(path) for path in paths}
    return {name: blocks for name, blocks in found.items() if any(block.commands for block in blocks)}


class WalkTest(SynchronousTestCase):
    """Each command of a page, in its order, prints what the page shows."""

    def test_readme(self) -> None:
        """README.md, from a shell that doesn't know jobd yet."""
        Walk(self, ROOT / "README.md", installed=False).go()

    def test_tutorial(self) -> None:
        """docs/tutorial.md, from a shell that doesn't know jobd yet."""
        Walk(self, ROOT / "docs/tutorial.md", installed=False).go()

    def test_backup(self) -> None:
        """docs/howto/backup.md."""
        Walk(self, ROOT / "docs/howto/backup.md").go()

    def test_mount(self) -> None:
        """docs/howto/mount.md, with a jobd in the guest, so that all is one machine."""
        Walk(self, ROOT / "docs/howto/mount.md", user=ALICE).go()

    def test_monitoring(self) -> None:
        """docs/howto/monitoring.md, whose mails nobody gets where there is no mail."""
        Walk(self, ROOT / "docs/howto/monitoring.md").go()

    def test_serve(self) -> None:
        """docs/howto/serve.md, as root of a machine with a systemd, where jobd is no service yet."""
        manager = Manager(self, installed=False)
        for block in read_page(ROOT / "docs/howto/serve.md"):
            for command in block.commands if "not run" not in block.marks else ():
                output = manager.type(command.text.replace(PREFIX, STAND_IN))
                self.assertRegex(output, rf"\A{pattern(command.shown).pattern}\Z", command.text)

    def test_tls(self) -> None:
        """docs/howto/tls.md, where glenda is another user than the daemon's if that can be."""
        for program in ("openssl", "stunnel"):
            if shutil.which(program) is None:
                lacking(program)
        user = ALICE if os.geteuid() == 0 else getpass.getuser()
        Walk(self, ROOT / "docs/howto/tls.md", user=user).go()

    def test_upgrade(self) -> None:
        """docs/howto/upgrade.md, as far as there is but one version."""
        Walk(self, ROOT / "docs/howto/upgrade.md").go()


class MarksTest(SynchronousTestCase):
    """What the walks leave out."""

    def test_no_page_is_left_out(self) -> None:
        """There is a walk through each page."""
        walks = {name.removeprefix("test_") for name in dir(WalkTest) if name.startswith("test_")}
        self.assertEqual({name.lower() for name in pages()} - walks, set())

    def test_not_run(self) -> None:
        """Only the commands of NOT_RUN are never run, and their pages say why."""
        found = {}
        for name, blocks in pages().items():
            marked = [block for block in blocks if "not run" in block.marks]
            self.assertNotIn("", [block.marks["not run"] for block in marked], name)
            if marked:
                found[name] = [command.text for block in marked for command in block.commands]
        self.assertEqual(found, NOT_RUN)

    def test_directories(self) -> None:
        """Each jobd that a page starts has a directory of the page's own."""
        for name, blocks in pages().items():
            for command in (command.text for block in blocks for command in block.commands):
                if "--fsaddr" in command:
                    self.assertIn(" --dbdir ./", command, name)

    def test_programs(self) -> None:
        """The programs are here without which a walk leaves some commands out."""
        for name, blocks in pages().items():
            for block in blocks:
                program = block.marks.get("needs")
                if program is not None and shutil.which(program) is None:
                    raise SkipTest(f"{name}, line {block.line}, needs {program}")


class FilesTest(SynchronousTestCase):
    """What pages show for files, beyond what their walks do with it."""

    def test_rules(self) -> None:
        """What docs/howto/monitoring.md asks Prometheus for is there."""
        rules = (ROOT / "docs/howto/monitoring.md").read_text()
        metrics = (ROOT / "docs/reference/metrics.md").read_text()
        for name in set(re.findall(r"\bjobd_\w+", rules)):
            self.assertIn(f"`{name}`", metrics)

    def test_mount_unit(self) -> None:
        """systemd finds no mistake in the unit of docs/howto/mount.md, and no cycle with jobd's own units."""
        if shutil.which("systemd-analyze") is None:
            lacking("systemd-analyze")
        blocks = pages()["mount"]
        (text,) = (block.text for block in blocks if block.marks.get("file") == "mnt.mount")
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        (directory / "mnt.mount").write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", directory / "mnt.mount"],
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:{ROOT}/packaging/systemd:"},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
