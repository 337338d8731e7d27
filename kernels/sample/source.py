"""The CUDA C++ text of `sample`, whole. Imports no torch: the build of a wheel reads it too."""

from __future__ import annotations

from pathlib import Path

from . import columns

TEXTS = tuple(Path(__file__).with_name(name) for name in ("tile.cuh", "sample.cu"))


def source() -> str:
    """The text that is compiled: the columns of `columns.py` as constants, then the two files."""
    lines = []
    for name, value in vars(columns).items():
        if name.isupper() and isinstance(value, int):
            lines.append(f"constexpr int {name} = {value};")
        elif name.isupper() and isinstance(value, float):
            lines.append(f"constexpr float {name} = {value!r}f;")
    for name, share in zip(("RED", "GREEN", "BLUE"), columns.GRAY, strict=True):
        lines.append(f"constexpr float {name} = {share!r}f;")
    return "\n".join([*lines, *(path.read_text(encoding="utf-8") for path in TEXTS)])
