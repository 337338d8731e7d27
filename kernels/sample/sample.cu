// `sample` on an NVIDIA card. columns.py says what a row means and in which order things happen;
// cuda.py puts its columns, and the shares of gray, before this text as constants.
//
// Legend: N rows, S side of the output, K its channels, c channels of the tile (1 or 3), D channels
// of the source. A block of 256 threads makes 64 x 16 pixels of one row's output.
//
//   resize   windows to tiles. A row that is neither warped nor turned (AFFINE or BENT; COLOUR with
//            a contrast) is finished here: the source is read once, the output written once.
//   sums     warped and turned rows: the gray of each block, for the mean that contrast needs.
//   finish   warped or turned rows, from the float tile in `tile`, (N,K,S,S).
//
// Sums go in a fixed order, so the same call gives the same bits. Nothing waits for the host.

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;

struct Job {
    const void *pixels;
    const i64 *start;   // (N,)
    const int *shape;   // (N,3)
    const int *params;  // (N,COLUMNS)
    const float *table; // light of each level, or null
    float *tile;        // (N,K,S,S): tiles, or images that wait for their mean
    float *partial;     // (N, blocks of an image)
    void *out;          // (N/parts,S,S,K)
    i64 count;          // elements of `pixels`
    int rows, size, channels, parts, kind, wide;
    float mean[3], gain[3];
};

enum { F32, BF16, F16 };
constexpr int BX = 64, BY = 16, THREADS = 256, PER = BX * BY / THREADS;
constexpr int LINE = 256;  // source values of a row that are in shared memory at a time
constexpr int RUN = 16;  // taps summed before they join the sum: 30,000 in a row lose 3 digits
constexpr int HALF = ONE / 2;
constexpr float UNIT = 1.0f / ONE;

struct Shared {
    alignas(16) float line[BY * LINE];     // the first pass, then the block of the tile: c planes
    alignas(16) float block[BY * BX * 3];  // the block of the output, in its dtype
    float sums[THREADS];
    int centre[BX + BY], lo[BX + BY], hi[BX + BY];  // columns, then rows
    float gain[BX + BY];
    int bend[BY][POINTS][2];
    int first, last, reach[2], shift[2];  // span of the columns; across, down
};

struct alignas(16) Four {
    float a, b, c, d;
    __device__ void operator+=(const Four &o) { a += o.a, b += o.b, c += o.c, d += o.d; }
};

struct alignas(16) Sixteen {
    u32 a, b, c, d;
};

// What a block works on.
struct Image {
    const int *row;
    int n, block, blocks, x0, y0, flags, height, width, depth, c;
    i64 first;
    bool sound, warped, turned;
};

__device__ __forceinline__ int least(int a, int b) { return a < b ? a : b; }
__device__ __forceinline__ int most(int a, int b) { return a > b ? a : b; }
__device__ __forceinline__ i64 clip(i64 a, i64 lo, i64 hi) { return a < lo ? lo : a > hi ? hi : a; }
__device__ __forceinline__ float light(float a) { return fminf(fmaxf(a, 0.0f), 1.0f); }

__device__ __forceinline__ float from_bits(u32 bits) {
    union { u32 whole; float real; } both;
    both.whole = bits;
    return both.real;
}

__device__ __forceinline__ u32 to_bits(float value) {
    union { float real; u32 whole; } both;
    both.real = value;
    return both.whole;
}

__device__ Image image_of(const Job &job) {
    Image im;
    int across = (job.size + BX - 1) / BX;
    im.blocks = across * ((job.size + BY - 1) / BY);
    im.n = blockIdx.x / im.blocks;
    im.block = blockIdx.x - im.n * im.blocks;
    im.x0 = im.block % across * BX;
    im.y0 = im.block / across * BY;
    im.row = job.params + (i64)im.n * COLUMNS;
    im.flags = im.row[FLAGS];
    im.height = job.shape[3 * im.n];
    im.width = job.shape[3 * im.n + 1];
    im.depth = job.shape[3 * im.n + 2];
    im.c = least(im.depth, job.channels);
    im.first = job.start[im.n];
    // The host cannot look at tensors on the card without waiting: what reaches outside the pixels
    // is not read, and becomes NaN.
    im.sound = (im.depth == 1 || im.depth == 3) && im.height > 0 && im.width > 0 &&
               im.first >= 0 && im.row[BOX_HEIGHT] > 0 && im.row[BOX_WIDTH] > 0 &&
               im.row[HEIGHT] > 0 && im.row[WIDTH] > 0 &&
               im.first + (i64)im.height * im.width * im.depth <= job.count;
    im.warped = im.sound && (im.flags & (AFFINE | BENT));
    im.turned = im.sound && (im.flags & COLOUR) && im.row[CONTRAST] != ONE;
    return im;
}

