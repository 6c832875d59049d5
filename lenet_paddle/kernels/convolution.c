// A convolution with bias and the 2x2 pooling behind it, for sizes that the flags give: CHANNELS
// of HEIGHT x WIDTH with PADDING -> MAPS, by a square KERNEL; POOL; and INNER, the activation
// before pooling (before the maximum only ReLU). All loops over the kernel and over sums in
// registers are unrolled.
#include "vectors.h"

#define LARGEST_DIVISOR(n, most)                                                                   \
    ((most) >= 8 && (n) % 8 == 0 ? 8 : (most) >= 6 && (n) % 6 == 0 ? 6                             \
     : (most) >= 5 && (n) % 5 == 0 ? 5 : (most) >= 4 && (n) % 4 == 0 ? 4                           \
     : (most) >= 3 && (n) % 3 == 0 ? 3 : (most) >= 2 && (n) % 2 == 0 ? 2 : 1)

enum {
    C = CHANNELS, H = HEIGHT, W = WIDTH, P = PADDING, M = MAPS, K = KERNEL, KK = K * K,
    HP = H + 2 * P, WP = W + 2 * P,    // padded
    EVEN = POOL ? ~1 : ~0,             // an odd last row or column is not pooled
    OH = (HP - K + 1) & EVEN, OW = (WP - K + 1) & EVEN,
    SUMS = M * OH * OW, OUTPUTS = POOL ? SUMS / 4 : SUMS,
    PADDED = P ? C * HP * WP : 0,
    POOLED = POOL == AVERAGE_POOL ? SUMS : POOL ? (OUTPUTS + 3) / 4 : 0,
    // forward: a tile of TY x TX positions for TM maps
    TY = POOL ? 2 : 1, TX = POOL ? 2 : LARGEST_DIVISOR(OW, 4), T = TY * TX,
    TM = LARGEST_DIVISOR(M, WIDE ? (T == 4 ? 6 : 8) : (T == 4 ? 2 : 4)),
    // gradient of the weights: KB rows of the kernel for GM maps
    KB = WIDE && K == 3 && M % 3 == 0 ? 3 : 1,
    GM = LARGEST_DIVISOR(M, AT_MOST(8, (WIDE ? 27 : 12) / (KB * K))),
    // gradient of the input: a row in strips of at most XB columns
    STRIPS = (W + (WIDE ? 15 : 7)) / (WIDE ? 16 : 8), XB = (W + STRIPS - 1) / STRIPS,
};

static void pad(const vf *x, vf *padded) {
    memset(padded, 0, sizeof(vf) * C * HP * WP);
    for (int c = 0; c < C; c++)
        for (int row = 0; row < H; row++)
            memcpy(padded + (c * HP + row + P) * WP + P, x + (c * H + row) * W, sizeof(vf) * W);
}

// The maximum of a window as Paddle finds it, NaN included, with RELU of the window after ReLU;
// `at` is the first that equals it, or 4 if no gradient passes.
INLINE void pool_maximum(const vf *v, vf *maximum, vb *at) {
    vf m = INNER == RELU ? zero : all(-3.40282347e38f);
    vi which = (vi){0} + 4;
    UNROLL for (int i = 0; i < 4; i++)
        m = INNER == RELU ? choose(v[i] > m, v[i], m) : choose(m > v[i], m, v[i]);
    UNROLL for (int i = 3; i >= 0; i--) {
        vi equal = v[i] == m;
        which = (equal & i) | (~equal & which);
    }
    if (INNER == RELU) which |= ~(m > zero) & 4;
    *maximum = m;
    *at = __builtin_convertvector(which, vb);
}

// sums[TM][T] at the tile whose first column of the first channel is x, without the bias.
INLINE void sum_tile(const vf *restrict x, const float *restrict w, vf *restrict sums) {
    UNROLL for (int i = 0; i < TM * T; i++) sums[i] = zero;
    for (int c = 0; c < C; c++)
        UNROLL for (int ky = 0; ky < K; ky++) {
            const vf *row = x + (c * HP + ky) * WP;
            UNROLL for (int kx = 0; kx < K; kx++) {
                vf seen[T];
                UNROLL for (int i = 0; i < T; i++) seen[i] = row[i / TX * WP + kx + i % TX];
                UNROLL for (int m = 0; m < TM; m++) {
                    vf weight = all(w[(m * C + c) * KK + ky * K + kx]);
                    UNROLL for (int i = 0; i < T; i++) sums[m * T + i] += weight * seen[i];
                }
            }
        }
}

// x [C][HP][WP] -> y [M][OH / 2][OW / 2], or [M][OH][OW] without pooling. `aside` gets where the
// maxima were found (vb), or the activated values before average pooling (vf).
static void convolve(const vf *restrict x, const float *restrict w, const float *restrict b,
                     vf *restrict y, void *restrict aside) {
    for (int row = 0; row < OH; row += TY)
        for (int column = 0; column < OW; column += TX)
            for (int m0 = 0; m0 < M; m0 += TM) {
                vf sums[TM * T];
                sum_tile(x + row * WP + column, w + m0 * C * KK, sums);
                UNROLL for (int m = 0; m < TM; m++) {
                    vf bias = b ? all(b[m0 + m]) : zero, *v = sums + m * T;
                    UNROLL for (int i = 0; i < T; i++) v[i] += bias;
#if POOL
                    const int p = ((m0 + m) * (OH / 2) + row / 2) * (OW / 2) + column / 2;
                    if (POOL == MAX_POOL) pool_maximum(v, y + p, (vb *)aside + p);
                    else {
                        vf *kept = (vf *)aside + 4 * p;
                        UNROLL for (int i = 0; i < 4; i++) kept[i] = v[i] = activate(v[i], INNER);
                        y[p] = (v[0] + v[1] + v[2] + v[3]) * 0.25f;
                    }
#else
                    (void)aside;
                    vf *out = y + ((m0 + m) * OH + row) * OW + column;
                    UNROLL for (int i = 0; i < T; i++) out[i] = v[i];
#endif
                }
            }
}

