"""Who imports whom, and what an import brings along."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import jobd

PACKAGE = Path(jobd.__file__).parent

LAYERS = {
    "jobd.ninep": (),
    "jobd.schedule": (),
    "jobd.jobs": ("jobd.schedule",),
    "jobd.accounts": ("jobd.jobs.errors",),
    "jobd.access": ("jobd.jobs.errors", "jobd.accounts", "jobd.sockdiag"),
    "jobd.tree": ("jobd.ninep", "jobd.jobs", "jobd.accounts", "jobd.access"),
    "jobd.facade": ("jobd.jobs", "jobd.ninep.remote"),
    "jobd.service": (
        "jobd.ninep",
        "jobd.schedule",
        "jobd.jobs",
        "jobd.access",
        "jobd.tree",
        "jobd.facade",
        "jobd.metrics",
        "jobd.zone",
    ),
    "jobd.testing": ("jobd.ninep", "jobd.jobs", "jobd.access", "jobd.tree", "jobd.facade", "jobd.service"),
}
"""What each part may import of the others, beside what is named for everybody."""


def imports(path: Path) -> set[str]:
    """The modules of jobd that the module at PATH imports when it is imported."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            pending += ast.iter_child_nodes(node)
    return {name for name in found if name.split(".")[0] == "jobd"}


def within(module: str, parts: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{part}.") for part in parts)


class LayersTest(SynchronousTestCase):
    """Arrows run downward only."""

    def test_downward(self) -> None:
        """No part imports one that lies above it."""
        for part, below in LAYERS.items():
            path = PACKAGE.parent / part.replace(".", "/")
            files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
            self.assertTrue(files and files[0].exists(), part)
            for file in files:
                upward = {
                    module
                    for module in imports(file)
                    if not within(module, (part, *below, "jobd.__version__"))
                }
                self.assertEqual(upward - {"jobd"}, set(), file)

    def test_no_reactor(self) -> None:
        """Nothing that a program embeds installs a reactor."""
        modules = [*LAYERS, "jobd.testing", "jobd.ninep.testing", "jobd.tls", "jobd.jobs.processes"]
        modules += [f"jobd.jobs.{file.stem}" for file in (PACKAGE / "jobs").glob("*.py")]
        script = (
            "import importlib, sys\n"
            "for name in sys.argv[1:]:\n"
            "    importlib.import_module(name)\n"
            "    assert 'twisted.internet.reactor' not in sys.modules, name\n"
        )
        self.run_python(script, *modules)

    def test_public_names(self) -> None:
        """What jobd has for those who embed it is there, and is loaded only when it is asked for."""
        for name in jobd.__all__:
            self.assertEqual(getattr(jobd, name).__name__, name)
        self.assertEqual(set(jobd.__all__), set(jobd._HOMES))
        self.assertRaises(AttributeError, getattr, jobd, "Nothing")
        self.run_python("import jobd, sys; assert 'twisted' not in sys.modules, 'twisted'")

    def run_python(self, script: str, *arguments: str) -> None:
        """Run SCRIPT in an interpreter of its own, where it must end well."""
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