// ---- taps -------------------------------------------------------------------------------------

struct Axis {
    int first, length, source, size, reach, shift;
    i64 support;
};

__device__ Axis axis_of(const int *row, int first, int box, int source) {
    Axis a;
    a.first = row[first];
    a.length = row[first + HEIGHT - TOP];
    a.source = source;
    a.size = row[box];
    i64 step = (2 * (i64)a.length + a.size) / (2 * (i64)a.size);
    a.support = (step > ONE ? step : ONE) + ((i64)row[BLUR] * step >> Q);
    a.shift = a.support >> 31 ? 8 : 0;  // 32 bits are enough for a weight: 2^-22 of the largest
    a.reach = (int)(a.support >> a.shift);
    return a;
}

__device__ __forceinline__ float weight(int i, int centre, int reach, int shift) {
    int distance = i * ONE + HALF - centre;
    return (float)most(reach - ((distance < 0 ? -distance : distance) >> shift), 0);
}

// Taps of line `o` of the tile into slot `at`; every back end must agree on lo and hi.
__device__ void fill_taps(Shared &s, const Axis &a, int o, int at) {
    i64 centre = a.first + ((2 * (i64)o + 1) * a.length + a.size) / (2 * (i64)a.size);
    i64 begin = clip(a.first >> Q, 0, a.source - 1);
    i64 end = clip(((i64)a.first + a.length + ONE - 1) >> Q, begin + 1, a.source);
    int lo = (int)clip((centre - a.support + HALF) >> Q, begin, end - 1);
    int hi = (int)clip((centre + a.support + HALF) >> Q, lo + 1, end);
    double total = 0;
#pragma unroll 1
    for (int i = lo; i < hi; i++) total += weight(i, (int)centre, a.reach, a.shift);
    s.centre[at] = (int)centre;
    s.lo[at] = lo;
    s.hi[at] = hi;
    s.gain[at] = (float)(1.0 / total);
}

__device__ __forceinline__ int mirrored(int i, int length) {
    int turn = i % (2 * length);
    turn += turn < 0 ? 2 * length : 0;
    return least(turn, 2 * length - 1 - turn);
}

// The pixel of a line that stands for pixel i; -1 where FILL does.
__device__ __forceinline__ int beyond(int i, int length, int flags) {
    if (i >= 0 && i < length) return i;
    if (flags & EDGE) return i < 0 ? 0 : length - 1;
    return flags & REFLECT ? mirrored(i, length) : -1;
}

// Slots 0 to 63 are the block's columns, 64 to 79 its rows. hi = 0: no pixel of the tile.
__device__ void prepare(Shared &s, const Job &job, const Image &im) {
    int t = threadIdx.x;
    if (t == 0) s.first = im.width, s.last = 0;
    __syncthreads();
    if (t < BX + BY) {
        bool down = t >= BX;
        Axis a = down ? axis_of(im.row, TOP, BOX_HEIGHT, im.height)
                      : axis_of(im.row, LEFT, BOX_WIDTH, im.width);
        int at = down ? im.y0 + t - BX : im.x0 + t;
        int o = im.warped ? (at < a.size ? at : -1)
                          : beyond(at - im.row[down ? BOX_TOP : BOX_LEFT], a.size, im.flags);
        s.reach[down] = a.reach, s.shift[down] = a.shift;
        s.hi[t] = s.lo[t] = 0;
        if (o >= 0 && at < job.size) {
            bool turned = im.flags & (down ? UPEND : MIRROR);
            fill_taps(s, a, turned ? a.size - 1 - o : o, t);
            if (!down) atomicMin(&s.first, s.lo[t]), atomicMax(&s.last, s.hi[t]);
        }
    }
    __syncthreads();
}

// ---- the two passes ---------------------------------------------------------------------------

