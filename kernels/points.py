"""Points of the source, moved to where `sample` puts them in the output.

Legend: M points, N rows of parameters (`sample/columns.py`), S side of the output in pixels.

Points are continuous: pixel i covers [i, i+1). Rows are *full-resolution* rows, before `at_level`.
`sample` asks for each output pixel where it reads; here the question is turned round, so the affine
is inverted in float64 and the displacement is undone by Newton's method. Its plain fixed-point
iteration shrinks an error by up to 0.96 a round at the largest `elastic` and diverges once `scale`
enlarges; Newton's leaves less than 1e-9 pixels, the strongest bend included, where the bent grid
does not fold. No `Augment` can fold it; in rows made otherwise (`bend` by 0.06 * S with a scale of
4 and more) one point in 1,000 has no place, and up to 0.2 pixels are left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .op import Example, Op
from .sample.augment import Augment
from .sample.columns import (
    AFFINE,
    BEND,
    BENT,
    BOX_HEIGHT,
    BOX_LEFT,
    BOX_TOP,
    BOX_WIDTH,
    CELLS,
    COLUMNS,
    FLAGS,
    HEIGHT,
    KEEP,
    LEFT,
    MIRROR,
    ONE,
    POINTS,
    TOP,
    UPEND,
    WIDTH,
    X0,
    XX,
    XY,
    Y0,
    YX,
    YY,
)
from .sample.params import plain, resolve

ROUNDS = 30
CLOSE = 1e-9  # pixels of the output plane


def move_points(
    points: torch.Tensor,
    image: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """(M,2) x y source pixels, (M,) int64 rows, (N,P) int32 -> (M,2) output pixels, `dtype`.

    Computed in float64 on any device. Nothing is clipped: a point outside the window comes out too,
    where the same map puts it (beyond the output's rim the displacement is the rim's). ValueError
    for wrong shapes or dtypes, or an affine without an inverse.
    """
    check_points("points", points, 2, image, params)
    inverse, offset = invert(params)
    goal = _place(points.double(), image, params) - 0.5  # pixel centres, as the affine counts
    found = _turn(inverse[image], goal - offset[image])
    bent = ((params[:, FLAGS] & BENT) != 0)[image]
    if bool(bent.any()):
        some = image[bent]
        found[bent] = _unbend(found[bent], goal[bent], some, params, inverse, size)
    return (found + 0.5).to(dtype)


def check_points(
    name: str, points: torch.Tensor, width: int, image: torch.Tensor, params: torch.Tensor
) -> None:
    """ValueError unless `points` are (M,width) floats and `image` (M,) rows of `params` (N,P)."""
    if points.ndim != 2 or points.shape[1] != width or not points.is_floating_point():
        got = f"{tuple(points.shape)} of {points.dtype}"
        raise ValueError(f"{name} must be (M, {width}) of a float dtype, got {got}")
    if tuple(image.shape) != (len(points),) or image.dtype != torch.int64:
        got = f"{tuple(image.shape)} of {image.dtype}"
        raise ValueError(f"image must be ({len(points)},) of int64, got {got}")
    check_rows(params)
    if len(image) and not 0 <= int(image.min()) <= int(image.max()) < len(params):
        raise ValueError(f"image must name rows 0 to {len(params) - 1} of params")


def check_rows(params: torch.Tensor) -> None:
    """ValueError unless `params` are (N,P) int32."""
    if params.ndim != 2 or params.shape[1] != COLUMNS or params.dtype != torch.int32:
        got = f"{tuple(params.shape)} of {params.dtype}"
        raise ValueError(f"params must be (N, {COLUMNS}) of int32, got {got}")


def matrices(params: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The affine of each row, from output to tile: (N,P) -> (N,2,2), (N,2) pixels, float64."""
    matrix = params[:, [XX, XY, YX, YY]].double().view(-1, 2, 2) / ONE
    offset = params[:, [X0, Y0]].double() / ONE
    still = (params[:, FLAGS] & AFFINE) == 0
    matrix[still] = torch.eye(2, dtype=torch.float64, device=params.device)
    offset[still] = 0
    return matrix, offset


