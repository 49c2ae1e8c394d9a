"""What a page needs to become a manual page: for the builder `man` alone.

The words before the first section go, for a manual page has nothing between NAME and SYNOPSIS.  A table
becomes a list, its first column the terms: prose in columns can't be read on a terminal.  A link becomes its
name.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

MANUAL = re.compile(r"\w+\(\d\)")

UNSAID = {"meaning"}
"""Heads of columns that go without saying."""


class Preamble(SphinxPostTransform):
    """Drops what stands before the first section."""

    default_priority = 200
    builders = ("man",)

    def run(self, **kwargs: Any) -> None:
        """Do so."""
        page = next(self.document.findall(nodes.section))
        first = page.first_child_matching_class(nodes.section)
        page[1:first] = []


class Links(SphinxPostTransform):
    """Turns links to other pages into their names."""

    default_priority = 200
    builders = ("man",)

    def run(self, **kwargs: Any) -> None:
        """Do so."""
        for link in list(self.document.findall(nodes.reference)):
            name = link.astext()
            if MANUAL.fullmatch(name):
                link.replace_self(nodes.strong("", name))
            elif link.get("internal"):
                link.replace_self(nodes.Text(f'"{name}"'))


class Tables(SphinxPostTransform):
    """Turns tables into definition lists."""

    default_priority = 200
    builders = ("man",)

    def run(self, **kwargs: Any) -> None:
        """Do so."""
        for table in list(self.document.findall(nodes.table)):
            table.replace_self(as_list(table))


def as_list(table: nodes.table) -> nodes.definition_list:
    """A definition for each row of TABLE: its cells, behind the heads of their columns, in one paragraph."""
    heads, *rows = [list(row.findall(nodes.entry)) for row in table.findall(nodes.row)]
    items = nodes.definition_list()
    for term, *cells in rows:
        words = nodes.paragraph()
        for head, cell in zip(heads[1:], cells, strict=True):
            if not cell.astext():
                continue
            if words.children:
                words += nodes.Text(" " if words.astext().endswith((".", "!", "?", ":")) else ". ")
            name = head.astext()
            if name and name not in UNSAID:
                words += nodes.Text(f"{name.capitalize()}: ")
            words += contents(cell)
        items += nodes.definition_list_item(
            "", nodes.term("", "", *contents(term)), nodes.definition("", words)
        )
    return items


def contents(cell: nodes.entry) -> list[nodes.Node]:
    """What stands in a cell, without its paragraph."""
    return list(cell[0].children) if cell.children else []


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_post_transform(Preamble)
    app.add_post_transform(Links)
    app.add_post_transform(Tables)
    return {"parallel_read_safe": True}
