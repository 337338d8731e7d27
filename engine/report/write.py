"""The run report: one HTML page made from the files of a run folder, and nothing else.

The page needs no network, no JavaScript and no other file: styles, plots and images are inside,
and its own content policy forbids everything else. It shows a partial or failed run as well.
"""

import os
from pathlib import Path

from . import evidence, progress, record, scores, verdict
from .folder import Run, read_run
from .markup import Safe, count, missing, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = Path(__file__).with_name("page.css")


def write_report(folder: Path) -> Path:
    """Write `folder/report.html` from the files in `folder`; returns its path.

    The page is written beside and renamed, so a reader never sees half of it. The same files
    give the same bytes. Raises ValueError when a file is not JSON or its format is newer.
    """
    folder = Path(folder)
    page = render(read_run(folder))
    path, beside = folder / "report.html", folder / f".report.html.{os.getpid()}"
    try:
        beside.touch(0o600)  # its images may show patients
        beside.write_text(page, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def render(run: Run) -> str:
    """The whole page as text."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{run.name} \u00b7 run report"),
        tag("style", Safe(STYLE.read_text(encoding="utf-8"))),
    )
    body = tag("body", verdict.headline(run), tag("main", *sections(run)), footer(run))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def sections(run: Run) -> list[Safe]:
    """The page's sections, results first, record last."""
    budget_bytes = evidence.sheet_budget(run)
    return [
        verdict.claim(run),
        scores.show_scores(run),
        scores.confusion(run),
        scores.per_class(run),
        evidence.wrong(run, budget_bytes),
        progress.curves(run),
        progress.throughput(run),
        evidence.samples(run, budget_bytes),
        record.data(run),
        record.quarantined(run),
        record.settings(run),
        record.environment(run),
        record.reproduce(run),
    ]


def footer(run: Run) -> Safe:
    """The warning every page carries, and lines of the metrics that could not be read."""
    lost = run.unreadable
    note = missing(f"Unreadable lines of metrics.jsonl: {count(lost)}.") if lost else None
    return tag("footer", note, tag("p", "Research use only, not a medical device."))