// Four bytes from any address on; reads no aligned word without one of the `valid` bytes in it.
__device__ __forceinline__ u32 four_bytes(const u8 *p, int valid) {
    u64 at = (u64)p;
    const u32 *word = (const u32 *)(at & ~(u64)3);
    int odd = (int)(at & 3);
    u64 both = word[0];
    if (odd + valid > 4) both |= (u64)word[1] << 32;
    return (u32)(both >> 8 * odd);
}

__device__ __forceinline__ void load(const u8 *p, int valid, const float *table, float *v) {
    u32 four = four_bytes(p, valid);
#pragma unroll
    for (int k = 0; k < 4; k++) {
        u32 level = four >> 8 * k & 255;
        v[k] = table ? table[level] : (float)level;
    }
}

__device__ __forceinline__ void load(const u16 *p, int valid, const float *table, float *v) {
#pragma unroll
    for (int k = 0; k < 4; k++) {
        u32 level = k < valid ? p[k] : 0;
        v[k] = table ? table[level] : (float)level;
    }
}

// Down the columns: `count` source values from `source` on, for the block's 16 rows.
template <class T>
__device__ __forceinline__ void pass_down(Shared &s, const T *source, i64 stride, int count,
                                          const float *table) {
    int reach = s.reach[1], shift = s.shift[1];
    int quads = (count + 3) / 4;
    for (int unit = threadIdx.x; unit < BY * quads; unit += THREADS) {
        int r = unit / quads, e = 4 * (unit - r * quads), slot = BX + r;
        int valid = least(4, count - e), lo = s.lo[slot], hi = s.hi[slot], centre = s.centre[slot];
        const T *p = source + lo * stride + e;
        Four sum = {0, 0, 0, 0};
#pragma unroll 1
        for (int chunk = lo; chunk < hi; chunk += RUN * RUN) {
            Four some = {0, 0, 0, 0};
            int stop = least(chunk + RUN * RUN, hi);
#pragma unroll 1
            for (int from = chunk; from < stop; from += RUN) {
                Four part = {0, 0, 0, 0};
#pragma unroll 2
                for (int i = from; i < least(from + RUN, stop); i++, p += stride) {
                    float w = weight(i, centre, reach, shift), v[4];
                    load(p, valid, table, v);
                    part.a += w * v[0], part.b += w * v[1], part.c += w * v[2], part.d += w * v[3];
                }
                some += part;
            }
            sum += some;
        }
        *(Four *)(s.line + r * LINE + e) = sum;
    }
}

// The block of the tile into s.line, c planes of light in [0, 1]. A thread makes four pixels of a
// column, so that a weight serves four times and a warp reads neighbours.
template <class T, int D>
__device__ void resize_block(Shared &s, const Job &job, const Image &im) {
    const T *pixels = (const T *)job.pixels + im.first;
    int reach = s.reach[0], shift = s.shift[0];
    int lx = threadIdx.x % BX, ly = threadIdx.x / BX * PER;
    int lo = s.lo[lx], hi = s.hi[lx], centre = s.centre[lx], last = s.last;
    float sum[PER][D] = {};
    i64 stride = (i64)im.width * D;
#pragma unroll 1
    for (int c0 = s.first; c0 < last; c0 += LINE / D) {
        int c1 = least(c0 + LINE / D, last);
        if (c0 > s.first) {
            // What earlier spans made waits in shared memory: a third level of sums.
#pragma unroll
            for (int k = 0; k < PER; k++)
#pragma unroll
                for (int ch = 0; ch < D; ch++) {
                    float *earlier = s.block + (ch * BY + ly + k) * BX + lx;
                    *earlier = sum[k][ch] + (c0 > s.first + LINE / D ? *earlier : 0.0f);
                    sum[k][ch] = 0;
                }
        }
        pass_down(s, pixels + c0 * D, stride, (c1 - c0) * D, job.table);
        __syncthreads();
        int stop = least(hi, c1);
#pragma unroll 1
        for (int from = most(lo, c0); from < stop; from += RUN) {
            float part[PER][D] = {};
#pragma unroll 1
            for (int i = from; i < least(from + RUN, stop); i++) {
                float w = weight(i, centre, reach, shift);
                const float *line = s.line + ly * LINE + (i - c0) * D;
#pragma unroll
                for (int k = 0; k < PER; k++)
#pragma unroll
                    for (int ch = 0; ch < D; ch++) part[k][ch] += w * line[k * LINE + ch];
            }
#pragma unroll
            for (int k = 0; k < PER; k++)
#pragma unroll
                for (int ch = 0; ch < D; ch++) sum[k][ch] += part[k][ch];
        }
        __syncthreads();
    }
    float unit = job.table ? 1.0f : sizeof(T) == 1 ? 255.0f : 65535.0f;
    float fill = im.row[FILL] * UNIT;
#pragma unroll
    for (int k = 0; k < PER; k++) {
        bool inside = hi && s.hi[BX + ly + k];
        float gain = s.gain[lx] * s.gain[BX + ly + k] / unit;
#pragma unroll
        for (int ch = 0; ch < D; ch++) {
            if (last - s.first > LINE / D) sum[k][ch] += s.block[(ch * BY + ly + k) * BX + lx];
            sum[k][ch] *= gain;
        }
        if (D == 3 && im.c == 1)
            sum[k][0] = RED * sum[k][0] + GREEN * sum[k][1] + BLUE * sum[k][2];
#pragma unroll
        for (int ch = 0; ch < D; ch++)
            s.line[(ch * BY + ly + k) * BX + lx] = inside ? sum[k][ch] : fill;
    }
    if (last - s.first > LINE / D) __syncthreads();  // the block of the output may be written now
}

