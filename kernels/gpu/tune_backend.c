/* tune_backend.c - times matrix products on a device, as a forward would run them.
 *
 * Cold: copies of the weight take turns, so many that they are three times the L2 cache. In place:
 * launches are captured into a graph, where the backend has graphs, so that the host's part is not
 * timed. Never zeros: weights are random blocks of their format, rows of x random numbers.
 *
 * Right is what the host computes, in double, for some columns of three rows; the whole of these
 * rows must have been written, and be what the first right launch gave, within rounding. */
#include "kernels/gpu/tune_backend.h"

#include <math.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/gpu/select.h"
#include "kernels/gpu/tune_time.h"
#include "kernels/quant/encode.h"

enum { COPIES_MAX = 32, POOL = 61, SAMPLES = 24, ROWS = 3, POISON = 0xcd, NOISE = 65537 };

struct tune_backend {
    struct device *dev;
    const struct backend *b;
    struct queue *q;
    char *weights, *x, *y; /* on the device */
    size_t room;           /* of weights */
    int64_t l2;
    enum x_type x_type; /* what products may round x to */
    struct gpu_shape shape;
    struct choice how;
    struct tensor copy[COPIES_MAX];
    int n_copies, next;
    struct quant says; /* of the copies, while products may round x: their rows have one scale */
    char *host;        /* one weight, in rows */
    float *rows;       /* x, [m, k] */
    float *first;      /* [ROWS, n] of the first right launch, NaN before */
};

static float noise(uint64_t at)
{
    struct rng_block r = rng_philox(11, at, 0);
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += rng_uniform(r.v[i]) - 0.5f;
    return sum; /* nearly normal, of deviation 0.58 */
}

/* ---- operands -------------------------------------------------------------------------------- */

static size_t host_bytes(const struct gpu_shape *s)
{
    return dtype_row_bytes(s->w, s->k) * (size_t)s->n;
}

/* Blocks of the format, drawn from a pool: encoded ones, or where nothing encodes, random bytes of
 * which no scale is infinite. */
static void fill_weight(const struct gpu_shape *s, char *out)
{
    const struct dtype_info *t = dtype_info(s->w);
    size_t bytes = (size_t)t->bytes, n = host_bytes(s) / bytes;
    char *pool = xmalloc(POOL * bytes);
    float *in = xmalloc((size_t)t->block * sizeof *in);
    for (int i = 0; i < POOL; i++) {
        for (int j = 0; j < t->block; j++)
            in[j] = noise((uint64_t)(i * t->block + j)) / 8;
        if (t->encode)
            t->encode(in, pool + (size_t)i * bytes);
        if (x_type_of(s->w) == X_FP4) /* scales with a sign are none to tensor cores */
            encode_row(s->w, in, NULL, t->block, pool + (size_t)i * bytes);
        for (size_t j = 0; j < bytes && !t->encode && x_type_of(s->w) != X_FP4; j++)
            pool[(size_t)i * bytes + j] = (char)(rng_philox(12, (uint64_t)i, j).v[0] & 0xbf);
    }
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        memcpy(out + i * bytes, pool + (state >> 33) % POOL * bytes, bytes);
    }
    for (size_t row = dtype_row_bytes(s->w, s->k), i = 0; s->w == DT_F8_E4M3 && i < n; i++)
        memcpy(out + i * bytes, out + i * bytes / row * row, sizeof(float));
    xfree(in);
    xfree(pool);
}

static enum status settle(struct tune_backend *t)
{
    struct fence f;
    TRY(t->b->record(t->q, &f));
    return t->b->wait(t->q, &f);
}

/* A new weight: as many copies as stay out of the cache. */
static enum status load_weight(struct tune_backend *t, const struct gpu_shape *s)
{
    struct op_case c = {OP_linear, DT_F32, s->w, 0, s->n, s->k};
    if (!t->b->can(t->dev, &c, &t->how))
        return fail(ERR_UNSUPPORTED, "tune: %s has no kernel for %s [%lld, %lld]", t->b->name,
                    dtype_info(s->w)->name, (long long)s->n, (long long)s->k);
    xfree(t->host);
    t->host = xmalloc(host_bytes(s));
    fill_weight(s, t->host);
    size_t each = (t->how.bytes + 255) / 256 * 256;
    t->n_copies = (int)(3 * (size_t)t->l2 / each + 1);
    t->n_copies = t->n_copies < COPIES_MAX ? t->n_copies : COPIES_MAX;
    for (int i = 0; i < t->n_copies; i++) {
        struct tensor src = tensor_2d(t->host, s->w, s->n, s->k);
        if ((size_t)(i + 1) * each > t->room) {
            t->n_copies = i;
            break;
        }
        t->copy[i] = (struct tensor){.data = t->weights + (size_t)i * each};
        TRY(t->b->pack(t->dev, &src, 1, &t->how, &t->copy[i]));
        t->copy[i].q = x_type_of(s->w) != X_EXACT ? &t->says : NULL;
    }
    return t->n_copies ? settle(t) : fail(ERR_NO_MEMORY, "tune: no room for a weight");
}

