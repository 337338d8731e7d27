"""Errors that are a person's to mend: one line that says what, where and what to do.

Every class has the exit code that the command line ends with.
"""

from __future__ import annotations

from typing import ClassVar


class FoveateError(Exception):
    """Something outside the program is wrong. `str(error)` is one line and says what to do."""

    exit_code: ClassVar[int] = 1


class DataError(FoveateError):
    """Images, labels or folders are missing, damaged or not what the recipe says."""

    exit_code = 20


class StorageError(FoveateError):
    """A disk is full, read-only or holds something damaged: packs, checkpoints, run folders."""

    exit_code = 50


class NetworkError(FoveateError):
    """A server cannot be reached, cannot be trusted or does not answer."""

    exit_code = 40
