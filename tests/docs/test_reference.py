"""The reference pages name what the program has: all of it, and nothing else."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

import jobd
import jobd.testing
from jobd.__main__ import CommandOptions
from jobd.cli.main import jobctl
from jobd.cli.statuses import FAILED, INTERRUPTED, NO_DAEMON, NO_STATUS, NOT_FOUND, TIMED_OUT
from jobd.jobs import options as job_options
from jobd.jobs.run import history
from jobd.jobs.store import RunRecord
from jobd.metrics import ninep_metrics
from jobd.ninep.messages import DIALECTS, NAMES
from jobd.ninep.protocol import NinepFactory
from jobd.tap import Options
from jobd.testing import MemoryJobd
from jobd.tree.job import JobDirectory
from jobd.tree.root import Root
from jobd.tree.runs import RunDirectory
from tests.daemon import ROOT
from tests.docs.tables import code, section, tables

REFERENCE = ROOT / "docs/reference"
JOBD, JOBCTL, JOBFS = (REFERENCE / name for name in ("jobd.md", "jobctl.md", "jobfs.md"))


class JobdTest(SynchronousTestCase):
    """jobd(8)."""

    def test_options(self) -> None:
        """Each option of jobd has its row, and each row is an option."""
        rows = [row for table in tables(section(JOBD, "## Options")) for row in table]
        named = [code(row[0])[0].split()[0].split("[")[0] for row in rows]
        self.assertEqual(sorted(named), sorted(f"--{name.rstrip('=')}" for name in CommandOptions().longOpt))

    def test_defaults(self) -> None:
        """A default in the page is that of the program."""
        shown = {
            code(row[0])[0].split()[0].removeprefix("--"): code(row[2])
            for table in tables(section(JOBD, "## Options"))
            for row in table
        }
        for name, _, default, _ in Options.optParameters:
            if default is not None:
                self.assertEqual(shown[name], [default], name)


class JobctlTest(SynchronousTestCase):
    """jobctl(1)."""

    def test_commands(self) -> None:
        """Each command has its row, and each row of the commands is one."""
        rows = [row for table in tables(section(JOBCTL, "## Commands")) for row in table]
        named = {code(row[0])[0].split()[0] for row in rows}
        self.assertEqual({name for name in named if not name.startswith("-")}, set(jobctl.commands))

    def test_options(self) -> None:
        """Each option of a command stands beside it, under one of its names at least."""
        found = tables(section(JOBCTL, "## Commands"))
        of_import = [table for table in found if table[0][0].startswith("`-")]
        for name, command in jobctl.commands.items():
            about = [row for table in found for row in table if code(row[0])[0].split()[0] == name]
            if name == "import":
                about += [row for table in of_import for row in table]
            words = set(
                re.findall(r"-[\w-]+", " ".join(part for row in about for part in code(" ".join(row))))
            )
            for option in command.params:
                if option.param_type_name == "option":
                    self.assertTrue(words & {*option.opts, *option.secondary_opts}, (name, option.opts))

    def test_nothing_else(self) -> None:
        """Each name of an option stands in the page, and the page names no other."""
        prose = re.sub(r"^    .*$", "", JOBCTL.read_text(), flags=re.MULTILINE)
        named = set(re.findall(r"(?<![\w-])(?:--[a-z][a-z-]*|-[a-z])\b", " ".join(code(prose))))
        options = [option for command in (jobctl, *jobctl.commands.values()) for option in command.params]
        known = {name for option in options for name in option.opts if name.startswith("-")}
        self.assertEqual(named, {*known, "-h", "--help"})

    def test_statuses(self) -> None:
        """The exit statuses are those of the page."""
        rows = [row for table in tables(section(JOBCTL, "## Exit status")) for row in table]
        numbers = {int(row[0]) for row in rows if row[0].isdigit()}
        known = {0, FAILED, 2, NOT_FOUND, NO_DAEMON, INTERRUPTED, TIMED_OUT, NO_STATUS}
        self.assertEqual(numbers, known)


class JobfsTest(SynchronousTestCase):
    """jobfs(5)."""

    def test_files(self) -> None:
        """Each file of the tree has its row, and each row is one."""
        pages = tables(section(JOBFS, "## Files"))
        for page, directory in zip(pages, (Root, JobDirectory, RunDirectory), strict=True):
            self.assertEqual({code(row[0])[0].strip("/") for row in page}, set(directory.table))

    def test_options(self) -> None:
        """Each option of a job has its row, and each row is one; a default in the page is the program's."""
        (rows,) = tables(section(JOBFS, "## Options"))
        self.assertEqual({code(row[0])[0].split()[0] for row in rows}, set(job_options.KEYS))
        shown = job_options.show(job_options.DEFAULTS).splitlines()
        defaults = dict(line.split(None, 1) for line in shown if " " in line)
        for row in rows:
            name = code(row[0])[0].split()[0]
            if name in defaults:
                self.assertEqual(code(row[2]), [defaults[name]], name)

    def test_attributes(self) -> None:
        """Each attribute of a job and of a run has its row, and each row is one."""
        found = tables(section(JOBFS, "## Attributes"))
        of_job, of_run = ({name for row in table for name in code(row[0])} for table in found)
        run = RunRecord(1, 1, scheduled=1, run_id="")
        gap = run._replace(outcome="missed", missed_count=1)
        known = {name for record in (run, gap) for name, _ in history(record)}
        self.assertEqual(of_run, {*known, "state", "pid"})
        self.assertEqual(of_job, set(self.attributes_of_a_job()))

    def attributes_of_a_job(self) -> list[str]:
        """Those of a job that is started and has run."""
        jobd = MemoryJobd()
        self.addCleanup(jobd.close)
        client = self.successResultOf(jobd.connect())
        self.successResultOf(client.write_file("/clone", b"hello:@hourly:true"))
        self.successResultOf(client.write_file("/jobs/hello/ctl", b"start"))
        jobd.clock.pass_time(3600)
        jobd.spawner.running[0].exit(0)
        jobd.clock.pass_time(1)
        status = self.successResultOf(client.read_file("/jobs/hello/status")).decode()
        return [line.partition("=")[0] for line in status.splitlines()]


