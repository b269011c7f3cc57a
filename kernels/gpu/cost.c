/* cost.c - see cost.h. Nothing here allocates but the table of a plan, once. */
#include "kernels/gpu/cost.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/gpu/registry.h"

enum { PLAN_ROWS = 1024 };

static const double GB_US = 1e3;        /* bytes a microsecond in a GB/s */
static const double TERA_US = 1e6;      /* operations a microsecond in 1e12 a second */
static const double DECODED = 2;        /* bytes of a weight that was decoded for cuBLASLt */
static const double FP4_BYTES = 0.5625; /* of one in e2m1 with its share of a scale */
static const double FILL_MIN = 0.02;    /* even one block gets some of the memory's rate */

static int64_t up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int cc_of(const struct gpu_config *c)
{
    return c->match.n_cc > 0 ? c->match.cc[0] : 80;
}

/* Bytes of W as the kernels keep it. */
static double weight_bytes(enum dtype w, int64_t n, int64_t k)
{
    if (gpu_skinny_of(w) == GPU_PLAIN)
        return (double)n * (double)k * 4;
    return (double)up(n, 16) * (double)up(k, 64) * gpu_tile_bytes(w);
}

/* Whether the tensor cores multiply it as 16-bit floats. */
static bool is_half(enum dtype w)
{
    return gpu_skinny_of(w) == GPU_SKINNY_16 || gpu_is_floats(w);
}

static double mma_rate(const struct gpu_config *c, enum dtype w, enum gpu_path path)
{
    if (gpu_path_x(path) != X_EXACT) /* by mma.sync, as the others */
        return (path == GPU_PATH_W8A8 ? c->ceil.fp8_tflops : c->ceil.fp4_tflops) *
               c->ceil.mma_bf16_tflops / c->ceil.bf16_tflops;
    return is_half(w) ? c->ceil.mma_bf16_tflops : c->ceil.mma_int8_tops;
}

static double io_bytes(const struct gpu_shape *s)
{
    return 4 * (double)s->m * ((double)s->k + (double)s->n);
}

/* Blocks that run at once. */
static double slots(const struct gpu_config *c, const struct gpu_params *p, int smem)
{
    const struct gpu_limits *l = gpu_limits_of(cc_of(c));
    int most = p->nt <= 2 ? 4 : 2; /* as their registers allow */
    int fit = l ? l->smem_sm / (smem + 1024) : most;
    return c->match.sm * (double)(fit < 1 ? 1 : fit < most ? fit : most);
}

/* Of the skinny kernel, and of mma8, whose blocks have as many tiles of W. */
static double cost_tiled(const struct gpu_config *c, const struct gpu_shape *s,
                         const struct gpu_params *p)
{
    bool mma8 = p->path != GPU_PATH_SKINNY;
    const struct gpu_eff *e = &c->eff[gpu_kernel_of(s->w, p->path)];
    /* One block adds its splits up itself. */
    bool fold = p->splits > 1 && (mma8 || s->m > GPU_LARGE_M);
    int64_t passes = up(up(s->m, 8), p->nt), lines = up(up(s->n, 16), GPU_WARPS * p->r);
    int smem = gpu_smem(s->w, p);
    double blocks = (double)(passes * lines) * (fold ? 1 : p->splits), at_once = slots(c, p, smem);
    double running = blocks < at_once ? blocks : at_once;
    double w = weight_bytes(s->w, s->n, s->k), parts = 0;
    if (p->splits > 1 && !fold)
        parts = 8.0 * (double)s->m * (double)s->n * p->splits;
    double flight = running * smem * (p->stages - 1) / p->stages;
    double fill = flight / (c->ceil.read_gbs * GB_US * c->ceil.latency_us);
    fill = fill > 1 ? 1 : fill < FILL_MIN ? FILL_MIN : fill;
    double waves = blocks / (ceil(blocks / c->match.sm) * c->match.sm);
    double memory = (w + io_bytes(s)) / (c->ceil.read_gbs * GB_US * e->bw * fill);
    double l2 =
        (w * (double)passes + parts +
         (double)lines * (double)up(s->k, 64) * (double)up(s->m, 8) * gpu_piece_bytes(s->w)) /
        (c->ceil.l2_gbs * GB_US);
    double flops = 2.0 * (double)(passes * p->nt * 8) * (double)(lines * 64 * p->r) * (double)s->k;
    double mma = flops / (mma_rate(c, s->w, p->path) * TERA_US * e->fl * waves);
    return fmax(fmax(memory, l2), mma) + e->t0_us + (parts > 0 ? e->splitk_us : 0);
}

