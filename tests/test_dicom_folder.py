"""Folders of DICOM files: what is listed, what is refused, who is told apart, what lies where."""

from __future__ import annotations

import json
import os
import stat

import numpy as np
import pytest
from dicoms import encode, item, make, ramp, write

from foveate.dataloaders.decoders.decode import decode
from foveate.dataloaders.dicom import survey as surveying
from foveate.dataloaders.dicom.identifying import KEYWORDS
from foveate.dataloaders.errors import DataError
from foveate.dataloaders.folder import scan
from foveate.dataloaders.pack.build import find_or_build
from foveate.dataloaders.sources import load, load_all
from foveate.engine.failure import RecipeError
from foveate.engine.recipe import Data, Recipe, recipe_hash
from foveate.kernels.sample.augment import Augment

CLASSES = ("flat", "steep")


@pytest.fixture
def root(tmp_path):
    """Two classes in one part, a DICOM file in each."""
    for number, name in enumerate(CLASSES):
        put(tmp_path / "data", name, "a.dcm", encode(ramp(8) + np.uint8(number)))
    return tmp_path / "data"


def put(root, label, name, data):
    """A file of the only part."""
    folder = root / "train" / label
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def listed(root, **options):
    return scan(root, CLASSES, ("train",), **options)


def test_files_are_listed_by_suffix_or_as_scanners_name_them(root):
    for name in ("b.DICOM", "IM000001", "1.2.840.113619.2"):
        put(root, "flat", name, encode(ramp(8)))
    put(root, "flat", "README", b"no image")
    put(root, "flat", "DICOMDIR", encode(ramp(8)))
    manifest = listed(root)
    names = [name.rpartition("/")[2] for name in manifest.files]
    assert names == ["1.2.840.113619.2", "IM000001", "a.dcm", "b.DICOM", "a.dcm"]
    assert manifest.strangers == 2 and manifest.frame.tolist() == [0] * 5


def test_frames_are_rows_and_a_file_is_decoded_once(root, tmp_path, monkeypatch):
    frames = np.stack([ramp(8), ramp(8)[::-1], ramp(8)[:, ::-1]])
    put(root, "flat", "b.dcm", encode(frames))
    manifest = listed(root)
    assert manifest.frame.tolist() == [0, 0, 1, 2, 0] and manifest.label.tolist() == [0, 0, 0, 0, 1]
    assert len({*manifest.group.tolist()}) == 3, "frames of a file share its group"
    from foveate.dataloaders import sources

    reads = []
    real = sources.decode_frames
    monkeypatch.setattr(sources, "decode_frames", lambda *a: reads.append(1) or real(*a))
    pack = find_or_build(manifest, tmp_path / "cache", 2)
    assert len(reads) == 3
    for row, wanted in zip(range(1, 4), frames, strict=True):
        begin = pack.start[row, 0]
        assert np.array_equal(pack.pixels[begin : begin + wanted.size], wanted.ravel())


def test_a_pack_goes_on_in_the_middle_of_a_file(root):
    put(root, "flat", "b.dcm", encode(np.stack([ramp(8), ramp(8)[::-1], ramp(8)[:, ::-1]])))
    manifest = listed(root)
    everything = list(load_all(manifest, 1))
    for first in range(len(manifest) + 1):
        rest = list(load_all(manifest, 1, first=first))
        assert [one.crc32 for one in rest] == [one.crc32 for one in everything[first:]]
    assert load(manifest, 2).crc32 == everything[2].crc32
    assert len({one.crc32 for one in everything}) == 4  # a.dcm is as the first frame


def test_a_damaged_file_is_one_unreadable_row(root, tmp_path):
    put(root, "flat", "b.dcm", encode(np.stack([ramp(8)] * 3))[:-300])
    put(root, "flat", "c.dcm", encode(ramp(8), NumberOfFrames=7))
    manifest = listed(root)
    assert len(manifest) == 4
    pack = find_or_build(manifest, tmp_path / "cache", 1)
    assert sorted(pack.unreadable) == [1, 2]


def test_a_window_is_another_pack(root):
    one, other = listed(root), listed(root, window=(40.0, 80.0))
    again = listed(root, window=(40.0, 80.0))
    assert one.listing_sha256 != other.listing_sha256 == again.listing_sha256


