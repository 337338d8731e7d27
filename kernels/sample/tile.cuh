// The tile of `sample`: what every kernel of sample.cu is given, and the two passes of the resize.
//
// cuda.py puts this text before that one: neither compiler has to look for a file. Legend: as there.

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
