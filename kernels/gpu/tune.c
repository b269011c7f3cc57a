/* tune.c - see tune.h. What a shape's launches take is tune_field.c's; here it is decided what the
 * configuration gets of it. */
#include "kernels/gpu/tune.h"

#include <math.h>
#include <string.h>

#include "kernels/base/median.h"
#include "kernels/base/mem.h"
#include "kernels/gpu/registry.h"
#include "kernels/gpu/tune_cross.h"
#include "kernels/gpu/tune_field.h"
#include "kernels/gpu/tune_log.h"

static const double LAUNCH_US = 20;  /* what a timing takes beside the launches */
static const double GAIN_MIN = 0.97; /* time after / before from which a change is worth it */
static const double SLOWER = 1.01;   /* above, a change is never made */

enum { POINTS_OF_ROW = TUNE_POINTS_MAX / TUNE_ROWS_MAX };

struct tuner {
    const struct tune_options *o;
    struct gpu_config *c;
    struct buf *log;
    struct tune_bench bench;
    struct tune_field *field; /* [rows] */
    struct tune_done done;
    struct tune_done *all; /* the weights that are done */
    int n_all;
    double spent, worked; /* seconds, units of work() */
};

enum x_type tune_x(const struct tune_options *o, enum dtype w)
{
    return x_type_goes_with(o->x, w) ? o->x : X_EXACT;
}

