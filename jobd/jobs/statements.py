"""The statements that change and read records.

Names of columns come from the fields of the records; every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from jobd.jobs.records import JobRecord, RunRecord
from jobd.jobs.writer import Statement

JOB_COLUMNS = JobRecord._fields[1:]
RUN_COLUMNS = RunRecord._fields[2:]
DEFINITION = frozenset(("name", "seed", "owner", "group", "mode", "schedule", "command", "options"))
"""The columns of a job that tell what it is; the others change as it starts, runs and stops."""


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({_names(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


class _Insertion:
    """How a record is added.

    What has just begun has nothing but its first columns. The others are then left to the table: to name
    them takes as long as all the rest of an insertion.
    """

    def __init__(self, table: str, cls: type[JobRecord] | type[RunRecord], first_column_later: str) -> None:
        columns, defaults = cls._fields, cls._field_defaults
        count = self.count = columns.index(first_column_later)
        self.new, self.any = _insert(table, columns[:count]), _insert(table, columns)
        self.defaults = tuple(defaults[name] for name in columns[count:])


_INSERTIONS = {
    JobRecord: _Insertion("jobs", JobRecord, "started_at"),
    RunRecord: _Insertion("runs", RunRecord, "started"),
}


def select(table: str, columns: Sequence[str], rest: str) -> str:
    """Read COLUMNS of the rows of TABLE that REST asks for."""
    return f"SELECT {_names(columns)} FROM {table} {rest}"  # noqa: S608


def insert(record: JobRecord | RunRecord) -> Statement:
    """Add a row."""
    how = _INSERTIONS[type(record)]
    if record[how.count :] == how.defaults:
        return Statement(how.new, record[: how.count])
    return Statement(how.any, record)


def update_job(id: int, columns: Mapping[str, object]) -> Iterable[Statement]:
    """Set COLUMNS of a job, if there are any."""
    if columns:
        sql = _update("jobs", JOB_COLUMNS, columns, "id = ?")
        yield Statement(sql, (*columns.values(), id), needs_row=True)


def update_run(job: int, number: int, columns: Mapping[str, object]) -> Iterable[Statement]:
    """Set COLUMNS of a run, if there are any."""
    if columns:
        sql = _update("runs", RUN_COLUMNS, columns, "job = ? AND number = ?")
        yield Statement(sql, (*columns.values(), job, number), needs_row=True)


def trim_runs(job: int, keep: int) -> Statement:
    """Delete the ended runs of JOB that are not among its newest KEEP."""
    return Statement(
        "DELETE FROM runs WHERE job = ?1 AND outcome IS NOT NULL"
        " AND number <= (SELECT max(number) FROM runs WHERE job = ?1) - ?2",
        (job, keep),
    )


def storable(statement: Statement) -> Statement:
    """STATEMENT with text that is no UTF-8 as the bytes it stands for, which SQLite takes as a blob."""
    for value in statement.parameters:
        if type(value) is str and not value.isascii():
            return statement._replace(parameters=[_encoded(value) for value in statement.parameters])
    return statement


def texts(row: tuple[Any, ...]) -> list[Any]:
    """The fields of ROW, with surrogates for the bytes that `storable` kept."""
    if bytes in map(type, row):
        return [value.decode("utf-8", "surrogateescape") if type(value) is bytes else value for value in row]
    return list(row)


def _update(table: str, known: Collection[str], columns: Mapping[str, object], where: str) -> str:
    unknown = columns.keys() - known
    if unknown:
        raise TypeError(f"{table} have no {', '.join(sorted(unknown))}")
    settings = ", ".join(f'"{name}" = ?' for name in columns)
    return f"UPDATE {table} SET {settings} WHERE {where}"  # noqa: S608


def _encoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    data = value.encode("utf-8", "surrogateescape")
    try:
        data.decode()
    except UnicodeDecodeError:
        return data
    return value
