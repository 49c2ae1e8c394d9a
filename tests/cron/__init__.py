"""Debian's cron itself, through a whole year: what jobs that were lines of a crontab are held against.

    python -m tests.cron              lets cron and jobd live through the year; compares with `year.json`
    python -m tests.cron --record     keeps what comes out in `year.json`

Both print the table of docs/design/cron-year.md.  They download cron and some packages with files in
/etc/cron.d (apt-get, 35 MB), install none of them, run nothing of what is in those files, and need gcc and
unshare too.
`test_year` holds jobd against the record, and needs none of that.
"""
