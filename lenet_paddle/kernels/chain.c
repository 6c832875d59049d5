// A chain of layers and its gradients: convolutions (convolution.c) or linear layers, each with an
// activation behind it.
//
// Images go through in blocks of V, one vector of floats, with the image as the innermost axis: a
// feature map is vf[C][H][W], and no step mixes lanes but the sums over images. Threads share the
// blocks. A gradient of a weight is summed in the order of the images or blocks, whoever computed
// them, so that it has the same bits for any number of threads.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "vectors.h"

// ---- layout -------------------------------------------------------------------------------------
// (images, count) -> [count][V]; lanes without an image are 0.
static void pack(const float *x, int images, int count, vf *packed) {
    float *out = (float *)packed;
    if (images < V) memset(packed, 0, sizeof(vf) * count);
    if (images == V)
        for (int i = 0; i < count; i++) {
            UNROLL for (int lane = 0; lane < V; lane++) out[i * V + lane] = x[(size_t)lane * count + i];
        }
    else
        for (int lane = 0; lane < images; lane++)
            for (int i = 0; i < count; i++) out[i * V + lane] = x[(size_t)lane * count + i];
}

// [count][V] -> (images, count), rows `stride` floats apart.
static void unpack(const vf *packed, int images, int count, float *x, int stride) {
    const float *in = (const float *)packed;
    for (int lane = 0; lane < images; lane++)
        for (int i = 0; i < count; i++) x[(size_t)lane * stride + i] = in[(size_t)i * V + lane];
}

// ---- linear layers ------------------------------------------------------------------------------
// y[o] = b[o] + sum of w[o * so + i * si] * x[i], a vector of images each.
INLINE void product_rows(const float *w, int so, int si, const float *b, const vf *restrict x,
                         vf *restrict y, int inputs, const int OB) {
    vf sums[16];
    UNROLL for (int o = 0; o < OB; o++) sums[o] = b ? all(b[o]) : zero;
    for (int i = 0; i < inputs; i++) {
        UNROLL for (int o = 0; o < OB; o++)
            sums[o] += w[(size_t)o * so + (size_t)i * si] * x[i];
    }
    UNROLL for (int o = 0; o < OB; o++) y[o] = sums[o];
}

static void product(const float *w, int so, int si, const float *b, const vf *x, vf *y, int inputs,
                    int outputs) {
    int o = 0;
#define ROWS(OB)                                                                                   \
    for (; o + OB <= outputs; o += OB)                                                             \
        product_rows(w + (size_t)o * so, so, si, b ? b + o : 0, x, y + o, inputs, OB);
    ROWS(8) ROWS(4) ROWS(1)
#undef ROWS
}

// c[a][j] = sum over images of columns[a][image] * rows[image][j]: MR rows of c, NR vectors of which
// the last may be cut at `left` floats.
INLINE void outer_tile(const vf *columns, int64_t per_block, const float *rows, int stride,
                       int images, float *c, int width, int left, const int MR, const int NR) {
    vf sums[16];
    UNROLL for (int i = 0; i < MR * NR; i++) sums[i] = zero;
    for (int first = 0; first < images; first += V) {
        const float *column = (const float *)(columns + per_block * (first / V));
        for (int lane = 0; lane < AT_MOST(V, images - first); lane++) {
            const float *row = rows + (size_t)(first + lane) * stride;
            UNROLL for (int m = 0; m < MR; m++) UNROLL for (int n = 0; n < NR; n++)
                sums[m * NR + n] += column[m * V + lane] * *(const vu *)(row + n * V);
        }
    }
    for (int i = 0; i < MR * NR; i++)
        memcpy(c + (size_t)(i / NR) * width + i % NR * V, sums + i,
               4 * AT_MOST(V, left - i % NR * V));
}

