/* tune.c - see tune.h. Times are compared within a round only; the order within a round is shuffled
 * by a generator of its own, so that two runs on the same machine do the same. */
#include "kernels/gpu/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/gpu/registry.h"
#include "kernels/gpu/tune_log.h"

enum { CANDS_MAX = 40, SAMPLES = 12, DUEL_MAX = 31, ROUNDS_MIN = 5 };

static const double CLOCK_JUMP = 0.05; /* the same launch, twice in a round */
static const double LAUNCH_US = 20;    /* what a timing takes beside the launches */
static const double GAIN_MIN = 0.97;   /* time after / before from which a change is worth it */
static const double SLOWER = 1.01;     /* above, a change is never made */

struct effort { /* rounds for all, for the best few, in the duel */
    int all, best, n_best, duel;
};
static const struct effort full = {3, 7, 8, 15}, quick = {2, 2, 4, 7};

struct cand {
    struct gpu_params p;
    double ratio[SAMPLES], median; /* to the present choice, in the same round */
    int n;
};

struct field { /* the candidates of one shape */
    struct gpu_shape shape;
    struct gpu_params base;
    struct cand cand[CANDS_MAX];
    int n;
    double base_us[SAMPLES]; /* of each round */
    int n_base;
    bool broken; /* the present choice computes something else: base is another */
};

struct duel {
    double ratio, lo, hi; /* time of the second / the first: median, 95 % confidence */
    double first_us, second_us;
    bool valid;
};

struct tuner {
    const struct tune_device *d;
    const struct tune_options *o;
    struct gpu_config *c;
    struct buf *log;
    struct effort effort;
    uint64_t draws;      /* of the generator that shuffles */
    struct field *field; /* [rows] */
    struct tune_done done;
    struct tune_done *all; /* the weights that are done */
    int n_all;
    double spent, worked; /* seconds, units of work() */
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *v, int n)
{
    double copy[DUEL_MAX];
    memcpy(copy, v, (size_t)n * sizeof *v);
    qsort(copy, (size_t)n, sizeof *copy, by_value);
    return n % 2 ? copy[n / 2] : (copy[n / 2 - 1] + copy[n / 2]) / 2;
}

static bool same(const struct gpu_params *a, const struct gpu_params *b)
{
    return a->path == b->path &&
           (a->path != GPU_PATH_SKINNY || (a->nt == b->nt && a->splits == b->splits));
}

/* ---- candidates ------------------------------------------------------------------------------ */

/* Adds a launch if it is legal and right. */
static enum status consider(struct tuner *t, struct field *f, struct gpu_params p)
{
    bool right = false;
    if (f->n == CANDS_MAX || gpu_legal(t->c->match.cc[0], f->shape.w, &p) != OK)
        return OK;
    TRY(t->d->check(t->d->ctx, &p, &right));
    if (right)
        f->cand[f->n++] = (struct cand){.p = p};
    else
        t->done.rejected++;
    return OK;
}

