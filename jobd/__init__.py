"""jobd: cron as a 9P file system."""

__version__ = "1.0.0"
