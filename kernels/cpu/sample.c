/* sample.c - choosing tokens in a few vector passes over a row, with the very results of the
 * definition (naive_sample.c), on every ISA and any number of threads.
 *
 * A prefix of the descending order of candidates is known by its mass, and sums of masses are exact
 * (mass.h). So top_k, top_p and min_p only lower the mass that is kept, and the draw is the
 * candidate where the running mass reaches a goal: `find`. One pass sums the masses above LEVELS
 * floors; the band between two of them that holds the goal is copied out and
 * divided by further floors, until few candidates are left to take in order. What lies MASS_DEPTH
 * octaves below the likeliest has no mass and is never looked at.
 *
 * A row of 152k logits: greedy is one pass; temperature, top_p and min_p add a pass of 2^x and one
 * copy each; top_k two passes. Scratch: one `few` a thread. */
#include "kernels/cpu/sample.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/mass.h"

enum { ROOM = 8192, FEW = 32 };

/* Octaves below the likeliest where the first floors lie. */
static const double DEPTH[LEVELS] = {2, 4, 6, 8, 10, 14, 20, MASS_DEPTH};

struct few {
    _Alignas(64) float logit[ROOM + BAND_SLACK];
    int32_t id[ROOM + BAND_SLACK];
};

struct row {
    const struct cpu_isa *isa;
    const float *logit; /* settled */
    int64_t n;
    float max, scale; /* scale 0: masses are counts */
    struct few *few;
};

/* A candidate found: its token, the mass of all likelier ones, of the order up to it, and how many
 * with this very logit the order up to it takes. */
struct found {
    int32_t id;
    float logit;
    uint64_t sum;
    int64_t ties;
};

/* Where find has got to: the candidates with lo <= logit < hi of an array. */
struct search {
    struct band b;
    uint64_t before; /* mass of all that are likelier than the band */
};

static void sum_up(const struct row *r, const float *logit, int64_t n, struct levels *l)
{
    r->isa->masses(logit, n, r->max, r->scale, l);
}

/* Takes the band to the two levels between which the running mass reaches `goal`. */
static void close_in(struct search *s, const struct levels *l, uint64_t goal)
{
    int j = 0;
    while (j < LEVELS - 1 && s->before + l->above[j] < goal)
        j++;
    if (j > 0) {
        s->b.ceil = l->floor[j - 1];
        s->before += l->above[j - 1];
    }
    s->b.floor = l->floor[j];
}

/* The next greater logit that a settled row can have: there are no subnormals. */
static float next_up(float x)
{
    if (x == 0)
        return FLT_MIN;
    return x == -FLT_MIN ? 0 : nextafterf(x, INFINITY);
}

/* New floors inside the band, whose candidates few->logit has, or the first of them: some of these,
 * so that a division works for any spread, then its two least values, so that it always gets
 * smaller and equals are soon alone. False: it has one value only. */
static bool divide(const struct row *r, const struct band *b, int64_t n, struct levels *l)
{
    enum { PICKED = LEVELS - 2 };
    float up = next_up(b->floor);

    if (up >= b->ceil)
        return false;
    for (int i = 0; i < PICKED; i++) {
        float f = r->few->logit[(2 * i + 1) * n / (2 * PICKED)];
        int at = i;
        for (f = f > up ? f : up; at > 0 && l->floor[at - 1] < f; at--)
            l->floor[at] = l->floor[at - 1];
        l->floor[at] = f;
    }
    l->ceil = b->ceil;
    l->floor[PICKED] = up;
    l->floor[PICKED + 1] = b->floor;
    return true;
}

/* All candidates of the band are equal: the one that reaches the goal, by its number. */
static struct found among_equals(const struct row *r, const struct search *s, uint64_t goal)
{
    uint64_t each = cpu_mass(s->b.floor, r->max, r->scale);
    uint64_t nth = (goal - s->before + each - 1) / each;
    struct found f = {0, s->b.floor, s->before + nth * each, (int64_t)nth};
    for (int64_t i = 0; i < s->b.n; i++)
        if (s->b.logit[i] == s->b.floor && --nth == 0) {
            f.id = s->b.id ? s->b.id[i] : (int32_t)i;
            break;
        }
    return f;
}

/* Takes the few candidates left in descending order until the goal is reached. */
static struct found in_order(const struct row *r, const struct search *s, uint64_t goal)
{
    float logit[FEW];
    struct found f = {0, INFINITY, s->before, 0};
    memcpy(logit, s->b.logit, (size_t)s->b.n * sizeof *logit);
    for (int64_t taken = 0; taken < s->b.n; taken++) {
        int64_t at = 0;
        for (int64_t i = 1; i < s->b.n; i++)
            at = logit[i] > logit[at] ? i : at;
        f.ties = logit[at] == f.logit ? f.ties + 1 : 1;
        f.logit = logit[at];
        f.id = s->b.id[at];
        f.sum += cpu_mass(f.logit, r->max, r->scale);
        if (f.sum >= goal)
            break;
        logit[at] = -INFINITY;
    }
    return f;
}

