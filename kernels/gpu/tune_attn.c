/* tune_attn.c - see tune_attn.h. */
#include "kernels/gpu/tune_attn.h"

#include <math.h>
#include <string.h>

#include "kernels/base/median.h"
#include "kernels/gpu/tune_field.h"
#include "kernels/gpu/tune_log.h"

enum { ROUNDS = 3, CUTS_MAX = 32, KV_HEADS = 8 };
static const double GAIN_MIN = 0.97, SLOWER = 1.01, MUCH_SLOWER = 1.05;

static const int chunks[] = {64, 128, 256, 512, 1024}, parts[] = {8, 16, 32, 64};
enum { N_CHUNKS = sizeof chunks / sizeof *chunks, N_PARTS = sizeof parts / sizeof *parts };

struct tuner {
    const struct tune_attn_device *d;
    const struct tune_attn_options *o;
    struct tune_bench bench;
    struct gpu_cut cut[CUTS_MAX];
    double score[CUTS_MAX]; /* sum of log(time / present); infinite: wrong */
    int n;
};

static bool same(const struct gpu_cut *a, const struct gpu_cut *b)
{
    return a->chunk == b->chunk && a->parts == b->parts;
}

static int group_of(const struct tune_heads *h)
{
    return h->heads / h->kv_heads;
}

static enum status time_cut(void *ctx, const void *cut, double *us)
{
    const struct tune_attn_device *d = ctx;
    return d->time(d->ctx, cut, us);
}

/* One case: every cut that is still in is checked, and timed between two timings of the present. */
static enum status screen(struct tuner *t, const struct gpu_cut *base)
{
    const struct tune_attn_device *d = t->d;
    for (int i = 0; i < t->n; i++) {
        bool right = true;
        double ratio[ROUNDS];
        if (!isfinite(t->score[i]))
            continue;
        TRY(d->check(d->ctx, &t->cut[i], &right));
        for (int r = 0; r < ROUNDS && right; r++) {
            double before, us, after;
            TRY(d->time(d->ctx, base, &before));
            TRY(d->time(d->ctx, &t->cut[i], &us));
            TRY(d->time(d->ctx, base, &after));
            ratio[r] = 2 * us / (before + after);
        }
        t->bench.rejected += !right;
        t->score[i] = right ? t->score[i] + log(median_of(ratio, ROUNDS)) : INFINITY;
    }
    return OK;
}

/* `cut` against `base` in every case that fits. *worth: all together are faster, none is slower. */
static enum status fight(struct tuner *t, const struct tune_heads *h, const struct gpu_cut *base,
                         struct gpu_attn *x, double *ratio, bool *worth)
{
    double sum = 0, worst = 0;
    int n = 0;
    *worth = false;
    x->us = x->base_us = x->ci_pct = 0;
    for (int i = 0; i < t->o->n_steps; i++) {
        struct tune_duel duel;
        enum status s = t->d->begin(t->d->ctx, h, &t->o->steps[i]);
        if (s == ERR_NO_MEMORY)
            continue;
        TRY(s);
        TRY(tune_fight(&t->bench, time_cut, (void *)t->d, base, &x->cut, &duel));
        if (!duel.valid)
            return OK;
        sum += log(duel.ratio);
        worst = fmax(worst, duel.ratio);
        x->us += duel.second_us;
        x->base_us += duel.first_us;
        x->ci_pct = fmax(x->ci_pct, 50 * (duel.hi - duel.lo) / duel.ratio);
        n++;
    }
    *ratio = n ? exp(sum / n) : 1;
    *worth = n > 0 && worst <= SLOWER && *ratio <= GAIN_MIN && x->us < x->base_us;
    return OK;
}