// ---- reading the tile -------------------------------------------------------------------------

// Weights of four control points of an axis, Q16, and the first of them: a cubic B-spline.
__device__ int spline(int at, int size, int *w) {
    i64 place = (2 * (i64)at + 1) * CELLS * ONE / (2 * (i64)size);
    i64 t = (place & (ONE - 1)) >> 6, r = 1024 - t;
    i64 cube[4] = {r * r * r, 3 * t * t * t - 6144 * t * t + ((i64)4 << 30),
                   3 * r * r * r - 6144 * r * r + ((i64)4 << 30), t * t * t};
#pragma unroll
    for (int k = 0; k < 4; k++) w[k] = (int)((cube[k] >> 14) * 10923 >> 16);  // a sixth
    return (int)(place >> Q);
}

// The lattice, summed down to each of the block's rows.
__device__ void bend_rows(Shared &s, const Job &job, const Image &im) {
    int t = threadIdx.x;
    if ((im.flags & BENT) && t < BY * POINTS) {
        int y = t / POINTS, j = t % POINTS, w[4];
        int first = spline(least(im.y0 + y, job.size - 1), job.size, w);
        i64 right = 0, down = 0;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int point = im.row[BEND + (first + k) * POINTS + j];
            right += (i64)w[k] * (short)(point & 0xFFFF);
            down += (i64)w[k] * (point >> 16);
        }
        s.bend[y][j][0] = (int)(right >> 8);
        s.bend[y][j][1] = (int)(down >> 8);
    }
    __syncthreads();
}

// Where pixel (x, y) reads in the tile, Q16.
__device__ void position(const Shared &s, const Job &job, const Image &im, int x, int y, i64 *u,
                         i64 *v) {
    const int *row = im.row;
    *u = (i64)x * ONE, *v = (i64)y * ONE;
    if (im.flags & AFFINE) {
        *u = (i64)row[XX] * x + (i64)row[XY] * y + row[X0];
        *v = (i64)row[YX] * x + (i64)row[YY] * y + row[Y0];
    }
    if (im.flags & BENT) {
        int w[4], first = spline(x, job.size, w);
        i64 right = 0, down = 0;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            right += (i64)w[k] * s.bend[y - im.y0][first + k][0];
            down += (i64)w[k] * s.bend[y - im.y0][first + k][1];
        }
        *u += right >> Q, *v += down >> Q;
    }
    *u -= (i64)row[BOX_LEFT] * ONE, *v -= (i64)row[BOX_TOP] * ONE;
}

