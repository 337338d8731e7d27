"""The drawn retina: a patient's eye, its bands, and the lesions that edit them.

Legend: H rows (496), W columns, K bands (10), Z = K + 2 zones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

ROWS = 496

# Bands, from the vitreous down. A zone is a band plus one: zone 0 is the vitreous.
NFL, GCL, IPL, INL, OPL, ONL, EZ, GAP, RPE, SUB = range(10)
VITREOUS, CHOROID = 0, 11
THICKNESS = np.array([0.10, 0.12, 0.13, 0.11, 0.07, 0.25, 0.06, 0.06, 0.10, 0.0])
TONES = np.array([0.05, 0.74, 0.42, 0.52, 0.32, 0.50, 0.26, 0.74, 0.46, 0.90, 0.50, 0.42])

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Eye:
    """What all scans of one patient share. Drawn without the class, so it cannot tell it."""

    width: int
    bands: Curve
    """K thicknesses in rows, away from the fovea."""
    tones: Curve
    """Z reflectivities in 0..1."""
    fovea: float
    pit: float
    row: float
    tilt: float
    bend: float
    speckle: float
    haze: float
    gain: float
    gamma: float
    padded: bool


@dataclass
class Scan:
    """One B-scan in the making. Lesions edit `bands`, `shade` and `blobs`."""

    bands: Curve
    """(K, W) thicknesses in rows."""
    floor: Curve
    """(W) row of Bruch's membrane: everything above is stacked on it."""
    shade: Curve
    """(Z, W) reflectivity of each zone."""
    u: Curve
    """(W) horizontal position, -1 at the left edge and 1 at the right."""
    blobs: list[tuple[float, ...]] = field(default_factory=list)
    """(column, row, half width, half height, value) of ellipses painted over the bands."""

    def edges(self) -> Curve:
        """(K + 1, W): the row where each zone ends; the last is Bruch's membrane."""
        above = np.cumsum(self.bands[::-1], axis=0)[::-1]
        return np.vstack([self.floor - above, self.floor[None]])

    def bump(self, centre: float, sigma: float) -> Curve:
        """(W) a Gaussian of height 1."""
        return np.exp(-0.5 * ((self.u - centre) / sigma) ** 2)

    def dome(self, centre: float, radius: float) -> Curve:
        """(W) a parabola of height 1 that ends at `radius`."""
        return np.clip(1 - ((self.u - centre) / radius) ** 2, 0, None)

    def add_blob(self, u: float, row: float, half: tuple[float, float], value: float) -> None:
        """Paint an ellipse around (u, row); `half` is in columns of a 512 wide scan and rows."""
        width = self.u.size
        self.blobs.append(((u + 1) / 2 * width, row, half[0] * width / 512, half[1], value))

    def row_of(self, zone_edge: int, u: float) -> float:
        """The row of an edge at horizontal position u."""
        column = min(int((u + 1) / 2 * self.u.size), self.u.size - 1)
        return float(self.floor[column] - self.bands[zone_edge:, column].sum())


def draw_eye(rng: np.random.Generator) -> Eye:
    """Draw a patient and the device that looked at them."""
    thickness = rng.uniform(95, 140)
    return Eye(
        width=512 if rng.random() < 0.6 else 768,
        bands=thickness * THICKNESS * np.exp(rng.normal(0, 0.10, THICKNESS.size)),
        tones=TONES * np.exp(rng.normal(0, 0.08, TONES.size)),
        fovea=rng.uniform(-0.5, 0.5),
        pit=rng.uniform(0.45, 0.9),
        row=rng.uniform(0.45, 0.78) * ROWS,
        tilt=rng.normal(0, 22),
        bend=rng.normal(-8, 16),
        speckle=rng.uniform(0.13, 0.29),
        haze=rng.uniform(0.02, 0.11),
        gain=rng.uniform(0.65, 1.25),
        gamma=rng.uniform(0.7, 1.35),
        padded=rng.random() < 0.3,
    )


