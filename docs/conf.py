"""How Sphinx builds these pages: `tox -e docs`, or `sphinx-build -n -W --keep-going docs TARGET`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from pygments.lexers.special import TextLexer  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import jobd  # noqa: E402

project = "jobd"
author = ""
copyright = ""
today_fmt = "%Y-%m-%d"
version = release = jobd.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "api", "manual"]
exclude_patterns = ["_ext"]

# The pages are plain Markdown that a forge shows as it is. Anchors are the headings, as forges spell them.
myst_heading_anchors = 4
highlight_language = "none"

html_theme = "furo"
html_title = f"jobd {version}"
html_static_path = ["_static"]
html_css_files = ["jobd.css"]
html_copy_source = False
html_show_copyright = False

# So that the directory is one for MANPATH.
man_make_section_directory = True
man_pages = [
    ("reference/jobd", "jobd", "the daemon that runs jobs and serves them as files", "", "8"),
    ("reference/jobctl", "jobctl", "see and change the jobs of a jobd", "", "1"),
    ("reference/jobfs", "jobfs", "the files in which jobd keeps its jobs", "", "5"),
]

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

# A name in single backticks is a link where these pages have it, and code where not.
default_role = "name"
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    # What other packages define.
    ("py:class", r".*(twisted|zope|collections\.abc|contextlib|datetime|socket|struct|unittest)\..*"),
    # The 9P messages, of which there is nothing to say, and what is the program's own.
    ("py:class", r"jobd\.ninep\.(messages\.[TR][a-z]+|client_session\..*|session\..*)"),
    ("py:class", r"jobd\.(jobs\.(?!clock|errors|options)|schedule\.(expression|evaluator)|tree).*"),
    ("py:class", r"(.*\.)?(_[A-Z].*|FakeWatch|Run|datetime)"),
]

linkcheck_ignore = ["https?://.*"]


def setup(app: Sphinx) -> None:
    """Show sessions of a shell in one colour: what the highlighter colours in them is not what matters."""
    app.add_lexer("console", TextLexer)
