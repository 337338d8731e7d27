"""What in a DICOM header may say who the patient is: found, counted, never read out.

The ground is the Basic Profile of DICOM PS3.15 Annex E. A file is refused unless it says that it
was de-identified (0012,0062), and where it still holds something, anywhere, of these kinds:

    names          every element of the type PN (person name)
    dates          every date (DA, DT), unless dates were shifted (option 113107); times alone not
    free text      every text (LT, ST, UT), and descriptions, unless they were cleaned (113105)
    ids, contacts, institution (113112), devices (113109): the keywords below

Judgements. A replaced UID cannot be told from an original one, and every file must have UIDs: they
are no ground to refuse, nor are AE titles, sex and ages under 90; none of them is kept. A
pseudonym in PatientID cannot be told from a number of the hospital: it is a ground. Private
elements can hold anything: they are counted and warned about, never kept. Pixels are not looked
at: text burned into them is only ever warned about, where the header hints at it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..decoders.decode import Unreadable
from ..errors import DataError

DEEPEST = 16
"""Sequences inside one another; real files have 6."""
OPTIONS = {"dates": "113107", "text": "113105", "device": "113109", "institution": "113112"}
"""Kind -> the code in (0012,0064) that says such elements were kept in a safe form."""
BY_TYPE = {"PN": "name", "DA": "dates", "DT": "dates", "LT": "text", "ST": "text", "UT": "text"}
KEYWORDS = {
    "id": (
        *("PatientID", "OtherPatientIDs", "IssuerOfPatientID", "PatientBirthTime", "EthnicGroup"),
        *("AccessionNumber", "StudyID", "AdmissionID", "IssuerOfAdmissionID", "MilitaryRank"),
        *("InsurancePlanIdentification", "MedicalRecordLocator", "BranchOfService", "Occupation"),
        *("RequestedProcedureID", "ScheduledProcedureStepID", "PerformedProcedureStepID"),
        *("FillerOrderNumberImagingServiceRequest", "PlacerOrderNumberImagingServiceRequest"),
        *("ServiceEpisodeID", "IssuerOfServiceEpisodeID"),
        *("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "PatientReligiousPreference"),
        *("InterpretationID", "ResultsID", "SpecimenAccessionNumber", "ContainerIdentifier"),
        *("PersonIdentificationCodeSequence", "PatientState"),
    ),
    "contact": (
        *("PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation"),
        *("PersonAddress", "PersonTelephoneNumbers", "PersonTelecomInformation"),
        *("ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers"),
        *("CountryOfResidence", "RegionOfResidence", "CurrentPatientLocation"),
        *("PatientInstitutionResidence", "OrderCallbackPhoneNumber"),
        *("OrderCallbackTelecomInformation", "ContactURI", "RetrieveURL", "RetrieveURI"),
    ),
    "institution": (
        *("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName"),
        *("InstitutionCodeSequence", "PerformedStationName", "PerformedLocation"),
        *("ScheduledStationName", "ScheduledProcedureStepLocation", "RequestingService"),
        *("RequestedProcedureLocation", "NameOfPhysiciansReadingStudy", "ClinicalTrialSiteName"),
        *("ClinicalTrialSiteID", "ClinicalTrialSponsorName", "CustodialOrganizationSequence"),
    ),
    "device": (
        *("DeviceSerialNumber", "GantryID", "CassetteID", "PlateID", "DetectorID", "GeneratorID"),
        *("DeviceLabel", "DeviceDescription", "UniqueDeviceIdentifier", "LensSerialNumber"),
        *("TransducerIdentificationSequence", "XRaySourceID"),
        *("SecondaryCaptureDeviceID", "SourceSerialNumber"),
    ),
    "text": (
        *("StudyDescription", "SeriesDescription", "ProtocolName", "AdmittingDiagnosesDescription"),
        *("PerformedProcedureStepDescription", "RequestedProcedureDescription", "Allergies"),
        *("ScheduledProcedureStepDescription", "MedicalAlerts", "SpecialNeeds", "ImageComments"),
        *("ReasonForStudy", "ReasonForTheRequestedProcedure", "VisitComments", "ContentLabel"),
        *(
            "RequestAttributesSequence",
            "AcquisitionComments",
            "PreMedication",
            "ContrastBolusAgent",
        ),
    ),
}
TECHNICAL_TEXT = {"GridAbsorbingMaterial", "DetectorDescription", "ExposureControlModeDescription"}
KIND = {keyword: kind for kind, keywords in KEYWORDS.items() for keyword in keywords}


@dataclass
class Findings:
    """What a header holds that may name a patient, without a single value of it."""

    removed: bool = False
    """Whether the file says that the patient's identity was removed."""
    keywords: set[str] = field(default_factory=set)
    """Standard keywords of identifying elements that are not empty."""
    hints: set[str] = field(default_factory=set)
    """Out of HINTS: what is worth a look, and no ground to refuse."""
    patient: bytes = b""
    """PatientID as it is; for telling patients apart in this process, never kept."""

    @property
    def refused(self) -> bool:
        """Whether the file may only be read where the recipe allows it."""
        return bool(self.keywords) or not self.removed


