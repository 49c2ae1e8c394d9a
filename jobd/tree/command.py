"""A job's `cmd`: a text that may be longer than one message, and is used once all of it is there."""

from __future__ import annotations

import codecs
import errno
from typing import Any

from jobd.jobs.errors import JobError
from jobd.jobs.texts import check_command, decode, without_newline
from jobd.tree.jobnode import CMD, JobNode
from jobd.tree.texts import OpenText, TextNode


class Command(JobNode, TextNode):
    """`cmd`: the command."""

    number = CMD
    mode = 0o644
    private = True

    def text(self) -> bytes:
        command = self.job.command
        return command.encode() + b"\n" if command else b""

    def length(self) -> int:
        # Always that of the newest text: a client's `>>` writes there.
        return len(self.text())

    def opened(self) -> Any:
        return OpenCommand(self)


class OpenCommand(OpenText):
    """`cmd`, open: what is written takes effect at the clunk.

    The first Twrite is at 0 and replaces the command, or at its length and goes on from it; each further
    one follows the last.  A refused one spoils the rest: half a command must never run.
    """

    node: Command
    _draft: bytes | None = None
    """What was written so far."""
    _spoiled = False

    def write(self, offset: int, data: bytes) -> Any:
        return self.node.view.change(self.node.path, lambda: self._write(offset, data), len(data))

    def _write(self, offset: int, data: bytes) -> Any:
        if self._spoiled:
            raise JobError(errno.EINVAL, "cmd: an earlier write was refused; open it anew")
        try:
            command = self._extended(offset, data)
            stored = self.node.view.tree.table.put_draft(self.node.job, command, actor=self.node.view.actor)
        except JobError:
            self._spoil()
            raise
        return stored.addErrback(self._not_stored)

    def _extended(self, offset: int, data: bytes) -> str:
        """The command with DATA at OFFSET."""
        draft = self._draft
        if draft is None:
            draft = self.node.text() if offset else b""
        if offset != len(draft):
            raise JobError(
                errno.EINVAL,
                f"cmd: a write at {offset} does not follow what is there; {len(draft)} was expected",
            )
        draft += data
        command = check_command(without_newline(_decode_begun(draft)))
        self._draft = draft
        return command

    def _spoil(self) -> None:
        # What was refused first leaves nothing half done.
        self._spoiled = self._draft is not None

    def _not_stored(self, failure: Any) -> Any:
        self._spoiled = True
        return failure

    def close(self, clunked: bool) -> Any:
        super().close(clunked)
        if self._draft is None:
            return None
        table, job = self.node.view.tree.table, self.node.job
        if self._spoiled or not clunked:
            return table.drop_draft(job)

        def change() -> Any:
            command = without_newline(decode(self._draft or b"", "cmd"))
            return table.set_command(job, command, actor=self.node.view.actor)

        return self.node.view.change(self.node.path, change)


def _decode_begun(data: bytes) -> str:
    """The text of DATA, whose last character may be cut in two; JobError where it is not UTF-8."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError as error:
        raise JobError(errno.EINVAL, f"cmd: byte {error.start + 1} is not UTF-8") from None