static enum status begin(void *ctx, const struct gpu_shape *s)
{
    struct tune_backend *t = ctx;
    size_t numbers = (size_t)(s->m * s->k);
    if (s->w != t->shape.w || s->n != t->shape.n || s->k != t->shape.k)
        TRY(load_weight(t, s));
    t->shape = *s;
    xfree(t->rows);
    xfree(t->first);
    t->rows = xmalloc(numbers * sizeof *t->rows);
    t->first = xmalloc((size_t)(ROWS * s->n) * sizeof *t->first);
    for (size_t i = 0; i < numbers; i++) /* as many as make every row another one */
        t->rows[i] = i < NOISE ? noise(i + 1000003) : t->rows[i - NOISE];
    t->first[0] = NAN;
    TRY(t->b->copy(t->q, t->x, t->rows, numbers * sizeof *t->rows, COPY_TO_DEVICE));
    return settle(t);
}

static enum status launch(struct tune_backend *t, const struct gpu_params *p)
{
    struct op_linear a = {.x = tensor_2d(t->x, DT_F32, t->shape.m, t->shape.k),
                          .w = t->copy[t->next++ % t->n_copies],
                          .y = tensor_2d(t->y, DT_F32, t->shape.m, t->shape.n)};
    t->b->force(t->dev, p);
    enum status s = op_linear(t->q, &a);
    t->b->force(t->dev, NULL);
    return s;
}

/* ---- right ----------------------------------------------------------------------------------- */

static int64_t row_at(const struct tune_backend *t, int i)
{
    return i == 0 ? 0 : i == 1 ? t->shape.m / 2 : t->shape.m - 1;
}

/* One output as the host has it, and the deviation that rounding of x may have. */
static double exact(const struct tune_backend *t, int64_t row, int64_t col, float *w, double *size)
{
    const struct gpu_shape *s = &t->shape;
    double sum = 0, squares = 0;
    dtype_decode(s->w, t->host + (size_t)col * dtype_row_bytes(s->w, s->k), w, s->k);
    for (int64_t k = 0; k < s->k; k++) {
        double v = (double)w[k] * t->rows[row * s->k + k];
        sum += v;
        squares += v * v;
    }
    *size = sqrt(squares);
    return sum;
}

/* What a right launch may be off by, of the deviation that products have: integers of x in groups
 * of 32 cost 0.5 %, e4m3 2.7 %, e2m1 about 10 %; wrong ones about all of it. */
static double slack(const struct tune_backend *t, enum x_type x)
{
    static const double most[N_X_TYPE] = {[X_EXACT] = 0.05, [X_FP8] = 0.2, [X_FP4] = 0.8};
    return most[x_type_goes_with(x, t->shape.w) ? x : X_EXACT];
}

static bool samples_right(const struct tune_backend *t, enum x_type x, const float *got)
{
    float *w = xmalloc((size_t)t->shape.k * sizeof *w);
    bool right = true;
    for (int i = 0; i < SAMPLES && right; i++) {
        int64_t col = i == 0   ? 0
                      : i == 1 ? t->shape.n - 1
                               : (int64_t)(rng_philox(13, (uint64_t)i, 0).v[0] % t->shape.n);
        double size, want = exact(t, row_at(t, i % ROWS), col, w, &size);
        right = fabs(got[i % ROWS * t->shape.n + col] - want) <= slack(t, x) * size;
    }
    xfree(w);
    return right;
}

/* Every number of the rows is there, and near what it was by a launch that may have rounded. */
static bool all_right(const struct tune_backend *t, const float *got)
{
    float poison;
    double mean = 0;
    int64_t n = ROWS * t->shape.n;
    memset(&poison, POISON, sizeof poison);
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(got[i]) || memcmp(&got[i], &poison, sizeof poison) == 0)
            return false;
        mean += (double)got[i] * got[i];
    }
    double near = slack(t, t->x_type) * sqrt(mean / (double)n);
    for (int64_t i = 0; i < n && !isnan(t->first[0]); i++)
        if (fabs((double)got[i] - t->first[i]) > near)
            return false;
    return true;
}