/* The first candidate in descending order where the running mass reaches `goal`, which is at most
 * the mass above the last level; `first` are sums over the row. */
static struct found find(const struct row *r, const struct levels *first, uint64_t goal)
{
    struct search s = {{r->logit, NULL, r->n, ROOM, 0, INFINITY}, 0};
    struct levels l = *first;

    for (;;) {
        close_in(&s, &l, goal);
        int64_t n = r->isa->band(&s.b, r->few->logit, r->few->id);
        if (n < ROOM) {
            s.b.logit = r->few->logit;
            s.b.id = r->few->id;
            s.b.n = n;
        }
        if (n <= FEW)
            return in_order(r, &s, goal);
        if (!divide(r, &s.b, n, &l))
            return among_equals(r, &s, goal);
        sum_up(r, s.b.logit, s.b.n, &l);
    }
}

/* Moves the levels to what top_k leaves, if it cuts off any mass: the last floor is the logit of
 * the last candidate kept, the one before is just above it. How many with that logit are kept. */
static int64_t keep_k(const struct row *r, struct levels *l, int32_t top_k)
{
    struct row count = *r;
    uint64_t goal = (uint64_t)top_k * MASS_ONE;

    count.scale = 0;
    sum_up(&count, r->logit, r->n, l);
    if (l->above[LEVELS - 1] < goal)
        return 0;
    struct found last = find(&count, l, goal);
    float up = next_up(last.logit);
    for (int j = 0; j < LEVELS - 1; j++)
        l->floor[j] = l->floor[j] > up && j < LEVELS - 2 ? l->floor[j] : up;
    l->floor[LEVELS - 1] = last.logit;
    return last.ties;
}

/* Floors at DEPTH; none so low that a banned candidate would pass. */
static void set_floors(const struct row *r, struct levels *l)
{
    l->ceil = INFINITY;
    for (int j = 0; j < LEVELS; j++)
        l->floor[j] = (float)fmax((double)r->max - DEPTH[j] / (double)r->scale, -(double)FLT_MAX);
}

static int32_t draw(struct row *r, const struct sample_row *row)
{
    struct levels l, floor;
    int64_t ties = 0;

    r->scale = sample_scale(row->temperature);
    set_floors(r, &l);
    if (row->top_k > 0 && row->top_k < r->n)
        ties = keep_k(r, &l, row->top_k);
    sum_up(r, r->logit, r->n, &l);
    uint64_t kept = l.above[LEVELS - 1];
    if (ties > 0)
        kept =
            l.above[LEVELS - 2] + (uint64_t)ties * cpu_mass(l.floor[LEVELS - 1], r->max, r->scale);
    if (row->top_p < 1)
        kept = find(r, &l, mass_part((double)row->top_p, kept)).sum;
    if (row->min_p > 0) {
        float least = fmaxf(sample_floor(row, r->max), -FLT_MAX);
        floor.ceil = INFINITY;
        for (int j = 0; j < LEVELS; j++)
            floor.floor[j] = least;
        sum_up(r, r->logit, r->n, &floor);
        kept = floor.above[0] < kept ? floor.above[0] : kept;
    }
    float u = rng_uniform(rng_philox(row->seed, row->counter, 0).v[0]);
    return find(r, &l, mass_part((double)u, kept)).id;
}

/* --- bans, bias and penalties, in the order of ops.h */

static void apply_mask(const uint32_t *mask, float *logit, int64_t n)
{
    for (int64_t i = 0; i < n; i += 32) {
        uint32_t word = mask[i / 32];
        if (word == UINT32_MAX)
            continue;
        for (int64_t k = 0; k < 32 && i + k < n; k++)
            logit[i + k] = word >> k & 1 ? logit[i + k] : -INFINITY;
    }
}

static void penalize(const struct sample_row *row, const uint16_t *counts, float *logit, int64_t n)
{
    enum { AT_ONCE = 4 }; /* most tokens were never seen: zeros are skipped by the word */
    for (int64_t first = 0; first < n; first += AT_ONCE) {
        uint64_t word = 1;
        int64_t end = first + AT_ONCE < n ? first + AT_ONCE : n;
        if (first + AT_ONCE <= n)
            memcpy(&word, counts + first, sizeof word);
        for (int64_t i = first; word && i < end; i++) {
            if (!counts[i])
                continue;
            int times = counts[i] & 0x7fff;
            float l = logit[i] > 0 ? logit[i] / row->repetition : logit[i] * row->repetition;
            l -= row->frequency * (float)times;
            logit[i] = times ? l - row->presence : l;
        }
    }
}

