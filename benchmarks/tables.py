"""README tables from results files, so that no figure stands there that was not measured.

python benchmarks/tables.py          print the block between the README's two marks
python benchmarks/tables.py --write  put it there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BY_CPU = ", by CPU time"
BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"


def render(results: Path) -> str:
    """One table per results file, newest name last, each under the machine it was taken on."""
    tables = [_table(path) for path in sorted(results.glob("*.json"))]
    return "\n\n".join([BEGIN, *tables, END])


def place(readme: str, block: str) -> str:
    """The README with its measured block replaced."""
    head, rest = readme.split(BEGIN)
    return head + block + rest.split(END)[1]


def _table(path: Path) -> str:
    result = json.loads(path.read_text())
    identity = result["identity"]
    packages = identity["packages"]
    where = (
        f"{identity['cpu']}, {identity['cores']} cores, {identity['memory_gb']} GB, "
        f"GPU {identity['gpu']}, Python {identity['python']}, torch {packages['torch']}, "
        f"load {identity['load']} before. `benchmarks/results/{path.name}`"
    )
    pairs = [row for row in result["rows"] if row.get("ratio") is not None]
    single = [row for row in result["rows"] if row.get("ratio") is None]
    parts = [where]
    if single:
        head = ["| what | measured | range | against |", "|---|---|---|---|"]
        parts.append("\n".join([*head, *map(_row, single)]))
    if pairs:
        head = [
            "| what | foveate | against | ratio | 95 % interval | by CPU time |",
            "|---|---|---|---|---|---|",
        ]
        parts.append("\n".join([*head, *_pairs(pairs)]))
    return "\n\n".join(parts)


def _pairs(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each pair; the row that says the same by CPU time is its last column."""
    twins = {(row["what"], row["against"]): row for row in rows}
    lines = []
    for row in rows:
        if not row["what"].endswith(BY_CPU):
            lines.append(_pair(row, twins.get((row["what"] + BY_CPU, row["against"]))))
    return lines


def _pair(row: dict[str, Any], twin: dict[str, Any] | None) -> str:
    """Ratio above 1 is better; a pair whose interval holds 1 shows no difference."""
    unit = row["unit"]
    bounds = f"{row['low']:.2f} to {row['high']:.2f}"
    bounds += "" if row["significant"] else " (no difference shown)"
    ours, theirs = _say(row["ours"], unit), _say(row["theirs"], unit)
    cpu = f"{twin['ratio']:.2f}x, {twin['low']:.2f} to {twin['high']:.2f}" if twin else ""
    return (
        f"| {row['what']} | {ours} | {row['against']} {theirs} | {row['ratio']:.2f}x | {bounds} "
        f"| {cpu} |"
    )


def _row(row: dict[str, Any]) -> str:
    unit, bounds, against = row["unit"], "", ""
    if row["low"] is not None and row["low"] != row["high"]:
        bounds = f"{_say(row['low'], unit)} to {_say(row['high'], unit)}"
    if row["theirs"] is not None:
        against = f"{row['against']} {_say(row['theirs'], unit)}"
    return f"| {row['what']} | {_say(row['ours'], unit)} | {bounds} | {against} |"


def _say(value: float, unit: str) -> str:
    return f"{100 * value:.1f} %" if unit == "share" else f"{value:.1f} {unit}"


if __name__ == "__main__":
    block = render(ROOT / "benchmarks" / "results")
    if "--write" in sys.argv:
        readme = ROOT / "README.md"
        readme.write_text(place(readme.read_text(), block))
    else:
        print(block)