static enum status check(void *ctx, const struct gpu_params *p, bool *right)
{
    struct tune_backend *t = ctx;
    size_t row = (size_t)t->shape.n * sizeof(float);
    float *got = xmalloc(ROWS * row);
    *right = false;
    memset(got, POISON, ROWS * row);
    enum status s = OK;
    for (int i = 0; i < ROWS && s == OK; i++)
        s = t->b->copy(t->q, t->y + (size_t)row_at(t, i) * row, got, row, COPY_TO_DEVICE);
    if (s == OK)
        s = launch(t, p);
    for (int i = 0; i < ROWS && s == OK; i++)
        s = t->b->copy(t->q, got + i * t->shape.n, t->y + (size_t)row_at(t, i) * row, row,
                       COPY_TO_HOST);
    if (s == OK)
        s = settle(t);
    if (s == OK)
        *right = samples_right(t, gpu_path_x(p->path), got) && all_right(t, got);
    if (*right && isnan(t->first[0]))
        memcpy(t->first, got, ROWS * row);
    xfree(got);
    return s == ERR_UNSUPPORTED || s == ERR_NO_MEMORY ? OK : s; /* it cannot be: not right */
}

/* ---- time ------------------------------------------------------------------------------------ */

static enum status launch_it(void *ctx, const void *what)
{
    return launch(ctx, what);
}

static enum status time_launch(void *ctx, const struct gpu_params *p, double *us)
{
    struct tune_backend *t = ctx;
    return tune_time(t->dev, launch_it, t, p, us);
}

static int algorithms(void *ctx, struct gpu_lt *out, int most)
{
    struct tune_backend *t = ctx;
    return t->b->algorithms ? t->b->algorithms(t->dev, out, most) : 0;
}

static double now(void *ctx)
{
    (void)ctx;
    return clock_now();
}

struct tune_device tune_backend_device(struct tune_backend *t)
{
    return (struct tune_device){t, begin, check, time_launch, algorithms, now};
}

/* ---- open and close -------------------------------------------------------------------------- */

static enum status take(struct tune_backend *t, const struct tune_options *o)
{
    struct device_info info;
    size_t weight = 0, x = 0, y = 0;
    int64_t m = 0;
    void *p;
    t->b->info(t->dev, &info);
    if (!t->b->force || !info.gpu)
        return fail(ERR_UNSUPPORTED, "tune: %s has one launch for each product", t->b->name);
    t->l2 = info.gpu->facts.l2_bytes;
    for (int i = 0; i < o->n_rows; i++)
        m = o->rows[i] > m ? o->rows[i] : m;
    for (int i = 0; i < o->n_weights; i++) {
        const struct tune_weight *w = &o->weights[i];
        struct op_case c = {OP_linear, DT_F32, w->w, 0, w->n, w->k};
        size_t a = (size_t)(m * w->k) * sizeof(float), b = (size_t)(m * w->n) * sizeof(float);
        if (t->b->can(t->dev, &c, &t->how) && t->how.bytes > weight)
            weight = t->how.bytes;
        x = a > x ? a : x;
        y = b > y ? b : y;
    }
    t->room = weight + 3 * (size_t)t->l2 + (256 << 10);
    TRY(t->b->region(t->dev, REGION_WEIGHTS, t->room, &p));
    t->weights = p;
    TRY(t->b->region(t->dev, REGION_ROWS, x, &p));
    t->x = p;
    TRY(t->b->region(t->dev, REGION_WORK, y, &p));
    t->y = p;
    return OK;
}

enum status tune_backend_open(struct device *dev, const struct tune_options *o,
                              struct tune_backend **out)
{
    struct tune_backend *t = xcalloc(1, sizeof *t);
    t->dev = dev;
    t->x_type = o->x;
    t->says = (struct quant){.x = o->x, .row_scale = true};
    t->b = dev->backend;
    t->q = t->b->queue(dev);
    enum status s = take(t, o);
    if (s != OK) {
        tune_backend_close(t);
        return s;
    }
    *out = t;
    return OK;
}

void tune_backend_close(struct tune_backend *t)
{
    if (!t)
        return;
    xfree(t->host);
    xfree(t->rows);
    xfree(t->first);
    xfree(t);
}
