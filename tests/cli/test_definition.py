"""The text that jobs are exported as."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.cli.definition import Definition, DefinitionError, read_definitions, write_definitions

_LINE = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
_JOBS = st.lists(
    st.builds(
        Definition,
        st.from_regex(r"[a-z][a-z0-9.-]{0,8}[a-z]", fullmatch=True),
        st.one_of(st.just(""), _LINE),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
        st.lists(_LINE, max_size=3).map(tuple),
        st.booleans(),
        st.sampled_from(["", "root", "glenda"]),
    ),
    unique_by=lambda job: job.name,
    max_size=4,
)

WRONG = [
    ("schedule @daily\n", "line 1: job NAME is expected"),
    ("job a\n\nwhat x\n", "line 3: 'what' is unknown"),
    ("job a\njob a\n", "line 2: a second job a"),
    ("job\n", "line 1: a job without a name"),
    ("job a\nstate up\n", "line 2: the state"),
    ("job a\nstate started\n\tx\n", "line 3: a line behind a tab"),
]


class DefinitionTests(SynchronousTestCase):
    """`write_definitions` and `read_definitions`."""

    @given(_JOBS)
    def test_reads_back(self, jobs: list[Definition]) -> None:
        """Whatever is written is read back as it was."""
        self.assertEqual(read_definitions(write_definitions(jobs)), jobs)

    def test_text(self) -> None:
        """The text is for people too."""
        jobs = [
            Definition("a", "0 3 * * *", "x y", ("timeout 1m",), True, "glenda"),
            Definition("b", "@daily", "x\n\n\ty\n"),
        ]
        self.assertEqual(
            write_definitions(jobs),
            "job a\nowner glenda\nschedule 0 3 * * *\noption timeout 1m\nstate started\ncommand x y\n"
            "\n"
            "job b\nschedule @daily\nstate stopped\ncommand\n\tx\n\t\n\t\ty\n\t\n",
        )

    def test_comments(self) -> None:
        """Comments and empty lines mean nothing, but in a command."""
        text = "# jobs\n\njob a\n# when\nschedule @daily\ncommand\n\t# what\n\t\n\tx\n"
        self.assertEqual(read_definitions(text), [Definition("a", "@daily", "# what\n\nx")])

    def test_wrong(self) -> None:
        """A text that says no jobs is refused with the number of the line."""
        for text, words in WRONG:
            with self.subTest(text):
                self.assertIn(words, str(self.assertRaises(DefinitionError, read_definitions, text)))

    def test_of_files(self) -> None:
        """The files of a job make its definition, without options that have their defaults."""
        options = "description\ntimeout none\nretries 3\numask 022\nenv A=b c\n"
        job = Definition.of_files("a", "glenda", "@daily\nnext x\n", "started\n", options, "x\ny\n\n")
        self.assertEqual(job, Definition("a", "@daily", "x\ny\n", ("retries 3", "env A=b c"), True, "glenda"))
        self.assertEqual(job.option("retries"), "3")
        self.assertIs(job.option("timeout"), None)
