"""Figures of a run: curves as SVG for the page, sheets of image tiles as PNG.

matplotlib draws the curves; its SVG is then freed of everything a page does not need, and its
colours become the page's own (`var(--accent)`), so one drawing serves light, dark and print.
N images, H x W pixels.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

# Colours that stand for the page's variables; near-black, so that none is used by accident.
INK, MUTED, RULE, ACCENT, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", ACCENT: "accent", SECOND: "second"}

WIDTH, HEIGHT = 420, 190  # the viewBox; also about the size in CSS px, so 11 px text stays 11 px
POINTS = 800  # per line; more only makes the page heavier
SMOOTH_FROM = 24  # steps from which a noisy line gets a running median
MARKS_NAMED = 4  # more named marks than this would overlap

TILE = 144  # px: small tiles are enlarged by whole factors to at most this side
LINE = 16  # px from one line of a caption to the next
TILE_MAX = 176  # px: larger ones are reduced; 8 columns still fit a page at twice its density
SHEET, CAPTION, GAP = "#14171b", "#d9d7d2", 10  # a dark sheet, as images of this kind are read


@dataclass(frozen=True)
class Mark:
    """A moment on the x axis: `evaluation`, `saved`, `resumed`, `stopped` or `size`."""

    at: float
    kind: str
    text: str = ""


def curve(
    title: str,
    x: Sequence[float],
    y: Sequence[float],
    *,
    xlabel: str = "step",
    marks: Sequence[Mark] = (),
    noisy: bool = False,
    points: bool = False,
    zero: bool = False,
    span: tuple[float, float] | None = None,
) -> str:
    """One line over x as an SVG string that inherits the page's font and colours.

    `noisy` draws a running median over the faint line, `points` a dot per value, `zero` lets the
    y axis begin at 0, `span` fixes the x axis; marks outside it are left out. Values that are
    not finite leave gaps.
    """
    import matplotlib
    from matplotlib.figure import Figure

    settings = {"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 11}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = figure.add_axes((46 / WIDTH, 40 / HEIGHT, 1 - 60 / WIDTH, 1 - 62 / HEIGHT))
        dress(axes, xlabel)
        draw(axes, np.asarray(x, float), np.asarray(y, float), noisy, points)
        if zero:
            axes.set_ylim(bottom=0)
        if span and span[0] < span[1]:
            axes.set_xlim(*span)
        low, high = axes.get_xlim()
        marks = [mark for mark in marks if low <= mark.at <= high]
        for mark in marks:
            draw_mark(axes, mark, named=sum(m.kind == mark.kind for m in marks) <= MARKS_NAMED)
        out = io.StringIO()
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=empty)
    return strip(out.getvalue(), title)


def dress(axes: "Axes", xlabel: str) -> None:
    """Horizontal hairlines, no box, plain numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=MUTED, linewidth=0.75)
    axes.grid(axis="y", color=RULE, linewidth=0.75)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=MUTED, labelcolor=MUTED, pad=8)
    axes.set_xlabel(xlabel, color=MUTED, labelpad=2)
    for axis, bins in ((axes.xaxis, 6), (axes.yaxis, 4)):
        axis.set_major_locator(MaxNLocator(bins, integer=axis is axes.xaxis))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def draw(axes: "Axes", x: np.ndarray, y: np.ndarray, noisy: bool, points: bool) -> None:
    """The line, its running median where it is noisy, and a dot on its last finite value."""
    y = np.where(np.isfinite(y), y, np.nan)
    smooth = noisy and len(y) >= SMOOTH_FROM
    faint: dict[str, Any] = {"linewidth": 1, "alpha": 0.35} if smooth else {"linewidth": 1.75}
    axes.plot(*thin(x, y), color=ACCENT, **faint)
    x, shown = running_median(x, y) if smooth else (x, y)
    if smooth:
        axes.plot(x, shown, color=ACCENT, linewidth=1.75)
    dots = np.flatnonzero(np.isfinite(shown))
    dots = dots if points else dots[-1:]
    if len(dots) <= POINTS // 8:
        axes.plot(x[dots], shown[dots], "o", color=ACCENT, markersize=4.5, markeredgewidth=0)
    axes.margins(x=0.02, y=0.12)


