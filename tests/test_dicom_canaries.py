"""Patients planted in 50 DICOM files, in all 18 kinds of identifiers that HIPAA lists: none comes
out, whatever a run writes, logs, says or dies of.

The patients are invented. Searched are the bytes of everything that a run leaves but the data
itself and the cache's own list of unreadable files (`unreadable.json`, for its owner only).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicoms import item, make, write
from pictures import CLASSES, draw, small_recipe
from pydicom.datadict import tag_for_keyword
from stores import replay
from tracked import quick_disk  # noqa: F401, a fixture that every test here runs under

from foveate.dataloaders.decoders.decode import Unreadable, decode_frames
from foveate.dataloaders.dicom import header
from foveate.dataloaders.errors import DataError
from foveate.engine.fit import fit
from foveate.engine.scoring import predict_files

pytest.importorskip("mlflow")
COUNT = 50
DAMAGED = (4, 9)
BIRTH, STUDY = "19311117", "20190823"


def person(n):
    """HIPAA kind -> what patient n has of it. Long and odd enough to be nowhere by chance."""
    return {
        "1 name": f"Wojciechowska^Zofi\u0105{n}q",
        "2 place": f"{n} Quillfeather Lane, Zorbury",
        "3 date": BIRTH,
        "4 phone": f"+48 555 019 {n:02}77",
        "5 fax": f"+48555017{n:03}88",
        "6 e-mail": f"zofia.{n}@quillfeather.example",
        "7 social security": f"900-{n:02}-7719SSN",
        "8 record number": f"MRNQ{n:03}X7731",
        "9 health plan": f"PLANQ{n:03}X5512",
        "10 account": f"ACCQ{n:03}X44",
        "11 licence": f"LICQ{n:03}X9116",
        "12 vehicle": f"VINQ{n:03}X2087",
        "13 device": f"SERIALQ{n:03}X6650",
        "14 web": f"https://quillfeather.example/zofia/{n}/",
        "15 address": f"2001:db8:77:19::{n:x}:5eed",
        "16 biometric": f"IRISQ{n:03}X3374",
        "17 face": f"FACEQ{n:03}X8829",
        "18 number": f"2.25.77190000{n:03}4242",
    }


def plant(data, n):
    """Put patient n everywhere: top, sequences, comments, UIDs, private elements, odd types."""
    own = person(n)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientIdentityRemoved = "NO"
    data.PatientName, data.PatientAddress = own["1 name"], own["2 place"]
    data.PatientBirthDate, data.StudyDate = own["3 date"], STUDY
    data.PatientTelephoneNumbers = own["4 phone"]
    data.PatientComments = f"{own['6 e-mail']} {own['14 web']} {own['12 vehicle']}"
    data.OtherPatientIDs, data.PatientID = own["7 social security"], own["8 record number"]
    data.InsurancePlanIdentification, data.AccessionNumber = own["9 health plan"], own["10 account"]
    data.DeviceSerialNumber, data.StudyID = own["13 device"], own["11 licence"]
    data.StudyInstanceUID = own["18 number"]
    data.Manufacturer = own["16 biometric"]
    inner = item(PersonName=own["1 name"], PersonAddress=own["2 place"])
    inner.PersonTelephoneNumbers = own["5 fax"]
    data.ReferencedPatientSequence = [item(ReferringPhysicianIdentificationSequence=[inner])]
    block = data.private_block(0x0009, own["17 face"], create=True)
    block.add_new(1, "LO", own["15 address"])
    with warnings.catch_warnings():  # no number, no code: what a careless device writes
        warnings.simplefilter("ignore")
        data.add_new(0x00080068, "CS", own["8 record number"])
        data.add_new(0x00281054, "LO", own["1 name"])
    return data


def write_patients(root):
    """`root/{train,test}/<class>/Wojciechowska-<record number>.dcm`, 40 and 10."""
    for n in range(COUNT):
        part, label = "train" if n < 40 else "test", n % 2
        pixels = draw(label, n)[:, :, 0].astype(np.uint16) * 16
        data = plant(make(pixels, bits=12, WindowCenter=2048, WindowWidth=4096), n)
        if n == DAMAGED[0]:
            data.add_new(0x00281053, "LO", person(n)["8 record number"])  # a slope that is none
        whole = write(data)
        if n == DAMAGED[1]:
            whole = whole[:-9]
        folder = root / part / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"Wojciechowska-{person(n)['8 record number']}.dcm").write_bytes(whole)
    return root


ROOTS = (
    *("Wojciechowska", "Zofi\u0105", "Quillfeather", "quillfeather", "48 555 01", "48555017"),
    *("7719SSN", "MRNQ", "PLANQ", "ACCQ", "LICQ", "VINQ", "SERIALQ", "2001:db8:77", "IRISQ"),
    *("FACEQ", "2.25.7719"),
)
"""What the planted texts are made of: one of them is in each."""
SPELLED = {text.encode(code) for text in ROOTS for code in ("utf-8", "utf-16-le", "utf-16-be")}
SPELLED |= {text.encode("ascii", "backslashreplace") for text in ROOTS}
HASHES = {
    hashlib.new(kind, text.encode()).digest()
    for n in range(COUNT)
    for text in person(n).values()
    for kind in ("sha256", "sha1", "md5")
}
LARGE = 500_000
"""Bytes from which only words and hexadecimal digits are searched: weights, and 2,700 digests."""
HEX = re.compile(rb"[0-9a-fA-F]{32,64}")
DATES = re.compile(rb"(?<!\d)(%s|%s)(?!\d)" % (BIRTH.encode(), STUDY.encode()))


def hits(data):
    """What of the patients is in some bytes, hashes of bare ids included."""
    data = data.encode(errors="surrogateescape") if isinstance(data, str) else data
    needles = SPELLED | HASHES if len(data) < LARGE else SPELLED
    found = [text for text in needles if text in data] + DATES.findall(data)
    runs = {bytes.fromhex(run.decode()[: len(run) // 2 * 2]) for run in HEX.findall(data)}
    return found + list(runs & HASHES)


def leaks(*folders):
    """Files below some folders that name a patient, in name or contents."""
    files = [p for folder in folders for p in Path(folder).rglob("*") if p.is_file()]
    kept = (p for p in files if p.name != "unreadable.json")
    return [p for p in kept if hits(p.name) or hits(p.read_bytes())]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture
def heard(caplog, capfd, tmp_path, monkeypatch):
    """Everything that is logged, warned or written to the terminal while a test runs."""
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    with (
        caplog.at_level(logging.DEBUG, "foveate"),
        caplog.at_level(logging.DEBUG, "pydicom"),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        yield lambda: [
            *(caplog.text, *capfd.readouterr(), *(str(w.message) for w in warned)),
            *(repr(record.__dict__) for record in caplog.records),
        ]


def small(root, **changes):
    """A tiny run on everything: no held-out part, so that two damaged files are 5 %."""
    recipe = small_recipe(root, epochs=1)
    data = dict(group="", split="none", holdout=0.0, voi="file", allow_phi=True)
    return replace(recipe, data=replace(recipe.data, **(data | changes)))


def said(error):
    """All that an exception can show: its chain, and the values it holds."""
    return "".join(traceback.format_exception(error)) + repr(error.args)


def test_the_search_finds_what_is_there(root):
    everyone = [kind for n in range(COUNT) for kind, text in person(n).items() if not hits(text)]
    assert not everyone, "a kind of which nothing would be found"
    for file in root.rglob("*.dcm"):
        whole, number = file.read_bytes(), int(re.search(r"MRNQ(\d+)", file.name)[1])
        assert hits(file.name)
        absent = {kind for kind, text in person(number).items() if text.encode() not in whole}
        assert not absent, f"patient {number} was planted without {absent}"
    for kind in ("sha256", "sha1", "md5"):
        digest = hashlib.new(kind, b"MRNQ007X7731")
        assert hits(b"\0" + digest.digest()) and hits(f'"{digest.hexdigest()}"')


def test_by_default_they_are_refused_without_a_word_about_them(root, heard, tmp_path):
    with pytest.raises(DataError, match="50 DICOM files may name patients") as refused:
        fit(small(root, allow_phi=False), out=tmp_path / "run", tracking="none")
    assert not hits(said(refused.value))
    assert not leaks(tmp_path) and not [text for text in heard() if hits(text)]


def test_a_run_that_may_use_them_leaves_nothing_of_them(root, heard, tmp_path):
    run, uri = tmp_path / "run", f"sqlite:///{tmp_path / 'mlflow.db'}"
    recipe = small(root, group="dicom:PatientID")
    receipt = fit(recipe, out=run, tracking=uri)
    assert replay(run, uri)  # whatever was not in the database yet
    assert len(receipt.data["quarantined"]) == len(DAMAGED)
    assert any("data.allow_phi let them in" in line for line in receipt.data["differences"])
    names = {path.name for path in tmp_path.rglob("*")}
    assert {
        "mlflow.db",
        "report.html",
        "receipt.json",
        "metrics.jsonl",
        "last.safetensors",
    } <= names
    assert any(path.parts[-2].startswith("step-") for path in tmp_path.rglob("*.safetensors"))
    assert leaks(tmp_path) == []
    assert [text[:200] for text in heard() if hits(text)] == []
    assert not hits(repr(receipt)) and not hits(str(receipt.to_dict()))


def test_a_run_that_fails_on_them_says_nothing_of_them(root, heard, tmp_path):
    broken = tmp_path / "data"
    for file in root.rglob("*.dcm"):
        place = broken / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes()[: -9 if "7" in file.name[-8:] else None])
    with pytest.raises(DataError, match="cannot be read") as failed:
        fit(small(broken), out=tmp_path / "run", tracking="none")
    assert (tmp_path / "run" / "failure.json").exists()
    assert not hits(said(failed.value))
    assert not leaks(tmp_path / "run", tmp_path / "cache")
    assert not [text for text in heard() if hits(text)]


def test_a_fault_of_our_own_says_nothing_of_them(root, heard, tmp_path, monkeypatch):
    real = header._describe

    def fault(syntax, kept, *rest):
        raise RuntimeError(f"something odd about {person(3)['1 name']} in {kept}")

    monkeypatch.setattr(header, "_describe", fault)
    with pytest.raises(DataError) as failed:
        fit(small(root), out=tmp_path / "run", tracking="none")
    monkeypatch.setattr(header, "_describe", real)
    assert not hits(said(failed.value)) and not leaks(tmp_path / "run", tmp_path / "cache")
    assert not [text for text in heard() if hits(text)]


def test_what_is_kept_of_a_header_is_technical(root):
    (file, *_) = sorted(root.rglob("*-MRNQ000*.dcm"))
    with open(file, "rb") as opened:
        kept = header.read_header(opened)
    assert {element.keyword for element in kept.technical} <= set(header.TECHNICAL)
    assert kept.findings.patient and not kept.findings.removed
    assert len(header.TECHNICAL) < 40


@pytest.fixture(params=("SpecificCharacterSet", *header.TECHNICAL))
def misplaced(request):
    """A file with a name in a technical element; written before anybody listens."""
    data = make(draw(0, 0)[:, :, 0], WindowCenter=128, WindowWidth=256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.add_new(tag_for_keyword(request.param), "LO", "Wojciechowska")
        return write(data)


def test_a_name_where_a_number_belongs_is_not_quoted(misplaced, heard):
    reason = None
    try:
        decode_frames(misplaced, "file", allow_phi=True)
    except Unreadable as error:
        reason = said(error)
    assert not [text for text in (reason or "", *heard()) if hits(text)]


def test_single_files_are_answered_for_by_class_and_nothing_else(root, heard, tmp_path):
    run = tmp_path / "run"
    fit(small(root), out=run, tracking="none")
    files = sorted(root.rglob("*.dcm"))[:12]
    answers = predict_files(run, files)["images"]
    assert [Path(answer.pop("path")) for answer in answers] == files  # the user's own words
    assert not hits(repr(answers)) and not [text for text in heard() if hits(text)]
    film = tmp_path / "film.dcm"
    film.write_bytes(write(make(np.stack([draw(n, 70)[:, :, 0] for n in (0, 1)]))))
    answers = predict_files(run, [film, files[0]])["images"]
    assert [answer.get("frame") for answer in answers] == [0, 1, None]
    assert all("class" in answer for answer in answers)


@pytest.mark.parametrize("n", range(0, COUNT, 7))
def test_no_damage_to_a_file_brings_out_what_it_holds(root, heard, n):
    file = sorted(root.rglob("*.dcm"))[n]
    whole, dice, reasons = file.read_bytes(), np.random.default_rng(n), []
    for _ in range(60):
        data = bytearray(whole)
        for place in dice.integers(132, len(data) - 11_000, 3):
            data[place] = dice.integers(256)
        with contextlib.suppress(DataError):
            try:
                decode_frames(bytes(data), "file", allow_phi=True)
            except Exception as error:
                reasons.append(said(error))
    assert reasons and not [text for text in (*reasons, *heard()) if hits(text)]