// Pixel (x, y) of a warped image, bilinearly from the tile.
__device__ void read_tile(const Shared &s, const Job &job, const Image &im, int x, int y,
                          float *value) {
    i64 u, v;
    position(s, job, im, x, y, &u, &v);
    int height = least(im.row[BOX_HEIGHT], job.size), width = least(im.row[BOX_WIDTH], job.size);
    float right = (u & (ONE - 1)) * UNIT, down = (v & (ONE - 1)) * UNIT, fill = im.row[FILL] * UNIT;
    int j0 = beyond((int)(u >> Q), width, im.flags), j1 = beyond((int)(u >> Q) + 1, width, im.flags);
    int i0 = beyond((int)(v >> Q), height, im.flags);
    int i1 = beyond((int)(v >> Q) + 1, height, im.flags);
    i64 plane = (i64)job.size * job.size;
    const float *tile = job.tile + im.n * job.channels * plane;
    i64 above = (i64)i0 * job.size, below = (i64)i1 * job.size;
#pragma unroll
    for (int ch = 0; ch < 3; ch++) {
        if (ch >= im.c) break;
        float a = (i0 | j0) < 0 ? fill : tile[above + j0], b = (i0 | j1) < 0 ? fill : tile[above + j1];
        float c = (i1 | j0) < 0 ? fill : tile[below + j0], d = (i1 | j1) < 0 ? fill : tile[below + j1];
        float top = (1 - right) * a + right * b, bottom = (1 - right) * c + right * d;
        value[ch] = (1 - down) * top + down * bottom;
        tile += plane;
    }
}

// ---- light ------------------------------------------------------------------------------------

// Rare and long: calls, because four copies of each made compilation twice as slow and spilled.
__device__ __noinline__ float density_of(float v) { return -logf(fmaxf(v, DARKEST)); }
__device__ __noinline__ float light_of(float density) { return fminf(expf(-density), 1.0f); }
__device__ __noinline__ float power(float v, float gamma) { return powf(v, gamma); }

__device__ __forceinline__ float gray_of(const float *v, int c) {
    return c == 3 ? RED * v[0] + GREEN * v[1] + BLUE * v[2] : v[0];
}

// Stain and brightness: what comes before the mean.
__device__ void before_mean(const Image &im, float *v) {
    const int *row = im.row;
    if ((im.flags & STAINED) && im.c == 3) {
        float density[3];
        for (int k = 0; k < 3; k++) density[k] = density_of(v[k]);
        for (int k = 0; k < 3; k++) {
            const int *m = row + STAIN + 3 * k;
            float sum = density[0] * (m[0] * UNIT) + density[1] * (m[1] * UNIT);
            sum += density[2] * (m[2] * UNIT) + row[STAIN_SHIFT + k] * UNIT;
            v[k] = light_of(sum);
        }
    }
    if (im.flags & COLOUR)
        for (int k = 0; k < 3; k++) v[k] = light(v[k] * (row[BRIGHTNESS] * UNIT));
}

// Word `i % 4` of Philox4x32-10 at counter (i / 4, 0, 0, 0): its bytes, summed.
__device__ __noinline__ int noise_of(u32 i, u32 k0, u32 k1) {
    u32 c[4] = {i >> 2, 0, 0, 0};
#pragma unroll 1
    for (int turn = 0; turn < 10; turn++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        u64 even = (u64)0xD2511F53u * c[0], odd = (u64)0xCD9E8D57u * c[2];
        c[0] = (u32)(odd >> 32) ^ c[1] ^ k0, c[1] = (u32)odd;
        c[2] = (u32)(even >> 32) ^ c[3] ^ k1, c[3] = (u32)even;
    }
    u32 word = (i & 2) ? ((i & 1) ? c[3] : c[2]) : ((i & 1) ? c[1] : c[0]);
    return (int)((word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24));
}

// Contrast, saturation, gamma and noise.
__device__ void after_mean(const Job &job, const Image &im, int x, int y, float mean, float *v) {
    const int *row = im.row;
    if (im.turned) {
        float keep = row[CONTRAST] * UNIT, shift = mean * (1 - keep);
        for (int k = 0; k < 3; k++) v[k] = light(v[k] * keep + shift);
    }
    if ((im.flags & COLOUR) && im.c == 3) {
        float keep = row[SATURATION] * UNIT, shift = gray_of(v, 3) * (1 - keep);
        for (int k = 0; k < 3; k++) v[k] = light(v[k] * keep + shift);
    }
    if (row[GAMMA] != ONE)
        for (int k = 0; k < 3; k++)
            if (k < im.c) v[k] = power(v[k], row[GAMMA] * UNIT);
    if (row[NOISE]) {
        u32 at = (u32)(y * job.size + x) * im.c;
        for (int k = 0; k < 3; k++) {
            if (k >= im.c) break;
            int total = noise_of(at + k, (u32)row[KEY0], (u32)row[KEY1]);
            v[k] = light(v[k] + row[NOISE] * UNIT * ((float)(total - NOISE_MEAN) / NOISE_SD));
        }
    }
}

// ---- the output -------------------------------------------------------------------------------

