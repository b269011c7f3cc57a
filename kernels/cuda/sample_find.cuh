/* sample_find.cuh - the candidate of a row of logits before which there are so many others, or so
 * much mass. Masses are integers (kernels/cpu/mass.h), so that sums are the same in any order and
 * by any number of threads. One block does it, every thread of which calls; sample.cu alone
 * includes it.
 *
 * One pass over the row sums the masses above a few floors, in registers; the band between two
 * floors that holds the goal is copied to shared memory, as a rule some hundred candidates, and
 * divided by histograms over the bits of their keys, then of their ids, until one is left. Only
 * bands that are too long are divided where they lie, by passes over the row.
 *
 * Why so: a multiprocessor reads a row of 128 k logits from L2 in some 5 us if each thread has
 * several loads under way, ten times slower with one; and it has no 64-bit atomics in shared
 * memory, only loops of compare and swap, which a histogram of all logits, most of them alike,
 * would keep spinning. Bands and digits are chosen so that few meet in a bucket. */
#ifndef KERNELS_CUDA_SAMPLE_FIND_CUH
#define KERNELS_CUDA_SAMPLE_FIND_CUH

#include "kernels/cuda/common.cuh"

#include <cfloat>

enum {
    THREADS = 512,
    WARPS = THREADS / 32,
    AT_ONCE = 8, /* loads of a thread under way in a pass over a row */
    TIERS = 8,   /* floors */
    ROOM = 2048, /* candidates in shared memory */
    DIGIT = 11   /* bits settled by one histogram */
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

#endif
