"""One drawn OCT B-scan: anatomy, then light: shadows, speckle, the tone of a device.

Every B-scan is drawn from the anatomy outwards: band thicknesses stacked upwards from Bruch's
membrane, a lesion that edits those thicknesses, then what a camera makes of it. What differs
between patients (device, tilt, thickness, position) is drawn without looking at the class, so
global brightness or a thumbnail says little and a network has to find the lesion.

Legend: H rows (496), W columns, K bands (10), Z = K + 2 zones, B blobs.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...kernels.op import jit
from .retina import (
    EZ,
    LESIONS,
    NFL,
    ROWS,
    Curve,
    Eye,
    Scan,
    add_speck,
    cast_shadows,
    draw_eye,
    healthy_scan,
)
from .tree import random_stream

MOTTLE = np.array([0.10, 0.18, 0.18, 0.18, 0.18, 0.18, 0.15, 0.18, 0.15, 0.15, 0.35, 0.50])

Image = NDArray[np.uint8]
Canvas = NDArray[np.float32]


@partial(jit, exact=True)
def paint_zones(
    edges: Curve, shade: Curve, mottle: Canvas, mottling: Curve, fade: Curve, shadow: Curve
) -> Canvas:
    """(H, W) reflectivity: each pixel is the exact area mean of the zones that cross it."""
    width, last = shade.shape[1], edges.shape[0]
    canvas = np.empty((ROWS, width), np.float32)
    zone = np.zeros(width, np.int64)
    for y in range(ROWS):
        gy = y * (mottle.shape[0] - 1) / ROWS
        for x in range(width):
            top, value, z = np.float64(y), 0.0, zone[x]
            while z < last and edges[z, x] < y + 1:
                cut = max(edges[z, x], top)
                value += (cut - top) * shade[z, x]
                top = cut
                z += 1
            zone[x] = z
            value += (y + 1 - top) * shade[z, x]
            gx = x * (mottle.shape[1] - 1) / width
            i, j = int(gy), int(gx)
            a, b = gy - i, gx - j
            upper = mottle[i, j] * (1 - b) + mottle[i, j + 1] * b
            lower = mottle[i + 1, j] * (1 - b) + mottle[i + 1, j + 1] * b
            value *= max(1 + mottling[z] * (upper * (1 - a) + lower * a), 0.1)
            if z == last:
                value *= fade[min(int(y - edges[last - 1, x]), fade.size - 1)]
            if y > edges[2, x]:
                value *= shadow[x]
            canvas[y, x] = value
    return canvas


@partial(jit, exact=True)
def paint_blobs(canvas: Canvas, blobs: Curve) -> None:
    """Blend ellipses with soft rims over the canvas, in order."""
    rows, width = canvas.shape
    for k in range(blobs.shape[0]):
        cx, cy, rx, ry, value = blobs[k]
        for y in range(max(int(cy - ry), 0), min(int(cy + ry) + 2, rows)):
            for x in range(max(int(cx - rx), 0), min(int(cx + rx) + 2, width)):
                inside = 1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2
                if inside > 0:
                    cover = min(2.5 * inside, 1.0)
                    canvas[y, x] = canvas[y, x] * (1 - cover) + value * cover


@partial(jit, exact=True)
def expose(canvas: Canvas, noise: Canvas, grain: float, haze: float, response: Image) -> Image:
    """Blur down the beam, speckle smeared sideways, then the device's response in 8 bits."""
    rows, width = canvas.shape
    image = np.empty((rows, width), np.uint8)
    top = response.size - 1
    for y in range(rows):
        for x in range(width):
            speck = 0.7 * noise[y, x] + 0.5 * noise[y, x + 1] + 0.4 * noise[y + 1, x]
            around = canvas[max(y - 1, 0), x] + canvas[min(y + 1, rows - 1), x]
            value = (0.5 * canvas[y, x] + 0.25 * around + haze) * (1 + grain * speck)
            image[y, x] = response[min(max(int(value * 512), 0), top)]
    return image


def response_curve(eye: Eye, rng: np.random.Generator) -> Image:
    """512 steps per unit of reflectivity to 8 bits: gain, gamma and black level."""
    value = np.linspace(0, 2, 1025) * eye.gain * np.exp(rng.normal(0, 0.06))
    black = rng.uniform(-0.06, 0.08)
    response: Image = (np.clip(value**eye.gamma + black, 0, 1) * 255).astype(np.uint8)
    return response


def pad_corners(image: Image, rng: np.random.Generator) -> None:
    """White wedges where a straightened scan leaves its frame, as Heidelberg exports have."""
    rows, width = image.shape
    column = np.arange(width)
    slope, start = rng.uniform(0.03, 0.16) * rng.choice([-1, 1]), rng.uniform(0.2, 0.9) * width
    wedge = slope * (column - start)
    y = np.arange(rows)[:, None]
    image[(y < wedge) | (y >= rows - rng.uniform(0, 1) * wedge[::-1])] = 255
    if rng.random() < 0.4:
        margin = int(rng.uniform(0.01, 0.08) * width)
        image[:, :: rng.choice([-1, 1])][:, :margin] = 255


def draw_oct(label: str, patient: int, number: int, seed: int) -> Image:
    """(H, W) B-scan `number` of a patient whose diagnosis is `label`. Depends on nothing else."""
    eye = draw_eye(random_stream("eye", patient, seed))
    rng = random_stream("scan", label, patient, number, seed)
    scan = healthy_scan(eye, rng)
    # One case in 25 is so mild that not even the drawer could be sure.
    force = rng.uniform(0.25, 0.5) if rng.random() < 0.04 else rng.uniform(0.75, 1.15)
    if label != "NORMAL":
        LESIONS[label](scan, rng, force)
    for _ in range(rng.integers(0, 6)):
        add_speck(scan, rng, int(rng.integers(NFL, EZ)))
    return take_picture(scan, eye, rng)


def take_picture(scan: Scan, eye: Eye, rng: np.random.Generator) -> Image:
    """(H, W): light the anatomy and record it as this patient's device would."""
    shadow = cast_shadows(scan, rng)
    mottle = rng.normal(0, 0.6, (42, 56)).astype(np.float32)
    fade = np.exp(-np.arange(ROWS) / rng.uniform(25, 75))
    canvas = paint_zones(scan.edges(), scan.shade, mottle, MOTTLE, fade, shadow)
    paint_blobs(canvas, np.array(scan.blobs, np.float64).reshape(-1, 5))
    noise = rng.standard_normal((ROWS + 1, eye.width + 1), np.float32)
    image: Image = expose(canvas, noise, eye.speckle, eye.haze, response_curve(eye, rng))
    if eye.padded:
        pad_corners(image, rng)
    return image