static void adjust(const struct op_sample *a, int64_t r, float *logit, int64_t n)
{
    const struct sample_row *row = &a->row[r];

    for (int i = 0; i < row->n_bias; i++)
        logit[a->bias[row->bias_first + i].token] += a->bias[row->bias_first + i].add;
    if (a->mask)
        apply_mask(a->mask + r * ((n + 31) / 32), logit, n);
    if (a->counts && (row->repetition != 1 || row->frequency != 0 || row->presence != 0))
        penalize(row, a->counts + (int64_t)row->slot * n, logit, n);
}

/* --- reports */

/* Logits, not yet log-probabilities, of the n_top likeliest. Only what beats the last of those kept
 * leaves the vector pass. */
static void likeliest(const struct row *r, int n_top, struct sample_out *out)
{
    int kept = 0;
    for (int64_t first = 0; first < r->n && n_top > 0; first += ROOM / 2) {
        float beat = kept == n_top ? next_up(out->top_logprob[kept - 1]) : -FLT_MAX;
        struct band b = {r->logit + first, NULL, r->n - first, ROOM, beat, INFINITY};
        b.n = b.n < ROOM / 2 ? b.n : ROOM / 2;
        int64_t n = r->isa->band(&b, r->few->logit, r->few->id);
        for (int64_t i = 0; i < n; i++) {
            float l = r->few->logit[i];
            if (kept == n_top && l <= out->top_logprob[kept - 1])
                continue;
            int at = kept < n_top ? kept++ : kept - 1;
            for (; at > 0 && out->top_logprob[at - 1] < l; at--) {
                out->top_logprob[at] = out->top_logprob[at - 1];
                out->top_id[at] = out->top_id[at - 1];
            }
            out->top_logprob[at] = l;
            out->top_id[at] = (int32_t)first + r->few->id[i];
        }
    }
    out->n_top = kept;
}

/* How many candidates come before `token`. */
static int32_t rank_of(const struct row *r, int32_t token)
{
    float own = r->logit[token];
    struct row count = *r;
    struct levels l;

    count.scale = count.max = 0; /* differences stay finite */
    l.ceil = INFINITY;
    for (int j = 0; j < LEVELS; j++)
        l.floor[j] = j == 0 ? next_up(own) : fmaxf(own, -FLT_MAX);
    sum_up(&count, r->logit, r->n, &l);
    uint64_t rank = l.above[0] / MASS_ONE;
    if (own != -INFINITY && l.above[1] == l.above[0] + MASS_ONE)
        return (int32_t)rank;
    for (int64_t i = 0; i < token; i++)
        rank += r->logit[i] == own;
    return (int32_t)rank;
}

static void report(struct row *r, int n_top, struct sample_out *out)
{
    struct levels l;

    r->scale = EXP2_LOG2E;
    set_floors(r, &l);
    sum_up(r, r->logit, r->n, &l);
    double total = sample_log(l.above[LEVELS - 1], r->max);
    out->logprob = (float)((double)r->logit[out->token] - total);
    out->rank = rank_of(r, out->token);
    likeliest(r, n_top, out);
    for (int i = 0; i < out->n_top; i++)
        out->top_logprob[i] = (float)((double)out->top_logprob[i] - total);
}

/* --- the op: a chunk is a row */

struct sample_stage {
    struct fast *f;
    const struct op_sample *op;
};

static void sample_chunk(void *arg, int64_t at, int worker)
{
    const struct sample_stage *s = arg;
    const struct op_sample *a = s->op;
    const struct sample_row *row = &a->row[at];
    struct sample_out *out = &a->out[at];
    float *logit = tensor_row(&a->logits, at);
    int64_t n = a->logits.shape[1];

    memset(out, 0, sizeof *out);
    out->token = row->slot < 0 ? -1 : row->forced;
    if (row->slot < 0)
        return;
    adjust(a, at, logit, n);
    int64_t best = s->f->isa->settle(logit, n);
    struct row r = {s->f->isa, logit, n, 0, 0, (struct few *)s->f->scratch + worker};
    if (best >= 0)
        r.max = logit[best];
    if (row->forced < 0) {
        bool drawn = best >= 0 && row->temperature >= SAMPLE_COLD;
        out->token = drawn ? draw(&r, row) : best < 0 ? 0 : (int32_t)best;
    }
    if (best >= 0 && row->n_top >= 0)
        report(&r, row->n_top, out);
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

void fast_reserve_sample(struct fast *f)
{
    fast_reserve(f, (size_t)pool_threads(f->pool) * sizeof(struct few));
}

bool fast_sample(struct fast *f, const struct op_sample *a)
{
    struct sample_stage s = {f, a};
    int64_t rows = a->logits.shape[0];

    fast_reserve_sample(f);
    pool_run(f->pool, a->n_live && a->n_live[0] < rows ? a->n_live[0] : rows, sample_chunk, &s);
    return true;
}
