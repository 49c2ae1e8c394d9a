"""What is read of a page."""

from __future__ import annotations

import textwrap
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.page import Block, Command, PageError, read_page

PAGE = """
# A page

<!-- terminal: daemon -->
<!-- needs: cat -->
```console
$ cat <<END
> text
> END
text
$ true
```

<!-- file: conf -->
```ini
[a]
```

```python
ignored
```
"""

WRONG = (
    ("```console\ntext\n```", "3: output before the first command"),
    ("```console\n```", "3: a block without a command"),
    ("<!-- guest -->\ntext", "4: a mark without a block"),
    ("<!-- guest -->\n```sh\n```", "4: a mark before what is neither commands nor a file"),
    ("    $ true", "3: a command outside a block of the kind console"),
)


class ReadTest(SynchronousTestCase):
    def read(self, text: str) -> list[Block]:
        path = Path(self.mktemp())
        path.write_text(text)
        return read_page(path)

    def test_blocks(self) -> None:
        """Commands with what they print, their marks, and files; other blocks are none of ours."""
        commands, file = self.read(textwrap.dedent(PAGE))
        self.assertEqual(commands.marks, {"terminal": "daemon", "needs": "cat"})
        self.assertEqual(commands.commands, [Command("cat <<END\ntext\nEND", ["text"]), Command("true")])
        self.assertEqual((file.marks, file.commands, file.text), ({"file": "conf"}, [], "[a]\n"))

    def test_mistakes(self) -> None:
        """No command of a page goes unseen for a mistake in its form."""
        for text, sentence in WRONG:
            with self.assertRaises(PageError) as caught:
                self.read(f"# A page\n\n{text}\n")
            self.assertTrue(str(caught.exception).endswith(sentence), caught.exception)