/* *found: a cut that is better than the configuration's. */
static enum status tune_heads(struct tuner *t, const struct gpu_config *c,
                              const struct tune_heads *h, struct gpu_attn *x, bool *found)
{
    const struct gpu_cut base = gpu_cut_of(c, h->head_dim, group_of(h));
    double ratio;
    int best = -1, cases = 0;
    *found = false;
    t->n = 0;
    for (int i = 0; i < N_CHUNKS * N_PARTS; i++) {
        t->cut[t->n] = (struct gpu_cut){chunks[i / N_PARTS], parts[i % N_PARTS]};
        if (!same(&t->cut[t->n], &base))
            t->score[t->n++] = 0;
    }
    for (int i = 0; i < t->o->n_steps; i++) {
        enum status s = t->d->begin(t->d->ctx, h, &t->o->steps[i]);
        if (s == ERR_NO_MEMORY)
            continue;
        TRY(s);
        TRY(screen(t, &base));
        cases++;
    }
    for (int i = 0; i < t->n; i++)
        if (isfinite(t->score[i]) && (best < 0 || t->score[i] < t->score[best]))
            best = i;
    if (best < 0 || cases == 0 || t->score[best] >= 0)
        return OK;
    *x = (struct gpu_attn){.head_dim = h->head_dim, .group = group_of(h), .cut = t->cut[best]};
    return fight(t, h, &base, x, &ratio, found);
}

static void put(struct gpu_config *c, const struct gpu_attn *x)
{
    for (int i = 0; i < c->n_attn; i++)
        if (c->attn[i].head_dim == x->head_dim && c->attn[i].group == x->group) {
            c->attn[i] = *x;
            return;
        }
    if (c->n_attn < GPU_ATTN_MAX)
        c->attn[c->n_attn++] = *x;
}

static struct tuner tuner_of(const struct tune_attn_device *d, const struct tune_attn_options *o)
{
    struct tuner t = {.d = d, .o = o};
    t.bench.effort = o->quick ? tune_quick : tune_full;
    return t;
}

enum status tune_attn_run(const struct tune_attn_device *d, const struct tune_attn_options *o,
                          struct arena *a, struct gpu_config *c, struct buf *timings,
                          struct tune_attn_result *out)
{
    struct tuner t = tuner_of(d, o);
    struct gpu_attn *list = arena_calloc(a, GPU_ATTN_MAX * sizeof *list);
    double sum = 0;
    if (c->n_attn)
        memcpy(list, c->attn, (size_t)c->n_attn * sizeof *list);
    c->attn = list;
    *out = (struct tune_attn_result){0};
    for (int i = 0; i < o->n_heads; i++) {
        const struct tune_heads *h = &o->heads[i];
        struct gpu_attn x = {.head_dim = h->head_dim, .group = group_of(h)};
        bool found = false;
        if (!tune_log_find_attn(timings, &x, &found)) {
            TRY(tune_heads(&t, c, h, &x, &found));
            tune_log_attn(timings, h->head_dim, group_of(h), found ? &x : NULL);
        }
        if (found) {
            put(c, &x);
            sum += log(x.base_us / x.us);
        }
        out->changed += found;
        out->heads++;
    }
    out->rejected = t.bench.rejected;
    out->dropped = t.bench.dropped;
    out->gain = out->heads ? exp(sum / out->heads) : 1;
    return OK;
}

enum status tune_attn_verify(const struct tune_attn_device *d, const struct tune_attn_options *o,
                             const struct gpu_config *c, struct tune_attn_result *out)
{
    struct tuner t = tuner_of(d, o);
    const struct gpu_cut base = {c->attn_chunk, c->attn_parts};
    double sum = 0;
    *out = (struct tune_attn_result){0};
    for (int i = 0; i < c->n_attn; i++) {
        struct gpu_attn x = c->attn[i];
        const struct tune_heads h = {x.head_dim, x.group * KV_HEADS, KV_HEADS};
        double ratio = 1;
        bool right = false, worth;
        TRY(d->begin(d->ctx, &h, &o->steps[0]));
        TRY(d->check(d->ctx, &x.cut, &right));
        if (!right)
            return fail(ERR_INVALID,
                        "attention of heads of %d in parts of %d computes another "
                        "result",
                        x.head_dim, x.cut.chunk);
        TRY(fight(&t, &h, &base, &x, &ratio, &worth));
        if (ratio > MUCH_SLOWER)
            return fail(ERR_INVALID,
                        "attention of heads of %d in parts of %d runs at %.3f of the "
                        "speed without",
                        x.head_dim, x.cut.chunk, 1 / ratio);
        sum -= log(ratio);
        out->heads++;
    }
    out->dropped = t.bench.dropped;
    out->gain = out->heads ? exp(sum / out->heads) : 1;
    return OK;
}
