/* tune_field.c - see tune_field.h. Times are compared within a round only; the order within a round
 * is shuffled by a generator of its own, so that two runs on the same machine do the same. */
#include "kernels/gpu/tune_field.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/median.h"
#include "kernels/base/rng.h"
#include "kernels/gpu/registry.h"

enum { DUEL_MAX = 31, ROUNDS_MIN = 5 };

static const double CLOCK_JUMP = 0.05; /* the same launch, twice in a round */

const struct tune_effort tune_full = {3, 7, 8, 15, TUNE_LT_MAX}, tune_quick = {2, 2, 4, 7, 8};

bool tune_same(const struct gpu_params *a, const struct gpu_params *b)
{
    if (a->path != b->path)
        return false;
    if (gpu_path_own(a->path))
        return a->nt == b->nt && a->splits == b->splits;
    return a->lt && b->lt ? gpu_lt_same(a->lt, b->lt) : a->lt == b->lt;
}

/* ---- candidates ------------------------------------------------------------------------------ */

/* Adds a launch if it is legal and right. */
static enum status consider(struct tune_bench *b, int cc, struct tune_field *f,
                            const struct gpu_params *p)
{
    bool right = false;
    if (f->n == TUNE_CANDS_MAX || gpu_legal(cc, f->shape.w, p) != OK)
        return OK;
    TRY(b->d->check(b->d->ctx, p, &right));
    if (right)
        f->cand[f->n++] = (struct tune_cand){.p = *p};
    else
        b->rejected++;
    return OK;
}

static enum status by_own(struct tune_bench *b, int cc, struct tune_field *f)
{
    int64_t chunks = (f->shape.k + 63) / 64;
    for (int s = 1; s <= GPU_SPLITS_MAX && (s == 1 || s * GPU_SPLIT_CHUNKS <= chunks); s++) {
        bool fold = f->shape.m > GPU_LARGE_M && s > 1; /* built for the largest tile */
        for (int i = fold ? gpu_n_tiles() - 1 : 0; i < gpu_n_tiles(); i++) {
            struct gpu_params p = {
                GPU_PATH_SKINNY, gpu_tiles[i].nt, gpu_tiles[i].r, gpu_stages(cc), s, NULL};
            TRY(consider(b, cc, f, &p));
        }
        for (int i = 0; i < gpu_n_mma8_tiles() && f->shape.m > GPU_MMA8_MIN_M; i++) {
            struct gpu_params p = {
                GPU_PATH_MMA8, gpu_mma8_tiles[i].nt, gpu_mma8_tiles[i].r, GPU_MMA8_STAGES, s, NULL};
            TRY(consider(b, cc, f, &p));
        }
    }
    return OK;
}

/* The library's own first suggestion, then each algorithm that it has for the shape. */
static enum status by_lt(struct tune_bench *b, int cc, struct tune_field *f)
{
    bool half = gpu_skinny_of(f->shape.w) == GPU_SKINNY_16;
    struct gpu_params p = {half ? GPU_PATH_LT : GPU_PATH_DEQUANT_LT, 0, 0, 0, 1, NULL};
    TRY(consider(b, cc, f, &p));
    int n = b->d->algorithms ? b->d->algorithms(b->d->ctx, f->lt, b->effort.algorithms) : 0;
    for (int i = 0; i < n; i++) {
        p.lt = &f->lt[i];
        TRY(consider(b, cc, f, &p));
    }
    return OK;
}

/* With x in e4m3 or e2m1 too: our kernel's tiles, and cuBLASLt's first suggestion. */
static enum status by_rounding(struct tune_bench *b, int cc, int may, struct tune_field *f)
{
    const bool fp4 = x_type_of(f->shape.w) == X_FP4;
    const enum gpu_path own = fp4 ? GPU_PATH_W4A4 : GPU_PATH_W8A8;
    struct gpu_params lt = {.path = fp4 ? GPU_PATH_LT_FP4 : GPU_PATH_LT_FP8, .splits = 1};
    for (int i = 0; i < gpu_n_mma8_tiles() && f->shape.m > GPU_MMA8_MIN_M; i++) {
        struct gpu_params p = {own, gpu_mma8_tiles[i].nt, gpu_mma8_tiles[i].r, GPU_MMA8_STAGES, 1,
                               NULL};
        TRY(consider(b, cc, f, &p));
    }
    return may & GPU_MAY_LT && (!fp4 || f->shape.m > GPU_MMA8_MIN_M) ? consider(b, cc, f, &lt) : OK;
}

/* The present choice, which is kept where nothing is faster. One that is wrong is replaced whatever
 * it costs. */
static enum status find_base(struct tune_field *f)
{
    const struct gpu_shape *s = &f->shape;
    f->broken = true;
    for (int i = 0; i < f->n; i++)
        f->broken &= !tune_same(&f->cand[i].p, &f->base);
    if (f->n == 0)
        return fail(ERR_INTERNAL, "no launch computes %s [%lld, %lld] right for %lld rows",
                    dtype_info(s->w)->name, (long long)s->n, (long long)s->k, (long long)s->m);
    if (!f->broken)
        return OK;
    log_warn("tune: the launch of %s [%lld, %lld] for %lld rows computes a wrong result; it is "
             "replaced",
             dtype_info(s->w)->name, (long long)s->n, (long long)s->k, (long long)s->m);
    int splits = f->base.splits;
    f->base = f->cand[0].p;
    for (int i = 0; i < f->n; i++)
        if (f->cand[i].p.splits == splits)
            f->base = f->cand[i].p;
    return OK;
}