__device__ __forceinline__ u16 to_bf16(float value) {  // to nearest even, as torch's cast
    u32 u = to_bits(value);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FC0;
    return (u16)((u + 0x7FFFu + (u >> 16 & 1)) >> 16);
}

__device__ __forceinline__ u16 to_f16(float value) {
#ifdef __CUDA_ARCH__
    u16 half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
#else
    return host_half(value);
#endif
}

// Normalise a pixel and put it into the block's output.
__device__ void put(Shared &s, const Job &job, const Image &im, int x, int y, const float *v) {
    const int *row = im.row;
    int top = row[ERASE_TOP], left = row[ERASE_LEFT];
    bool gone = y >= top && y < top + row[ERASE_HEIGHT] && x >= left && x < left + row[ERASE_WIDTH];
    int at = ((y - im.y0) * BX + x - im.x0) * job.channels;
#pragma unroll
    for (int ch = 0; ch < 3; ch++) {
        if (ch >= job.channels) break;
        float value = (v[im.c == 3 ? ch : 0] - job.mean[ch]) * job.gain[ch];
        if (gone) value = 0;
        if (!im.sound) value = from_bits(0x7FC00000u);
        if (job.kind == F32) s.block[at + ch] = value;
        else ((u16 *)s.block)[at + ch] = job.kind == BF16 ? to_bf16(value) : to_f16(value);
    }
}

__device__ __forceinline__ bool covers(const int *row, int x, int y) {
    if (!(row[FLAGS] & KEEP)) return true;
    int top = row[BOX_TOP], left = row[BOX_LEFT];
    return y >= top && y < top + row[BOX_HEIGHT] && x >= left && x < left + row[BOX_WIDTH];
}

// The last row of those that share an output and cover this pixel; -1: none.
__device__ int owner(const Job &job, int n, int x, int y) {
    int first = n - n % job.parts;
    for (int r = first + job.parts - 1; r >= first; r--)
        if (covers(job.params + (i64)r * COLUMNS, x, y)) return r;
    return -1;
}

// The block's output to memory, 16 bytes at a time where rows allow it.
__device__ void store(Shared &s, const Job &job, const Image &im) {
    __syncthreads();
    int bytes = job.kind == F32 ? 4 : 2, K = job.channels, S = job.size, t = threadIdx.x;
    int wide = least(BX, S - im.x0), tall = least(BY, S - im.y0);
    i64 pixel = ((i64)(im.n / job.parts) * S + im.y0) * S + im.x0;
    char *out = (char *)job.out + pixel * K * bytes;
    bool shared = job.parts > 1 || (im.flags & KEEP);
    if (!shared && S * K * bytes % 16 == 0 && (u64)job.out % 16 == 0) {
        int run = wide * K * bytes / 16;
        for (int i = t; i < tall * run; i += THREADS) {
            int r = i / run, e = i - r * run;
            ((Sixteen *)(out + (i64)r * S * K * bytes))[e] =
                ((const Sixteen *)s.block)[r * (BX * K * bytes / 16) + e];
        }
        return;
    }
    for (int i = t; i < tall * wide * K; i += THREADS) {
        int r = i / (wide * K), e = i - r * wide * K, from = r * BX * K + e;
        i64 to = (i64)r * S * K + e;
        int who = shared ? owner(job, im.n, im.x0 + e / K, im.y0 + r) : im.n;
        bool none = who < 0 && im.n % job.parts == job.parts - 1;  // no row's: 0, written once
        if (who != im.n && !none) continue;
        if (bytes == 4) ((float *)out)[to] = none ? 0.0f : s.block[from];
        else ((u16 *)out)[to] = none ? 0 : ((const u16 *)s.block)[from];
    }
}

// The sum of one number per thread, in a fixed order; every thread gets it.
__device__ float total_of(Shared &s, float mine) {
    int t = threadIdx.x;
    s.sums[t] = mine;
    for (int half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (t < half) s.sums[t] += s.sums[t + half];
    }
    __syncthreads();
    return s.sums[0];
}

__device__ float mean_of(Shared &s, const Job &job, const Image &im) {
    float mine = 0;
    for (int i = threadIdx.x; i < im.blocks; i += THREADS)
        mine += job.partial[(i64)im.n * im.blocks + i];
    int S = job.size, pixels = S * S;
    if (im.flags & KEEP) {
        int top = im.row[BOX_TOP], left = im.row[BOX_LEFT];
        int tall = least(top + im.row[BOX_HEIGHT], S) - most(top, 0);
        pixels = tall * (least(left + im.row[BOX_WIDTH], S) - most(left, 0));
    }
    return total_of(s, mine) / pixels;
}

