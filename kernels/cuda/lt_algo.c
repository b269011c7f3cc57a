/* lt_algo.c - which algorithm of cuBLASLt multiplies a shape.
 *
 * A configuration names one by its attributes and by the library's own 64 bytes: the bytes count
 * where the version is the same, else the attributes. The library must accept it for the shape as
 * it is, and its first result must be that of the library's own suggestion: what fails either is
 * named once and never run again. */
#include "kernels/cuda/lt_algo.h"

#include <math.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/backend.h"
#include "kernels/cuda/ring.h"
#include "kernels/gpu/config.h"

enum { SUGGESTIONS = 24, SPLIT_OF = 4, PROOF_ROWS = 3 };

/* Of a row's mean: rounding of sums in another order costs far less, a wrong result about all. */
static const double PROOF_NEAR = 0.01;

/* Attributes of 32 bits: where they lie in a gpu_lt. */
/* clang-format off */
static const struct {
    int which;
    size_t at;
} words[] = {
    {LT_ALGO_TILE,      offsetof(struct gpu_lt, tile)},      {LT_ALGO_SPLITK,  offsetof(struct gpu_lt, splitk)},
    {LT_ALGO_REDUCTION, offsetof(struct gpu_lt, reduction)}, {LT_ALGO_SWIZZLE, offsetof(struct gpu_lt, swizzle)},
    {LT_ALGO_CUSTOM,    offsetof(struct gpu_lt, custom)},    {LT_ALGO_STAGES,  offsetof(struct gpu_lt, stages)},
};
/* clang-format on */
enum { N_WORDS = sizeof words / sizeof *words };

const char *lt_type_name(const struct lt_key *k)
{
    switch (k->type) {
    case CUDA_R_16F:
        return "f16";
    case CUDA_R_8F_E4M3:
        return "fp8";
    case CUDA_R_8I:
        return "int8";
    case CUDA_R_4F_E2M1:
        return "nvfp4";
    default:
        return "bf16";
    }
}

const char *lt_denied(const struct lt *lt, const struct lt_key *k)
{
    int version = (int)lt->f.GetVersion();
    for (int i = 0; lt->prefer && i < lt->prefer->n_deny; i++) {
        const struct gpu_deny *d = &lt->prefer->deny[i];
        if (version >= d->lt[0] && version <= d->lt[1] && !strcmp(d->what, lt_type_name(k)))
            return d->why;
    }
    return NULL;
}

/* Sums of split K in f32 or none at all: never rounded to the output's type on the way. */
int lt_suggestions(const struct lt *lt, const struct lt_shape *s, size_t workspace,
                   struct lt_found *out, int most)
{
    uint64_t bytes = workspace;
    uint32_t mask = LT_REDUCTION_NONE | LT_REDUCTION_COMPUTE_TYPE;
    void *pref = NULL;
    int n = 0, kept = 0, e = lt->f.MatmulPreferenceCreate(&pref);
    if (e != LT_SUCCESS)
        return 0;
    e = lt->f.MatmulPreferenceSetAttribute(pref, LT_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes);
    if (e == LT_SUCCESS)
        e = lt->f.MatmulPreferenceSetAttribute(pref, LT_PREF_REDUCTION_SCHEME_MASK, &mask,
                                               sizeof mask);
    for (int i = LT_PREF_MIN_ALIGNMENT_A; i <= LT_PREF_MIN_ALIGNMENT_D && e == LT_SUCCESS; i++)
        e = lt->f.MatmulPreferenceSetAttribute(pref, i, &s->key.align, sizeof s->key.align);
    if (e == LT_SUCCESS)
        e = lt->f.MatmulAlgoGetHeuristic(lt->handle, s->desc, s->w, s->x, s->y, s->y, pref, most,
                                         out, &n);
    lt->f.MatmulPreferenceDestroy(pref);
    for (int i = 0; i < n && e == LT_SUCCESS; i++)
        if (out[i].state == LT_SUCCESS && out[i].workspace <= workspace)
            out[kept++] = out[i];
    return kept;
}

/* ---- by name --------------------------------------------------------------------------------- */

static bool accepts(const struct lt *lt, const struct lt_shape *s, const struct lt_algo *algo,
                    size_t workspace, size_t *needs)
{
    struct lt_found found = {0};
    int e = lt->f.MatmulAlgoCheck(lt->handle, s->desc, s->w, s->x, s->y, s->y, algo, &found);
    *needs = found.workspace;
    return e == LT_SUCCESS && found.workspace <= workspace;
}

static bool by_attributes(const struct lt *lt, const struct gpu_lt *from, int type,
                          struct lt_algo *algo)
{
    const uint16_t inner = (uint16_t)from->inner, cluster = (uint16_t)from->cluster;
    const struct lt_sums sums = lt_sums_of(type);
    int e = lt->f.MatmulAlgoInit(lt->handle, sums.compute, sums.type, type, type, sums.type,
                                 sums.type, from->id, algo);
    for (size_t i = 0; i < N_WORDS && e == LT_SUCCESS; i++)
        e = lt->f.MatmulAlgoConfigSetAttribute(algo, words[i].which,
                                               (const char *)from + words[i].at, sizeof(uint32_t));
    if (e == LT_SUCCESS)
        e = lt->f.MatmulAlgoConfigSetAttribute(algo, LT_ALGO_INNER_SHAPE, &inner, sizeof inner);
    if (e == LT_SUCCESS)
        e = lt->f.MatmulAlgoConfigSetAttribute(algo, LT_ALGO_CLUSTER_SHAPE, &cluster,
                                               sizeof cluster);
    return e == LT_SUCCESS;
}