def running_median(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A centred median over about a twelfth of the line: calm, yet it keeps a jump a jump.

    Gaps are left out of it and stay gaps. Long lines are first cut to `POINTS` medians.
    """
    if len(y) > POINTS:
        parts = np.array_split(np.arange(len(y)), POINTS)
        x = np.array([x[part].mean() for part in parts])
        y = np.array([np.median(y[part]) for part in parts])  # a gap empties its whole part
    half = max(2, len(y) // 24)
    return x, slide(
        slide(y, half, np.median), max(1, half // 2), np.mean
    )  # the mean rounds the steps off


def slide(y: np.ndarray, half: int, summary: Callable[[np.ndarray], Any]) -> np.ndarray:
    """The summary of the finite values within `half` of each place; gaps stay gaps."""
    known = np.isfinite(y)
    spans = (slice(max(0, at - half), at + half + 1) for at in range(len(y)))
    inside = (y[span][known[span]] for span in spans)
    return np.array([summary(v) if k else np.nan for v, k in zip(inside, known, strict=True)])


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` points that keep every spike: the lowest and highest of each stretch."""
    if len(y) <= POINTS:
        return x, y
    keep = {0, len(y) - 1}
    for stretch in np.array_split(np.arange(len(y)), POINTS // 2):
        values = y[stretch]
        if np.isfinite(values).any():
            keep |= {int(stretch[np.nanargmin(values)]), int(stretch[np.nanargmax(values)])}
        else:
            keep.add(int(stretch[0]))
    order = sorted(keep)
    return x[order], y[order]


def draw_mark(axes: "Axes", mark: Mark, named: bool) -> None:
    """A moment: a short tick at the axis for the regular ones, a full line for the others."""
    frame = axes.get_xaxis_transform()
    line: dict[str, Any] = {"transform": frame, "clip_on": False}
    if mark.kind in ("evaluation", "saved"):  # up and down, for they fall on the same moment
        colour, tip = (SECOND, 0.08) if mark.kind == "evaluation" else (MUTED, -0.045)
        axes.plot([mark.at] * 2, [0, tip], color=colour, linewidth=1.75, **line)
        return
    colour, dash = (MUTED, (1, 3)) if mark.kind == "size" else (SECOND, (4, 3))
    axes.plot([mark.at] * 2, [0, 1.12], color=colour, lw=1, dashes=dash, **line)
    if named and mark.text:
        low, high = axes.get_xlim()
        share = (mark.at - low) / (high - low)
        left = share > 0.85 if mark.kind == "size" else share > 0.3  # so that the two kinds part
        label: dict[str, Any] = {"color": colour, "fontsize": 10, "parse_math": False, "va": "top"}
        label |= {"xytext": (-4 if left else 4, 0), "ha": "right" if left else "left"}
        label |= {"textcoords": "offset points", "xycoords": frame, "annotation_clip": False}
        axes.annotate(mark.text, (mark.at, 1.13), **label)


def strip(svg: str, title: str) -> str:
    """matplotlib's SVG document as an inline element: page colours, no ids, links or metadata."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S).replace("xlink:href", "href")
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    coarse = re.compile(r"(\d+\.\d{2})\d+")  # a hundredth of a pixel is enough
    svg = re.sub(r'="[^"]*"', lambda found: coarse.sub(r"\1", found[0]), svg)
    for colour, name in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
    return re.sub(r"\n\s*", "\n", head + svg[svg.index(">") + 1 :]).strip()


def write_sheet(
    path: Path,
    images: np.ndarray,
    captions: Sequence[str],
    colours: Sequence[str] | None = None,
    columns: int = 8,
) -> None:
    """Write image tiles with a caption under each as one PNG.

    `images` is (N,H,W) or (N,H,W,3) uint8, N from 0 to 64; a caption may have several lines and
    is wrapped at words; `colours` (one CSS colour per tile) tint caption and edge. Raises
    ValueError on other shapes.
    """
    from PIL import Image, ImageDraw

    images = np.asarray(images)
    check(images, captions, colours)
    tiles = [fit_tile(Image.fromarray(np.ascontiguousarray(image))) for image in images]
    font = open_font(12)
    wide, high = tiles[0].size if tiles else (TILE, 0)
    texts = [wrap(caption, font, wide) for caption in captions] or [["no images"]]
    step = wide + GAP, high + 5 + LINE * max(map(len, texts)) + GAP
    across = max(1, min(columns, len(texts)))
    size = across * step[0] + GAP, -(-len(texts) // across) * step[1] + GAP
    sheet = Image.new("RGB", size, SHEET)
    pen = ImageDraw.Draw(sheet)
    for n, text in enumerate(texts):
        x, y = GAP + n % across * step[0], GAP + n // across * step[1]
        colour = colours[n] if colours else CAPTION
        if tiles:
            sheet.paste(tiles[n].convert("RGB"), (x, y))
        if colours:
            pen.rectangle((x, y + high, x + wide - 1, y + high + 2), fill=colour)
        for row, line in enumerate(text):
            pen.text((x, y + high + 5 + LINE * row), line, fill=colour, font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.touch(0o600)  # it may show patients
    sheet.save(beside, format="PNG")
    beside.replace(path)


def check(images: np.ndarray, captions: Sequence[str], colours: Sequence[str] | None) -> None:
    """Raise ValueError unless images, captions and colours describe the same 0 to 64 tiles."""
    shape = images.shape
    if images.dtype != np.uint8 or not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
        raise ValueError(f"a sheet takes (N,H,W) or (N,H,W,3) uint8, not {shape} {images.dtype}")
    if len(images) > 64 or len(images) != len(captions):
        raise ValueError(f"a sheet takes up to 64 tiles: {len(images)}, {len(captions)} captions")
    if colours is not None and len(colours) != len(captions):
        raise ValueError(f"{len(colours)} colours for {len(captions)} tiles")


def fit_tile(tile: "Image") -> "Image":
    """Enlarge by a whole factor (pixels stay pixels) or reduce by area, to a readable size."""
    from PIL import Image

    side = max(tile.size)
    if side > TILE_MAX:
        scale = TILE_MAX / side
        smaller = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
        return tile.resize(smaller, Image.Resampling.BOX)
    factor = max(1, TILE // side)
    return tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)


def open_font(size_px: int) -> Any:
    """DejaVu Sans, which comes with matplotlib: the same letters on every machine."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size_px)


def wrap(caption: str, font: Any, width_px: int) -> list[str]:
    """The caption in lines that fit; a word wider than its tile is cut with an ellipsis."""
    lines: list[str] = []
    for given in caption.split("\n"):
        line = ""
        for word in given.split():
            longer = f"{line} {word}" if line else word
            if line and font.getlength(longer) > width_px:
                lines.append(line)
                longer = word
            line = longer if font.getlength(longer) <= width_px else cut(longer, font, width_px)
        lines.append(line)
    return lines


def cut(word: str, font: Any, width_px: int) -> str:
    """The word, shortened until it fits with an ellipsis."""
    while word and font.getlength(word + "\u2026") > width_px:
        word = word[:-1]
    return word + "\u2026"