// ---- kernels ----------------------------------------------------------------------------------

template <class T>
__device__ void resize_image(Shared &s, const Job &job) {
    Image im = image_of(job);
    if (im.sound) {
        prepare(s, job, im);
        if (im.depth == 1) resize_block<T, 1>(s, job, im);
        else resize_block<T, 3>(s, job, im);
    }
    int lx = threadIdx.x % BX, ly = threadIdx.x / BX * PER, x = im.x0 + lx;
    i64 plane = (i64)job.size * job.size;
    float sum = 0;
#pragma unroll 1
    for (int k = 0; k < PER; k++, ly++) {
        int y = im.y0 + ly;
        if (x >= job.size || y >= job.size) continue;
        float v[3];  // a thread reads what it wrote: no barrier
        for (int ch = 0; ch < 3; ch++) v[ch] = ch < im.c ? s.line[(ch * BY + ly) * BX + lx] : 0;
        if (im.sound && !im.warped) before_mean(im, v);
        if (im.warped || im.turned) {
            float *tile = job.tile + im.n * job.channels * plane + (i64)y * job.size + x;
            for (int ch = 0; ch < 3; ch++)
                if (ch < im.c) tile[ch * plane] = v[ch];
            if (covers(im.row, x, y)) sum += gray_of(v, im.c);
        } else {
            if (im.sound) after_mean(job, im, x, y, 0, v);
            put(s, job, im, x, y, v);
        }
    }
    if (im.turned && !im.warped) {
        sum = total_of(s, sum);
        if (threadIdx.x == 0) job.partial[(i64)im.n * im.blocks + im.block] = sum;
    }
    if (!im.warped && !im.turned) store(s, job, im);
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) resize8(const __grid_constant__ Job job) {
    __shared__ Shared s;
    resize_image<u8>(s, job);
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) resize16(const __grid_constant__ Job job) {
    __shared__ Shared s;
    resize_image<u16>(s, job);
}

// A warp is 8 x 4 pixels here: turned by 15 degrees, 32 x 1 would read 9 lines of the tile.
__device__ __forceinline__ int warped_x(const Image &im) {
    return im.x0 + threadIdx.x % 8 + threadIdx.x / 32 * 8;
}
__device__ __forceinline__ int warped_y(const Image &im) { return im.y0 + threadIdx.x / 8 % 4; }

extern "C" __global__ void __launch_bounds__(THREADS, 4) sums(const __grid_constant__ Job job) {
    __shared__ Shared s;
    Image im = image_of(job);
    if (!im.warped || !im.turned) return;
    bend_rows(s, job, im);
    float sum = 0;
#pragma unroll 1
    for (int k = 0; k < PER; k++) {
        int x = warped_x(im), y = warped_y(im) + 4 * k;
        float v[3] = {};
        if (x >= job.size || y >= job.size || !covers(im.row, x, y)) continue;
        read_tile(s, job, im, x, y, v);
        before_mean(im, v);
        sum += gray_of(v, im.c);
    }
    sum = total_of(s, sum);
    if (threadIdx.x == 0) job.partial[(i64)im.n * im.blocks + im.block] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) finish(const __grid_constant__ Job job) {
    __shared__ Shared s;
    Image im = image_of(job);
    if (!im.warped && !im.turned) return;
    if (im.warped) bend_rows(s, job, im);
    float mean = im.turned ? mean_of(s, job, im) : 0;
    i64 plane = (i64)job.size * job.size;
#pragma unroll 1
    for (int k = 0; k < PER; k++) {
        int x = warped_x(im), y = warped_y(im) + 4 * k;
        float v[3] = {};
        if (x >= job.size || y >= job.size) continue;
        if (im.warped) {
            read_tile(s, job, im, x, y, v);
            before_mean(im, v);
        } else {
            const float *tile = job.tile + im.n * job.channels * plane + (i64)y * job.size + x;
            for (int ch = 0; ch < 3; ch++)
                if (ch < im.c) v[ch] = tile[ch * plane];
        }
        after_mean(job, im, x, y, mean, v);
        put(s, job, im, x, y, v);
    }
    store(s, job, im);
}