// dy -> g [M][OH][OW], the gradient of the sums, and db.
static void spread(const vf *restrict dy, const void *restrict aside, vf *restrict g,
                   float *restrict db) {
    for (int m = 0; m < M; m++) {
        vf sum = zero;
#if POOL
        for (int row = 0; row < OH; row += 2)
            for (int column = 0; column < OW; column += 2) {
                const int p = (m * (OH / 2) + row / 2) * (OW / 2) + column / 2;
                vf d[4];
                if (POOL == MAX_POOL) {
                    vi at = __builtin_convertvector(((const vb *)aside)[p], vi);
                    UNROLL for (int i = 0; i < 4; i++) d[i] = keep(at == i, dy[p]);
                } else
                    UNROLL for (int i = 0; i < 4; i++)
                        d[i] = slope(dy[p] * 0.25f, ((const vf *)aside)[4 * p + i], INNER);
                vf *out = g + (m * OH + row) * OW + column;
                out[0] = d[0], out[1] = d[1], out[OW] = d[2], out[OW + 1] = d[3];
                sum += (d[0] + d[1]) + (d[2] + d[3]);
            }
#else
        (void)aside;
        for (int i = m * OH * OW; i < (m + 1) * OH * OW; i++) sum += g[i] = dy[i];
#endif
        db[m] = sum_lanes(sum);
    }
}

static void weight_gradient(const vf *restrict x, const vf *restrict g, float *restrict dw) {
    for (int m0 = 0; m0 < M; m0 += GM)
        for (int c = 0; c < C; c++)
            for (int k0 = 0; k0 < K; k0 += KB) {
                vf sums[GM * KB * K];
                UNROLL for (int i = 0; i < GM * KB * K; i++) sums[i] = zero;
                for (int row = 0; row < OH; row++)
                    for (int column = 0; column < OW; column++) {
                        const vf *seen = x + (c * HP + row + k0) * WP + column;
                        UNROLL for (int m = 0; m < GM; m++) {
                            vf d = g[((m0 + m) * OH + row) * OW + column];
                            UNROLL for (int i = 0; i < KB * K; i++)
                                sums[m * KB * K + i] += d * seen[i / K * WP + i % K];
                        }
                    }
                UNROLL for (int i = 0; i < GM * KB * K; i++)
                    dw[((m0 + i / (KB * K)) * C + c) * KK + k0 * K + i % (KB * K)] =
                        sum_lanes(sums[i]);
            }
}

// `count` columns of a row of dx; both count from the padding's edge. Constants after unrolling
// leave out what is 0 for certain.
INLINE void input_strip(const vf *restrict g, const float *restrict w, vf *restrict dx, int c,
                        int row, const int column, const int count) {
    const int first = row - OH + 1 > 0 ? row - OH + 1 : 0, last = AT_MOST(row, K - 1);
    vf sums[XB];
    UNROLL for (int i = 0; i < count; i++) sums[i] = zero;
    for (int m = 0; m < M; m++)
        for (int ky = first; ky <= last; ky++) {
            const vf *from = g + (m * OH + row - ky) * OW;
            const float *weights = w + ((m * C + c) * K + ky) * K;
            UNROLL for (int kx = 0; kx < K; kx++) {
                vf weight = all(weights[kx]);
                UNROLL for (int i = 0; i < count; i++)
                    if (column + i - kx >= 0 && column + i - kx < OW)
                        sums[i] += weight * from[column + i - kx];
            }
        }
    UNROLL for (int i = 0; i < count; i++) dx[i] = sums[i];
}

static void input_gradient(const vf *restrict g, const float *restrict w, vf *restrict dx) {
    for (int c = 0; c < C; c++)
        for (int row = 0; row < H; row++)
            UNROLL for (int s = 0; s < STRIPS; s++)
                input_strip(g, w, dx + (c * H + row) * W + s * XB, c, row + P, s * XB + P,
                            AT_MOST(XB, W - s * XB));
}

static void forward(const vf *x, const float *w, const float *b, vf *y, vf *aside) {
    if (P) pad(x, aside);
    convolve(P ? aside : x, w, b, y, aside + PADDED);
}

static void backward(const vf *x, const vf *dy, const float *w, const vf *aside, vf *g, vf *dx,
                     float *dw, float *db) {
    spread(dy, aside + PADDED, g, db);
    if (dw) weight_gradient(P ? aside : x, g, dw);
    if (dx) input_gradient(g, w, dx);
}

const convolution_t convolution = {
    C * H * W, OUTPUTS, PADDED + POOLED, SUMS, M * C * KK, forward, backward,
};