def healthy_scan(eye: Eye, rng: np.random.Generator) -> Scan:
    """The bands of one scan before any lesion: fovea, tilt, curvature, slow waviness."""
    u = np.linspace(-1, 1, eye.width)
    fovea = eye.fovea + rng.normal(0, 0.12)
    dip = eye.pit * rng.uniform(0.3, 1.0) * np.exp(-0.5 * ((u - fovea) / 0.17) ** 2)
    bands = np.repeat(eye.bands[:, None], u.size, axis=1)
    bands[NFL] *= 1 + rng.uniform(-0.7, 0.7) * u
    bands[:ONL] *= 1 - dip
    bands[ONL] *= 1 + 0.35 * dip
    for band in bands[:SUB]:
        band *= 1 + slow_wave(u, rng, 0.07) + roughness(u, rng, 0.035)
    floor = eye.row + rng.normal(0, 14) + (eye.tilt + rng.normal(0, 8)) * u
    floor += eye.bend * (u - rng.normal(0, 0.3)) ** 2 + slow_wave(u, rng, 2.5)
    return Scan(bands, floor, np.repeat(eye.tones[:, None], u.size, axis=1), u)


def slow_wave(u: Curve, rng: np.random.Generator, height: float) -> Curve:
    """A few long waves: uneven without ever looking like a druse."""
    steps = np.array([1.0, 1.9, 3.1])
    heights = rng.normal(0, height, 3) / steps
    phases = rng.uniform(0, 2 * np.pi, 3)
    waves: Curve = (heights[:, None] * np.sin(np.pi * steps[:, None] * u + phases[:, None])).sum(0)
    return waves


def roughness(u: Curve, rng: np.random.Generator, height: float) -> Curve:
    """Unevenness a few columns wide: no boundary in a real scan is a clean line."""
    knots = np.linspace(-1, 1, 71)
    bends: Curve = np.interp(u, knots, rng.normal(0, height, knots.size))
    return bends


def add_drusen(scan: Scan, rng: np.random.Generator, force: float) -> None:
    """Several small mounds under the RPE, moderately bright inside."""
    mounds = np.zeros_like(scan.u)
    middle = rng.uniform(-0.35, 0.35)
    for _ in range(rng.integers(4, 10)):
        centre = np.clip(middle + rng.normal(0, 0.4), -0.9, 0.9)
        height = force * rng.uniform(12, 30)
        mounds = np.maximum(mounds, height * scan.dome(centre, rng.uniform(0.05, 0.12)))
    scan.bands[SUB] += mounds
    # The photoreceptors above give way, so the inner retina hardly notices.
    scan.bands[ONL] = np.maximum(scan.bands[ONL] - 0.7 * mounds, 4)
    scan.shade[SUB + 1] = rng.uniform(0.42, 0.62)


def add_neovascularisation(scan: Scan, rng: np.random.Generator, force: float) -> None:
    """One large irregular mound of mixed brightness, a ragged RPE and fluid beside it."""
    centre, sigma = rng.uniform(-0.5, 0.5), rng.uniform(0.14, 0.26)
    mound = np.zeros_like(scan.u)
    for _ in range(3):
        shift = rng.normal(0, 0.5) * sigma
        top = scan.bump(centre + shift, sigma * rng.uniform(0.35, 0.9))
        mound = np.maximum(mound, rng.uniform(0.6, 1) * top)
    mound *= force * rng.uniform(38, 74)
    scan.bands[SUB] += mound
    scan.bands[ONL] = np.maximum(scan.bands[ONL] - 0.35 * mound, 5)
    scan.bands[RPE] *= 1 + 0.5 * slow_wave(8 * scan.u, rng, 0.6) * np.clip(mound / 10, 0, 1)
    scan.shade[SUB + 1] = rng.uniform(0.3, 0.7)
    side = centre + rng.choice([-1, 1]) * sigma * rng.uniform(0.6, 1.5)
    add_fluid(scan, side, rng.uniform(0.1, 0.2), force * rng.uniform(8, 30))
    for _ in range(rng.integers(1, 5)):
        add_bright_patch(scan, rng, centre + rng.normal(0, 0.6) * sigma)


