"""The API reference: zope Interfaces, and docstrings that are plain text.

autodoc takes an Interface for a mere value, so here it skips them; `.. interfaces:: MODULE` shows those of a
module, with their methods and attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import getdoc
from typing import Any

from docutils.nodes import Element, Node, literal, system_message
from docutils.statemachine import StringList
from docutils.utils import unescape
from sphinx.application import Sphinx
from sphinx.domains import ObjType
from sphinx.domains.python import PyClasslike
from sphinx.util.docstrings import prepare_docstring
from sphinx.util.docutils import SphinxDirective
from zope.interface import Interface
from zope.interface.interface import InterfaceClass, Method

INDENT = "    "
INTERFACE = re.compile(r"<InterfaceClass ([\w.]+)>")
NAME = re.compile(r"[A-Za-z][\w.]*")
BY_ITSELF = ("Alias for field number", "Create new instance of")
"""How the docstrings begin that Python makes for a NamedTuple."""


class Interfaces(SphinxDirective):
    """The interfaces that the module named in the argument defines, in the order of its text."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """The descriptions, parsed from lines of reStructuredText."""
        module = import_module(self.arguments[0])
        lines: list[str] = []
        for value in vars(module).values():
            if isinstance(value, InterfaceClass) and value.__module__ == module.__name__:
                lines += described(value)
        parent = Element()
        self.state.nested_parse(StringList(lines, source=module.__name__), self.content_offset, parent)
        return parent.children


def described(interface: Any) -> Iterator[str]:
    """INTERFACE as reStructuredText."""
    yield from ("", f".. py:interface:: {interface.__module__}.{interface.getName()}", "")
    bases = [f"`{base.getName()}`" for base in interface.__bases__ if base is not Interface]
    if bases:
        yield from (f"{INDENT}Extends {', '.join(bases)}.", "")
    yield from indented(getdoc(interface) or "", 1)
    for name in interface.names():
        member = interface[name]
        if isinstance(member, Method):
            yield f"{INDENT}.. py:method:: {name}{member.getSignatureString()}"
        else:
            yield f"{INDENT}.. py:attribute:: {name}"
        yield ""
        yield from indented(member.getDoc(), 2)


def indented(text: str, depth: int) -> Iterator[str]:
    """The lines of the docstring TEXT, DEPTH deep, and an empty one."""
    lines = prepare_docstring(text)
    mark_code(lines)
    for line in lines:
        yield INDENT * depth + line if line else ""
    yield ""


def mark_code(lines: list[str]) -> None:
    """Has the indented blocks of a docstring, which are code or columns, shown as they stand."""
    last, position = "", 0
    while position < len(lines):
        line = lines[position]
        if line.startswith(INDENT) and not lines[position - 1] and not last.startswith((" ", "*", "..")):
            lines[position:position] = ["::", ""]
            position += 2
        last = line or last
        position += 1


def process(app: Sphinx, what: str, name: str, value: object, options: Any, lines: list[str]) -> None:
    """Prepare a docstring that autodoc has found."""
    if lines and lines[0].startswith(BY_ITSELF):
        lines.clear()
    mark_code(lines)


def sign(
    app: Sphinx, what: str, name: str, value: object, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Have types that are interfaces written as other types are."""
    if not signature or not INTERFACE.search(signature + (returns or "")):
        return None
    return INTERFACE.sub(r"~\1", signature), returns and INTERFACE.sub(r"~\1", returns)


def name_role(
    role: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = ()
) -> tuple[list[Node], list[system_message]]:
    """What stands in single backticks: a link where it is the name of something told here, else code."""
    text = unescape(text)
    if not NAME.fullmatch(text):
        return [literal(rawtext, text)], []
    link = inliner.document.settings.env.get_domain("py").role("obj")
    # Behind a dot it is looked for in all modules.
    return link("py:obj", rawtext, f".{text}" if text[0].isupper() else text, lineno, inliner)


def skip(app: Sphinx, what: str, name: str, value: object, skipped: bool, options: Any) -> bool | None:
    """Whether autodoc leaves a member out: interfaces, which are shown by themselves."""
    return True if isinstance(value, InterfaceClass) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.registry.domains["py"].object_types["interface"] = ObjType("interface", "class", "obj")
    app.add_directive_to_domain("py", "interface", PyClasslike)
    app.add_directive("interfaces", Interfaces)
    app.add_role("name", name_role)
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
