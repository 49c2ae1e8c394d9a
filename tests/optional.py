"""What a test does when something it needs is not on this machine: a skip for a person, a failure for CI."""

from __future__ import annotations

import os
import unittest
from typing import NoReturn


def in_ci() -> bool:
    """Is this a run that promises to have everything?"""
    return os.environ.get("CI") == "true"


def lacking(what: str) -> NoReturn:
    """End the test that runs now, for want of something. Raises SkipTest, in CI AssertionError."""
    if in_ci():
        raise AssertionError(f"CI must have it: {what}")
    raise unittest.SkipTest(f"needs {what}")