bool lt_make(const struct lt *lt, const struct lt_shape *s, const struct gpu_lt *from,
             size_t workspace, struct lt_way *out)
{
    if (from->has_raw && (size_t)from->ver == lt->f.GetVersion()) {
        memcpy(&out->algo, from->raw, sizeof out->algo);
        if (accepts(lt, s, &out->algo, workspace, &out->workspace))
            return true;
    }
    return by_attributes(lt, from, s->key.type, &out->algo) &&
           accepts(lt, s, &out->algo, workspace, &out->workspace);
}

/* ---- all there are --------------------------------------------------------------------------- */

/* What a configuration keeps of an algorithm. False: it does not say what it is. */
static bool describe(const struct lt *lt, const struct lt_algo *algo, size_t workspace,
                     struct gpu_lt *out)
{
    uint16_t inner = 0, cluster = 0;
    size_t n;
    *out = (struct gpu_lt){
        .ver = (int)lt->f.GetVersion(), .workspace = (int64_t)workspace, .has_raw = true};
    memcpy(out->raw, algo, sizeof out->raw);
    int e = lt->f.MatmulAlgoConfigGetAttribute(algo, LT_ALGO_ID, &out->id, sizeof out->id, &n);
    for (size_t i = 0; i < N_WORDS && e == LT_SUCCESS; i++)
        e = lt->f.MatmulAlgoConfigGetAttribute(algo, words[i].which, (char *)out + words[i].at,
                                               sizeof(uint32_t), &n);
    if (e == LT_SUCCESS)
        e = lt->f.MatmulAlgoConfigGetAttribute(algo, LT_ALGO_INNER_SHAPE, &inner, sizeof inner, &n);
    if (e == LT_SUCCESS)
        e = lt->f.MatmulAlgoConfigGetAttribute(algo, LT_ALGO_CLUSTER_SHAPE, &cluster,
                                               sizeof cluster, &n);
    out->inner = inner;
    out->cluster = cluster;
    return e == LT_SUCCESS;
}

struct list {
    struct gpu_lt *at;
    int n, most;
};

static void keep(const struct gpu_lt *a, struct list *out)
{
    bool sums_in_f32 =
        a->reduction == LT_REDUCTION_NONE || a->reduction == LT_REDUCTION_COMPUTE_TYPE;
    for (int i = 0; i < out->n; i++)
        if (gpu_lt_same(a, &out->at[i]))
            return;
    if (out->n < out->most && sums_in_f32)
        out->at[out->n++] = *a;
}

/* K of the algorithm cut into parts, which heuristics often leave out for few rows. */
static void add_splits(const struct lt *lt, const struct lt_shape *s, const struct lt_algo *from,
                       struct list *out)
{
    static const int32_t splits[] = {2, 3, 4, 6, 8};
    const uint32_t sums = LT_REDUCTION_COMPUTE_TYPE;
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
        struct lt_algo algo = *from;
        struct gpu_lt a;
        size_t needs;
        if (lt->f.MatmulAlgoConfigSetAttribute(&algo, LT_ALGO_SPLITK, &splits[i], sizeof *splits) ==
                LT_SUCCESS &&
            lt->f.MatmulAlgoConfigSetAttribute(&algo, LT_ALGO_REDUCTION, &sums, sizeof sums) ==
                LT_SUCCESS &&
            accepts(lt, s, &algo, lt->room, &needs) && describe(lt, &algo, needs, &a))
            keep(&a, out);
    }
}

int lt_algorithms(struct lt *lt, struct gpu_lt *out, int most)
{
    const struct lt_shape *s = lt->first;
    struct lt_found found[SUGGESTIONS];
    struct list all = {out, 0, most};
    struct gpu_lt a;
    int n_found;
    if (!s || s->refused || most < 1)
        return 0;
    n_found = lt_suggestions(lt, s, lt->room, found, SUGGESTIONS);
    for (int i = 0; i < n_found; i++)
        if (describe(lt, &found[i].algo, found[i].workspace, &a))
            keep(&a, &all);
    for (int i = 0; i < n_found && i < SPLIT_OF; i++)
        add_splits(lt, s, &found[i].algo, &all);
    return all.n;
}

void lt_drop(struct lt *lt)
{
    if (lt->fallbacks)
        lt->fallbacks->algorithms++;
}

/* ---- proof ----------------------------------------------------------------------------------- */

