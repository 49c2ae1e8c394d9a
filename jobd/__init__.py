"""jobd: cron as a 9P file system."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("jobd")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