static enum status candidates(struct tune_bench *b, const struct gpu_config *c, int may,
                              struct tune_field *f)
{
    int cc = c->match.cc[0];
    f->base = gpu_choose(c, &f->shape, may);
    if (f->base.lt) { /* the configuration's list will change */
        f->base_lt = *f->base.lt;
        f->base.lt = &f->base_lt;
    }
    TRY(by_own(b, cc, f));
    if (may & GPU_MAY_LT)
        TRY(by_lt(b, cc, f));
    if (may & GPU_MAY_ROUND)
        TRY(by_rounding(b, cc, may, f));
    bool there = false;
    for (int i = 0; i < f->n; i++)
        there |= tune_same(&f->cand[i].p, &f->base);
    if (!there && f->base.lt) /* the library does not suggest it any more */
        TRY(consider(b, cc, f, &f->base));
    return find_base(f);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Times cand[0 .. n) in any order between two timings of the present choice. */
static enum status one_round(struct tune_bench *b, struct tune_field *f, int n, bool *kept)
{
    double first, last, us[TUNE_CANDS_MAX];
    int order[TUNE_CANDS_MAX];
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(rng_philox(1, b->draws++, 0).v[0] % (uint32_t)(i + 1)), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    TRY(b->d->time(b->d->ctx, &f->base, &first));
    for (int i = 0; i < n; i++)
        TRY(b->d->time(b->d->ctx, &f->cand[order[i]].p, &us[order[i]]));
    TRY(b->d->time(b->d->ctx, &f->base, &last));
    *kept = fabs(last / first - 1) <= CLOCK_JUMP;
    if (!*kept) {
        b->dropped++;
        return OK;
    }
    for (int i = 0; i < n; i++)
        if (f->cand[i].n < TUNE_SAMPLES)
            f->cand[i].ratio[f->cand[i].n++] = us[i] / ((first + last) / 2);
    if (f->n_base < TUNE_SAMPLES)
        f->base_us[f->n_base++] = (first + last) / 2;
    return OK;
}

static enum status rounds(struct tune_bench *b, struct tune_field *f, int n, int wanted)
{
    for (int good = 0, all = 0; good < wanted && all < 2 * wanted; all++) {
        bool kept;
        TRY(one_round(b, f, n, &kept));
        good += kept;
    }
    for (int i = 0; i < n; i++)
        f->cand[i].median = f->cand[i].n ? median_of(f->cand[i].ratio, f->cand[i].n) : INFINITY;
    return OK;
}

static int by_median(const void *a, const void *b)
{
    double x = ((const struct tune_cand *)a)->median, y = ((const struct tune_cand *)b)->median;
    return (x > y) - (x < y);
}

enum status tune_screen(struct tune_bench *b, const struct gpu_config *c, int may,
                        struct tune_field *f)
{
    TRY(b->d->begin(b->d->ctx, &f->shape));
    f->n = f->n_base = 0;
    TRY(candidates(b, c, may, f));
    TRY(rounds(b, f, f->n, b->effort.all));
    qsort(f->cand, (size_t)f->n, sizeof *f->cand, by_median);
    return rounds(b, f, f->n < b->effort.n_best ? f->n : b->effort.n_best, b->effort.best);
}

/* ---- duels ----------------------------------------------------------------------------------- */

enum status tune_fight(struct tune_bench *b, tune_time_fn *time, void *ctx, const void *x,
                       const void *y, struct tune_duel *out)
{
    double ratio[DUEL_MAX], first[DUEL_MAX];
    int n = 0;
    *out = (struct tune_duel){.ratio = 1, .lo = 1, .hi = 1};
    for (int all = 0; n < b->effort.duel && all < 2 * b->effort.duel; all++) {
        double us[4];
        for (int i = 0; i < 4; i++)
            TRY(time(ctx, i == 0 || i == 3 ? x : y, &us[i]));
        if (fabs(us[3] / us[0] - 1) > CLOCK_JUMP || fabs(us[2] / us[1] - 1) > CLOCK_JUMP) {
            b->dropped++;
            continue;
        }
        first[n] = (us[0] + us[3]) / 2;
        ratio[n] = (us[1] + us[2]) / 2 / first[n];
        n++;
    }
    if (n < ROUNDS_MIN)
        return OK;
    out->valid = true;
    out->ratio = median_of(ratio, n); /* sorts them */
    out->first_us = median_of(first, n);
    out->second_us = out->first_us * out->ratio;
    int skip = (int)((n - 1.96 * sqrt(n)) / 2); /* of a binomial's tail */
    out->lo = ratio[skip];
    out->hi = ratio[n - 1 - skip];
    return OK;
}

static enum status time_launch(void *ctx, const void *params, double *us)
{
    const struct tune_bench *b = ctx;
    return b->d->time(b->d->ctx, params, us);
}

enum status tune_fight_launches(struct tune_bench *b, const struct gpu_params *first,
                                const struct gpu_params *second, struct tune_duel *out)
{
    return tune_fight(b, time_launch, b, first, second, out);
}