DATED = item(StudyDate="20200131")
REFUSED = {
    "nothing says that it was de-identified": dict(PatientIdentityRemoved=None),
    "it says that it was not": dict(PatientIdentityRemoved="NO"),
    "a name": dict(PatientName="Kowalczyk^Anna"),
    "a name in a sequence": dict(RequestAttributesSequence=[item(ReferringPhysicianName="K^A")]),
    "a deep date": dict(ReferencedSeriesSequence=[item(DeviceSequence=[DATED])]),
    "a great age": dict(PatientAge="091Y"),
    "a comment": dict(ImageComments="call Anna"),
    "a description": dict(StudyDescription="Anna's knee"),
} | {f"a {keyword}": {keyword: "Kowalczyk"} for keyword in (
    "PatientID", "AccessionNumber", "PatientAddress", "PatientTelephoneNumbers", "InstitutionName",
    "StationName", "DeviceSerialNumber", "OtherPatientIDs", "MedicalRecordLocator",
)}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_may_name_a_patient_is_refused_and_not_quoted(root, kind):
    data = make(ramp(8), **REFUSED[kind])
    if data.get("PatientIdentityRemoved", "") is None:
        del data.PatientIdentityRemoved
    put(root, "flat", "Kowalczyk.dcm", write(data))
    with pytest.raises(
        DataError, match=r"1 of 3 DICOM files may name patients \(.*allow-phi"
    ) as no:
        listed(root)
    assert "Kowal" not in str(no.value) and "Anna" not in str(no.value)
    with pytest.raises(DataError, match="1 of 1"):  # wherever a listing was passed by
        decode(write(data))
    manifest = listed(root, allow_phi=True)
    assert "1 of 3 DICOM files may name patients" in manifest.notes[-1]


def test_every_keyword_that_is_looked_for_is_one_of_dicom_s():
    from pydicom.datadict import tag_for_keyword

    unknown = [k for words in KEYWORDS.values() for k in words if tag_for_keyword(k) is None]
    assert unknown == []


def test_dates_are_fine_where_the_file_says_that_they_were_shifted(root):
    code = item(CodeValue="113107", CodingSchemeDesignator="DCM")
    shifted = dict(StudyDate="20200131", DeidentificationMethodCodeSequence=[code])
    put(root, "flat", "b.dcm", encode(ramp(8), **shifted))
    assert listed(root).notes == ()
    put(root, "flat", "c.dcm", encode(ramp(8), **shifted, StationName="CT1"))
    with pytest.raises(DataError, match="StationName in 1"):
        listed(root)


def test_hints_are_counted(root):
    put(root, "flat", "b.dcm", encode(ramp(8), BurnedInAnnotation="YES", Modality="US"))
    private = make(ramp(8), Modality="SC", BurnedInAnnotation="NO")
    private.private_block(0x0009, "MAKER", create=True).add_new(1, "LO", "Kowalczyk")
    put(root, "flat", "c.dcm", write(private))
    (note,) = listed(root).notes
    assert note == (
        "of 4 DICOM files, 1 with burned-in annotation, 2 with modality US or SC, "
        "1 with private elements"
    )


def test_patients_of_the_headers_are_groups_named_by_a_file(root):
    for name, patient in {"b": "P1", "c": "P2", "d": "P1"}.items():
        put(root, "steep", f"{name}.dcm", encode(ramp(8), PatientID=patient))
    manifest = listed(root, group="dicom:PatientID", allow_phi=True)
    assert manifest.group.tolist() == [
        *("train/flat/a.dcm", "train/steep/a.dcm"),
        *("train/steep/b.dcm", "train/steep/c.dcm", "train/steep/b.dcm"),
    ]


def test_headers_are_read_once_and_what_is_kept_holds_no_value(root, tmp_path, monkeypatch):
    put(root, "flat", "Kowalczyk.dcm", encode(ramp(8), PatientID="Kowalczyk"))
    cache = tmp_path / "cache"
    first = listed(root, allow_phi=True, cache=cache)
    (kept,) = (cache / "dicom").iterdir()
    assert "Kowalczyk" not in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    monkeypatch.setattr(surveying, "read_header", lambda _: pytest.fail("read again"))
    assert listed(root, allow_phi=True, cache=cache).notes == first.notes
    with pytest.raises(DataError, match="may name patients"):
        listed(root, cache=cache)
    monkeypatch.undo()
    kept.write_text(json.dumps({"frames": "damaged"}))
    assert listed(root, allow_phi=True, cache=cache).notes == first.notes


def test_a_changed_file_is_looked_at_again(root, tmp_path):
    cache = tmp_path / "cache"
    listed(root, cache=cache)
    put(root, "flat", "a.dcm", encode(ramp(8), PatientID="Kowalczyk"))
    with pytest.raises(DataError, match="PatientID in 1"):
        listed(root, cache=cache)


def test_packs_are_for_their_owner_only(root, tmp_path):
    old = os.umask(0o022)
    try:
        pack = find_or_build(listed(root), tmp_path / "cache", 1)
    finally:
        os.umask(old)
    assert stat.S_IMODE(pack.folder.stat().st_mode) == 0o700


def recipe(**data):
    from foveate.engine.classification import Classification

    return Recipe(
        name="r", data=Data(**data), task=Classification(classes=CLASSES), augment=Augment()
    )


def test_the_permission_names_no_other_run_and_levels_do():
    plain = recipe_hash(recipe())
    assert recipe_hash(recipe(allow_phi=True)) == plain
    names = {plain, recipe_hash(recipe(voi="file"))}
    names |= {recipe_hash(recipe(voi="window", window=(40, w))) for w in (80, 350)}
    assert len(names) == 4


@pytest.mark.parametrize(
    "fields", [dict(voi="window"), dict(window=(40, 80)), dict(voi="window", window=(40, 0))]
)
def test_a_window_that_means_nothing_is_a_recipe_error(fields):
    with pytest.raises(RecipeError, match=r"data\.window"):
        recipe(**fields)
