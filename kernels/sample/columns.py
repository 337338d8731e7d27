"""The row of integers that tells `sample` and its kin about one image: the same on every device.

Legend: N images, P columns, S side of the output in pixels.

A row is int32. Lengths are Q16, pixels times 65,536: of the *source* for the window, of the
*output* for the affine. Shares and factors are Q16 too. So the choice of pixels is integer
arithmetic, and cannot differ between a CPU, Triton and CUDA.

Order of work. 1 to 3 and 5 are torchvision's `resized_crop(antialias=True)` -> `hflip`, `vflip` ->
`affine(bilinear)` -> `adjust_brightness`, `_contrast`, `_saturation`, `_gamma`:

1. The window (TOP, LEFT, HEIGHT, WIDTH) of the source is resized to a tile of BOX_HEIGHT x
   BOX_WIDTH by a separable triangle filter whose support is clipped to the window. Its half-width
   is one output pixel in source pixels, at least 1, plus BLUR output pixels.
2. MIRROR and UPEND turn the tile over; it lies at (BOX_TOP, BOX_LEFT) of the S x S output.
3. Each output pixel (x, y), counted from pixel centres, reads position
   (XX*x + XY*y + X0, YX*x + YY*y + Y0) (AFFINE; without it, its own) plus a smooth displacement
   (BENT, below), bilinearly. Beyond the tile lie FILL, its edge repeated (EDGE), or its mirror
   image (REFLECT, the edge pixel doubled as in `grid_sample`).
4. STAINED, RGB only: optical density -ln(max(light, 1/256)) goes through a 3 x 3 matrix and a
   shift, and back to light, at most 1.
5. COLOUR: brightness, contrast around the mean gray of the output, saturation; each clamps to
   [0, 1]. Then light ** GAMMA.
6. NOISE, the standard deviation: plus noise, clamped to [0, 1].
7. Normalise: (value - mean) / std. Inside the ERASE rectangle the result is 0, the mean.

A gray source has no saturation and no stain, and is repeated if three channels are asked for. An
RGB source is turned gray right after step 1 if one channel is asked for, with torchvision's
rounding of ITU-R 601: 0.2989 R + 0.587 G + 0.114 B.

*Parts.* Several consecutive rows may write one output (a mosaic): row r writes image r // parts. A
row with the flag KEEP touches only its own box, and its contrast turns around the mean gray there.

*Displacement.* A lattice of 7 x 7 control points spans the output in 4 x 4 cells as a uniform cubic
B-spline. A control point is one int32: x in the low, y in the high 16 bits, signed, in 1/256 pixel.

*Noise.* Values of the tile's c channels are numbered i = (y*S + x)*c + channel. The four bytes of
word i % 4 of Philox4x32-10 with counter (i // 4, 0, 0, 0) and key (KEY0, KEY1) are summed, less
510, over sqrt(21845): nearly normal, at most 3.45, and the same integers everywhere.

*Masks.* A label map takes the nearest source pixel in one stage, in int64 and Q16 throughout. With
(u, v) the position of step 3 and t = u - BOX_LEFT + 1/2, L = BOX_WIDTH: beyond 0 <= t < L lies the
label "outside" (or EDGE: t clamped to [0, L); REFLECT: t mod 2L, mirrored); MIRROR: t -> L - t;
column = floor(LEFT + floor(t * ratio)), ratio = (WIDTH + BOX_WIDTH // 2) // BOX_WIDTH, clamped to
the window's pixels [max(0, floor(LEFT)), min(W, ceil(LEFT + WIDTH)) - 1]. Rows likewise. Positions
between output pixels, of regions of interest: the affine is (XX*x + XY*y >> 16) + X0, and the
displacement's place is min(max(2x + 1, 0), 2S - 2^-16) * 4 / 2S, both as above at whole pixels.

Q16 in int32 reaches 32,767 pixels: larger sources are cut into regions first (slides) or refused.
"""

from __future__ import annotations

Q = 16
ONE = 1 << Q
LONGEST = (1 << 31 - Q) - 1  # 32,767 pixels

TOP, LEFT, HEIGHT, WIDTH = 0, 1, 2, 3
FLAGS = 4
XX, XY, X0, YX, YY, Y0 = 5, 6, 7, 8, 9, 10
BRIGHTNESS, CONTRAST, SATURATION, GAMMA = 11, 12, 13, 14
BLUR = 15
BOX_TOP, BOX_LEFT, BOX_HEIGHT, BOX_WIDTH = 16, 17, 18, 19  # whole pixels
FILL = 20
NOISE, KEY0, KEY1 = 21, 22, 23
ERASE_TOP, ERASE_LEFT, ERASE_HEIGHT, ERASE_WIDTH = 24, 25, 26, 27  # whole pixels, height 0: none
STAIN = 28  # 9 columns, row by row, to optical density from optical density
STAIN_SHIFT = 37  # 3 columns
PARTNER, SHARE = 40, 41  # `mix`: which image further on in the batch, how much of this one stays
MIX_TOP, MIX_LEFT, MIX_HEIGHT, MIX_WIDTH = 42, 43, 44, 45  # whole pixels of the partner, pasted
BEND = 47  # 49 columns, row by row; column 46 is spare
CELLS = 4
POINTS = CELLS + 3
COLUMNS = BEND + POINTS * POINTS  # 96: a row is 384 bytes, six cache lines

MIRROR, UPEND, AFFINE, COLOUR, EDGE, REFLECT, BENT, STAINED, KEEP = (1 << bit for bit in range(9))

GRAY = (0.2989, 0.587, 0.114)  # ITU-R 601 as torchvision rounds it: white becomes 0.9999
DARKEST = 1 / 256  # light below it counts as this much optical density
NOISE_MEAN, NOISE_SD = 510, 147.80053