INLINE void outer_rows(const vf *columns, int64_t per_block, const float *rows, int stride,
                       int images, float *c, int width, const int MR) {
    const int WIDEST = WIDE ? 4 : 2;
    int j = 0;
    for (; width - j > (WIDEST - 1) * V; j += WIDEST * V)
        outer_tile(columns, per_block, rows + j, stride, images, c + j, width, width - j, MR, WIDEST);
    for (; j < width; j += V)
        outer_tile(columns, per_block, rows + j, stride, images, c + j, width, width - j, MR, 1);
}

// ---- threads ------------------------------------------------------------------------------------
// Helpers are started when first needed, wait without end, and die with the process; a child after
// fork starts its own. A second caller at the same time works alone.
enum { SPINS = 20000 };  // about 0.2 ms, the time between two operators of a step
#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() ((void)0)
#endif

typedef struct {
    pthread_mutex_t caller, lock;
    pthread_cond_t called;
    atomic_uint call;  // number of the last call
    atomic_int next, busy;
    int open, helpers, threads, items;  // more helpers may have been started than now work
    void (*run)(void *argument, int item, int worker);
    void *argument;
} pool_t;

#define NEW_POOL {.caller = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, \
                  .called = PTHREAD_COND_INITIALIZER}
static pool_t pool = NEW_POOL;

static void forget_helpers(void) { pool = (pool_t)NEW_POOL; }  // a child has none
__attribute__((constructor)) static void at_load(void) { pthread_atfork(0, 0, forget_helpers); }

static void take_items(int worker) {
    for (int item; (item = atomic_fetch_add(&pool.next, 1)) < pool.items;)
        pool.run(pool.argument, item, worker);
}

static void *help(void *number) {
    const int worker = (int)(intptr_t)number;
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load(&pool.call) == seen; i++) PAUSE();
        pthread_mutex_lock(&pool.lock);
        while (pool.call == seen || !pool.open) {
            seen = pool.call;
            pthread_cond_wait(&pool.called, &pool.lock);
        }
        seen = pool.call;
        pool.busy++;
        pthread_mutex_unlock(&pool.lock);
        if (worker < pool.threads) take_items(worker);
        pool.busy--;
    }
    return 0;
}