BURNED, MODALITY, PRIVATE = "burned-in annotation", "modality US or SC", "private elements"
HINTS = (BURNED, MODALITY, PRIVATE)


def find_identifying(dataset: Any, body: Any) -> Findings:
    """Walk a pydicom Dataset and all sequences in it; `body` meters what that costs.

    Raises Unreadable where sequences lie too deep, and what pydicom raises on damage.
    """
    found, kinds, codes = Findings(), dict[str, str](), set[str]()
    for depth, raw, keyword, vr in _walk(dataset, body, 0):
        if raw.tag.is_private:
            found.hints.add(PRIVATE)
        value = _text(raw.value)
        if not value:
            continue
        kind = KIND.get(keyword) or BY_TYPE.get(vr, "")
        if keyword == "PatientAge" and value >= b"090Y" and value.endswith(b"Y"):
            kind = "id"  # so few are as old that it names them
        if kind and keyword not in TECHNICAL_TEXT:
            kinds[keyword or "private"] = kind
        if keyword == "CodeValue" and value.startswith(b"1131"):
            codes.add(value.decode("ascii", "replace"))
        if depth == 0:
            _note(found, keyword, value)
    kept = {kind for kind, code in OPTIONS.items() if code in codes}
    found.keywords = {keyword for keyword, kind in kinds.items() if kind not in kept}
    return found


def refuse(files: Sequence[Findings], of: int = 1) -> None:
    """Raises DataError where any of these headers may name a patient; it says which kinds, not who.

    `of` is how many DICOM files there were in all.
    """
    bad = [found for found in files if found.refused]
    if not bad:
        return
    unmarked = sum(not found.removed for found in bad)
    counts = Counter(keyword for found in bad for keyword in found.keywords)
    ranked = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [f"{keyword} in {n:,}" for keyword, n in ranked[:6]]
    more = [f"{len(counts) - 6} more kinds"] if len(counts) > 6 else []
    missing = [f"no PatientIdentityRemoved YES in {unmarked:,}"] if unmarked else []
    raise DataError(
        f"{len(bad):,} of {max(of, len(bad)):,} DICOM files may name patients "
        f"({', '.join(missing + named + more)}); de-identify them, or set --data.allow-phi true "
        "where you may use them as they are"
    )


def _note(found: Findings, keyword: str, value: bytes) -> None:
    if keyword == "PatientIdentityRemoved":
        found.removed = value.upper() == b"YES"
    elif keyword == "PatientID":
        found.patient = value
    elif keyword == "BurnedInAnnotation" and value.upper() != b"NO":
        found.hints.add(BURNED)
    elif keyword == "Modality" and value.upper() in (b"US", b"SC"):
        found.hints.add(MODALITY)


def _walk(dataset: Any, body: Any, depth: int) -> Iterator[tuple[int, Any, str, str]]:
    """(depth, raw element, keyword or "", type) of everything, from the top down."""
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    if depth > DEEPEST:
        raise Unreadable(f"DICOM sequences more than {DEEPEST} deep")
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        keyword = "" if tag.is_private else keyword_for_tag(tag)
        vr = dictionary_VR(tag) if keyword else str(raw.VR or "")  # a file may give another type
        yield depth, raw, keyword, vr
        for item in _items(raw, vr, body):
            yield from _walk(item, body, depth + 1)


def _items(raw: Any, vr: str, body: Any) -> Any:
    """The data sets in a sequence, read on the meter; pydicom's own lazy reading has none."""
    from pydicom.filereader import read_sequence

    if (vr != "SQ" and str(raw.VR) != "SQ") or not raw.value:
        return ()
    if not isinstance(raw.value, bytes):  # of undefined length: read already
        return raw.value
    implicit, little = raw.is_implicit_VR, raw.is_little_endian
    return read_sequence(body.within(raw.value), implicit, little, len(raw.value), "iso8859")


def _text(value: Any) -> bytes:
    """The value without padding; empty for an empty sequence, b"items" for one that is not."""
    if isinstance(value, bytes):
        return value.strip(b" \0\r\n\t")
    return b"items" if value else b""
