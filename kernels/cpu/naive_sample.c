/* naive_sample.c - choosing a token from a row of logits: the definition of op_sample in ops.h.
 *
 * Candidates are sorted by descending logit (ties: smaller id first). Each has an integer mass
 * (mass.h); top_k, top_p and min_p each keep a prefix of the order, known by its mass, and the draw
 * is the candidate where the running mass reaches its share of what was kept. Sums of integers are
 * exact, so sample.c, which sorts next to nothing, must find the very same token. No result depends
 * on expf of the C library; log() is taken in double and rounded to float. */
#include "kernels/cpu/naive.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/mass.h"
#include "kernels/cpu/sample.h"

struct candidate {
    float logit;
    int32_t id;
    uint64_t mass;
};

static int by_rank(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The first candidate where the running mass reaches `goal`; *sum is the mass up to it. */
static int64_t reach(const struct candidate *c, int64_t n, uint64_t goal, uint64_t *sum)
{
    int64_t i = 0;
    for (*sum = c[0].mass; *sum < goal && i < n - 1;)
        *sum += c[++i].mass;
    return i;
}

static int32_t draw(const float *logit, int64_t n, float max, const struct sample_row *row)
{
    struct candidate *c = xmalloc((size_t)n * sizeof *c);
    float scale = sample_scale(row->temperature), floor = sample_floor(row, max);
    int64_t m = 0, k = 0;
    uint64_t kept = 0, sum;
    for (int64_t i = 0; i < n; i++)
        if (logit[i] != -INFINITY)
            c[m++] = (struct candidate){logit[i], (int32_t)i, cpu_mass(logit[i], max, scale)};
    qsort(c, (size_t)m, sizeof *c, by_rank);
    if (row->top_k > 0 && row->top_k < m)
        m = row->top_k;
    for (int64_t i = 0; i < m; i++)
        kept += c[i].mass;
    if (row->top_p < 1) {
        m = reach(c, m, mass_part((double)row->top_p, kept), &sum) + 1;
        kept = sum;
    }
    for (kept = 0; k < m && c[k].logit >= floor; k++)
        kept += c[k].mass;
    float u = rng_uniform(rng_philox(row->seed, row->counter, 0).v[0]);
    int32_t id = c[reach(c, k, mass_part((double)u, kept), &sum)].id;
    xfree(c);
    return id;
}

/* Bans, bias and penalties, in the order of ops.h. */
static void adjust(const struct op_sample *a, const struct sample_row *row, const uint32_t *mask,
                   float *logit, int64_t n)
{
    for (int i = 0; i < row->n_bias; i++) {
        const struct sample_bias *b = &a->bias[row->bias_first + i];
        logit[b->token] += b->add;
    }
    for (int64_t i = 0; mask && i < n; i++)
        if (!(mask[i / 32] >> i % 32 & 1))
            logit[i] = -INFINITY;
    if (!a->counts || (row->repetition == 1 && row->frequency == 0 && row->presence == 0))
        return;
    const uint16_t *counts = a->counts + (int64_t)row->slot * n;
    for (int64_t i = 0; i < n; i++) {
        if (!counts[i])
            continue;
        int times = counts[i] & 0x7fff;
        float l = logit[i] > 0 ? logit[i] / row->repetition : logit[i] * row->repetition;
        l -= row->frequency * (float)times;
        logit[i] = times ? l - row->presence : l;
    }
}

/* Makes the row fit for comparing: no NaN, -0, +inf or subnormal (which some threads flush). The
 * first of the likeliest, -1 when all are banned. */
static int64_t settle(float *logit, int64_t n)
{
    int64_t at = -1;
    for (int64_t i = 0; i < n; i++) {
        float l = logit[i];
        if (l != l)
            l = -INFINITY;
        else if (l > FLT_MAX)
            l = FLT_MAX;
        else if (fabsf(l) < FLT_MIN)
            l = 0;
        logit[i] = l;
        if (l != -INFINITY && (at < 0 || l > logit[at]))
            at = i;
    }
    return at;
}

/* Logarithm of the sum of e^logit. */
static double log_sum(const float *logit, int64_t n, float max)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += cpu_mass(logit[i], max, EXP2_LOG2E);
    return sample_log(sum, max);
}

/* The chosen token's log-probability and rank, and the likeliest n_top tokens. */
static void report(const float *logit, int64_t n, float max, int n_top, struct sample_out *out)
{
    double total = log_sum(logit, n, max);
    float own = logit[out->token];
    int kept = 0;
    out->logprob = (float)((double)own - total);
    out->rank = 0;
    for (int64_t i = 0; i < n; i++) {
        float l = logit[i];
        out->rank += l > own || (l == own && i < out->token);
        if (l == -INFINITY || n_top == 0 || (kept == n_top && l <= out->top_logprob[kept - 1]))
            continue;
        int at = kept < n_top ? kept++ : kept - 1;
        for (; at > 0 && out->top_logprob[at - 1] < l; at--) {
            out->top_logprob[at] = out->top_logprob[at - 1];
            out->top_id[at] = out->top_id[at - 1];
        }
        out->top_logprob[at] = l;
        out->top_id[at] = (int32_t)i;
    }
    out->n_top = kept;
    for (int i = 0; i < kept; i++)
        out->top_logprob[i] = (float)((double)out->top_logprob[i] - total);
}

static void sample_row(const struct op_sample *a, int64_t r)
{
    const struct sample_row *row = &a->row[r];
    struct sample_out *out = &a->out[r];
    float *logit = tensor_row(&a->logits, r);
    int64_t n = a->logits.shape[1];
    memset(out, 0, sizeof *out);
    if (row->slot < 0) {
        out->token = -1;
        return;
    }
    adjust(a, row, a->mask ? a->mask + r * ((n + 31) / 32) : NULL, logit, n);
    int64_t best = settle(logit, n);
    if (row->forced >= 0)
        out->token = row->forced;
    else if (best < 0 || row->temperature < SAMPLE_COLD)
        out->token = best < 0 ? 0 : (int32_t)best;
    else
        out->token = draw(logit, n, logit[best], row);
    if (best >= 0 && row->n_top >= 0)
        report(logit, n, logit[best], row->n_top, out);
    if (row->forced >= 0)
        return;
    if (a->last)
        a->last[row->slot] = out->token;
    if (!a->counts)
        return;
    uint16_t *c = &a->counts[(int64_t)row->slot * n + out->token];
    if ((*c & 0x7fff) != 0x7fff)
        ++*c;
}

/* Items are rows. Those that are not forced have different slots in a step, and forced ones write
 * to their own `out` only. */
int64_t naive_sample_items(const struct op_sample *a)
{
    int64_t rows = a->logits.shape[0];
    return a->n_live && a->n_live[0] < rows ? a->n_live[0] : rows;
}

void naive_sample(const struct op_sample *a, int64_t first, int64_t last)
{
    for (int64_t r = first; r < last; r++)
        sample_row(a, r);
}
