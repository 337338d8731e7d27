"""Hashes of files that nobody published one for: the first download's is kept and enforced."""

from __future__ import annotations

import fcntl
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DataError, StorageError
from .entry import Remote
from .part import Hashed

FORMAT = 1


class Ledger:
    """A JSON file: for each address, the sha256 and length of what first came from it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def expect(self, remote: Remote) -> Remote:
        """`remote` with the hash of the first download, where the catalogue has none."""
        known = self._read().get(remote.url)
        if known is None or remote.sha256 or remote.md5:
            return remote
        return replace(remote, sha256=str(known["sha256"]))

    def check(self, remote: Remote, found: Hashed) -> None:
        """Raises DataError where another file came from the address before."""
        wanted = self.expect(remote).sha256
        if wanted and wanted != found.sha256:
            raise DataError(
                f"{remote.name} is not the file that the first download from this address was: "
                f"sha256 {found.sha256}, then {wanted}; where its publisher changed it, remove its "
                f"lines from {self.path}"
            )

    def remember(self, remote: Remote, found: Hashed) -> bool:
        """Write a first download down; True where it was the first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_name(self.path.name + ".lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = self._read()
            if remote.url in files:
                return False
            day = time.strftime("%Y-%m-%d")
            files[remote.url] = {"sha256": found.sha256, "bytes": found.bytes, "first": day}
            fresh = self.path.with_name(self.path.name + ".new")
            fresh.write_text(json.dumps({"format": FORMAT, "files": files}, indent=1) + "\n")
            fresh.rename(self.path)
        return True

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            facts = json.loads(self.path.read_text())
            if facts["format"] > FORMAT:
                raise StorageError(f"{self.path} is of a newer foveate; upgrade")
            files: dict[str, dict[str, Any]] = facts["files"]
            return files
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            raise StorageError(f"{self.path} is damaged; delete it to trust anew") from None