static enum status candidates(struct tuner *t, struct field *f)
{
    int64_t chunks = (f->shape.k + 63) / 64;
    int stages = gpu_stages(t->c->match.cc[0]);
    bool half = gpu_skinny_of(f->shape.w) == GPU_SKINNY_16;
    for (int s = 1; s <= GPU_SPLITS_MAX && (s == 1 || s * GPU_SPLIT_CHUNKS <= chunks); s++) {
        bool fold = f->shape.m > GPU_LARGE_M && s > 1; /* built for the largest tile */
        for (int i = fold ? gpu_n_tiles() - 1 : 0; i < gpu_n_tiles(); i++)
            TRY(consider(t, f,
                         (struct gpu_params){GPU_PATH_SKINNY, gpu_tiles[i].nt, gpu_tiles[i].r,
                                             stages, s, NULL}));
    }
    if (t->o->lt)
        TRY(consider(
            t, f, (struct gpu_params){half ? GPU_PATH_LT : GPU_PATH_DEQUANT_LT, 0, 0, 0, 1, NULL}));
    return OK;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Times cand[0 .. n) in any order between two timings of the present choice. */
static enum status one_round(struct tuner *t, struct field *f, int n, bool *kept)
{
    double first, last, us[CANDS_MAX];
    int order[CANDS_MAX];
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(rng_philox(1, t->draws++, 0).v[0] % (uint32_t)(i + 1)), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    TRY(t->d->time(t->d->ctx, &f->base, &first));
    for (int i = 0; i < n; i++)
        TRY(t->d->time(t->d->ctx, &f->cand[order[i]].p, &us[order[i]]));
    TRY(t->d->time(t->d->ctx, &f->base, &last));
    *kept = fabs(last / first - 1) <= CLOCK_JUMP;
    if (!*kept) {
        t->done.dropped++;
        return OK;
    }
    for (int i = 0; i < n; i++)
        if (f->cand[i].n < SAMPLES)
            f->cand[i].ratio[f->cand[i].n++] = us[i] / ((first + last) / 2);
    if (f->n_base < SAMPLES)
        f->base_us[f->n_base++] = (first + last) / 2;
    return OK;
}

static enum status rounds(struct tuner *t, struct field *f, int n, int wanted)
{
    for (int good = 0, all = 0; good < wanted && all < 2 * wanted; all++) {
        bool kept;
        TRY(one_round(t, f, n, &kept));
        good += kept;
    }
    for (int i = 0; i < n; i++)
        f->cand[i].median = f->cand[i].n ? median(f->cand[i].ratio, f->cand[i].n) : INFINITY;
    return OK;
}

static int by_median(const void *a, const void *b)
{
    return by_value(&((const struct cand *)a)->median, &((const struct cand *)b)->median);
}

/* A present choice that is wrong is replaced whatever it costs. */
static enum status find_base(struct tuner *t, struct field *f)
{
    const struct gpu_shape *s = &f->shape;
    f->base = gpu_choose(t->c, s, t->o->lt);
    f->broken = true;
    for (int i = 0; i < f->n; i++)
        f->broken &= !same(&f->cand[i].p, &f->base);
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

/* All candidates of a shape, then the best again. */
static enum status screen(struct tuner *t, struct field *f)
{
    TRY(t->d->begin(t->d->ctx, &f->shape));
    f->n = f->n_base = 0;
    TRY(candidates(t, f));
    TRY(find_base(t, f));
    TRY(rounds(t, f, f->n, t->effort.all));
    qsort(f->cand, (size_t)f->n, sizeof *f->cand, by_median);
    int best = f->n < t->effort.n_best ? f->n : t->effort.n_best;
    TRY(rounds(t, f, best, t->effort.best));
    for (int i = 0; i < f->n && t->log; i++)
        tune_log_ratio(t->log, &f->shape, &f->cand[i].p, f->cand[i].ratio, f->cand[i].n);
    return OK;
}

/* Two launches in turns: A B B A, so that a clock that drifts favours neither. */
static enum status fight(struct tuner *t, const struct gpu_params *a, const struct gpu_params *b,
                         struct duel *out)
{
    double ratio[DUEL_MAX], first[DUEL_MAX], second[DUEL_MAX];
    int n = 0;
    *out = (struct duel){.ratio = 1, .lo = 1, .hi = 1};
    for (int all = 0; n < t->effort.duel && all < 2 * t->effort.duel; all++) {
        double us[4];
        for (int i = 0; i < 4; i++)
            TRY(t->d->time(t->d->ctx, i == 0 || i == 3 ? a : b, &us[i]));
        if (fabs(us[3] / us[0] - 1) > CLOCK_JUMP || fabs(us[2] / us[1] - 1) > CLOCK_JUMP) {
            t->done.dropped++;
            continue;
        }
        first[n] = (us[0] + us[3]) / 2;
        second[n] = (us[1] + us[2]) / 2;
        ratio[n] = second[n] / first[n];
        n++;
    }
    if (n < ROUNDS_MIN)
        return OK;
    out->valid = true;
    out->ratio = median(ratio, n);
    out->first_us = median(first, n);
    out->second_us = out->first_us * out->ratio;
    qsort(ratio, (size_t)n, sizeof *ratio, by_value);
    int skip = (int)((n - 1.96 * sqrt(n)) / 2); /* of a binomial's tail */
    out->lo = ratio[skip];
    out->hi = ratio[n - 1 - skip];
    return OK;
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* The best launch of a shape with these splits, or by cuBLASLt; NULL: none is right. */
static const struct cand *best_of(const struct field *f, int splits)
{
    const struct cand *best = NULL;
    for (int i = 0; i < f->n; i++) {
        const struct cand *c = &f->cand[i];
        if ((c->p.path != GPU_PATH_SKINNY || c->p.splits == splits) &&
            (!best || c->median < best->median))
            best = c;
    }
    return best;
}

/* Sum over all rows of log(time / present); infinite when a shape cannot be computed so. */
static double score(const struct tuner *t, int splits)
{
    double sum = 0;
    for (int i = 0; i < t->o->n_rows; i++) {
        const struct cand *c = best_of(&t->field[i], splits);
        sum += c ? log(c->median) : INFINITY;
    }
    return sum;
}

static int best_splits(const struct tuner *t, int present)
{
    int best = present;
    double least = score(t, present) - 0.01 * t->o->n_rows; /* a change must be worth it */
    for (int s = 1; s <= GPU_SPLITS_MAX; s++) {
        double sum = score(t, s);
        if (sum < least) {
            least = sum;
            best = s;
        }
    }
    return best;
}

static void add_exception(struct tuner *t, const struct field *f, const struct gpu_params *p,
                          const struct duel *d)
{
    struct gpu_exception *x = &t->done.x[t->done.n_x++];
    *x = (struct gpu_exception){
        f->shape.w, f->shape.n,   f->shape.k,  (int)f->shape.m,
        *p,         d->second_us, d->first_us, 50 * (d->hi - d->lo) / d->ratio,
        {.id = -1}};
    t->done.changed += f->broken || !same(p, &f->base);
}

/* Duels of the present choice and the best with `splits`, for all rows. With another number of
 * splits than now every shape must be no slower, and all together faster. False: nothing of it. */
static enum status decide(struct tuner *t, int splits, bool change, bool *taken)
{
    struct duel d[TUNE_ROWS_MAX];
    struct gpu_params p[TUNE_ROWS_MAX];
    double sum = 0;
    *taken = false;
    for (int i = 0; i < t->o->n_rows; i++) {
        struct field *f = &t->field[i];
        const struct cand *best = best_of(f, splits);
        p[i] = best ? best->p : f->base;
        d[i] = (struct duel){.ratio = 1, .lo = 1, .hi = 1};
        if (!same(&p[i], &f->base)) {
            TRY(t->d->begin(t->d->ctx, &f->shape));
            TRY(fight(t, &f->base, &p[i], &d[i]));
        }
        if (change && ((!d[i].valid && !same(&p[i], &f->base)) || d[i].ratio > SLOWER))
            return OK;
        sum += log(d[i].ratio);
    }
    if (change && exp(sum / t->o->n_rows) > GAIN_MIN)
        return OK;
    *taken = true;
    for (int i = 0; i < t->o->n_rows; i++) {
        struct field *f = &t->field[i];
        bool worth = d[i].valid && d[i].ratio <= GAIN_MIN && d[i].hi < 1;
        double us = f->n_base ? median(f->base_us, f->n_base) : gpu_cost(t->c, &f->shape, &f->base);
        if (!d[i].valid)
            d[i].first_us = d[i].second_us = us;
        if (!change && !worth)
            d[i] = (struct duel){1, 1, 1, us, us, false};
        if (d[i].valid || f->broken)
            add_exception(t, f, d[i].valid ? &p[i] : &f->base, &d[i]);
        t->done.ratio[i] = d[i].ratio;
        t->done.us[i] = us * d[i].ratio;
    }
    return OK;
}

/* What the weight had, where this run found nothing better. */
static void keep_exceptions(struct tuner *t)
{
    const struct tune_weight *w = &t->done.weight;
    for (int i = 0; i < t->c->n_gemm; i++) {
        const struct gpu_exception *x = &t->c->gemm[i];
        bool replaced = x->w != w->w || x->n != w->n || x->k != w->k;
        for (int j = 0; j < t->done.n_x && !replaced; j++)
            replaced = t->done.x[j].m == x->m;
        if (!replaced && t->done.n_x < TUNE_ROWS_MAX)
            t->done.x[t->done.n_x++] = *x;
    }
}

static enum status tune_weight(struct tuner *t, const struct tune_weight *w)
{
    bool taken = false;
    t->done = (struct tune_done){.weight = *w, .n = t->o->n_rows};
    for (int i = 0; i < t->o->n_rows; i++) {
        struct field *f = &t->field[i];
        f->shape = (struct gpu_shape){w->w, t->o->rows[i], w->n, w->k};
        TRY(screen(t, f));
        t->done.m[i] = t->o->rows[i];
        t->done.ratio[i] = 1;
        if (f->base.path == GPU_PATH_SKINNY && f->n_base)
            t->done.fit[i] = median(f->base_us, f->n_base) / gpu_cost(t->c, &f->shape, &f->base);
    }
    int present = gpu_splits(t->c, w->w, w->n, w->k), splits = best_splits(t, present);
    if (splits != present)
        TRY(decide(t, splits, true, &taken));
    if (!taken) {
        TRY(decide(t, present, false, &taken));
        keep_exceptions(t);
    }
    return OK;
}

/* ---- the configuration ----------------------------------------------------------------------- */

/* The exceptions of a weight are now those of `d`. */
static void apply(struct gpu_config *c, const struct tune_done *d)
{
    int n = 0;
    for (int i = 0; i < c->n_gemm; i++) {
        const struct gpu_exception *x = &c->gemm[i];
        if (x->w != d->weight.w || x->n != d->weight.n || x->k != d->weight.k)
            c->gemm[n++] = *x;
    }
    for (int i = 0; i < d->n_x && n < TUNE_EXCEPTIONS_MAX; i++)
        c->gemm[n++] = d->x[i];
    c->n_gemm = n;
}

struct fits { /* measured / modelled, by kernel */
    double *v[N_GPU_KERNEL];
    int n[N_GPU_KERNEL];
};

static void scale_kernel(struct gpu_eff *e, double by)
{
    e->bw = fmin(e->bw / by, 1.5);
    e->fl = fmin(e->fl / by, 1.5);
    e->t0_us *= by;
    e->splitk_us *= by;
}

/* Does a weight get the same launches from both? */
static bool unchanged(const struct gpu_config *a, const struct gpu_config *b,
                      const struct tune_options *o, const struct tune_weight *w)
{
    for (int i = 0; i < o->n_rows; i++) {
        struct gpu_shape s = {w->w, o->rows[i], w->n, w->k};
        struct gpu_params p = gpu_choose(a, &s, o->lt), q = gpu_choose(b, &s, o->lt);
        if (!same(&p, &q))
            return false;
    }
    return true;
}

/* Makes exceptions of the launches that a weight has now. */
static void pin(struct gpu_config *c, const struct tune_options *o, const struct tune_done *d)
{
    const struct tune_weight *w = &d->weight;
    for (int i = 0; i < o->n_rows && c->n_gemm < TUNE_EXCEPTIONS_MAX; i++) {
        struct gpu_shape s = {w->w, o->rows[i], w->n, w->k};
        if (!gpu_exception_of(c, &s))
            c->gemm[c->n_gemm++] = (struct gpu_exception){
                w->w,     w->n,     w->k, o->rows[i], gpu_choose(c, &s, o->lt),
                d->us[i], d->us[i], 0,    {.id = -1}};
    }
}

/* Efficiencies so that the model says what was measured, in the middle. What was measured stays: a
 * weight that the new model would launch otherwise gets exceptions. */
static void fit(struct gpu_config *c, const struct fits *fits, const struct tuner *t)
{
    struct gpu_config now = *c;
    for (int i = 0; i < N_GPU_KERNEL; i++) {
        if (fits->n[i] < 3)
            continue;
        qsort(fits->v[i], (size_t)fits->n[i], sizeof(double), by_value);
        scale_kernel(&now.eff[i], fits->v[i][fits->n[i] / 2]);
    }
    for (int i = 0; i < t->n_all; i++)
        if (!unchanged(c, &now, t->o, &t->all[i].weight))
            pin(c, t->o, &t->all[i]);
    memcpy(c->eff, now.eff, sizeof c->eff);
}

/* ---- a run ----------------------------------------------------------------------------------- */

/* How long a weight takes, in units of its own: launches, and what each costs beside. */
static double work(const struct tuner *t, int i)
{
    double sum = 0;
    for (int j = 0; j < t->o->n_rows; j++) {
        const struct tune_weight *w = &t->o->weights[i];
        struct gpu_shape s = {w->w, t->o->rows[j], w->n, w->k};
        struct gpu_params p = gpu_choose(t->c, &s, t->o->lt);
        sum += gpu_cost(t->c, &s, &p) + LAUNCH_US;
    }
    return sum;
}

static void report(const struct tuner *t, int i, double start, struct tune_result *out)
{
    double elapsed = t->d->now(t->d->ctx) - start, left = 0;
    for (int j = i; j < t->o->n_weights; j++)
        left += work(t, j);
    struct tune_progress p = {.done = i,
                              .total = t->o->n_weights,
                              .weight = i < t->o->n_weights ? &t->o->weights[i] : NULL,
                              .elapsed = elapsed,
                              .left = t->worked > 0 ? t->spent / t->worked * left : -1,
                              .gain = out->shapes ? exp(out->gain / out->shapes) : 1};
    if (t->o->progress)
        t->o->progress(t->o->ctx, &p);
}

static void count(const struct tuner *t, struct tune_result *out, struct fits *fits)
{
    const struct tune_done *d = &t->done;
    enum gpu_kernel kernel = gpu_skinny_of(d->weight.w);
    out->weights++;
    out->changed += d->changed;
    out->rejected += d->rejected;
    out->dropped += d->dropped;
    for (int i = 0; i < d->n; i++) {
        out->shapes++;
        out->gain -= log(d->ratio[i]); /* summed here, a mean at the end */
        out->worst = fmin(out->worst, 1 / d->ratio[i]);
        if (d->fit[i] > 0)
            fits->v[kernel][fits->n[kernel]++] = d->fit[i];
    }
}

/* Measured by an earlier run: for the same rows, and launches that there are. */
static bool is_known(struct tuner *t, const struct tune_weight *w)
{
    struct tune_done *d = &t->done;
    if (!tune_log_find(t->log, w, d) || d->n != t->o->n_rows)
        return false;
    for (int i = 0; i < d->n; i++)
        if (d->m[i] != t->o->rows[i])
            return false;
    for (int i = 0; i < d->n_x; i++)
        if (gpu_legal(t->c->match.cc[0], w->w, &d->x[i].p) != OK)
            return false;
    return true;
}

static enum status all_weights(struct tuner *t, struct tune_result *out, struct fits *fits)
{
    double start = t->d->now(t->d->ctx);
    for (int i = 0; i < t->o->n_weights; i++) {
        double now = t->d->now(t->d->ctx) - start;
        report(t, i, start, out);
        bool known = is_known(t, &t->o->weights[i]);
        if (!known) {
            double units = work(t, i), rate = t->worked > 0 ? t->spent / t->worked : 0;
            if (t->o->budget > 0 && t->worked > 0 && now + rate * units > t->o->budget)
                return OK;
            TRY(tune_weight(t, &t->o->weights[i]));
            tune_log_done(t->log, &t->done);
            t->spent += t->d->now(t->d->ctx) - start - now;
            t->worked += units;
        }
        apply(t->c, &t->done);
        count(t, out, fits);
        t->all[t->n_all++] = t->done;
    }
    out->complete = true;
    report(t, t->o->n_weights, start, out);
    return OK;
}

static struct tuner tuner_of(const struct tune_device *d, const struct tune_options *o,
                             struct gpu_config *c, struct buf *log)
{
    struct tuner t = {.d = d, .o = o, .c = c, .log = log, .effort = o->quick ? quick : full};
    t.field = xcalloc((size_t)o->n_rows, sizeof *t.field);
    t.all = xcalloc((size_t)o->n_weights + 1, sizeof *t.all);
    return t;
}

enum status tune_run(const struct tune_device *d, const struct tune_options *o, struct arena *a,
                     struct gpu_config *c, struct buf *log, struct tune_result *out)
{
    struct fits fits = {0};
    struct gpu_exception *x = arena_calloc(a, (size_t)TUNE_EXCEPTIONS_MAX * sizeof *x);
    if (o->n_rows < 1 || o->n_rows > TUNE_ROWS_MAX)
        return fail(ERR_INVALID, "tune: 1 to %d numbers of rows", TUNE_ROWS_MAX);
    int n = c->n_gemm < TUNE_EXCEPTIONS_MAX ? c->n_gemm : TUNE_EXCEPTIONS_MAX;
    if (n)
        memcpy(x, c->gemm, (size_t)n * sizeof *x);
    c->gemm = x;
    c->n_gemm = n;
    struct tuner t = tuner_of(d, o, c, log);
    for (int i = 0; i < N_GPU_KERNEL; i++)
        fits.v[i] = xcalloc((size_t)(o->n_weights * o->n_rows) + 1, sizeof(double));
    *out = (struct tune_result){.worst = INFINITY};
    enum status s = all_weights(&t, out, &fits);
    if (s == OK)
        fit(c, &fits, &t);
    out->gain = out->shapes ? exp(out->gain / out->shapes) : 1;
    out->worst = out->shapes ? out->worst : 1;
    for (int i = 0; i < N_GPU_KERNEL; i++)
        xfree(fits.v[i]);
    xfree(t.field);
    xfree(t.all);
    return s;
}

enum status tune_verify(const struct tune_device *d, const struct tune_options *o,
                        const struct gpu_config *c, struct tune_result *out)
{
    struct gpu_config model = *c;
    struct tuner t = tuner_of(d, o, &model, NULL);
    int slower = 0;
    enum status s = OK;
    model.n_gemm = 0;
    *out = (struct tune_result){.worst = INFINITY, .complete = true};
    for (int i = 0; i < c->n_gemm && s == OK; i++) {
        const struct gpu_exception *x = &c->gemm[i];
        struct gpu_shape shape = {x->w, x->m, x->n, x->k};
        struct gpu_params base = gpu_choose(&model, &shape, o->lt);
        struct duel fought = {0};
        bool right = false;
        s = d->begin(d->ctx, &shape);
        if (s == OK)
            s = d->check(d->ctx, &x->p, &right);
        if (s == OK && !right)
            s = fail(ERR_INVALID,
                     "the launch for %s [%lld, %lld] of %d rows computes another result",
                     dtype_info(x->w)->name, (long long)x->n, (long long)x->k, x->m);
        if (s == OK)
            s = fight(&t, &base, &x->p, &fought);
        out->shapes++;
        out->gain -= log(fought.valid ? fought.ratio : 1);
        out->worst = fmin(out->worst, fought.valid ? 1 / fought.ratio : 1);
        slower += fought.valid && fought.ratio > 1.05;
    }
    xfree(t.field);
    xfree(t.all);
    out->gain = out->shapes ? exp(out->gain / out->shapes) : 1;
    out->worst = out->shapes ? out->worst : 1;
    if (s == OK && (slower * 50 > out->shapes || out->gain < 0.99))
        s = fail(ERR_INVALID,
                 "%d of %d choices are more than 5 %% slower than the model's; all "
                 "together run at %.3f of its speed",
                 slower, out->shapes, out->gain);
    return s;
}