/* The library at its usual efficiency; weights of a block format are decoded first. */
static double cost_lt(const struct gpu_config *c, const struct gpu_shape *s, bool decode)
{
    const struct gpu_eff *e = &c->eff[GPU_LT_BF16], *d = &c->eff[GPU_DEQUANT];
    double numbers = (double)s->n * (double)s->k;
    double bytes = numbers * DECODED + io_bytes(s);
    double rows = (double)up(s->m, 64) * 64;
    double t = fmax(bytes / (c->ceil.read_gbs * GB_US * e->bw),
                    2 * rows * numbers / (c->ceil.bf16_tflops * TERA_US * e->fl)) +
               e->t0_us;
    if (decode)
        t += (weight_bytes(s->w, s->n, s->k) + numbers * DECODED) /
                 (c->ceil.read_gbs * GB_US * d->bw) +
             d->t0_us;
    return t;
}

/* The library with W and x in e4m3 or e2m1, made on the way, and what it gives brought to y. */
static double cost_rounded(const struct gpu_config *c, const struct gpu_shape *s, bool fp4)
{
    const struct gpu_eff *e = &c->eff[fp4 ? GPU_LT_FP4 : GPU_LT_FP8], *d = &c->eff[GPU_DEQUANT];
    double each = fp4 ? FP4_BYTES : 1, numbers = (double)s->n * (double)s->k;
    double rows = (double)up(s->m, 64) * 64, rate = c->ceil.read_gbs * GB_US;
    double made = weight_bytes(s->w, s->n, s->k) + each * numbers +
                  (4 + each) * (double)s->m * (double)s->k + 8 * (double)s->m * (double)s->n;
    double flops = (fp4 ? c->ceil.fp4_tflops : c->ceil.fp8_tflops) * TERA_US * e->fl;
    return fmax((each * numbers + io_bytes(s)) / (rate * e->bw), 2 * rows * numbers / flops) +
           e->t0_us + made / (rate * d->bw) + (s->w == DT_MXFP4 ? 4 : 3) * d->t0_us;
}

static double cost_plain(const struct gpu_config *c, const struct gpu_shape *s)
{
    const struct gpu_eff *e = &c->eff[GPU_PLAIN];
    double passes = (double)up(s->m, 8), w = weight_bytes(s->w, s->n, s->k);
    return fmax((w * passes + io_bytes(s)) / (c->ceil.read_gbs * GB_US * e->bw),
                2.0 * (double)s->m * (double)s->n * (double)s->k /
                    (c->ceil.bf16_tflops * TERA_US * e->fl)) +
           e->t0_us;
}

double gpu_cost(const struct gpu_config *c, const struct gpu_shape *s, const struct gpu_params *p)
{
    switch (p->path) {
    case GPU_PATH_SKINNY:
    case GPU_PATH_MMA8:
    case GPU_PATH_W8A8:
    case GPU_PATH_W4A4:
        return cost_tiled(c, s, p);
    case GPU_PATH_LT:
        return cost_lt(c, s, false);
    case GPU_PATH_DEQUANT_LT:
        return cost_lt(c, s, true);
    case GPU_PATH_LT_FP8:
    case GPU_PATH_LT_FP4:
        return cost_rounded(c, s, p->path == GPU_PATH_LT_FP4);
    case GPU_PATH_PLAIN:
    case N_GPU_PATH:
        break;
    }
    return cost_plain(c, s);
}

double gpu_bound(const struct gpu_config *c, const struct gpu_shape *s)
{
    bool ints = !is_half(s->w) && gpu_skinny_of(s->w) != GPU_PLAIN;
    double rate = ints ? c->ceil.int8_tops : c->ceil.bf16_tflops;
    if (s->w == DT_F8_E4M3)
        rate = fmax(rate, c->ceil.fp8_tflops);
    if (x_type_of(s->w) == X_FP4)
        rate = fmax(rate, c->ceil.fp4_tflops);
    double bytes = weight_bytes(s->w, s->n, s->k) + io_bytes(s);
    return fmax(bytes / (c->ceil.read_gbs * GB_US),
                2.0 * (double)s->m * (double)s->n * (double)s->k / (rate * TERA_US));
}

/* ---- choosing -------------------------------------------------------------------------------- */

const struct gpu_exception *gpu_exception_of(const struct gpu_config *c, const struct gpu_shape *s,
                                             enum x_type x)
{
    int m = gpu_bucket(s->m);
    for (int i = 0; i < c->n_gemm; i++)
        if (c->gemm[i].w == s->w && c->gemm[i].n == s->n && c->gemm[i].k == s->k &&
            c->gemm[i].m == m && c->gemm[i].x == x)
            return &c->gemm[i];
    return NULL;
}

