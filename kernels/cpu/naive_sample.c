/* naive_sample.c - choosing a token from a row of logits, as op_sample in ops.h defines it.
 *
 * top_k, top_p and min_p each keep a prefix of the candidates in descending order (ties: smaller id
 * first), and the draw is a point of that order too. So nothing is ever sorted: `cut_at` finds the
 * candidate where a running count or probability mass crosses an amount, by three passes over
 * histograms of an order-preserving integer key (11 + 11 + 10 bits) and one over equal keys. Masses
 * are summed in double in ascending order of id, so a row has one result. Once at most FEW
 * candidates are left they are copied out, and the passes cost nothing.
 *
 * One row of 152k logits: greedy is one pass; every cut without top_k is one pass of expf. */
#include "kernels/cpu/naive.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"

enum { FEW = 1024, BUCKETS = 2048 };

/* Below it 1 / temperature could overflow; only the likeliest has any mass long before. */
static const float TEMPERATURE_MIN = 1e-30f;

/* Candidates: n logits in ascending order of id, -INFINITY where none. */
struct field {
    const float *logit;
    const int32_t *id; /* NULL: the index itself */
    int64_t n;
    float max, inv_temp;
};

/* The prefix of the descending order that ends at this candidate. */
struct cut {
    uint32_t key;
    int64_t last; /* index of the last candidate with this very key */
};

static const struct cut EVERYTHING = {0, INT64_MAX};

/* Greater logit, greater key; candidates never are NaN or -0. */
static uint32_t key_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

static bool inside(const struct field *f, int64_t i, struct cut c)
{
    if (f->logit[i] == -INFINITY)
        return false;
    uint32_t key = key_of(f->logit[i]);
    return key > c.key || (key == c.key && i <= c.last);
}

static double mass_of(const struct field *f, int64_t i)
{
    return (double)expf((f->logit[i] - f->max) * f->inv_temp);
}

enum measure { COUNT, MASS };

/* Within `in`, the first candidate in descending order where the running measure reaches `amount`:
 * a number of candidates, or a share of the whole mass. The last one when none does. */
static struct cut cut_at(const struct field *f, struct cut in, enum measure what, double amount)
{
    static const int shift[] = {21, 10, 0}, bits[] = {11, 11, 10};
    double hist[BUCKETS], sum = 0, goal = amount;
    uint32_t known = 0, mask = 0;
    for (int level = 0; level < 3; level++) {
        uint32_t low = (1u << bits[level]) - 1;
        memset(hist, 0, sizeof hist);
        for (int64_t i = 0; i < f->n; i++) {
            uint32_t key = key_of(f->logit[i]);
            if ((key & mask) == known && inside(f, i, in))
                hist[key >> shift[level] & low] += what == COUNT ? 1 : mass_of(f, i);
        }
        if (level == 0 && what == MASS) {
            double total = 0;
            for (int b = 0; b < BUCKETS; b++)
                total += hist[b];
            goal = amount * total;
        }
        int at = -1;
        for (int b = (int)low; b >= 0; b--) {
            if (hist[b] == 0)
                continue;
            at = b;
            if (sum + hist[b] >= goal)
                break;
            sum += hist[b];
        }
        if (at < 0) /* no mass at all: masses so small that they are 0, or no candidates */
            return in;
        mask |= low << shift[level];
        known |= (uint32_t)at << shift[level];
    }
    struct cut out = {known, 0};
    for (int64_t i = 0; i < f->n; i++) {
        if (key_of(f->logit[i]) != known || !inside(f, i, in))
            continue;
        out.last = i;
        sum += what == COUNT ? 1 : mass_of(f, i);
        if (sum >= goal)
            break;
    }
    return out;
}

/* The lesser of two prefixes. */
static struct cut least(struct cut a, struct cut b)
{
    if (a.key != b.key)
        return a.key > b.key ? a : b;
    return a.last < b.last ? a : b;
}

struct few {
    float logit[FEW];
    int32_t id[FEW];
};

/* Copies the candidates inside `c` out, if they are few, and makes them the field. */
static void narrow(struct field *f, struct cut *c, struct few *few)
{
    int64_t n = 0;
    if (f->id)
        return;
    for (int64_t i = 0; i < f->n; i++) {
        if (!inside(f, i, *c))
            continue;
        if (n == FEW)
            return;
        few->logit[n] = f->logit[i];
        few->id[n++] = (int32_t)i;
    }
    *f = (struct field){few->logit, few->id, n, f->max, f->inv_temp};
    *c = EVERYTHING;
}

static int32_t draw(const float *logit, int64_t n, float max, const struct sample_row *row)
{
    struct field f = {logit, NULL, n, max, 1 / row->temperature};
    struct few few;
    struct cut c = EVERYTHING;
    if (row->top_k > 0 && row->top_k < n) {
        c = cut_at(&f, c, COUNT, row->top_k);
        narrow(&f, &c, &few);
    }
    if (row->top_p < 1) {
        c = least(c, cut_at(&f, c, MASS, (double)row->top_p));
        narrow(&f, &c, &few);
    }
    if (row->min_p > 0) { /* p >= min_p * p of the likeliest */
        float floor = max + row->temperature * logf(row->min_p);
        struct cut m = {key_of((floor < max ? floor : max) + 0.0f), INT64_MAX};
        c = least(c, m);
        narrow(&f, &c, &few);
    }
    float u = rng_uniform(rng_philox(row->seed, row->counter, 0).v[0]);
    struct cut at = cut_at(&f, c, MASS, (double)u);
    return f.id ? f.id[at.last] : (int32_t)at.last;
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

/* Makes the row fit for keys (no NaN, no -0, no +inf); the likeliest token, -1 when all are banned.
 */
static int32_t settle(float *logit, int64_t n)
{
    float best = -INFINITY;
    int32_t at = -1;
    for (int64_t i = 0; i < n; i++) {
        float l = logit[i];
        if (l > best) {
            best = l;
            at = (int32_t)i;
        }
        if (l != l)
            logit[i] = -INFINITY;
        else if (l > FLT_MAX)
            logit[i] = FLT_MAX;
        else if (l == 0)
            logit[i] = 0;
    }
    return at;
}

static double log_sum(const float *logit, int64_t n, float max)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)expf(logit[i] - max);
    return (double)max + log(sum);
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
    int32_t best = settle(logit, n);
    if (row->forced >= 0)
        out->token = row->forced;
    else if (best < 0 || row->temperature < TEMPERATURE_MIN)
        out->token = best < 0 ? 0 : best;
    else
        out->token = draw(logit, n, logit[best], row);
    if (best >= 0 && row->n_top >= 0)
        report(logit, n, logit[best], row->n_top, out);
    if (a->last)
        a->last[row->slot] = out->token;
    if (!a->counts || row->forced >= 0)
        return;
    uint16_t *c = &a->counts[(int64_t)row->slot * n + out->token];
    if ((*c & 0x7fff) != 0x7fff)
        ++*c;
}

/* Items are rows. Rows of one step have different slots, so their counts are apart. */
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