int tune_may(const struct tune_options *o, enum dtype w)
{
    const enum x_type x = tune_x(o, w);
    return (o->lt ? GPU_MAY_LT : 0) | (x != X_EXACT ? GPU_MAY_ROUND : 0) |
           (x == X_FP8 ? GPU_MAY_ROW_SCALE : 0);
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* The best launch of a shape with these splits, or by cuBLASLt; NULL: none is right. */
static const struct tune_cand *best_of(const struct tune_field *f, int splits)
{
    const struct tune_cand *best = NULL;
    for (int i = 0; i < f->n; i++) {
        const struct tune_cand *c = &f->cand[i];
        if ((!gpu_path_tiled(c->p.path) || c->p.splits == splits) &&
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
        const struct tune_cand *c = best_of(&t->field[i], splits);
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

static void add_exception(struct tuner *t, const struct tune_field *f, const struct gpu_params *p,
                          const struct tune_duel *d)
{
    struct gpu_exception *x = &t->done.x[t->done.n_x++];
    *x = (struct gpu_exception){f->shape.w,  f->shape.n,
                                f->shape.k,  (int)f->shape.m,
                                *p,          d->second_us,
                                d->first_us, 50 * (d->hi - d->lo) / d->ratio,
                                {.id = -1},  tune_x(t->o, f->shape.w)};
    if (p->lt)
        x->lt = *p->lt;
    x->p.lt = NULL;
    t->done.changed += f->broken || !tune_same(p, &f->base);
}

/* Duels of the present choice and the best with `splits`, for all rows. With another number of
 * splits than now every shape must be no slower, and all together faster. False: nothing of it. */
static enum status decide(struct tuner *t, int splits, bool change, bool *taken)
{
    struct tune_duel d[TUNE_ROWS_MAX];
    struct gpu_params p[TUNE_ROWS_MAX];
    double sum = 0;
    *taken = false;
    for (int i = 0; i < t->o->n_rows; i++) {
        struct tune_field *f = &t->field[i];
        const struct tune_cand *best = best_of(f, splits);
        p[i] = best ? best->p : f->base;
        d[i] = (struct tune_duel){.ratio = 1, .lo = 1, .hi = 1};
        if (!tune_same(&p[i], &f->base)) {
            const struct tune_device *dev = t->bench.d;
            TRY(dev->begin(dev->ctx, &f->shape));
            TRY(tune_fight_launches(&t->bench, &f->base, &p[i], &d[i]));
        }
        if (change && ((!d[i].valid && !tune_same(&p[i], &f->base)) || d[i].ratio > SLOWER))
            return OK;
        sum += log(d[i].ratio);
    }
    if (change && exp(sum / t->o->n_rows) > GAIN_MIN)
        return OK;
    *taken = true;
    for (int i = 0; i < t->o->n_rows; i++) {
        struct tune_field *f = &t->field[i];
        bool worth = d[i].valid && d[i].ratio <= GAIN_MIN && d[i].hi < 1;
        double us =
            f->n_base ? median_of(f->base_us, f->n_base) : gpu_cost(t->c, &f->shape, &f->base);
        if (!d[i].valid)
            d[i].first_us = d[i].second_us = us;
        if (!change && !worth)
            d[i] = (struct tune_duel){1, 1, 1, us, us, false};
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
        bool replaced = x->w != w->w || x->n != w->n || x->k != w->k || x->x != tune_x(t->o, w->w);
        for (int j = 0; j < t->done.n_x && !replaced; j++)
            replaced = t->done.x[j].m == x->m;
        if (!replaced && t->done.n_x < TUNE_ROWS_MAX)
            t->done.x[t->done.n_x++] = *x;
    }
}

/* The launches that the model is to foresee: the best ones of our own kernels, and cuBLASLt's first
 * suggestion, which is what the model means by cuBLASLt. */
static void keep_points(struct tune_done *d, struct tune_field *f)
{
    double base = f->n_base ? median_of(f->base_us, f->n_base) : 0;
    int own = 0;
    for (int i = 0; i < f->n && d->n_points < TUNE_POINTS_MAX; i++) {
        const struct tune_cand *c = &f->cand[i];
        bool tiled = gpu_path_tiled(c->p.path);
        if (c->p.lt || !isfinite(c->median) || base <= 0 || (tiled && own == POINTS_OF_ROW - 1))
            continue;
        d->point[d->n_points++] = (struct tune_point){f->shape, c->p, c->median * base};
        own += tiled;
    }
}

static enum status tune_weight(struct tuner *t, const struct tune_weight *w)
{
    bool taken = false;
    t->done = (struct tune_done){.weight = *w, .n = t->o->n_rows};
    t->bench.rejected = t->bench.dropped = 0;
    for (int i = 0; i < t->o->n_rows; i++) {
        struct tune_field *f = &t->field[i];
        f->shape = (struct gpu_shape){w->w, t->o->rows[i], w->n, w->k};
        TRY(tune_screen(&t->bench, t->c, tune_may(t->o, w->w), f));
        for (int j = 0; j < f->n && t->log; j++)
            tune_log_ratio(t->log, &f->shape, &f->cand[j].p, f->cand[j].ratio, f->cand[j].n);
        t->done.m[i] = t->o->rows[i];
        t->done.ratio[i] = 1;
        keep_points(&t->done, f);
    }
    int present = gpu_splits(t->c, w->w, w->n, w->k), splits = best_splits(t, present);
    if (splits != present)
        TRY(decide(t, splits, true, &taken));
    if (!taken) {
        TRY(decide(t, present, false, &taken));
        keep_exceptions(t);
    }
    t->done.rejected = t->bench.rejected;
    t->done.dropped = t->bench.dropped;
    return OK;
}

/* ---- the configuration ----------------------------------------------------------------------- */

/* The exceptions of a weight are now those of `d`. */
static void apply(struct gpu_config *c, const struct tune_options *o, const struct tune_done *d)
{
    int n = 0;
    for (int i = 0; i < c->n_gemm; i++) {
        const struct gpu_exception *x = &c->gemm[i];
        if (x->w != d->weight.w || x->n != d->weight.n || x->k != d->weight.k ||
            x->x != tune_x(o, x->w))
            c->gemm[n++] = *x;
    }
    for (int i = 0; i < d->n_x && n < TUNE_EXCEPTIONS_MAX; i++)
        c->gemm[n++] = d->x[i];
    c->n_gemm = n;
}

/* Does a weight get the same launches from both? */
static bool unchanged(const struct gpu_config *a, const struct gpu_config *b,
                      const struct tune_options *o, const struct tune_weight *w)
{
    for (int i = 0; i < o->n_rows; i++) {
        struct gpu_shape s = {w->w, o->rows[i], w->n, w->k};
        int may = tune_may(o, w->w);
        struct gpu_params p = gpu_choose(a, &s, may), q = gpu_choose(b, &s, may);
        if (!tune_same(&p, &q))
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
        if (gpu_exception_of(c, &s, tune_x(o, w->w)))
            continue;
        struct gpu_exception *x = &c->gemm[c->n_gemm++];
        *x = (struct gpu_exception){.w = w->w,
                                    .n = w->n,
                                    .k = w->k,
                                    .m = o->rows[i],
                                    .p = gpu_choose(c, &s, tune_may(o, w->w)),
                                    .us = d->us[i],
                                    .base_us = d->us[i],
                                    .lt = {.id = -1},
                                    .x = tune_x(o, w->w)};
        x->p.lt = NULL; /* it had no exception, so no algorithm of its own */
    }
}

/* Ceilings as measured, efficiencies so that the model says what was measured, and crossovers. What
 * was measured stays: a weight that the new model would launch otherwise gets exceptions. */
static void fit(struct tuner *t, struct tune_result *out)
{
    struct gpu_config now = *t->c;
    int n = 0, most = 0;
    for (int i = 0; i < t->n_all; i++)
        most += t->all[i].n_points;
    struct tune_point *p = xcalloc((size_t)most + 1, sizeof *p);
    for (int i = 0; i < t->n_all; i++)
        for (int j = 0; j < t->all[i].n_points; j++) {
            p[n] = t->all[i].point[j]; /* of an earlier run without its ring */
            p[n].params.stages = p[n].params.path == GPU_PATH_SKINNY ? gpu_stages(t->c->match.cc[0])
                                                                     : GPU_MMA8_STAGES;
            n++;
        }
    if (t->o->ceil)
        now.ceil = *t->o->ceil;
    out->unseen = t->o->rows[t->o->n_rows / 2];
    out->foresight = t->o->n_rows > 2 ? tune_fit_foresight(&now, p, n, out->unseen) : -1;
    out->fitted = tune_fit(&now, p, n);
    out->off = tune_fit_error(&now, p, n, 0);
    out->crossed = tune_cross(&now, p, n);
    xfree(p);
    for (int i = 0; i < t->n_all; i++)
        if (!unchanged(t->c, &now, t->o, &t->all[i].weight))
            pin(t->c, t->o, &t->all[i]);
    memcpy(t->c->eff, now.eff, sizeof now.eff);
    memcpy(t->c->skinny_max_m, now.skinny_max_m, sizeof now.skinny_max_m);
    memcpy(t->c->mma8_max_m, now.mma8_max_m, sizeof now.mma8_max_m);
    t->c->ceil = now.ceil;
}

/* ---- a run ----------------------------------------------------------------------------------- */

/* How long a weight takes, in units of its own: launches, and what each costs beside. */
static double work(const struct tuner *t, int i)
{
    double sum = 0;
    for (int j = 0; j < t->o->n_rows; j++) {
        const struct tune_weight *w = &t->o->weights[i];
        struct gpu_shape s = {w->w, t->o->rows[j], w->n, w->k};
        struct gpu_params p = gpu_choose(t->c, &s, tune_may(t->o, w->w));
        sum += gpu_cost(t->c, &s, &p) + LAUNCH_US;
    }
    return sum;
}

static void report(const struct tuner *t, int i, double start, struct tune_result *out)
{
    double elapsed = t->bench.d->now(t->bench.d->ctx) - start, left = 0;
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

static void count(const struct tuner *t, struct tune_result *out)
{
    const struct tune_done *d = &t->done;
    out->weights++;
    out->changed += d->changed;
    out->rejected += d->rejected;
    out->dropped += d->dropped;
    for (int i = 0; i < d->n; i++) {
        out->shapes++;
        out->gain -= log(d->ratio[i]); /* summed here, a mean at the end */
        out->worst = fmin(out->worst, 1 / d->ratio[i]);
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

static enum status all_weights(struct tuner *t, struct tune_result *out)
{
    double start = t->bench.d->now(t->bench.d->ctx);
    for (int i = 0; i < t->o->n_weights; i++) {
        double now = t->bench.d->now(t->bench.d->ctx) - start;
        report(t, i, start, out);
        bool known = is_known(t, &t->o->weights[i]);
        if (!known) {
            double units = work(t, i), rate = t->worked > 0 ? t->spent / t->worked : 0;
            if (t->o->budget > 0 && t->worked > 0 && now + rate * units > t->o->budget)
                return OK;
            TRY(tune_weight(t, &t->o->weights[i]));
            tune_log_done(t->log, &t->done);
            t->spent += t->bench.d->now(t->bench.d->ctx) - start - now;
            t->worked += units;
        }
        apply(t->c, t->o, &t->done);
        count(t, out);
        t->all[t->n_all++] = t->done;
    }
    out->complete = true;
    report(t, t->o->n_weights, start, out);
    return OK;
}

static struct tuner tuner_of(const struct tune_device *d, const struct tune_options *o,
                             struct gpu_config *c, struct buf *log)
{
    struct tuner t = {.o = o, .c = c, .log = log};
    t.bench = (struct tune_bench){.d = d, .effort = o->quick ? tune_quick : tune_full};
    return t;
}

enum status tune_run(const struct tune_device *d, const struct tune_options *o, struct arena *a,
                     struct gpu_config *c, struct buf *log, struct tune_result *out)
{
    struct gpu_exception *x = arena_calloc(a, (size_t)TUNE_EXCEPTIONS_MAX * sizeof *x);
    if (o->n_rows < 1 || o->n_rows > TUNE_ROWS_MAX)
        return fail(ERR_INVALID, "tune: 1 to %d numbers of rows", TUNE_ROWS_MAX);
    int n = c->n_gemm < TUNE_EXCEPTIONS_MAX ? c->n_gemm : TUNE_EXCEPTIONS_MAX;
    if (n)
        memcpy(x, c->gemm, (size_t)n * sizeof *x);
    c->gemm = x;
    c->n_gemm = n;
    struct tuner t = tuner_of(d, o, c, log);
    t.field = xcalloc((size_t)o->n_rows, sizeof *t.field);
    t.all = xcalloc((size_t)o->n_weights + 1, sizeof *t.all);
    *out = (struct tune_result){.worst = INFINITY};
    enum status s = all_weights(&t, out);
    if (s == OK)
        fit(&t, out);
    out->gain = out->shapes ? exp(out->gain / out->shapes) : 1;
    out->worst = out->shapes ? out->worst : 1;
    xfree(t.field);
    xfree(t.all);
    return s;
}

/* One exception against what the model alone would take. */
static enum status verify(struct tuner *t, const struct gpu_config *c,
                          const struct gpu_exception *x, struct tune_duel *fought)
{
    const struct tune_device *d = t->bench.d;
    struct gpu_shape shape = {x->w, x->m, x->n, x->k};
    struct gpu_params base = gpu_choose(t->c, &shape, tune_may(t->o, x->w));
    struct gpu_params p = gpu_choose(c, &shape, tune_may(t->o, x->w));
    bool right = false;
    TRY(d->begin(d->ctx, &shape));
    TRY(d->check(d->ctx, &p, &right));
    if (!right)
        return fail(ERR_INVALID,
                    "the launch for %s [%lld, %lld] of %d rows computes another result",
                    dtype_info(x->w)->name, (long long)x->n, (long long)x->k, x->m);
    return tune_fight_launches(&t->bench, &base, &p, fought);
}

enum status tune_verify(const struct tune_device *d, const struct tune_options *o,
                        const struct gpu_config *c, struct tune_result *out)
{
    struct gpu_config model = *c;
    struct tuner t = tuner_of(d, o, &model, NULL);
    int slower = 0, unclear = 0;
    model.n_gemm = 0;
    *out = (struct tune_result){.worst = INFINITY, .complete = true};
    for (int i = 0; i < c->n_gemm; i++) {
        struct tune_duel fought = {0};
        if (c->gemm[i].x != tune_x(o, c->gemm[i].w)) /* of another run */
            continue;
        if (!o->lt && !gpu_path_own(c->gemm[i].p.path))
            return fail(ERR_UNSUPPORTED, "%s: its choices are for cuBLASLt, which is not found",
                        c->id);
        TRY(verify(&t, c, &c->gemm[i], &fought));
        out->shapes++;
        out->gain -= log(fought.valid ? fought.ratio : 1);
        out->worst = fmin(out->worst, fought.valid ? 1 / fought.ratio : 1);
        slower += fought.valid && fought.ratio > 1.05;
        unclear += !fought.valid;
    }
    out->dropped = t.bench.dropped;
    out->gain = out->shapes ? exp(out->gain / out->shapes) : 1;
    out->worst = out->shapes ? out->worst : 1;
    if (unclear * 2 > out->shapes)
        return fail(ERR_INVALID, "%d of %d choices could not be timed: the clock keeps changing",
                    unclear, out->shapes);
    if (slower * 50 > out->shapes || out->gain < 0.99)
        return fail(ERR_INVALID,
                    "%d of %d choices are more than 5 %% slower than the model's; all together run "
                    "at %.3f of its speed",
                    slower, out->shapes, out->gain);
    return OK;
}
