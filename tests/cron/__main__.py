"""`python -m tests.cron`: see the package."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from jobd.cli.crontab import read_crontab
from tests.cron import compare, crontabs, packages, real


def main() -> None:
    parser = argparse.ArgumentParser(
        "tests.cron", description="A year of Debian's cron, and of jobd beside it."
    )
    parser.add_argument("--record", action="store_true", help="keep what comes out")
    parser.add_argument("--zone", default="Europe/Berlin")
    parser.add_argument("--year", type=int, default=2027)
    parser.add_argument("packages", nargs="*", default=packages.SOME, metavar="PACKAGE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        record = a_year(Path(directory), options.packages, options.zone, options.year)
    print(compare.table(record))
    if options.record:
        compare.save(record)
    elif (record.zone, record.year) == (compare.load().zone, compare.load().year):
        new = [row for row in record.rows if row not in compare.load().rows]
        for row in new:
            print(f"not as recorded: {row}", file=sys.stderr)
        sys.exit(bool(new))


def a_year(directory: Path, names: list[str], zone: str, year: int) -> compare.Record:
    """What cron makes of the crontabs of packages in a YEAR in ZONE, and how jobd differs."""
    files = [file for name in names for file in packages.crontabs(packages.unpack(name, directory))]
    files.append(crontabs.own())
    for file in files:
        check_import(file)
    texts, lines = {}, []
    for file in files:
        texts[file.path] = crontabs.numbered(file, len(lines))
        lines += file.lines
    cron = packages.unpack(packages.CRON, directory)
    users = {line.user for line in lines}
    within = compare.span(zone, year)
    up = range(compare.boot(within), within.stop)
    times = real.live(cron / "usr/sbin/cron", directory, texts, users, zone, up)
    rows = []
    for number, line in enumerate(lines):
        theirs = compare.minutes(times.get(number, ()))
        ours = compare.jobd_times(compare.jobd_schedule(line.schedule), zone, year)
        found = compare.digest(theirs), *compare.differences(theirs, ours)
        rows.append(compare.Row(*line[:-1], len(theirs), *found))
    return compare.Record(packages.version(cron), zone, year, rows)


def check_import(file: crontabs.File) -> None:
    """The file as it stands is imported whole: a job a line, with that line's user, schedule and command."""
    found = read_crontab(file.text, file.path, system=True, base=Path(file.path).name)
    assert not found.refused, found.refused
    jobs = [(job.schedule, job.owner, job.command) for job in found.jobs]
    assert jobs == [
        (compare.jobd_schedule(line.schedule), line.user, line.command.replace(r"\%", "%"))
        for line in file.lines
    ], file.path


main()
