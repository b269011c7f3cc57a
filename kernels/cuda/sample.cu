/* sample.cu - choosing a token from a row of logits, and counting tokens: the very tokens of
 * kernels/cpu/naive_sample.c, whose masses are integers (kernels/cpu/mass.h), so that sums are the
 * same in any order and by any number of threads.
 *
 * Nothing is sorted. Some blocks share a row: each settles its slice (bias, mask, penalties) and
 * finds its likeliest; the block that ends last goes on alone. Greedy rows end there. For the
 * others one pass over the row sums the masses above a few floors, in registers; the band between
 * two floors that holds the goal is copied to shared memory, as a rule some hundred candidates, and
 * divided by histograms over the bits of their keys, then of their ids, until one is left. Only
 * bands that are too long are divided where they lie, by passes over the row.
 *
 * Why so: a multiprocessor reads a row of 128 k logits from L2 in some 5 us if each thread has
 * several loads under way, ten times slower with one; and it has no 64-bit atomics in shared
 * memory, only loops of compare and swap, which a histogram of all logits, most of them alike,
 * would keep spinning. Bands and digits are chosen so that few meet in a bucket. */
#include "kernels/cuda/common.cuh"

#include <cfloat>

enum {
    THREADS = 512,
    WARPS = THREADS / 32,
    AT_ONCE = 8,  /* loads of a thread under way in a pass over a row */
    TIERS = 8,    /* floors */
    ROOM = 2048,  /* candidates in shared memory */
    DIGIT = 11,   /* bits settled by one histogram */
    SLICE = 2048, /* logits a block has at least, where several share a row */
    V_MAX = 1 << 18
};
enum { BUCKETS = 1 << DIGIT, PER = BUCKETS / THREADS };
static constexpr float COLD = 1e-30f, OCTAVES = 1.44269504f; /* of e */

typedef unsigned long long u64;

/* The likeliest token of a slice; -1: all are banned. */
struct Best {
    float logit;
    int id;
};

/* Sums over the candidates with logits from floor[i] on. */
struct Tiers {
    float floor[TIERS];
    u64 mass[TIERS];
    unsigned count[TIERS];
};

struct Shared {
    u64 hist[BUCKETS];
    float logit[ROOM]; /* a band */
    int id[ROOM];
    struct Tiers tiers;
    u64 part[WARPS][TIERS];
    unsigned part_count[WARPS][TIERS];
    struct Best best[WARPS];
    u64 before; /* what a search found: measure above the bucket */
    int bucket;
    int n; /* candidates of the band */
};

struct Row {
    const float *logit;
    int n;
    float max, scale; /* of logits, to octaves */
    struct Shared *s;
};

struct sample_args {
    struct op_sample op;
    struct Best *best; /* [rows][slices] */
    unsigned *ticket;  /* [rows] zeros */
    int slice;         /* logits of a block, a multiple of 32 */
};