def add_fluid(scan: Scan, centre: float, sigma: float, height: float) -> None:
    """Lift the photoreceptors off the RPE; what fills the gap is dark."""
    pocket = height * scan.bump(centre, sigma)
    scan.bands[GAP] += pocket
    wet = np.clip(pocket / 6, 0, 1)
    scan.shade[GAP + 1] = scan.shade[GAP + 1] * (1 - wet) + 0.07 * wet


def add_bright_patch(scan: Scan, rng: np.random.Generator, u: float) -> None:
    """Hyperreflective material just above or under the RPE."""
    u = float(np.clip(u, -0.95, 0.95))
    row = scan.row_of(RPE, u) + rng.uniform(-8, 22)
    scan.add_blob(u, row, (rng.uniform(10, 34), rng.uniform(5, 11)), rng.uniform(0.6, 0.95))


def add_oedema(scan: Scan, rng: np.random.Generator, force: float) -> None:
    """Swollen INL and ONL with dark cysts in them."""
    centre, sigma = rng.uniform(-0.5, 0.5), rng.uniform(0.2, 0.5)
    swelling = scan.bump(centre, sigma) * force * rng.uniform(18, 60)
    share = rng.uniform(0.25, 0.6)
    scan.bands[INL] += share * swelling
    scan.bands[ONL] += (1 - share) * swelling
    for _ in range(rng.integers(8, 19)):
        add_cyst(scan, rng, centre + rng.normal(0, 0.8) * sigma, force)
    for _ in range(rng.integers(0, 5)):
        add_speck(scan, rng, ONL)
    if rng.random() < 0.1:
        add_fluid(scan, centre, rng.uniform(0.08, 0.15), rng.uniform(6, 14))


def add_cyst(scan: Scan, rng: np.random.Generator, u: float, force: float) -> None:
    """One dark ellipse that stays inside the INL or the ONL, however thin they are."""
    u = float(np.clip(u, -0.95, 0.95))
    band = INL if rng.random() < 0.4 else ONL
    top, bottom = scan.row_of(band, u) - 3, scan.row_of(band + 1, u) + 3
    half = min(force * rng.uniform(8, 22), max((bottom - top) / 2, 5))
    row = rng.uniform(top + half, max(bottom - half, top + half))
    scan.add_blob(u, row, (half * rng.uniform(0.7, 1.9), half), rng.uniform(0.02, 0.07))


def add_speck(scan: Scan, rng: np.random.Generator, band: int) -> None:
    """A small bright dot, as exudates and migrating pigment make them: in every class."""
    u = rng.uniform(-0.95, 0.95)
    row = scan.row_of(band, u) + rng.uniform(0, 20)
    half = rng.uniform(2, 4.5)
    scan.add_blob(u, row, (half * rng.uniform(1, 1.6), half), rng.uniform(0.6, 1.0))


def cast_shadows(scan: Scan, rng: np.random.Generator) -> Curve:
    """(W) light left under the vessels, and how unevenly the beam lights the scan."""
    light = 1 + slow_wave(scan.u, rng, 0.13)
    for _ in range(rng.integers(1, 7)):
        u, sigma = rng.uniform(-1, 1), rng.uniform(0.008, 0.028)
        light *= 1 - rng.uniform(0.2, 0.65) * scan.bump(u, sigma)
        half = sigma * 256
        scan.add_blob(u, scan.row_of(GCL, u) - 2, (half, 5), rng.uniform(0.6, 0.95))
    return np.clip(light, 0.15, 2)


LESIONS: dict[str, Callable[[Scan, np.random.Generator, float], None]] = {
    "CNV": add_neovascularisation,
    "DME": add_oedema,
    "DRUSEN": add_drusen,
}
