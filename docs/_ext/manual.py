"""What a page needs to become a manual page: for the builder `man` alone.

The words before the first section go to DESCRIPTION, for a manual page has nothing before SYNOPSIS.  A table
becomes a list, its first column the terms: prose in columns can't be read on a terminal.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

UNSAID = {"meaning"}
"""Heads of columns that go without saying."""


class Preamble(SphinxPostTransform):
    """Moves what stands before the first section to the start of the one called Description."""

    default_priority = 200
    builders = ("man",)

    def run(self, **kwargs: Any) -> None:
        """Do so."""
        page = next(self.document.findall(nodes.section))
        description = next(s for s in page.findall(nodes.section) if s[0].astext() == "Description")
        first = next(i for i, node in enumerate(page) if isinstance(node, nodes.section))
        moved = [node for node in page[1:first] if not isinstance(node, nodes.Invisible)]
        for node in moved:
            page.remove(node)
        description[1:1] = moved


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
    app.add_post_transform(Tables)
    return {"parallel_read_safe": True}
