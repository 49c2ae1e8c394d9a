"""`jobctl`: jobd from the command line, as a client of its file system.

    main            the command and its subcommands
    statuses        exit statuses, and the errors that lead to them
    session         where the daemon is, and how a coroutine is run against it
    daemon          the files of jobd as methods; many small files at once
    reply           tables, colours, JSON, times in words
    words           schedules in words
    definition      a job as the text that is exported, edited and imported
    cronfields      fields of a crontab -> fields of a schedule, by cron's rules
    crontab         a crontab -> jobs
    cronexport      jobs -> a crontab
    looking, changing, times, exchange, raw     the subcommands

`cronfields`, `definition`, `crontab` and `cronexport` are pure.  Whatever takes long to import is
imported where it is used, so that `--help` and completion are quick.
"""
