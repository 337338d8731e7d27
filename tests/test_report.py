"""The run report: whole, partial and hostile run folders become one self-contained page."""

import base64
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from plausible_run import (
    CONFUSION,
    HASH,
    WEIGHTS,
    phantoms,
    plausible_metrics,
    plausible_plan,
    plausible_receipt,
    plausible_recipe,
    write_evidence,
    write_run,
)

from foveate.engine.report.figures import write_sheet
from foveate.engine.report.folder import read_run
from foveate.engine.report.markup import tag
from foveate.engine.report.write import write_report

SECTIONS = [
    *("claim", "scores", "confusion", "classes", "wrong", "curves", "throughput", "samples"),
    *("data", "quarantine", "settings", "environment", "reproduce"),
]
HOSTILE = "</style><script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)>&\"'"


class Page(HTMLParser):
    """What the tests look at: element names, ids, addresses, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.names, self.ids, self.addresses, self.texts = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, name: str, attributes: list) -> None:
        found = dict(attributes)
        self.names.append(name)
        self.ids += [found.get("id")] * (name == "section")
        self.addresses += [found[k] for k in ("src", "href", "xlink:href") if k in found]
        assert not any(key.startswith("on") for key in found), f"{name} has a handler"

    def handle_data(self, data: str) -> None:
        self.texts.append(data.replace("\u202f", " "))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("whole"))
    write_evidence(folder)
    return folder


@pytest.fixture(scope="module")
def page(run) -> Page:
    return Page(write_report(run))


def test_a_whole_run_shows_every_section_in_order(page):
    assert page.ids == SECTIONS
    assert "Nothing" not in page.text and "yet" not in page.text
    assert page.names.count("svg") == 8 and page.names.count("img") == 2


def test_the_page_needs_nothing_but_itself(run, page):
    text = (run / "report.html").read_text()
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.names)
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert len(text) < 3_000_000


def test_the_page_leaves_no_other_file_behind(run):
    before = sorted(run.rglob("*"))
    assert write_report(run) == run / "report.html"
    assert sorted(run.rglob("*")) == before


def test_the_head_says_what_came_out_and_how_sure_that_is(page):
    for text in (
        "Test accuracy 92.25 %",
        "95 % interval 89.2\u201394.5 %",
        "31 wrong of 400 images",
        "3 min 52 s",
        "70.9",
        "oct2017:quickstart",
        HASH,
        WEIGHTS[:12],
        "Reproduced: the claim",
        "Research use only, not a medical device.",
    ):
        assert text in page.text, text


def test_the_tables_carry_the_receipt(page):
    for text in (
        "DRUSEN 100 89.0 % 81.4\u201393.7 % 89.9 %",  # support, recall, interval, precision
        "6 6.0 %",  # DRUSEN said CNV
        "398 expected 400",
        "c0dec0dec0de truncated JPEG train",
        "Groups shared between splits none",
        "doi:10.1016/j.cell.2018.02.010",
        "optimizer.weight_decay 5e-05",
        "240 values: first 0.00104167",
        "the pack (41 MB) fits memory",
        "torch 2.14.1",
        "foveate train oct2017:quickstart --data.root /data/OCT2017",
    ):
        assert text in page.text, text


def test_resumes_and_sizes_are_marked_on_the_curves(page):
    assert page.text.count("stopped, resumed") == 8
    assert page.text.count("128 px") == 4


def test_the_same_files_give_the_same_bytes(run, page):
    first = (run / "report.html").read_bytes()
    assert write_report(run).read_bytes() == first


def swap(tree: object) -> object:
    """Every text in the tree, keys included, made hostile; names the page looks up stay."""
    if isinstance(tree, dict):
        extra = {HOSTILE: HOSTILE}
        return {key: swap(value) for key, value in tree.items()} | extra
    if isinstance(tree, list):
        return [swap(value) for value in tree]
    return HOSTILE if isinstance(tree, str) else tree


def test_hostile_text_stays_text(tmp_path):
    receipt = plausible_receipt()
    receipt["confusion"][HOSTILE] = CONFUSION["val"]
    receipt["scores"][HOSTILE] = receipt["scores"]["val"]
    failure = {"format": 1, "kind": HOSTILE, "exit_code": 20, "message": HOSTILE, "step": 3}
    rows = plausible_metrics()[:90]
    rows[39]["event"] = rows[40]["scores"] = HOSTILE
    rows += [{"kind": "eval", "step": 1, "split": HOSTILE, "scores": {HOSTILE: 1.0}}]
    files = {"recipe": swap(plausible_recipe()), "plan": swap(plausible_plan())}
    folder = write_run(
        tmp_path / "run", **files, receipt=swap(receipt), metrics=rows, failure=failure
    )
    page = Page(write_report(folder))  # Page refuses handlers
    assert not {"script", "img"} & set(page.names)
    assert "alert('x')" in page.text and page.ids == SECTIONS


def test_text_in_an_attribute_cannot_leave_it():
    assert tag("code", "a<b", title="\"><i>'") == (
        '<code title="&quot;&gt;&lt;i&gt;&#x27;">a&lt;b</code>'
    )


def test_what_the_page_does_not_list_it_does_not_print(tmp_path):
    canary = "PATIENT-4711-DOE"
    receipt, rows = plausible_receipt(), plausible_metrics()
    receipt["data"]["quarantined"][0]["path"] = f"train/CNV/{canary}.jpeg"
    receipt["data"]["rows"] = receipt["rows"] = receipt["identity"]["user"] = canary
    rows[0]["path"] = rows[80]["detail"] = canary
    failure = {"format": 1, "kind": "data", "exit_code": 20, "message": "no", "path": canary}
    folder = write_run(tmp_path / canary, receipt=receipt, metrics=rows, failure=failure)
    sheet = folder / "evidence" / "wrong-test.png"
    write_sheet(sheet, phantoms(2, 32, 3), ["a", "b"])
    note = PngImagePlugin.PngInfo()
    note.add_text("source", canary)
    Image.open(sheet).save(sheet, pnginfo=note)
    sheet.with_name(f"wrong-{canary}.png").write_bytes(sheet.read_bytes())
    assert canary.encode() in sheet.read_bytes()
    page = write_report(folder)
    assert canary not in page.read_text()
    source = next(a for a in Page(page).addresses if a.startswith("data:"))
    assert canary.encode() not in base64.b64decode(source.partition(",")[2])


def test_an_empty_folder_still_makes_a_page(tmp_path):
    page = Page(write_report(tmp_path))
    assert page.ids == SECTIONS
    assert "Nothing has been trained yet." in page.text
    assert page.text.count(" yet") >= 10


def test_a_run_under_way_shows_how_far_it_came(tmp_path):
    folder = write_run(tmp_path, receipt=None, metrics=plausible_metrics()[:60])
    page = Page(write_report(folder))
    assert "the run has reached step 59 of 240; last evaluation: accuracy 68.33 %." in page.text
    assert page.names.count("svg") == 8


def test_a_failed_run_says_why(tmp_path):
    failure = {"format": 1, "kind": "data", "exit_code": 20, "message": "6.1 % is bad", "step": 9}
    rows = plausible_metrics()[:9]
    folder = write_run(tmp_path, receipt=None, metrics=rows, failure=failure)
    page = Page(write_report(folder))
    assert "Failed: data (exit code 20) at step 9 6.1 % is bad" in page.text
    assert "The run failed after step 9 of 240." in page.text


def test_a_last_line_cut_by_a_kill_is_ignored(tmp_path):
    folder = write_run(tmp_path, receipt=None)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "step": 241, "lo')
    assert read_run(folder).unreadable == 0
    assert "has reached step 240 of 240" in Page(write_report(folder)).text
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("\n")
    assert "Unreadable lines of metrics.jsonl: 1." in Page(write_report(folder)).text


@pytest.mark.parametrize("name", ["recipe", "plan", "receipt", "failure"])
def test_a_newer_format_is_refused(tmp_path, name):
    (tmp_path / f"{name}.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match=rf"{name}.json has format 2; .* update foveate"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "receipt.json").write_text("{")
    with pytest.raises(ValueError, match=r"receipt\.json is not readable as JSON"):
        write_report(tmp_path)


def test_a_diverged_run_is_drawn_with_gaps(tmp_path):
    rows = plausible_metrics()
    for row in rows[50:]:
        row |= {"loss": math.nan, "grad_norm": math.inf, "mfu": None}
    write_report(write_run(tmp_path, metrics=rows))


def test_time_goes_on_where_a_resumed_run_began_at_zero(tmp_path):
    rows = [{"kind": "step", "step": n, "time_s": t} for n, t in enumerate((1, 5, 9, 0.5, 4))]
    clock = [row["clock_s"] for row in read_run(write_run(tmp_path, metrics=rows)).metrics]
    assert clock == [1, 5, 9, 9.5, 13]


def test_odd_values_never_stop_the_page(tmp_path):
    receipt = plausible_receipt()
    receipt["scores"]["test"] = {"accuracy": None, "images": 3, "wrong": 0, "map": 0.4}
    receipt |= {"confusion": {"test": [[1, 2]]}, "time": None, "data": {"group_overlap": 3}}
    rows = [{"kind": "step"}, {"kind": "eval"}, {"kind": "event"}, {"kind": "eval", "scores": 1}]
    page = Page(write_report(write_run(tmp_path, receipt=receipt, metrics=rows)))
    assert "3: scores are too high where a patient is in two splits" in page.text
    assert "Test accuracy 100.0 %" in page.text and "43.9\u2013100.0 %" in page.text


def test_many_classes_are_told_by_their_largest_confusions(tmp_path):
    counts = (10 * np.eye(60, dtype=int)).tolist()
    counts[3][7] = 5
    receipt = plausible_receipt() | {"classes": [f"c{n}" for n in range(60)]}
    page = Page(
        write_report(write_run(tmp_path, receipt=receipt | {"confusion": {"test": counts}}))
    )
    assert "Test: largest truth said images of the row c3 c7 5 33.3 %" in page.text


def test_a_heavy_sheet_is_reduced_to_keep_the_page_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    (tmp_path / "evidence").mkdir()
    for name in ("samples", "wrong-test", "wrong-val"):
        Image.fromarray(noise).save(tmp_path / "evidence" / f"{name}.png", compress_level=1)
    path = write_report(tmp_path)
    assert path.stat().st_size < 3_000_000
    assert Page(path).text.count("fewer colours or pixels") == 3


def test_a_broken_sheet_is_named_and_passed_over(tmp_path):
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert "samples.png could not be read as a PNG." in Page(write_report(tmp_path)).text
