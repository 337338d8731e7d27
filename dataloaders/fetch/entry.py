"""What a data set is to `data fetch`: where it lies, what it is checked by, where it goes."""

from __future__ import annotations

from dataclasses import dataclass

GB = 10**9


@dataclass(frozen=True)
class Remote:
    """One file of a data set. A hash or length that nobody is sure of stays empty."""

    name: str
    """Its name on disk; an archive ends with .zip, .tar, .tar.gz, .tgz, .tar.xz or .tar.bz2."""
    url: str = ""
    """https; empty where a person has to download it."""
    cap: int = 0
    """Bytes at which the download is refused: no server may fill the disk."""
    about: int = 0
    """Bytes it is said to have, for the disk check and the table; not enforced."""
    bytes: int = 0
    sha256: str = ""
    md5: str = ""
    into: str = ""
    """Folder under the data root where the file, or what is in the archive, goes."""
    anchor: tuple[str, ...] = ()
    """Folders that stand side by side in the archive: what holds them becomes `into`.

    So nobody has to know what the archive calls the folder around them. Empty: all of it.
    """
    unpacked: int = 0
    """Bytes at which unpacking is refused; 0: nothing is unpacked."""

    @property
    def packed(self) -> bool:
        """Whether it is an archive to unpack."""
        return self.unpacked > 0


@dataclass(frozen=True)
class Count:
    """How many files match a pattern (as pathlib's glob has it) once all is in its place."""

    pattern: str
    files: int


@dataclass(frozen=True)
class DataSet:
    """A public data set."""

    name: str
    title: str
    licence: str
    citation: str
    page: str
    """Where a person reads about it."""
    remotes: tuple[Remote, ...]
    counts: tuple[Count, ...] = ()
    content: str = ""
    """sha256 over "<sha256 of the file>  <name>" and a newline for each file, sorted by name."""
    recipe: str = ""
    notes: tuple[str, ...] = ()
    manual: str = ""
    """What a person does first, where the files are behind a login."""
    tried: bool = False
    """Whether the makers of foveate have downloaded it from this address."""

    @property
    def about(self) -> int:
        """Bytes to download, as far as it is known."""
        return sum(remote.bytes or remote.about for remote in self.remotes)