def invert(params: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """From tile to output: (N,P) -> inverse (N,2,2), offset (N,2) to take away first."""
    matrix, offset = matrices(params)
    (a, b), (c, d) = (line.unbind(1) for line in matrix.unbind(1))
    area = a * d - b * c
    if bool((area == 0).any()):
        row = int((area == 0).nonzero()[0])
        raise ValueError(f"params: the affine of row {row} has no inverse")
    turned = torch.stack([d, -b, -c, a], dim=1) / area[:, None]
    return turned.view(-1, 2, 2), offset


def magnify(params: torch.Tensor) -> torch.Tensor:
    """Output pixels per source pixel by area: (N,P) -> (N,) float64, without the displacement."""
    inverse, _ = invert(params)
    boxes = params[:, [BOX_HEIGHT, BOX_WIDTH]].double().prod(dim=1)
    windows = (params[:, [HEIGHT, WIDTH]].double() / ONE).prod(dim=1)
    return inverse.det().abs() * boxes / windows


def frame_source(params: torch.Tensor) -> torch.Tensor:
    """What of the source is shown: (N,P) -> (N,4) x0 y0 x1 y1, float64."""
    corner = params[:, [LEFT, TOP]].double() / ONE
    return torch.cat([corner, corner + params[:, [WIDTH, HEIGHT]].double() / ONE], dim=1)


def frame_output(params: torch.Tensor, size: int) -> torch.Tensor:
    """What each row writes, all or (KEEP) its box: (N,P), S -> (N,4) x0 y0 x1 y1, float64."""
    corner = params[:, [BOX_LEFT, BOX_TOP]].double()
    box = torch.cat([corner, corner + params[:, [BOX_WIDTH, BOX_HEIGHT]].double()], dim=1)
    whole = torch.tensor([0, 0, size, size], dtype=torch.float64, device=params.device)
    return torch.where((params[:, FLAGS, None] & KEEP) != 0, box, whole)


def _place(points: torch.Tensor, image: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
    """Window -> tile, flipped or not, at its place: (M,2) source -> (M,2) of the output plane."""
    moved, flags = [], params[:, FLAGS]
    for axis, (first, long, box, side, flip) in enumerate(
        ((LEFT, WIDTH, BOX_LEFT, BOX_WIDTH, MIRROR), (TOP, HEIGHT, BOX_TOP, BOX_HEIGHT, UPEND))
    ):
        sides = params[:, side].double()
        gain = sides * ONE / params[:, long].double()  # by row first: few rows, many points
        at = (points[:, axis] - (params[:, first] / ONE)[image]) * gain[image]
        at = torch.where(((flags & flip) != 0)[image], sides[image] - at, at)
        moved.append(at + params[:, box][image])
    return torch.stack(moved, dim=1)


def _turn(matrix: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    # Written out: how a matrix product sums, and so its last bit, may depend on the batch.
    x, y = points.unbind(1)
    return torch.stack([line[:, 0] * x + line[:, 1] * y for line in matrix.unbind(1)], dim=1)


def displace(
    points: torch.Tensor, image: torch.Tensor, params: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The displacement in float64: (M,2) output positions from pixel centres -> (M,2), (M,2,2).

    The second is its derivative, [[dx/dx, dx/dy], [dy/dx, dy/dy]]. It is the B-spline of
    `reference.displacement` without that one's roundings, which are below 0.1 pixels at S = 512.
    """
    place = (points + 0.5) * (CELLS / size)
    inside = ((place > 0) & (place < CELLS)).double()
    place = place.clamp(0, CELLS)
    cell = place.long().clamp(max=CELLS - 1)
    weight, slope = _cubes(place - cell)
    slope = slope * (inside.T * (CELLS / size))
    corner = image * COLUMNS + BEND + cell[:, 1] * POINTS + cell[:, 0]
    value, along, down = (torch.zeros_like(points.T) for _ in range(3))
    # Tap by tap: rows of (M,) stay in cache, (M,2,4,4) at once took 256 bytes a point and 3 times
    # as long. And a matrix product's last bit may depend on the batch; these sums do not.
    for i in range(POINTS - CELLS + 1):
        for j in range(POINTS - CELLS + 1):
            packed = params.reshape(-1)[corner + (i * POINTS + j)]
            shift = torch.stack([packed << 16 >> 16, packed >> 16]).double() / 256
            value += shift * (weight[i, 1] * weight[j, 0])
            along += shift * (weight[i, 1] * slope[j, 0])
            down += shift * (slope[i, 1] * weight[j, 0])
    return value.T, torch.stack([along.T, down.T], dim=2)


def _cubes(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cubic B-spline at (M,2) -> weights and derivatives of the four control points, (4,2,M)."""
    t = t.T
    s = 1 - t
    weights = (s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3)
    slopes = (-3 * s**2, 9 * t**2 - 12 * t, 12 * s - 9 * s**2, 3 * t**2)
    return torch.stack(weights) / 6, torch.stack(slopes) / 6


def _unbend(
    start: torch.Tensor,
    goal: torch.Tensor,
    image: torch.Tensor,
    params: torch.Tensor,
    inverse: torch.Tensor,
    size: int,
) -> torch.Tensor:
    """Solve affine(q) + displacement(q) = goal from q = start: (M,2) pixel centres -> (M,2).

    Returns the best q seen. Where the grid folds (which no `Augment` does) there are several,
    or the way to one is barred; `residual` tells.
    """
    matrix, offset = (each[image] for each in matrices(params))
    q, best = start.clone(), start.clone()
    least = torch.full_like(start[:, 0], torch.inf)
    for _ in range(ROUNDS):
        shift, slope = displace(q, image, params, size)
        rest = goal - offset - _turn(matrix, q) - shift
        far = rest.norm(dim=1)
        better = (far < least) & (least >= CLOSE)  # once close it stays, whoever else is not
        best[better], least[better] = q[better], far[better]
        if bool((least < CLOSE).all()):
            break
        q = q + _newton(matrix + slope, inverse[image], rest, size)
    return best


def _newton(
    slope: torch.Tensor, inverse: torch.Tensor, rest: torch.Tensor, size: int
) -> torch.Tensor:
    """The next step, (M,2): Newton's, or the affine's where the grid folds; one cell at most."""
    (a, b), (c, d) = (line.unbind(1) for line in slope.unbind(1))
    area = a * d - b * c
    sound = area * inverse.det() > 0.05
    turned = torch.stack([d, -b, -c, a], dim=1) / torch.where(sound, area, 1.0)[:, None]
    step = torch.where(
        sound[:, None], _turn(turned.view(-1, 2, 2), rest), _turn(inverse, rest) * 0.5
    )
    far = step.norm(dim=1, keepdim=True)
    return step * (size / CELLS / far.clamp(min=size / CELLS))


def residual(
    points: torch.Tensor,
    moved: torch.Tensor,
    image: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
) -> torch.Tensor:
    """How far from `points` the output reads at `moved`: (M,2), (M,2), ... -> (M,) tile pixels."""
    goal = _place(points.double(), image, params) - 0.5
    return (_forward(moved.double() - 0.5, image, params, size) - goal).norm(dim=1)


def _forward(q: torch.Tensor, image: torch.Tensor, params: torch.Tensor, size: int) -> torch.Tensor:
    matrix, offset = (each[image] for each in matrices(params))
    shift, _ = displace(q, image, params, size)
    bent = ((params[:, FLAGS] & BENT) != 0)[image]
    return _turn(matrix, q) + offset + shift * bent[:, None]


def reference(
    points: torch.Tensor,
    image: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """What `move_points` means, one point at a time in numpy; the bend by a damped iteration."""
    out = np.zeros((len(points), 2))
    for m, (x, y) in enumerate(points.double().tolist()):
        row = params[int(image[m])].tolist()
        x = (x - row[LEFT] / ONE) * row[BOX_WIDTH] / (row[WIDTH] / ONE)
        y = (y - row[TOP] / ONE) * row[BOX_HEIGHT] / (row[HEIGHT] / ONE)
        x = row[BOX_WIDTH] - x if row[FLAGS] & MIRROR else x
        y = row[BOX_HEIGHT] - y if row[FLAGS] & UPEND else y
        goal = np.array([x + row[BOX_LEFT], y + row[BOX_TOP]]) - 0.5
        matrix, offset = np.eye(2), np.zeros(2)
        if row[FLAGS] & AFFINE:
            matrix = np.array([[row[XX], row[XY]], [row[YX], row[YY]]]) / ONE
            offset = np.array([row[X0], row[Y0]]) / ONE
        q = np.linalg.solve(matrix, goal - offset)
        for _ in range(600 if row[FLAGS] & BENT else 0):
            shift = _spline_at(q, row, size)
            q = q + 0.5 * (np.linalg.solve(matrix, goal - offset - shift) - q)
        out[m] = q + 0.5
    return torch.from_numpy(out).to(dtype)


def _spline_at(q: np.ndarray, row: list[int], size: int) -> np.ndarray:
    """(2,) -> (2,): the cubic B-spline written out as the cardinal function of each point."""
    place = np.clip((q + 0.5) * CELLS / size, 0, CELLS)
    away = np.abs(np.arange(POINTS)[:, None] - 1 - place)  # control point k lies at k - 1
    near = np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6)
    packed = np.array(row[BEND:]).reshape(POINTS, POINTS)
    across = (packed & 0xFFFF) - ((packed & 0x8000) << 1)
    return np.array([near[:, 1] @ each @ near[:, 0] / 256 for each in (across, packed >> 16)])


def traffic(
    points: torch.Tensor,
    image: torch.Tensor,
    params: torch.Tensor,
    *,
    dtype: torch.dtype = torch.float64,
    **_: object,
) -> int:
    """Bytes of the points, the rows and the result, each counted once."""
    read = sum(each.numel() * each.element_size() for each in (points, image, params))
    return read + points.numel() * dtype.itemsize


ANYWHERE = Augment(
    area=(0.2, 1.0), ratio=(0.75, 4 / 3), flip=0.5, flip_vertical=0.5, rotate=180.0,
    scale=(0.7, 1.0), shear=15.0, translate=0.15, fit="letterbox",
)  # fmt: skip


def _example(
    name: str, sides: list[tuple[int, int]], augment: Augment | None, many: int
) -> Example:
    """`many` points in and around each image of these (H,W), at S = 40."""
    shape = np.array([(height, width, 1) for height, width in sides])
    index = np.arange(len(shape))
    rows = plain(Augment(), shape, 40)
    if augment is not None:
        rows = resolve(augment, shape, 40, seed=3, epoch=index * 0, index=index)
    image = torch.from_numpy(np.repeat(index, many))
    share = torch.from_numpy(np.random.default_rng(1).uniform(-0.2, 1.2, (len(image), 2)))
    points = share * torch.from_numpy(shape[:, [1, 0]].astype(float))[image]
    settings: dict[str, Any] = {"size": 40}
    return Example(name, (points, image, torch.from_numpy(rows)), settings)


def examples() -> list[Example]:
    """Calls that between them reach every branch."""
    odd = [(31, 47), (64, 64), (101, 33), (7, 250), (1, 1), (1, 90), (90, 1)]
    bent = Augment(elastic=0.06, flip=0.5, rotate=180.0, area=(0.3, 1.0))
    return [
        _example("points as they are", odd, None, 5),
        _example("points anywhere", odd * 3, ANYWHERE, 7),
        _example("points bent", odd, bent, 3),
        _example("no points", odd, ANYWHERE, 0),
    ]


MOVE = Op("move_points", reference, {"cpu": move_points, "cuda": move_points}, examples, traffic)
