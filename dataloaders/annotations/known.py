"""What published data sets are known to hold, and known to have wrong, as data for the validator.

Counts of BCCD were counted from its repository, those of LIVECell are its authors' (Edlund et al.,
Nature Methods 2021) and what issues of its repository add; where one is inferred it is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Expected:
    """What one split is to have."""

    images: int
    """Images by file name."""
    ids: int
    """Images by id: more where some were annotated twice."""
    objects: tuple[tuple[str, int], ...] = ()
    """Boxes per class before any is dropped; empty where nobody published it."""


@dataclass(frozen=True)
class Known:
    """One data set. File names are those of public images and hold no patient's."""

    name: str
    splits: dict[str, Expected]
    size: tuple[int, int]
    """(height, width) in pixels of every image."""
    copies: dict[tuple[int, int], str] = field(default_factory=dict)
    """Sizes of other copies that must not be mixed in, and what they are."""
    flaws: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What is wrong -> stems of the files that have it."""
    left_out: tuple[str, ...] = ()
    """Which flaws keep an image from being used: keys of `flaws`."""

    def flawed(self, names: tuple[str, ...], flaw: str) -> list[int]:
        """Places in `names` of the files that have a flaw."""
        stems = set(self.flaws[flaw])
        return [n for n, name in enumerate(names) if PurePosixPath(name).stem in stems]


ZERO_AREA, NEARLY_EMPTY, DOUBLE = "zero-area boxes", "nearly empty annotations", "double contours"

BCCD = Known(
    name="bccd",
    splits={
        "train": Expected(205, 205, (("RBC", 2382), ("WBC", 214), ("Platelets", 209))),
        "val": Expected(87, 87, (("RBC", 968), ("WBC", 87), ("Platelets", 83))),
        "test": Expected(72, 72, (("RBC", 805), ("WBC", 71), ("Platelets", 69))),
        "trainval": Expected(292, 292, (("RBC", 3350), ("WBC", 301), ("Platelets", 292))),
        "all": Expected(364, 364, (("RBC", 4155), ("WBC", 372), ("Platelets", 361))),
    },
    size=(480, 640),
    copies={(416, 416): "the re-exported copy of 416 x 416, stretched from 4:3 to 1:1"},
    flaws={ZERO_AREA: ("BloodImage_00338", "BloodImage_00343")},
)
"""364 images, 4,888 boxes of which 2 have no area: 4,886 are usable. Coordinates count from 0 or
from 1, which nothing states; they are taken as they are."""

LIVECELL = Known(
    name="livecell",
    splits={
        "train": Expected(3188, 3253),
        "val": Expected(539, 570),
        "test": Expected(1512, 1564),
    },
    size=(520, 704),
    flaws={
        NEARLY_EMPTY: (  # issue 21; "_Phase" put in as every file name has it
            *("A172_Phase_D7_1_01d20h00m_1", "BT474_Phase_B3_1_03d00h00m_3"),
            *("A172_Phase_A7_1_01d04h00m_3", "SHSY5Y_Phase_D10_1_01d16h00m_4"),
            *("BV2_Phase_D4_1_00d12h00m_2", "BV2_Phase_C4_1_01d16h00m_3"),
            *("SkBr3_Phase_H3_2_00d00h00m_1", "BV2_Phase_A4_2_00d00h00m_1"),
            "BV2_Phase_A4_2_02d04h00m_3",
        ),
        DOUBLE: (  # issue 30
            *(f"A172_Phase_C7_1_00d00h00m_{crop}" for crop in (1, 2, 3, 4)),
            "A172_Phase_B7_2_00d08h00m_3",
        ),
    },
    left_out=(NEARLY_EMPTY,),
)
"""5,239 images, 1,686,352 cells. 65, 31 and 52 images of train, val and test stand there under two
ids because they were annotated twice (issues 14 and 26; 539 and 31 hold if train and val share
none); one name is one image, and the id with more cells stays."""

KNOWN = {known.name: known for known in (BCCD, LIVECELL)}