static void start_helpers(int helpers) {
    sigset_t every, before;  // signals are the main thread's
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    for (pthread_t thread; pool.helpers < helpers; pool.helpers++) {
        if (pthread_create(&thread, 0, help, (void *)(intptr_t)(pool.helpers + 1))) break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

static void parallel(void (*run)(void *, int, int), void *argument, int items, int threads) {
    if (threads <= 1 || items <= 1 || pthread_mutex_trylock(&pool.caller)) {
        for (int item = 0; item < items; item++) run(argument, item, 0);
        return;
    }
    start_helpers(threads - 1);
    pthread_mutex_lock(&pool.lock);
    pool.run = run, pool.argument = argument, pool.items = items, pool.threads = threads;
    pool.next = 0, pool.open = 1;
    pool.call++;
    pthread_cond_broadcast(&pool.called);
    pthread_mutex_unlock(&pool.lock);
    take_items(0);
    pthread_mutex_lock(&pool.lock);
    pool.open = 0;  // who comes now has come too late
    pthread_mutex_unlock(&pool.lock);
    for (int i = 1; pool.busy; i++)
        if (i % 64) PAUSE();
        else sched_yield();
    pthread_mutex_unlock(&pool.caller);
}

// ---- the chain ----------------------------------------------------------------------------------
typedef struct {
    const convolution_t *conv;      // null for a linear layer
    int32_t inputs, outputs;  // values of one image
    int32_t weight_out, weight_in;  // linear: floats from a weight to that of the next output, input
    int32_t activation, channels;
    const float *w, *b;           // b may be null
    const float *scale, *shift;   // of each output channel, before the activation; may be null
    float *dw, *db;               // null for frozen ones
    int64_t y, aside;             // vectors from the start of a block; set by `plan`
    int64_t partial, rows;        // floats from the start of a block's partial sums, of all rows
} stage_t;

typedef struct {
    stage_t *stages;
    int64_t count, images, threads;
    const float *x, *dy;
    float *y, *dx;                // dx may be null
    vf *blocks, *scratch;         // of each block (with keep) or thread; of each thread
    float *partials, *rows;       // of each block; of each image
    int64_t keep;                 // whether backward follows
    int64_t block, own, sums, row_floats;  // their sizes; set by `plan`
    int64_t most;                 // values of one image in the largest map; set by `plan`
} chain_t;

int vector_width(void) { return V; }

INLINE int round_up(int count) { return (count + V - 1) / V * V; }
INLINE int block_count(const chain_t *chain) { return (int)((chain->images + V - 1) / V); }
INLINE int is_row_major(const stage_t *stage) { return stage->weight_out == 1; }

// Lay out a block. Returns 0, or -1 if a stage does not take what the one before gives.
int plan(chain_t *chain) {
    int64_t block = chain->stages[0].inputs, g = 0;
    chain->most = block;
    chain->sums = chain->row_floats = 0;
    for (int i = 0; i < chain->count; i++) {
        stage_t *stage = chain->stages + i;
        const convolution_t *conv = stage->conv;
        if (i && stage->inputs != stage[-1].outputs) return -1;
        if (conv && (stage->inputs != conv->inputs || stage->outputs != conv->outputs)) return -1;
        stage->y = block;
        stage->aside = block + stage->outputs;
        block = stage->aside + (conv ? conv->aside : is_row_major(stage) ? 0 : stage->outputs);
        stage->partial = chain->sums;
        chain->sums += (conv ? conv->weights : 0) + stage->channels;
        stage->rows = chain->row_floats;
        if (!conv) chain->row_floats += round_up(is_row_major(stage) ? stage->outputs : stage->inputs);
        if (stage->outputs > chain->most) chain->most = stage->outputs;
        if (conv && conv->sums > g) g = conv->sums;
    }
    chain->block = block;
    chain->own = 2 * chain->most + g;
    return 0;
}

static void forward_block(void *argument, int i, int worker) {
    const chain_t *chain = argument;
    const int images = (int)AT_MOST(V, chain->images - (int64_t)i * V);
    vf *block = chain->blocks + (chain->keep ? i : worker) * chain->block, *x = block;
    pack(chain->x + (size_t)i * V * chain->stages->inputs, images, chain->stages->inputs, x);
    const stage_t *stage = chain->stages, *end = stage + chain->count;
    for (; stage < end; x = block + stage->y, stage++) {
        vf *y = block + stage->y;
        if (!stage->conv)
            product(stage->w, stage->weight_out, stage->weight_in, stage->b, x, y, stage->inputs,
                    stage->outputs);
        else
            stage->conv->forward(x, stage->w, stage->b, y, block + stage->aside);
        if (stage->scale) {
            const int each = stage->outputs / stage->channels;
            for (int c = 0; c < stage->channels; c++)
                for (int j = c * each; j < (c + 1) * each; j++)
                    y[j] = y[j] * stage->scale[c] + stage->shift[c];
        }
        if (stage->activation)
            for (int j = 0; j < stage->outputs; j++) y[j] = activate(y[j], stage->activation);
    }
    const int outputs = end[-1].outputs;
    unpack(x, images, outputs, chain->y + (size_t)i * V * outputs, outputs);
}

static void backward_block(void *argument, int i, int worker) {
    const chain_t *chain = argument;
    const int images = (int)AT_MOST(V, chain->images - (int64_t)i * V);
    vf *block = chain->blocks + i * chain->block, *d = chain->scratch + worker * chain->own;
    const stage_t *stage = chain->stages + chain->count - 1;
    const int64_t outputs = stage->outputs;
    vf *other = d + chain->most, *g = other + chain->most;
    pack(chain->dy + i * V * outputs, images, (int)outputs, d);
    for (; stage >= chain->stages; stage--) {
        const int first = stage == chain->stages;
        const vf *x = first ? block : block + stage[-1].y, *y = block + stage->y;
        float *partial = chain->partials + i * chain->sums + stage->partial;
        vf *dx = first && !chain->dx ? 0 : other;
        if (stage->activation)
            for (int j = 0; j < stage->outputs; j++) d[j] = slope(d[j], y[j], stage->activation);
        if (!stage->conv) {
            const int row_major = is_row_major(stage);
            const int width = row_major ? stage->outputs : stage->inputs;
            float *rows = chain->rows + stage->rows * chain->images + (size_t)i * V * round_up(width);
            unpack(row_major ? d : x, images, width, rows, round_up(width));
            if (!row_major) memcpy(block + stage->aside, d, sizeof(vf) * stage->outputs);
            for (int o = 0; o < stage->channels; o++) partial[o] = sum_lanes(d[o]);
            if (dx)
                product(stage->w, stage->weight_in, stage->weight_out, 0, d, dx, stage->outputs,
                        stage->inputs);
        } else {
            const convolution_t *conv = stage->conv;
            conv->backward(x, d, stage->w, block + stage->aside, g, dx,
                           stage->dw ? partial : 0, partial + conv->weights);
        }
        other = d;
        d = dx;
    }
    if (chain->dx) {
        const int inputs = chain->stages->inputs;
        unpack(d, images, inputs, chain->dx + (size_t)i * V * inputs, inputs);
    }
}

enum { CHUNK = 8 };  // rows of a weight's gradient in one item

static void linear_weights(void *argument, int item, int worker) {
    const chain_t *chain = argument;
    const stage_t *stage = chain->stages;
    int count;
    for (;; stage++) {  // the item's stage, and its rows
        count = is_row_major(stage) ? stage->inputs : stage->outputs;
        const int chunks = !stage->conv && stage->dw ? (count + CHUNK - 1) / CHUNK : 0;
        if (item < chunks) break;
        item -= chunks;
    }
    (void)worker;
    const int row_major = is_row_major(stage), width = row_major ? stage->outputs : stage->inputs;
    const float *rows = chain->rows + stage->rows * chain->images;
    const vf *columns = chain->blocks;
    if (row_major) columns += stage == chain->stages ? 0 : stage[-1].y;
    else columns += stage->aside;
    int a = item * CHUNK, end = AT_MOST(count, a + CHUNK);
#define TILE(MR)                                                                                   \
    for (; a + MR <= end; a += MR)                                                                 \
        outer_rows(columns + a, chain->block, rows, round_up(width), (int)chain->images,           \
                   stage->dw + (size_t)a * width, width, MR);
    TILE(4) TILE(1)
#undef TILE
}

void forward(chain_t *chain) {
    parallel(forward_block, chain, block_count(chain), (int)chain->threads);
}

void backward(chain_t *chain) {
    const int blocks = block_count(chain);
    parallel(backward_block, chain, blocks, (int)chain->threads);
    int items = 0;
    for (int s = 0; s < chain->count; s++) {
        const stage_t *stage = chain->stages + s;
        const int count = is_row_major(stage) ? stage->inputs : stage->outputs;
        if (!stage->conv && stage->dw) items += (count + CHUNK - 1) / CHUNK;
    }
    parallel(linear_weights, chain, items, (int)chain->threads);
    for (int i = 1; i < blocks; i++)
        for (int64_t j = 0; j < chain->sums; j++)
            chain->partials[j] += chain->partials[i * chain->sums + j];
    for (int s = 0; s < chain->count; s++) {
        const stage_t *stage = chain->stages + s;
        const float *partial = chain->partials + stage->partial;
        const int weights = stage->conv ? stage->conv->weights : 0;
        if (weights && stage->dw) memcpy(stage->dw, partial, 4 * weights);
        if (stage->db) memcpy(stage->db, partial + weights, 4 * stage->channels);
    }
}