/* Splits there may be: no part shorter than GPU_SPLIT_CHUNKS tiles. */
static int most_splits(int64_t k)
{
    int64_t most = up(k, 64) / GPU_SPLIT_CHUNKS;
    return most < 1 ? 1 : most > GPU_SPLITS_MAX ? GPU_SPLITS_MAX : (int)most;
}

/* The best tile for these splits. Folding takes the largest, which alone is built for it. */
static struct gpu_params best_tile(const struct gpu_config *c, const struct gpu_shape *s,
                                   int splits, double *cost)
{
    struct gpu_params best = {0};
    bool fold = s->m > GPU_LARGE_M && splits > 1;
    *cost = INFINITY;
    for (int i = fold ? gpu_n_tiles() - 1 : 0; i < gpu_n_tiles(); i++) {
        struct gpu_params p = {GPU_PATH_SKINNY,      gpu_tiles[i].nt, gpu_tiles[i].r,
                               gpu_stages(cc_of(c)), splits,          NULL};
        double t = gpu_cost(c, s, &p);
        if (t < *cost) {
            best = p;
            *cost = t;
        }
    }
    return best;
}

int gpu_splits(const struct gpu_config *c, enum dtype w, int64_t n, int64_t k)
{
    static const int rows[] = {1, 8, 16, 32, 64};
    int best = 1, most = most_splits(k);
    double least = INFINITY;
    for (int i = 0; i < c->n_gemm; i++)
        if (c->gemm[i].w == w && c->gemm[i].n == n && c->gemm[i].k == k &&
            gpu_path_tiled(c->gemm[i].p.path))
            return c->gemm[i].p.splits < most ? c->gemm[i].p.splits : most;
    for (int splits = 1; splits <= most; splits++) {
        double sum = 0, t;
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            struct gpu_shape s = {w, rows[i], n, k};
            best_tile(c, &s, splits, &t);
            sum += log(t);
        }
        if (sum < least - 1e-9) {
            least = sum;
            best = splits;
        }
    }
    return best;
}

/* The best launch of mma8 for these splits, if one is faster than `cost`: else `best` stays. */
static void best_mma8(const struct gpu_config *c, const struct gpu_shape *s, int splits,
                      double cost, struct gpu_params *best)
{
    if (s->m <= GPU_MMA8_MIN_M || gpu_mma8_of(s->w) == N_GPU_KERNEL)
        return;
    for (int i = 0; i < gpu_n_mma8_tiles(); i++) {
        struct gpu_params p = {
            GPU_PATH_MMA8, gpu_mma8_tiles[i].nt, gpu_mma8_tiles[i].r, GPU_MMA8_STAGES, splits,
            NULL};
        double t = gpu_cost(c, s, &p);
        if (t < cost) {
            *best = p;
            cost = t;
        }
    }
}

/* Which way, beside the launch: cuBLASLt for many rows, where it is. */
static enum gpu_path path_of(const struct gpu_config *c, const struct gpu_shape *s, bool lt)
{
    enum gpu_kernel kernel = gpu_skinny_of(s->w);
    struct gpu_params p = {GPU_PATH_LT, 0, 0, 0, 1, NULL};
    if (kernel == GPU_PLAIN)
        return GPU_PATH_PLAIN;
    if (!lt || s->m <= c->skinny_max_m[is_half(s->w) ? GPU_SKINNY_16 : kernel] ||
        (gpu_mma8_of(s->w) != N_GPU_KERNEL && s->m <= c->mma8_max_m[kernel]))
        return GPU_PATH_SKINNY;
    if (kernel != GPU_SKINNY_16)
        p.path = GPU_PATH_DEQUANT_LT;
    return gpu_legal(cc_of(c), s->w, &p) == OK ? p.path : GPU_PATH_SKINNY;
}

/* Whether a product that may do this can be computed so. */
static bool allows(int may, enum gpu_path path)
{
    const bool own = gpu_path_own(path) || path == GPU_PATH_PLAIN;
    int needs = own ? 0 : GPU_MAY_LT;
    if (gpu_path_x(path) != X_EXACT)
        needs |= own ? GPU_MAY_ROUND_OWN : GPU_MAY_ROUND_LT;
    needs |= path == GPU_PATH_LT_FP8 ? GPU_MAY_ROW_SCALE : 0;
    return (may & needs) == needs;
}

static struct gpu_params taken(const struct gpu_config *c, const struct gpu_shape *s,
                               const struct gpu_exception *x)
{
    struct gpu_params p = x->p;
    p.lt = !gpu_path_own(p.path) && x->lt.id >= 0 ? &x->lt : NULL;
    if (gpu_path_tiled(p.path))
        p.splits = gpu_splits(c, s->w, s->n, s->k);
    return p;
}

