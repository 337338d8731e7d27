// `sample` on an NVIDIA card. columns.py says what a row means and in which order things happen;
// cuda.py puts its columns, and the shares of gray, as constants before tile.cuh and this text.
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
