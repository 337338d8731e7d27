"""The data field of a recipe: where the images are, how they are split, ordered and kept."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from ..dataloaders.dicom.survey import PATIENT
from .failure import RecipeError
from .fields import check_fields, require
from .twin import Twin


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the images are and how they are split."""

    root: str = ""
    """Folder that holds the part folders below. Not part of the recipe's hash."""
    train: str = "train"
    """Part folder to fit on (and to hold out from)."""
    test: str = "test"
    """Part folder for the final score; empty where there is none."""
    need_test: bool = True
    """False: where the test folder is missing, train without it, and say so."""
    group: str = ""
    """Regular expression; its first parenthesis names the patient in a file name. The word
    dicom:PatientID takes the patient that the header of a DICOM names."""
    split: Literal["none", "label", "group", "table"] = "group"
    """How the held-out part is cut: by image within a class, by groups, not, or all by `table`."""
    table: str = ""
    """CSV of `foveate data split`: path, part, group. Its contents, not its place, are hashed."""
    holdout: float = 0.2
    """Share of the train folder held out for validation."""
    channels: Literal[1, 3] = 3
    """Channels the model sees. Gray images are repeated only in the kernel's last instruction."""
    mean: tuple[float, ...] = (0.5,)
    """Per channel (or one for all), of values in [0, 1]."""
    std: tuple[float, ...] = (0.25,)
    reduce: int = 0
    """Shorter side in pixels at which images are kept after decoding; 0 keeps their full size."""
    flatfield: bool = False
    """Phase contrast: divide each gray image by the median of the 75 x 75 pixels around, before it
    is stored, as LIVECell's authors do. 27 ms of one core for 704 x 520 pixels."""
    feed: Literal["auto", "pack", "resident", "stream"] = "auto"
    """Where pixels wait: a memory-mapped pack, memory, or the files. Changes no number of a run."""
    decoder: Literal["cpu", "dali", "dali-mixed", "nvjpeg"] = "cpu"
    """Who decodes: libjpeg-turbo, DALI without or with a card, or nvJPEG. A card's pixels differ by
    a level here and there: those two are part of the hash."""
    shuffle_window: int = 0
    """Images that are shuffled at a time, in the order of storage, for packs larger than memory;
    0 shuffles them all."""
    balance: Literal["none", "classes", "table"] = "none"
    """classes: every class comes equally often in an epoch. table: by the weights of `table`."""
    shuffle_labels: bool = False
    """Negative control: training labels are permuted, and an honest set then scores at chance."""
    voi: Literal["full", "file", "window"] = "full"
    """DICOM: the whole range of the stored bits, the file's own window or table, or `window`."""
    window: tuple[float, ...] = ()
    """DICOM, `voi` window only: center and width, in units of the modality (CT: Hounsfield)."""
    allow_phi: bool = False
    """Read DICOM files that may name patients. Not part of the recipe's hash."""
    twin: Twin = field(default_factory=Twin)
    expect_train: tuple[int, ...] = ()
    """Images per class that the published data set has in its train folder."""
    expect_test: tuple[int, ...] = ()
    expect_sha256: str = ""
    """Of the published set's names and contents: content_sha256 of `foveate data verify`."""

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        require(0 <= self.holdout < 1, "data.holdout", self.holdout, "it is a share from 0 to 0.9")
        require(min(self.std, default=0) > 0, "data.std", self.std, "it must be above 0")
        for name in ("reduce", "shuffle_window"):
            value = getattr(self, name)
            require(value >= 0, f"data.{name}", value, "0 switches it off")
        if self.shuffle_window and self.balance != "none":
            raise RecipeError("data.shuffle_window and data.balance exclude each other; take one")
        wide = len(self.window) == 2 and self.window[1] >= 1
        fits = wide if self.voi == "window" else not self.window
        wanted = "voi window needs a center and a width of 1 or more, the others none"
        require(fits, "data.window", self.window, wanted)
        named = bool(self.table) or "table" not in (self.split, self.balance)
        require(
            named,
            "data.table",
            "empty",
            "give --data.table FILE.csv, which the split or the balance is to come from",
        )
        if self.group != PATIENT:
            _check_pattern(self.group)


def _check_pattern(group: str) -> None:
    try:
        groups = re.compile(group).groups
    except re.error as error:
        raise RecipeError(f"data.group '{group}' is no regular expression: {error}") from None
    if group and not groups:
        raise RecipeError(f"data.group '{group}' has no parenthesis around what names the patient")