class MetricsTest(SynchronousTestCase):
    """The page Metrics."""

    def test_metrics(self) -> None:
        """Each metric has its row, with its type, and each row is one."""
        rows = [row for table in tables((REFERENCE / "metrics.md").read_text()) for row in table]
        jobd = MemoryJobd()
        self.addCleanup(jobd.close)
        client = self.successResultOf(jobd.connect())
        text = self.successResultOf(client.read_file("/metrics")).decode()
        lines = text.splitlines() + ninep_metrics(NinepFactory(jobd.tree))
        types = [line.split()[2:4] for line in lines if line.startswith("# TYPE ")]
        self.assertEqual(sorted([code(row[0])[0], row[1]] for row in rows), sorted(types))


class DialectsTest(SynchronousTestCase):
    """The page Dialects."""

    def test_messages(self) -> None:
        """The page has all requests of each dialect that the program can read, and no others."""
        (rows,) = tables(section(REFERENCE / "dialects.md", "## Messages"))
        for column, dialect in enumerate(DIALECTS.values(), 1):
            named = [name for row in rows if row[column] == "yes" for name in re.findall(r"T[a-z]+", row[0])]
            known = [NAMES[number] for number in dialect.layouts if NAMES[number].startswith("T")]
            self.assertEqual(sorted(named), sorted(known), dialect)


class ApiTest(SynchronousTestCase):
    """The pages of the API."""

    def test_exports(self) -> None:
        """What `jobd` and `jobd.testing` export is told there."""
        text = "".join(path.read_text() for path in ROOT.glob("docs/api/*.md"))
        for package in (jobd, jobd.testing):
            for name in package.__all__:
                modules = {package.__name__, getattr(getattr(package, name), "__module__", "")}
                whole = any(f"automodule:: {module}\n" in text for module in modules)
                self.assertTrue(whole or re.search(rf"auto\w+:: jobd\.\S*\b{name}\b", text), name)