/* Greater logit, greater key; settled logits never are NaN or -0. */
GPU_FN uint32_t key_of(float f)
{
    const uint32_t u = __float_as_uint(f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* 2^((logit - max) scale) in units of 2^-40, with the very operations of kernels/cpu/exp2.h and
 * mass.h, which say what they are; contraction would change them. */
GPU_FN u64 mass_of(const struct Row &row, float logit)
{
    constexpr float round = 0x1.8p23f;
    const float x = __fmul_rn(__fsub_rn(logit, row.max), row.scale);
    if (!(x >= -126.0f))
        return 0;
    const float t = __fadd_rn(x, round), f = __fsub_rn(x, __fsub_rn(t, round));
    float p = 1.54035304e-4f;
    p = __fmaf_rn(p, f, 1.33335581e-3f);
    p = __fmaf_rn(p, f, 9.61812911e-3f);
    p = __fmaf_rn(p, f, 5.55041087e-2f);
    p = __fmaf_rn(p, f, 2.40226507e-1f);
    p = __fmaf_rn(p, f, 6.93147181e-1f);
    p = __fmaf_rn(p, f, 1.0f);
    const float power = __uint_as_float((__float_as_uint(t) << 23) + (127u << 23));
    return __float2ull_rn(__fmul_rn(__fmul_rn(p, power), 0x1p40f));
}

/* The part of a mass that a draw or top_p asks for: at least one unit. */
GPU_FN u64 part_of(double share, u64 whole)
{
    const double part = share * static_cast<double>(whole);
    if (!(part >= 1))
        return 1;
    return part < static_cast<double>(whole) ? static_cast<u64>(part) : whole;
}

/* --- where candidates lie: all of a row, or its band in shared memory */

struct Whole {
    enum { LOADS = AT_ONCE };
    GPU_FN int size(const struct Row &row)
    {
        return row.n;
    }
    GPU_FN float logit(const struct Row &row, int i)
    {
        return __ldcg(row.logit + i); /* other blocks wrote it */
    }
    GPU_FN int id(const struct Row &, int i)
    {
        return i;
    }
};

struct Band {
    enum { LOADS = 1 };
    GPU_FN int size(const struct Row &row)
    {
        return row.s->n;
    }
    GPU_FN float logit(const struct Row &row, int i)
    {
        return row.s->logit[i];
    }
    GPU_FN int id(const struct Row &row, int i)
    {
        return row.s->id[i];
    }
};

/* f(logit, index) for each of this thread's share that is not banned. */
template <class From, class F> GPU_FN void each(const struct Row &row, F f)
{
    const int n = From::size(row);
    for (int base = threadIdx.x; base < n; base += THREADS * From::LOADS) {
        float v[From::LOADS];
        GPU_UNROLL
        for (int j = 0; j < From::LOADS; j++) {
            const int i = base + j * THREADS;
            v[j] = i < n ? From::logit(row, i) : -INFINITY;
        }
        GPU_UNROLL
        for (int j = 0; j < From::LOADS; j++)
            if (v[j] != -INFINITY)
                f(v[j], base + j * THREADS);
    }
}

/* --- block-wide helpers; every thread calls them */

/* Sum of v over threads before this one; *total receives all. */
GPU_FN u64 scan(u64 v, u64 *total, struct Shared *s)
{
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    u64 sum = v;
    GPU_UNROLL
    for (int o = 1; o < 32; o *= 2) {
        const u64 left = __shfl_up_sync(GPU_ALL, sum, o);
        if (lane >= o)
            sum += left;
    }
    __syncthreads(); /* whoever read `part` before has done so */
    if (lane == 31)
        s->part[warp][0] = sum;
    __syncthreads();
    u64 base = 0, all = 0;
    for (int i = 0; i < WARPS; i++) {
        if (i == warp)
            base = all;
        all += s->part[i][0];
    }
    *total = all;
    return base + sum - v;
}

GPU_FN u64 sum_of(u64 v, struct Shared *s)
{
    __syncthreads(); /* whoever read `part` before has done so */
    v = warp_reduce<Sum>(v);
    if ((threadIdx.x & 31) == 0)
        s->part[threadIdx.x >> 5][0] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < WARPS; i++)
        v += s->part[i][0];
    return v;
}

/* The greater logit; among equals the smaller id. */
GPU_FN struct Best better(struct Best a, struct Best b)
{
    const bool second =
        b.id >= 0 && (a.id < 0 || b.logit > a.logit || (b.logit == a.logit && b.id < a.id));
    return second ? b : a;
}

GPU_FN struct Best best_of(struct Best b, struct Shared *s)
{
    GPU_UNROLL
    for (int o = 16; o > 0; o >>= 1) {
        const struct Best other = {__shfl_xor_sync(GPU_ALL, b.logit, o),
                                   __shfl_xor_sync(GPU_ALL, b.id, o)};
        b = better(b, other);
    }
    if ((threadIdx.x & 31) == 0)
        s->best[threadIdx.x >> 5] = b;
    __syncthreads();
    b = s->best[0];
    for (int i = 1; i < WARPS; i++)
        b = better(b, s->best[i]);
    return b;
}

/* --- searches */

/* Sums above floors so many octaves below the likeliest; the last holds all candidates. */
GPU_FN void sum_tiers(const struct Row &row)
{
    const float depth[TIERS] = {2, 4, 6, 8, 11, 15, 20, INFINITY};
    struct Shared *s = row.s;
    float floor[TIERS];
    u64 mass[TIERS] = {};
    unsigned count[TIERS] = {};
    GPU_UNROLL
    for (int t = 0; t < TIERS; t++) /* + 0: no -0 */
        floor[t] = fmaxf(row.max - depth[t] / row.scale, -FLT_MAX) + 0.0f;
    each<Whole>(row, [&](float l, int) {
        const u64 m = mass_of(row, l);
        GPU_UNROLL
        for (int t = TIERS - 1; t >= 0; t--) {
            if (l < floor[t])
                break;
            mass[t] += m;
            count[t]++;
        }
    });
    __syncthreads(); /* whoever read `part` before has done so */
    GPU_UNROLL
    for (int t = 0; t < TIERS; t++) {
        const u64 m = warp_reduce<Sum>(mass[t]);
        const unsigned c = warp_reduce<Sum>(count[t]);
        if ((threadIdx.x & 31) == 0) {
            s->part[threadIdx.x >> 5][t] = m;
            s->part_count[threadIdx.x >> 5][t] = c;
        }
    }
    __syncthreads();
    GPU_UNROLL
    for (int t = 0; t < TIERS; t++) /* by one thread each, whose floor is in a register */
        if (static_cast<int>(threadIdx.x) == t) {
            u64 m = 0;
            unsigned c = 0;
            for (int i = 0; i < WARPS; i++) {
                m += s->part[i][t];
                c += s->part_count[i][t];
            }
            s->tiers.floor[t] = floor[t];
            s->tiers.mass[t] = m;
            s->tiers.count[t] = c;
        }
    __syncthreads();
}

/* Looks for the first candidate in descending order (of logit, then ascending of id) where the
 * running measure, counts or masses, reaches the goal. Known of it: its key lies in [low, low +
 * width); then the bits of what its key is above low, and of its id from behind, that the masks
 * have. */
struct Search {
    bool counts;
    u64 goal, before; /* before: measure of all that come before those sought */
    uint32_t low, width, key, key_mask, id, id_mask;
};

/* The candidate; measure up to it, itself counted. */
struct Found {
    float logit;
    int id;
    u64 sum;
};

GPU_FN u64 measure_of(const struct Row &row, const struct Search &s, float logit)
{
    return s.counts ? 1 : mass_of(row, logit);
}

GPU_FN uint32_t from_behind(const struct Row &row, int id)
{
    return static_cast<uint32_t>(row.n - 1 - id);
}

template <class From>
GPU_FN bool sought(const struct Row &row, const struct Search &s, float logit, int i)
{
    const uint32_t above = key_of(logit) - s.low;
    return above < s.width && (above & s.key_mask) == s.key &&
           (from_behind(row, From::id(row, i)) & s.id_mask) == s.id;
}

/* Settles `bits` more bits of the key, or of the id. */
template <class From>
GPU_FN void settle(const struct Row &row, struct Search *s, bool ids, int shift, int bits)
{
    struct Shared *m = row.s;
    const uint32_t low = (1u << bits) - 1;
    u64 own = 0, total;
    __syncthreads();
    for (int b = threadIdx.x; b < BUCKETS; b += THREADS)
        m->hist[b] = 0;
    __syncthreads();
    each<From>(row, [&](float l, int i) {
        if (!sought<From>(row, *s, l, i))
            return;
        const uint32_t digits = ids ? from_behind(row, From::id(row, i)) : key_of(l) - s->low;
        const u64 v = measure_of(row, *s, l);
        if (v)
            atomicAdd(&m->hist[digits >> shift & low], v);
    });
    __syncthreads();
    const int top = BUCKETS - 1 - static_cast<int>(threadIdx.x) * PER; /* descending by thread */
    for (int j = 0; j < PER; j++)
        own += m->hist[top - j];
    u64 sum = s->before + scan(own, &total, m);
    if (sum < s->goal && s->goal <= sum + own)
        for (int j = 0; j < PER; j++) {
            const u64 v = m->hist[top - j];
            if (sum < s->goal && s->goal <= sum + v) {
                m->bucket = top - j;
                m->before = sum;
            }
            sum += v;
        }
    __syncthreads();
    const uint32_t found = static_cast<uint32_t>(m->bucket) << shift;
    s->before = m->before;
    if (ids) {
        s->id |= found;
        s->id_mask |= low << shift;
    } else {
        s->key |= found;
        s->key_mask |= low << shift;
    }
}

/* Digits from the highest bit in which candidates differ, so that the first spreads them. */
template <class From> GPU_FN struct Found search(const struct Row &row, struct Search s)
{
    for (int ids = 0; ids < 2; ids++) {
        const uint32_t most = ids ? static_cast<uint32_t>(row.n - 1) : s.width - 1;
        int left = 32 - __clz(static_cast<int>(most));
        while (left > 0) {
            const int bits = left < DIGIT ? left : static_cast<int>(DIGIT);
            left -= bits;
            settle<From>(row, &s, ids != 0, left, bits);
        }
    }
    const uint32_t key = s.low + s.key;
    const float logit = __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
    return {logit, row.n - 1 - static_cast<int>(s.id), s.before + measure_of(row, s, logit)};
}

/* Candidates with keys in [low, low + width), to shared memory, in any order. */
GPU_FN void copy_band(const struct Row &row, uint32_t low, uint32_t width)
{
    struct Shared *s = row.s;
    __syncthreads(); /* whoever used the last band has done so */
    if (threadIdx.x == 0)
        s->n = 0;
    __syncthreads();
    each<Whole>(row, [&](float l, int i) {
        if (key_of(l) - low >= width)
            return;
        const int at = atomicAdd(&s->n, 1);
        s->logit[at] = l;
        s->id[at] = i;
    });
    __syncthreads();
}

/* Where the measure reaches `goal`, which all candidates together do. */
GPU_FN struct Found find(const struct Row &row, bool counts, u64 goal)
{
    const struct Tiers &a = row.s->tiers;
    int t = 0;
    while (t < TIERS - 1 && (counts ? a.count[t] : a.mass[t]) < goal)
        t++;
    const uint32_t low = key_of(a.floor[t]), end = key_of(t ? a.floor[t - 1] : row.max) + !t;
    const u64 before = t == 0 ? 0 : counts ? a.count[t - 1] : a.mass[t - 1];
    const unsigned n = a.count[t] - (t ? a.count[t - 1] : 0);
    const struct Search s = {counts, goal, before, low, end - low, 0, 0, 0, 0};
    if (n > ROOM)
        return search<Whole>(row, s);
    copy_band(row, s.low, s.width);
    return search<Band>(row, s);
}

/* Mass of the candidates that come no later than this one. */
GPU_FN u64 mass_up_to(const struct Row &row, float logit, int id)
{
    u64 sum = 0;
    each<Whole>(row, [&](float l, int i) {
        if (l > logit || (l == logit && i <= id))
            sum += mass_of(row, l);
    });
    return sum_of(sum, row.s);
}

/* Philox4x32-10, word 0, as kernels/base/rng.c; then uniform in (0, 1). */
GPU_FN float uniform(uint64_t key, uint64_t counter)
{
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32);
    uint32_t c2 = 0, c3 = 0;
    for (int i = 0; i < 10; i++) {
        const uint64_t a = static_cast<uint64_t>(0xd2511f53u) * c0;
        const uint64_t b = static_cast<uint64_t>(0xcd9e8d57u) * c2;
        c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
        c1 = static_cast<uint32_t>(b);
        c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
        c3 = static_cast<uint32_t>(a);
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    const float f = static_cast<float>((static_cast<double>(c0 >> 8) + 0.5) / 16777216.0);
    return f < 1 ? f : 0x1.fffffep-1f;
}

/* min_p: p >= min_p * p of the likeliest. */
GPU_FN u64 mass_above(const struct Row &row, const struct sample_row &want)
{
    const double octaves = log(static_cast<double>(want.min_p));
    const float floor =
        static_cast<float>(__dadd_rn(row.max, __dmul_rn(want.temperature, octaves)));
    return mass_up_to(row, fminf(floor, row.max), row.n);
}

/* What top_k, top_p and min_p keep is a prefix, known by its mass. One loop: each search is code
 * that is there once. */
GPU_FN int draw(struct Row &row, const struct sample_row &want)
{
    enum { TOP_K, TOP_P, DRAW, STEPS };
    row.scale = fmaxf(OCTAVES / want.temperature, 1e-30f);
    sum_tiers(row);
    struct Found f = {};
    u64 kept = row.s->tiers.mass[TIERS - 1];
    const bool cuts =
        want.top_k > 0 && static_cast<unsigned>(want.top_k) < row.s->tiers.count[TIERS - 1];
    GPU_UNROLL_BY(1)
    for (int step = 0; step < STEPS; step++) {
        if ((step == TOP_K && !cuts) || (step == TOP_P && !(want.top_p < 1)))
            continue;
        if (step == DRAW && want.min_p > 0) {
            const u64 above = mass_above(row, want);
            kept = above < kept ? above : kept;
        }
        const float share = step == TOP_P ? want.top_p : uniform(want.seed, want.counter);
        f = find(row, step == TOP_K,
                 step == TOP_K ? static_cast<u64>(want.top_k) : part_of(share, kept));
        if (step == TOP_K)
            kept = mass_up_to(row, f.logit, f.id);
        else
            kept = f.sum;
    }
    return f.id;
}

/* --- before and after */

/* Of tokens [first, end). Adds of one token happen in their order, by the thread that holds its
 * first. */
GPU_FN void add_bias(const struct op_sample &a, const struct sample_row &want, float *logit,
                     int first, int end)
{
    const struct sample_bias *b = a.bias + want.bias_first;
    for (int i = threadIdx.x; i < want.n_bias; i += THREADS) {
        bool mine = b[i].token >= first && b[i].token < end;
        for (int j = 0; j < i && mine; j++)
            mine = b[j].token != b[i].token;
        if (!mine)
            continue;
        float l = logit[b[i].token];
        for (int j = i; j < want.n_bias; j++)
            if (b[j].token == b[i].token)
                l += b[j].add;
        logit[b[i].token] = l;
    }
    __syncthreads();
}

GPU_FN float penalise(const struct sample_row &want, uint16_t count, float logit)
{
    if (!count)
        return logit;
    const int times = count & 0x7fff;
    float l = logit > 0 ? logit / want.repetition : logit * want.repetition;
    l = __fsub_rn(l, __fmul_rn(want.frequency, static_cast<float>(times)));
    return times ? l - want.presence : l;
}

/* Mask, penalties; no NaN, -0, +inf or subnormal. The likeliest token of [first, end). */
GPU_FN struct Best adjust(const struct op_sample &a, const struct sample_row &want, float *logit,
                          int first, int end)
{
    const int64_t r = blockIdx.y, n = a.logits.shape[1];
    const uint32_t *mask = a.mask ? a.mask + r * ((n + 31) / 32) : nullptr;
    const bool none = want.repetition == 1 && want.frequency == 0 && want.presence == 0;
    const uint16_t *counts =
        a.counts && !none ? a.counts + static_cast<int64_t>(want.slot) * n : nullptr;
    struct Best best = {-INFINITY, -1};
    if (want.n_bias > 0)
        add_bias(a, want, logit, first, end);
    for (int base = first + threadIdx.x; base < end; base += THREADS * AT_ONCE) {
        float v[AT_ONCE];
        GPU_UNROLL
        for (int j = 0; j < AT_ONCE; j++) {
            const int i = base + j * THREADS;
            v[j] = i < end ? logit[i] : -INFINITY;
        }
        GPU_UNROLL
        for (int j = 0; j < AT_ONCE; j++) {
            const int i = base + j * THREADS;
            if (i >= end)
                break;
            float l = v[j];
            if (mask && !(mask[i / 32] >> i % 32 & 1))
                l = -INFINITY;
            if (counts)
                l = penalise(want, counts[i], l);
            if (l != l)
                l = -INFINITY;
            else if (l > FLT_MAX)
                l = FLT_MAX;
            else if (fabsf(l) < FLT_MIN)
                l = 0;
            logit[i] = l;
            if (l != -INFINITY)
                best = better(best, {l, i});
        }
    }
    return best;
}

/* The n_top likeliest, in their order: all that come no later than the last of them are copied, and
 * each counts those before it. */
GPU_FN int likeliest(const struct Row &row, int n_top, double total, struct sample_out *out)
{
    struct Shared *s = row.s;
    const unsigned all = s->tiers.count[TIERS - 1];
    if (static_cast<unsigned>(n_top) > all)
        n_top = static_cast<int>(all);
    if (n_top == 0)
        return 0;
    const struct Found last = find(row, true, static_cast<u64>(n_top));
    __syncthreads(); /* the band is used */
    if (threadIdx.x == 0)
        s->n = 0;
    __syncthreads();
    each<Whole>(row, [&](float l, int i) {
        if (!(l > last.logit || (l == last.logit && i <= last.id)))
            return;
        const int at = atomicAdd(&s->n, 1);
        s->logit[at] = l;
        s->id[at] = i;
    });
    __syncthreads();
    const int own = threadIdx.x;
    if (own < n_top) {
        const struct Best mine = {s->logit[own], s->id[own]};
        int before = 0;
        for (int i = 0; i < n_top; i++)
            before += i != own && better(mine, {s->logit[i], s->id[i]}).id != mine.id;
        out->top_id[before] = mine.id;
        out->top_logprob[before] = static_cast<float>(static_cast<double>(mine.logit) - total);
    }
    return n_top;
}

/* The chosen token's log-probability and rank, and the likeliest n_top tokens. */
GPU_FN void report(struct Row &row, int token, int n_top, struct sample_out *out)
{
    const float own = __ldcg(row.logit + token);
    u64 rank = 0;
    row.scale = OCTAVES;
    sum_tiers(row);
    const u64 mass = row.s->tiers.mass[TIERS - 1];
    const double total = static_cast<double>(row.max) + log(static_cast<double>(mass) * 0x1p-40);
    const bool banned = own == -INFINITY; /* then other banned ones may come before it, too */
    each<Whole>(row, [&](float l, int i) {
        rank += banned ? i >= token : l > own || (l == own && i < token);
    });
    rank = sum_of(rank, row.s) + (banned ? token : 0);
    const int kept = likeliest(row, n_top, total, out);
    if (threadIdx.x == 0) {
        out->logprob = static_cast<float>(static_cast<double>(own) - total);
        out->rank = static_cast<int32_t>(rank);
        out->n_top = kept;
    }
}

/* --- kernels */

/* What follows from the likeliest token of the row, by one block. */
GPU_FN void choose(const struct op_sample &a, const struct sample_row &want, struct Best best,
                   struct Shared *s)
{
    const int64_t r = blockIdx.y;
    const int n = static_cast<int>(a.logits.shape[1]);
    struct sample_out *out = &a.out[r];
    struct Row row = {row_of<float>(a.logits, r), n, best.logit, 0, s};
    for (unsigned i = threadIdx.x; i < sizeof *out / 4; i += THREADS)
        reinterpret_cast<uint32_t *>(out)[i] = 0;
    __syncthreads();
    int token = want.forced >= 0 ? want.forced : best.id < 0 ? 0 : best.id;
    if (want.forced < 0 && best.id >= 0 && want.temperature >= COLD)
        token = draw(row, want);
    if (best.id >= 0 && want.n_top >= 0)
        report(row, token, want.n_top, out);
    if (threadIdx.x != 0)
        return;
    out->token = token;
    if (want.forced >= 0)
        return;
    if (a.last)
        a.last[want.slot] = token;
    if (!a.counts)
        return;
    uint16_t *c = &a.counts[static_cast<int64_t>(want.slot) * n + token];
    if ((*c & 0x7fff) != 0x7fff)
        ++*c;
}

/* Grid: x slices, y rows. */
static __global__ void __launch_bounds__(THREADS, 1) sample_kernel(struct sample_args a)
{
    GPU_DYN_SHARED(struct Shared, s);
    const int64_t r = blockIdx.y;
    const int n = static_cast<int>(a.op.logits.shape[1]);
    const int first = blockIdx.x * a.slice, end = min(first + a.slice, n);
    gpu_let_next();
    gpu_wait_earlier();
    if (!is_live(a.op.n_live, r))
        return;
    const struct sample_row want = a.op.row[r];
    if (want.slot < 0) {
        struct sample_out *out = &a.op.out[r];
        for (unsigned i = threadIdx.x; i < sizeof *out / 4 && blockIdx.x == 0; i += THREADS)
            reinterpret_cast<uint32_t *>(out)[i] = i == 0 ? ~0u : 0; /* its first is the token */
        return;
    }
    struct Best best = best_of(adjust(a.op, want, row_of<float>(a.op.logits, r), first, end), s);
    struct Best *all = a.best + r * gridDim.x;
    if (threadIdx.x == 0)
        all[blockIdx.x] = best;
    if (!gpu_last_block(a.ticket + r, gridDim.x))
        return;
    best = {-INFINITY, -1};
    for (unsigned i = threadIdx.x; i < gridDim.x; i += THREADS)
        best = better(best, {__ldcg(&all[i].logit), __ldcg(&all[i].id)});
    choose(a.op, want, best_of(best, s), s);
}
static_assert(offsetof(struct sample_out, token) == 0, "the first of the words");

enum status cuda_sample(struct cuda_queue *q, const struct op_sample *a)
{
    const int rows = static_cast<int>(a->logits.shape[0]), n = static_cast<int>(a->logits.shape[1]);
    if (a->logits.shape[1] > V_MAX || a->logits.shape[0] > CUDA_TICKETS)
        return fail(ERR_UNSUPPORTED,
                    "cuda: op sample of %lld rows of %lld tokens, at most %d of %d",
                    static_cast<long long>(a->logits.shape[0]),
                    static_cast<long long>(a->logits.shape[1]), CUDA_TICKETS, V_MAX);
    if (rows == 0)
        return OK;
    const int wanted = 2 * q->sms / rows, most = (n + SLICE - 1) / SLICE;
    int slices = wanted < 1 ? 1 : wanted < most ? wanted : most;
    const int slice = ((n + slices - 1) / slices + 31) / 32 * 32;
    slices = (n + slice - 1) / slice;
    const sample_args s = {*a, static_cast<struct Best *>(q->scratch), q->tickets, slice};
    if (sizeof(struct Best) * rows * slices > q->scratch_bytes)
        return fail(ERR_NO_MEMORY, "cuda: op sample of %d rows", rows);
    return cuda_check(gpu_launch_early({q->stream, q->early}, sample_kernel, dim3(slices, rows),
                                       THREADS, sizeof(struct Shared), s),
                      "sample");
}

/* Bit 15 for the prompt, a saturating count in the others: in any order the same result. */
static __global__ void count_kernel(struct op_count a)
{
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    gpu_let_next();
    gpu_wait_earlier();
    if (i >= a.n)
        return;
    unsigned short *c = reinterpret_cast<unsigned short *>(&a.counts[a.token[i]]);
    unsigned short old = *static_cast<volatile unsigned short *>(c), seen;
    do {
        seen = old;
        const unsigned short next = i < a.n_prompt              ? seen | 0x8000
                                    : (seen & 0x7fff) == 0x7fff ? seen
                                                                : seen + 1;
        old = atomicCAS(c, seen, next);
    } while (old != seen);
}

enum status cuda_count(struct cuda_queue *q, const struct op_count *a)
{
    if (a->n == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early}, count_kernel,
                                       dim3(static_cast<unsigned>((a->n + 127) / 128)), 128, 0, *a),
                      "count");
}