static struct gpu_params choose_exact(const struct gpu_config *c, const struct gpu_shape *s,
                                      int may)
{
    const struct gpu_exception *x = gpu_exception_of(c, s, X_EXACT);
    struct gpu_params p;
    double cost;
    if (x && allows(may, x->p.path))
        return taken(c, s, x);
    p.path = path_of(c, s, may & GPU_MAY_LT);
    if (p.path != GPU_PATH_SKINNY)
        return (struct gpu_params){.path = p.path, .splits = 1};
    p = best_tile(c, s, gpu_splits(c, s->w, s->n, s->k), &cost);
    best_mma8(c, s, p.splits, cost, &p);
    return p;
}

/* `p` where it is allowed, legal, and costs less than *least. */
static void consider(const struct gpu_config *c, const struct gpu_shape *s, int may,
                     const struct gpu_params *p, double *least, struct gpu_params *best)
{
    if (!allows(may, p->path) || gpu_legal(cc_of(c), s->w, p) != OK)
        return;
    double t = gpu_cost(c, s, p);
    if (t < *least) {
        *least = t;
        *best = *p;
    }
}

/* The ways that round x, where one is faster than `best`: for many rows. */
static void best_rounded(const struct gpu_config *c, const struct gpu_shape *s, int may,
                         struct gpu_params *best)
{
    bool fp4 = x_type_of(s->w) == X_FP4;
    double least = gpu_cost(c, s, best);
    if (!((fp4 ? c->ceil.fp4_tflops : c->ceil.fp8_tflops) > 0) || x_type_of(s->w) == X_EXACT)
        return;
    for (int i = 0; i < gpu_n_mma8_tiles() && s->m > GPU_MMA8_MIN_M; i++) {
        struct gpu_params p = {.path = fp4 ? GPU_PATH_W4A4 : GPU_PATH_W8A8,
                               .nt = gpu_mma8_tiles[i].nt,
                               .r = gpu_mma8_tiles[i].r,
                               .stages = GPU_MMA8_STAGES,
                               .splits = 1};
        consider(c, s, may, &p, &least, best);
    }
    struct gpu_params lt = {.path = fp4 ? GPU_PATH_LT_FP4 : GPU_PATH_LT_FP8, .splits = 1};
    if (!fp4 || s->m > GPU_MMA8_MIN_M)
        consider(c, s, may, &lt, &least, best);
}

struct gpu_params gpu_choose(const struct gpu_config *c, const struct gpu_shape *s, int may)
{
    if (!(may & GPU_MAY_ROUND))
        return choose_exact(c, s, may);
    const struct gpu_exception *x = gpu_exception_of(c, s, x_type_of(s->w));
    if (x && allows(may, x->p.path))
        return taken(c, s, x);
    struct gpu_params p = choose_exact(c, s, may);
    best_rounded(c, s, may, &p);
    return p;
}

struct gpu_cut gpu_cut_of(const struct gpu_config *c, int head_dim, int group)
{
    for (int i = 0; i < c->n_attn; i++)
        if (c->attn[i].head_dim == head_dim && c->attn[i].group == group)
            return c->attn[i].cut;
    return (struct gpu_cut){c->attn_chunk, c->attn_parts};
}

/* ---- a plan ---------------------------------------------------------------------------------- */

void gpu_plan_init(struct gpu_plan *p, const struct gpu_config *c)
{
    *p = (struct gpu_plan){c, NULL, NULL, xcalloc(PLAN_ROWS, sizeof *p->row)};
}

void gpu_plan_reset(struct gpu_plan *p)
{
    memset(p->row, 0, PLAN_ROWS * sizeof *p->row);
}

void gpu_plan_clear(struct gpu_plan *p)
{
    xfree(p->row);
    p->row = NULL;
}

struct gpu_params gpu_plan_get(struct gpu_plan *p, const struct gpu_shape *s, int may)
{
    if (p->forced && allows(may, p->forced->path))
        return *p->forced;
    uint64_t h = (uint64_t)s->n * 0x9e3779b97f4a7c15 ^ (uint64_t)s->k * 0xc2b2ae3d27d4eb4f ^
                 (uint64_t)s->m * 0x165667b19e3779f9 ^ (uint64_t)s->w << 32;
    struct gpu_plan_row *row = &p->row[(h ^ h >> 29) % PLAN_ROWS];
    if (row->shape.m != s->m || row->shape.n != s->n || row->shape.k != s->k ||
        row->shape.w != s->w) {
        row->shape = *s;
        row->known = 0;
    }
    if (!(row->known >> may & 1))
        row->params[may] = gpu_choose(p->config, s, may);
    row->known |= 1u << may;
    return row->params[may];
}