int lt_run(const struct lt *lt, struct lt_shape *s, const struct lt_way *way,
           const struct lt_product *p, void *workspace, cudaStream_t stream)
{
    const float beta = p->add ? 1 : 0;
    const int32_t one = 1, zero = 0;
    const bool whole = p->type == CUDA_R_8I;
    return lt->f.Matmul(lt->handle, s->desc, whole ? (const void *)&one : &p->factor, p->w, s->w,
                        p->x, s->x, whole ? (const void *)&zero : &beta, p->y, s->y, p->y, s->y,
                        &way->algo, workspace, way->workspace, stream);
}

/* When all that was submitted is done: memory that is not pinned is copied by the driver, which
 * would wait for a GPU that hangs without end. */
static bool idle(const struct lt *lt, cudaStream_t stream)
{
    struct ring alone = {.patience = RING_PATIENCE};
    return ring_await(lt->ring ? lt->ring : &alone, stream) == OK;
}

/* Some rows of y. */
static bool rows_of(const struct lt *lt, const struct lt_product *p, cudaStream_t stream,
                    float *out)
{
    if (!idle(lt, stream))
        return false;
    for (int i = 0; i < PROOF_ROWS; i++) {
        int64_t row = i * (p->m - 1) / (PROOF_ROWS - 1);
        if (cudaMemcpyAsync(out + i * p->n, p->y + row * p->y_stride, (size_t)p->n * sizeof *out,
                            cudaMemcpyDeviceToHost, stream) != cudaSuccess)
            return false;
    }
    return idle(lt, stream);
}

static bool agree(const float *a, const float *b, int64_t n)
{
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += (double)a[i] * a[i];
    double near = PROOF_NEAR * sqrt(squares / (double)n);
    for (int64_t i = 0; i < n; i++) /* infinite and NaN where the other is */
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0 && !(fabs((double)a[i] - b[i]) <= near))
            return false;
    return true;
}

/* What is to be added lies in y itself, which two products in turn would both add to: it is kept on
 * the host in between. From p->y on, with what lies between rows. */
struct added {
    void *bytes;
    size_t n;
};

static bool keep_added(const struct lt *lt, const struct lt_product *p, cudaStream_t stream,
                       struct added *a)
{
    *a = (struct added){0};
    if (!p->add)
        return true;
    a->n = (size_t)((p->m - 1) * p->y_stride + p->n) * sizeof *p->y;
    return idle(lt, stream) && big_alloc(a->n, &a->bytes) == OK &&
           cudaMemcpyAsync(a->bytes, p->y, a->n, cudaMemcpyDeviceToHost, stream) == cudaSuccess &&
           idle(lt, stream);
}

static bool put_added(const struct lt *lt, const struct lt_product *p, cudaStream_t stream,
                      const struct added *a)
{
    return !p->add ||
           (idle(lt, stream) &&
            cudaMemcpyAsync(p->y, a->bytes, a->n, cudaMemcpyHostToDevice, stream) == cudaSuccess &&
            idle(lt, stream));
}

/* Rows of the product alone. */
static void subtract(const struct lt_product *p, const struct added *a, float *rows)
{
    for (int i = 0; i < PROOF_ROWS && p->add; i++) {
        const float *from =
            (const float *)a->bytes + i * (p->m - 1) / (PROOF_ROWS - 1) * p->y_stride;
        for (int64_t j = 0; j < p->n; j++)
            rows[i * p->n + j] -= from[j];
    }
}

static bool same_rows(const struct lt_product *p, const struct added *a, float *want, float *got)
{
    subtract(p, a, want);
    subtract(p, a, got);
    return agree(want, got, PROOF_ROWS * p->n);
}

int lt_prove(struct lt *lt, struct lt_shape *s, const struct lt_product *p, void *workspace,
             cudaStream_t stream)
{
    size_t n = (size_t)(PROOF_ROWS * p->n);
    struct added added;
    if (!keep_added(lt, p, stream, &added)) { /* another time */
        big_free(added.bytes, added.n);
        return lt_run(lt, s, &s->way, p, workspace, stream);
    }
    float *want = xmalloc(2 * n * sizeof *want), *got = want + n;
    int e = lt_run(lt, s, &s->way, p, workspace, stream);
    bool right = e == LT_SUCCESS && rows_of(lt, p, stream, want) &&
                 put_added(lt, p, stream, &added) &&
                 lt_run(lt, s, &s->wish, p, workspace, stream) == LT_SUCCESS &&
                 rows_of(lt, p, stream, got) && same_rows(p, &added, want, got);
    s->doubted = false;
    if (right) {
        s->way = s->wish;
    } else if (e == LT_SUCCESS && idle(lt, stream)) { /* a lost GPU is another matter */
        lt_drop(lt);
        if (!lt->told_algo)
            log_warn("cuda: the algorithm that configuration %s names for [%lld, %lld] and %lld "
                     "rows computes something else than cuBLASLt's own suggestion, which is taken "
                     "instead, here and where it happens again",
                     lt->prefer ? lt->prefer->id : "-", (long long)p->n, (long long)p->k,
                     (long long)p->m);
        lt->told_algo = true;
        e = put_added(lt, p, stream, &added) ? lt_run(lt, s, &s->way, p, workspace, stream)
                                             : LT_EXECUTION_FAILED;
    }
    xfree(want);
    if (added.bytes)
        big_free(added.bytes, added.n);
    return e;
}
