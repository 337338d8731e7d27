"""The sheets of images, copied into the page as PNG without what else their files carry."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from .folder import Run
from .markup import Safe, missing, section, tag

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

BUDGET_BYTES = 1_700_000  # of all sheets together; base64 makes a third more of it, below 3 MB
SPLITS = ("test", "val", "train")


def samples(run: Run, budget_bytes: int) -> Safe:
    """Augmented inputs as the model saw them."""
    path = run.folder / "evidence" / "samples.png"
    body = sheet(path, "augmented training inputs", budget_bytes)
    note = "Augmented inputs, as the model saw them."
    return section("samples", "Samples", note, body or missing("No sample sheet yet."))


def wrong(run: Run, budget_bytes: int) -> Safe:
    """The wrong cases of each split."""
    figures = []
    for path in wrong_sheets(run):
        split = path.stem.removeprefix("wrong-")
        body = sheet(path, f"wrong cases of {split}", budget_bytes)
        figures.append(tag("figure", tag("figcaption", split.capitalize()), body))
    note = "Truth, prediction and confidence. Named by content hash, never by file name."
    kept = "No sheet: no case was wrong, or none was kept."
    none = missing(kept if run.receipt else "No sheet of wrong cases yet.")
    return section("wrong", "Wrong cases", note, *(figures or [none]))


def wrong_sheets(run: Run) -> list[Path]:
    """The sheets of wrong cases there are, test first."""
    found = (run.folder / "evidence" / f"wrong-{split}.png" for split in SPLITS)
    return [path for path in found if path.is_file()]


def sheet_budget(run: Run) -> int:
    """The bytes one sheet may take, so that the page stays below 3 MB.

    What small sheets leave of their equal share goes to the larger ones.
    """
    paths = [run.folder / "evidence" / "samples.png", *wrong_sheets(run)]
    sizes = sorted(path.stat().st_size for path in paths if path.is_file())
    left = BUDGET_BYTES
    for done, size in enumerate(sizes):
        share = left // (len(sizes) - done)
        if size * 1.1 > share:  # written again, a sheet may come out a little larger
            return share
        left -= int(size * 1.1)
    return BUDGET_BYTES


def sheet(path: Path, what: str, budget_bytes: int) -> Safe | None:
    """One sheet as an element; None when there is no such file."""
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            pixels = image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError):
        return missing(f"{path.name} could not be read as a PNG.")
    clean = Image.new("RGB", pixels.size)  # pixels only: text chunks may name files
    clean.paste(pixels)
    png, reduced = squeeze(clean, budget_bytes)
    data = "data:image/png;base64," + base64.b64encode(png).decode()
    image_tag = tag("img", src=data, alt=what, width=pixels.width, height=pixels.height)
    note = missing(f"Shown with fewer colours or pixels than {path.name}.") if reduced else None
    return tag("div", tag("div", image_tag, class_="sheet"), note)


def squeeze(image: "Picture", budget_bytes: int) -> tuple[bytes, bool]:
    """The image as PNG within the budget: 256 colours first, then ever fewer pixels."""
    from PIL import Image

    png = encode(image)
    if len(png) <= budget_bytes:
        return png, False
    # A palette from every pixel takes seconds; one pixel in a hundred gives the same colours.
    palette = image.resize((128, 128), Image.Resampling.NEAREST).quantize(256)
    while (
        len(png := encode(image.quantize(palette=palette, dither=Image.Dither.NONE))) > budget_bytes
    ):
        scale = min(0.9, 0.97 * (budget_bytes / len(png)) ** 0.5)  # bytes go with the area
        smaller = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        image = image.resize(smaller, Image.Resampling.BOX)
    return png, True


def encode(image: "Picture") -> bytes:
    """The image as PNG bytes."""
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()
