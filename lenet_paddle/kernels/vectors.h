// Vectors of one number of V images each, activations, and what a convolution offers to a chain.
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define V 16
#define REGISTERS 32
#elif defined(__AVX__)
#define V 8
#define REGISTERS 16
#elif defined(__aarch64__)
#define V 4
#define REGISTERS 32
#else
#define V 4
#define REGISTERS 16
#endif
#define WIDE (REGISTERS == 32)

typedef float vf __attribute__((vector_size(4 * V)));
typedef float vu __attribute__((vector_size(4 * V), aligned(4)));  // anywhere in an array
typedef int32_t vi __attribute__((vector_size(4 * V)));
typedef uint8_t vb __attribute__((vector_size(V)));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

#define NO_POOL 0  // names for the preprocessor, too
#define MAX_POOL 1
#define AVERAGE_POOL 2
enum { NO_ACTIVATION, RELU, TANH, SIGMOID };

static const vf zero = {0};

INLINE vf all(float value) { return value - zero; }
INLINE vf keep(vi mask, vf a) { return (vf)(mask & (vi)a); }
INLINE vf choose(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }

INLINE float sum_lanes(vf v) {
    float s[V];
    memcpy(s, &v, sizeof v);
    UNROLL for (int half = V / 2; half; half /= 2)
        UNROLL for (int i = 0; i < half; i++) s[i] += s[i + half];
    return s[0];
}

// e^x to 2 units in the last place, x cut to [-87, 88]; after Cephes' expf (Moshier). NaN stays.
INLINE vf exponential(vf x) {
    x = choose(x > 88.0f, all(88.0f), choose(x < -87.0f, all(-87.0f), x));
    vf rounded = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the sum has no fraction bits
    vi power = ((vi)rounded - 0x4B400000 + 127) << 23;
    vf n = rounded - 12582912.0f;
    vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vf p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1.0f) * (vf)power;
}

INLINE vf tangent(vf x) {  // hyperbolic; after Cephes' tanhf
    vf size = (vf)((vi)x & 0x7fffffff), z = x * x;
    vf large = 1.0f - 2.0f / (exponential(2.0f * size) + 1.0f);
    large = (vf)((vi)large | ((vi)x & (int32_t)0x80000000));
    vf p = -5.70498872745e-3f * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    return choose(size < 0.625f, p * z * x + x, large);
}

INLINE vf activate(vf x, int activation) {
    switch (activation) {
        case RELU: return keep(x > zero, x);  // 0 for NaN, as Paddle's
        case TANH: return tangent(x);
        case SIGMOID: return 1.0f / (1.0f + exponential(-x));
        default: return x;
    }
}

INLINE vf slope(vf gradient, vf y, int activation) {  // y: the activation's result
    switch (activation) {
        case RELU: return keep(y > zero, gradient);
        case TANH: return gradient * (1.0f - y * y);
        case SIGMOID: return gradient * y * (1.0f - y);
        default: return gradient;
    }
}

#define AT_MOST(a, b) ((a) < (b) ? (a) : (b))

// A convolution of constant sizes and the pooling behind it; x, y and their gradients hold one
// block of images. dx and dw may be null.
typedef struct {
    int32_t inputs, outputs;  // values of one image
    int32_t aside, sums;      // vectors of a block: what backward needs besides x and y; g
    int32_t weights;
    void (*forward)(const vf *x, const float *w, const float *b, vf *y, vf *aside);
    void (*backward)(const vf *x, const vf *dy, const float *w, const vf *aside, vf *g, vf *dx,
                     float *dw, float *db);
} convolution_t;
