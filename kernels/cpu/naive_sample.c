/* naive_sample.c - choosing a token from a row of logits, as op_sample in ops.h defines it.
 *
 * top_k, top_p and min_p each keep a prefix of the candidates in descending order (ties: smaller id
 * first), and the draw is a point of that order too. So nothing is ever sorted: `cut_at` finds the
 * candidate where a running count or probability mass crosses a goal. A histogram of the first 11
 * bits of an order-preserving integer key tells its bucket, whose candidates (copied out if at
 * most FEW) are searched by the other bits, 11 and 10, then by id. Masses are summed in double in
 * ascending order of id, so a row has one result. A prefix of at most FEW candidates is copied out
 * too, and the steps after it cost nothing.
 *
 * One row of 152k logits: greedy is one pass; every cut without top_k is one pass of expf. */
#include "kernels/cpu/naive.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"

enum { FEW = 4096, BUCKETS = 2048 };

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

struct few {
    float logit[FEW];
    int32_t id[FEW];
};

enum measure { COUNT, MASS };

/* What cut_at has narrowed its search to: candidates whose key agrees with `known` in `mask`. */
struct search {
    struct field f; /* all candidates, or a few copied out with their index as id */
    struct cut in;
    uint32_t known, mask;
    double before; /* measure of all candidates above them */
};

static bool sought(const struct search *s, int64_t i)
{
    return (key_of(s->f.logit[i]) & s->mask) == s->known && inside(&s->f, i, s->in);
}

static double measure_of(const struct search *s, enum measure what, int64_t i)
{
    return what == COUNT ? 1 : mass_of(&s->f, i);
}

/* Settles `bits` more bits of the key; `goal` below 0: -goal is a share of all. Its value. */
static double refine(struct search *s, enum measure what, double goal, int shift, int bits)
{
    uint32_t low = (1u << bits) - 1;
    double hist[BUCKETS] = {0}, total = 0;
    int at = 0;
    for (int64_t i = 0; i < s->f.n; i++)
        if (sought(s, i))
            hist[key_of(s->f.logit[i]) >> shift & low] += measure_of(s, what, i);
    for (int b = 0; goal < 0 && b < BUCKETS; b++)
        total += hist[b];
    goal = goal < 0 ? -goal * total : goal;
    double sum = s->before;
    for (int b = (int)low; b >= 0; b--) {
        if (hist[b] == 0)
            continue;
        at = b;
        s->before = sum;
        sum += hist[b];
        if (sum >= goal)
            break;
    }
    s->mask |= low << shift;
    s->known |= (uint32_t)at << shift;
    return goal;
}

/* Copies the sought candidates out if they are few. */
static void copy_out(struct search *s, struct few *few)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->f.n; i++) {
        if (!sought(s, i))
            continue;
        if (n == FEW)
            return;
        few->logit[n] = s->f.logit[i];
        few->id[n++] = (int32_t)i;
    }
    s->f = (struct field){few->logit, few->id, n, s->f.max, s->f.inv_temp};
    s->in = EVERYTHING;
}

/* Within `in`, the first candidate in descending order where the running measure reaches `goal`: a
 * number of candidates, or (below 0) a share of all mass. The last one when none does. */
static struct cut cut_at(const struct field *f, struct cut in, enum measure what, double goal)
{
    struct search s = {.f = *f, .in = in};
    struct few few;
    goal = refine(&s, what, goal, 21, 11);
    s.f.id = NULL;
    copy_out(&s, &few);
    refine(&s, what, goal, 10, 11);
    refine(&s, what, goal, 0, 10);
    struct cut out = {s.known, 0};
    double sum = s.before;
    for (int64_t i = 0; i < s.f.n; i++) {
        if (!sought(&s, i))
            continue;
        out.last = s.f.id ? s.f.id[i] : i;
        sum += measure_of(&s, what, i);
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
        c = least(c, cut_at(&f, c, MASS, -(double)row->top_p));
        narrow(&f, &c, &few);
    }
    if (row->min_p > 0) { /* p >= min_p * p of the likeliest */
        float floor = max + row->temperature * logf(row->min_p);
        struct cut m = {key_of((floor < max ? floor : max) + 0.0f), INT64_MAX};
        c = least(c, m);
        narrow(&f, &c, &few);
    }
    float u = rng_uniform(rng_philox(row->seed, row->counter, 0).v[0]);
    struct cut at = cut_at(&f, c, MASS, -(double)u);
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
