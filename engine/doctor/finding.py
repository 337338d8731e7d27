"""What doctor says: findings in sections, each with a mark, and nothing that names a person."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...dataloaders.errors import StorageError

Mark = Literal["ok", "warn", "bad", "note"]
BROKEN = 1
"""Exit code where an installation or a device cannot train."""
STORAGE = StorageError.exit_code
LOGIN = re.compile(r"(\w+://)?(?:(?<=://)[^/@\s]+|[^\s/@:=]+:[^\s/@]+)@")
NAMED = re.compile(
    r"(?i)([\w-]*(?:token|secret|passw|pwd|api_?key|credential|auth)[\w-]*\s*[=:]\s*)\S+"
)
TOKEN = re.compile(
    r"\b(?:(?:gh[oprsu]|hf|sk|pk|xox[abp]|glpat|dapi|github_pat)[-_][\w-]{8,}|AKIA[A-Z0-9]{12,}"
    r"|eyJ[\w-]{8,}\.[\w.-]+|(?=\w*\d)(?=\w*[A-Za-z])\w{32,})"
)


NOBODY = ("root", "user", "ubuntu", "nobody", "localhost", "foveate", "torch")
"""Names of users and hosts that say nothing about anybody, and may be words of the page."""


@dataclass(frozen=True)
class Finding:
    """One line. `bad` stops a run, `warn` may hurt one, `note` only says."""

    mark: Mark
    what: str
    said: str
    fix: str = ""
    """What to do; empty where there is nothing to do."""
    code: int = BROKEN
    """Exit code, if the mark is bad."""


@dataclass(frozen=True)
class Section:
    """Findings under one title."""

    name: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Diagnosis:
    """Everything doctor found."""

    version: str
    sections: tuple[Section, ...]
    format: int = field(default=1)

    def marked(self, mark: Mark) -> list[Finding]:
        """The findings of one mark, in order."""
        return [f for section in self.sections for f in section.findings if f.mark == mark]

    @property
    def exit_code(self) -> int:
        """0, or the code of the first bad finding; an installation goes before storage."""
        return min((finding.code for finding in self.marked("bad")), default=0)

    @property
    def verdict(self) -> str:
        """One line."""
        bad, warnings = self.marked("bad"), len(self.marked("warn"))
        others = f"{warnings} warning{'' if warnings == 1 else 's'}"
        if not bad:
            return f"nothing found that would stop a run; {others}"
        return f"{', '.join(f.what for f in bad)}: a run would stop; {others}"

    def to_dict(self) -> dict[str, Any]:
        """What `foveate doctor --json` writes."""
        sections = {
            section.name: [
                {"mark": f.mark, "what": f.what, "said": f.said} | ({"fix": f.fix} if f.fix else {})
                for f in section.findings
            ]
            for section in self.sections
        }
        head = {"format": self.format, "version": self.version, "exit_code": self.exit_code}
        return head | {"verdict": self.verdict, "sections": sections}


def cleaned(sections: Sequence[Section]) -> tuple[Section, ...]:
    """The sections with everything that is secret or names a person or a machine taken out."""
    names = _private_names()
    return tuple(
        Section(
            section.name,
            tuple(
                Finding(
                    f.mark,
                    redact(f.what, names),
                    redact(f.said, names),
                    redact(f.fix, names),
                    f.code,
                )
                for f in section.findings
            ),
        )
        for section in sections
    )


def redact(text: str, names: dict[str, str]) -> str:
    """`text` on one line, with logins, tokens and the given names replaced."""
    text = " ".join(text.split())
    text = LOGIN.sub(lambda found: f"{found[1] or ''}<login>@", text)
    text = NAMED.sub(r"\1<secret>", text)
    text = TOKEN.sub("<token>", text)
    for name, instead in names.items():
        text = _pattern(name).sub(instead, text)
    return text


def _pattern(name: str) -> re.Pattern[str]:
    """Where a name is replaced: a plain word only in paths and addresses, for it may be anything.

    A user called "data" must not take that word out of every sentence.
    """
    word = re.escape(name)
    if name.startswith("/"):
        return re.compile(rf"{word}(?![\w.-])")
    if len(name) >= 5 and re.search(r"[\d.-]", name):
        return re.compile(rf"(?<![\w-]){word}(?![\w-])")
    return re.compile(rf"(?<=[/@=:~]){word}(?![\w-])|(?<![\w-]){word}(?=@)")


def _private_names() -> dict[str, str]:
    """Home folder, user and host, longest first -> what stands for them."""
    names = {}
    home = os.path.expanduser("~")
    if home not in ("~", "/"):
        names[home] = "~"
    host = socket.gethostname()
    for name in (host, host.partition(".")[0]):
        names[name] = "<host>"
    for name in (_user(), os.environ.get("USER", ""), os.environ.get("LOGNAME", "")):
        names[name] = "<user>"
    for plain in ("", *NOBODY):
        names.pop(plain, None)
    return dict(sorted(names.items(), key=lambda item: -len(item[0])))


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container with a bare user id
        return ""
