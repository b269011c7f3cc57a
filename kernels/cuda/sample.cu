/* sample.cu - choosing a token from a row of logits, and counting tokens; as kernels/cpu/
 * naive_sample.c, which says why nothing is sorted. A block a row.
 *
 * A cut of the descending order is found by three histograms over an order-preserving key (11, 11
 * and 10 bits), then by id among equal keys. Probability mass is counted in units of 2^-44 of the
 * likeliest token's, in 64-bit integers: atomics may add them in any order and the result is one.
 * (262144 tokens of mass 1 make 2^62.) Against the definition, whose sums are doubles, a draw can
 * differ only where u falls within 2^-26 of a boundary. A row of V logits costs 4 V bytes a pass:
 * one to adjust, three a cut, at most four cuts. */
#include "kernels/cuda/common.cuh"

#include <cfloat>

enum { THREADS = 512, WARPS = THREADS / 32, BUCKETS = 2048, PER = BUCKETS / THREADS };

typedef unsigned long long u64;

/* The prefix of the descending order that ends at this candidate. */
struct Cut {
    uint32_t key;
    int last; /* id of the last candidate with this very key */
};

struct Shared {
    u64 hist[BUCKETS];
    u64 part[WARPS + 1];
    int part_id[WARPS];
    float part_max[WARPS];
    double part_sum[WARPS];
    u64 before; /* what the search found: measure above the bucket */
    int bucket;
    int id;
};

struct Row {
    const float *logit;
    int n;
    float max, inv_temp;
    struct Shared *s;
};

/* Greater logit, greater key; candidates never are NaN or -0. */
GPU_FN uint32_t key_of(float f)
{
    const uint32_t u = __float_as_uint(f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

GPU_FN bool inside(const struct Row &row, int i, struct Cut c)
{
    if (row.logit[i] == -INFINITY)
        return false;
    const uint32_t key = key_of(row.logit[i]);
    return key > c.key || (key == c.key && i <= c.last);
}

GPU_FN u64 mass_of(const struct Row &row, float logit)
{
    return static_cast<u64>(expf((logit - row.max) * row.inv_temp) * 17592186044416.0f);
}

GPU_FN u64 measure_of(const struct Row &row, bool mass, float logit)
{
    return mass ? mass_of(row, logit) : 1;
}

/* --- block-wide helpers; every thread calls them */

/* Sum of v over threads before this one; *total receives all. */
GPU_FN u64 scan(u64 v, u64 *total, u64 *part)
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
        part[warp] = sum;
    __syncthreads();
    u64 base = 0, all = 0;
    for (int i = 0; i < WARPS; i++) {
        if (i == warp)
            base = all;
        all += part[i];
    }
    *total = all;
    return base + sum - v;
}

/* The greatest logit and, among equals, the smallest id, of those that threads hold (-1: none). */
GPU_FN void best_of(float *logit, int *id, struct Shared *s)
{
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float l = *logit;
    int at = *id;
    GPU_UNROLL
    for (int o = 16; o > 0; o >>= 1) {
        const float l2 = __shfl_xor_sync(GPU_ALL, l, o);
        const int at2 = __shfl_xor_sync(GPU_ALL, at, o);
        if (at2 >= 0 && (at < 0 || l2 > l || (l2 == l && at2 < at))) {
            l = l2;
            at = at2;
        }
    }
    __syncthreads();
    if (lane == 0) {
        s->part_max[warp] = l;
        s->part_id[warp] = at;
    }
    __syncthreads();
    at = -1;
    for (int i = 0; i < WARPS; i++) {
        const int at2 = s->part_id[i];
        const float l2 = s->part_max[i];
        if (at2 >= 0 && (at < 0 || l2 > l || (l2 == l && at2 < at))) {
            l = l2;
            at = at2;
        }
    }
    *logit = l;
    *id = at;
}

/* --- cuts */

struct Search {
    struct Cut in;
    bool mass; /* what is measured: mass, or the number of candidates */
    u64 goal;
    double share;         /* >= 0: the goal is this share of all */
    uint32_t known, mask; /* candidates whose key agrees with `known` in `mask` */
    u64 before;           /* measure of all candidates above them */
};

GPU_FN bool sought(const struct Row &row, const struct Search &s, int i)
{
    return (key_of(row.logit[i]) & s.mask) == s.known && inside(row, i, s.in);
}

/* Settles `bits` more bits of the key; a share becomes a goal. */
GPU_FN void refine(const struct Row &row, struct Search *s, int shift, int bits)
{
    struct Shared *m = row.s;
    const uint32_t low = (1u << bits) - 1;
    u64 own = 0, total;
    __syncthreads();
    for (int b = threadIdx.x; b < BUCKETS; b += THREADS)
        m->hist[b] = 0;
    if (threadIdx.x == 0)
        m->bucket = -1;
    __syncthreads();
    for (int i = threadIdx.x; i < row.n; i += THREADS) {
        if (!sought(row, *s, i))
            continue;
        const u64 v = measure_of(row, s->mass, row.logit[i]);
        if (v)
            atomicAdd(&m->hist[key_of(row.logit[i]) >> shift & low], v);
    }
    __syncthreads();
    const int top = BUCKETS - 1 - static_cast<int>(threadIdx.x) * PER; /* descending by thread */
    for (int j = 0; j < PER; j++)
        own += m->hist[top - j];
    u64 sum = s->before + scan(own, &total, m->part);
    u64 goal = s->goal;
    if (s->share >= 0)
        goal = static_cast<u64>(ceil(s->share * static_cast<double>(total)));
    if (goal > s->before + total)
        goal = s->before + total; /* none reaches it: the last one */
    s->goal = goal = goal < 1 ? 1 : goal;
    s->share = -1;
    if (own && sum < goal && goal <= sum + own)
        for (int j = 0; j < PER; j++) {
            const u64 v = m->hist[top - j];
            if (sum < goal && goal <= sum + v) {
                m->bucket = top - j;
                m->before = sum;
            }
            sum += v;
        }
    __syncthreads();
    s->mask |= low << shift;
    s->known |= static_cast<uint32_t>(m->bucket) << shift;
    s->before = m->before;
}

/* The k-th (from 1) candidate in ascending id among those sought, whose keys are equal; the last
 * one if there are fewer. */
GPU_FN int nth_equal(const struct Row &row, const struct Search &s, u64 k)
{
    const int chunk = (row.n + THREADS - 1) / THREADS;
    const int first = static_cast<int>(threadIdx.x) * chunk;
    const int end = first + chunk < row.n ? first + chunk : row.n;
    u64 own = 0, total;
    for (int i = first; i < end; i++)
        own += sought(row, s, i);
    u64 sum = scan(own, &total, row.s->part);
    k = k > total ? total : k;
    if (sum < k && k <= sum + own)
        for (int i = first; i < end; i++)
            if (sought(row, s, i) && ++sum == k)
                row.s->id = i;
    __syncthreads();
    return row.s->id;
}

/* Within `in`, the first candidate in descending order where the running measure reaches `goal`, or
 * (share >= 0) that share of all. */
GPU_FN struct Cut cut_at(const struct Row &row, struct Cut in, bool mass, u64 goal, double share)
{
    struct Search s = {in, mass, goal, share, 0, 0, 0};
    refine(row, &s, 21, 11);
    refine(row, &s, 10, 11);
    refine(row, &s, 0, 10);
    struct Cut out = {s.known, 0};
    const uint32_t u = s.known & 0x80000000u ? s.known ^ 0x80000000u : ~s.known;
    const u64 each = measure_of(row, mass, __uint_as_float(u));
    out.last = nth_equal(row, s, (s.goal - s.before + each - 1) / each);
    return out;
}

GPU_FN struct Cut least(struct Cut a, struct Cut b)
{
    if (a.key != b.key)
        return a.key > b.key ? a : b;
    return a.last < b.last ? a : b;
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

GPU_FN int draw(const struct Row &row, const struct sample_row &want)
{
    struct Cut c = {0, INT32_MAX};
    if (want.top_k > 0 && want.top_k < row.n)
        c = cut_at(row, c, false, static_cast<u64>(want.top_k), -1);
    if (want.top_p < 1)
        c = least(c, cut_at(row, c, true, 0, static_cast<double>(want.top_p)));
    if (want.min_p > 0) { /* p >= min_p * p of the likeliest */
        const float floor = row.max + want.temperature * logf(want.min_p);
        const struct Cut m = {key_of((floor < row.max ? floor : row.max) + 0.0f), INT32_MAX};
        c = least(c, m);
    }
    return cut_at(row, c, true, 0, static_cast<double>(uniform(want.seed, want.counter))).last;
}

/* --- before and after */

/* Adds of one token happen in their order, by the thread that holds its first. */
GPU_FN void add_bias(const struct op_sample &a, const struct sample_row &want, float *logit)
{
    const struct sample_bias *b = a.bias + want.bias_first;
    for (int i = threadIdx.x; i < want.n_bias; i += THREADS) {
        bool first = true;
        for (int j = 0; j < i && first; j++)
            first = b[j].token != b[i].token;
        if (!first)
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

/* Mask, penalties; no NaN, -0 or +inf. The likeliest token, -1 when all are banned. */
GPU_FN int adjust(const struct op_sample &a, int64_t r, const struct sample_row &want, float *logit,
                  struct Shared *s)
{
    const int n = static_cast<int>(a.logits.shape[1]);
    const uint32_t *mask = a.mask ? a.mask + r * ((n + 31) / 32) : nullptr;
    const bool none = want.repetition == 1 && want.frequency == 0 && want.presence == 0;
    const uint16_t *counts =
        a.counts && !none ? a.counts + static_cast<int64_t>(want.slot) * n : nullptr;
    float best = -INFINITY;
    int at = -1;
    if (want.n_bias > 0)
        add_bias(a, want, logit);
    for (int i = threadIdx.x; i < n; i += THREADS) {
        float l = logit[i];
        if (mask && !(mask[i / 32] >> i % 32 & 1))
            l = -INFINITY;
        if (counts)
            l = penalise(want, counts[i], l);
        if (l > best) {
            best = l;
            at = i;
        }
        if (l != l)
            l = -INFINITY;
        else if (l > FLT_MAX)
            l = FLT_MAX;
        else if (l == 0)
            l = 0;
        logit[i] = l;
    }
    best_of(&best, &at, s);
    return at;
}

/* The chosen token's log-probability and rank, and the likeliest n_top tokens, one after another:
 * each the greatest that comes after the one before. */
GPU_FN void report(const struct Row &row, int token, int n_top, struct sample_out *out)
{
    const float own = row.logit[token];
    double sum = 0;
    u64 rank = 0;
    for (int i = threadIdx.x; i < row.n; i += THREADS) {
        sum += static_cast<double>(expf(row.logit[i] - row.max));
        rank += row.logit[i] > own || (row.logit[i] == own && i < token);
    }
    __syncthreads();
    const double total =
        static_cast<double>(row.max) + log(block_reduce<Sum>(sum, row.s->part_sum));
    __syncthreads();
    rank = block_reduce<Sum>(rank, row.s->part);
    float last = INFINITY;
    int last_id = -1, kept = 0;
    for (; kept < n_top; kept++) {
        float best = -INFINITY;
        int at = -1;
        for (int i = threadIdx.x; i < row.n; i += THREADS) {
            const float l = row.logit[i];
            if ((l < last || (l == last && i > last_id)) && l > best) {
                best = l;
                at = i;
            }
        }
        best_of(&best, &at, row.s);
        if (at < 0)
            break;
        if (threadIdx.x == 0) {
            out->top_id[kept] = at;
            out->top_logprob[kept] = static_cast<float>(static_cast<double>(best) - total);
        }
        last = best;
        last_id = at;
    }
    if (threadIdx.x == 0) {
        out->logprob = static_cast<float>(static_cast<double>(own) - total);
        out->rank = static_cast<int32_t>(rank);
        out->n_top = kept;
    }
}

/* --- kernels */

static __global__ void __launch_bounds__(THREADS, 1) sample_kernel(struct op_sample a)
{
    GPU_DYN_SHARED(struct Shared, s);
    const int64_t r = blockIdx.x;
    const int n = static_cast<int>(a.logits.shape[1]);
    gpu_let_next();
    gpu_wait_earlier();
    if (!is_live(a.n_live, r))
        return;
    const struct sample_row want = a.row[r];
    struct sample_out *out = &a.out[r];
    float *logit = row_of<float>(a.logits, r);
    for (unsigned i = threadIdx.x; i < sizeof *out / 4; i += THREADS)
        reinterpret_cast<uint32_t *>(out)[i] = 0;
    __syncthreads();
    if (want.slot < 0) {
        if (threadIdx.x == 0)
            out->token = -1;
        return;
    }
    const int best = adjust(a, r, want, logit, s);
    __syncthreads(); /* the row as it is now, for every thread */
    struct Row row = {logit, n, best < 0 ? 0 : logit[best], 1 / want.temperature, s};
    int token = want.forced >= 0 ? want.forced : best < 0 ? 0 : best;
    if (want.forced < 0 && best >= 0 && want.temperature >= 1e-30f)
        token = draw(row, want);
    if (best >= 0 && want.n_top >= 0)
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

enum status cuda_sample(struct cuda_queue *q, const struct op_sample *a)
{
    if (a->logits.shape[1] > 1 << 18)
        return fail(ERR_UNSUPPORTED, "cuda: op sample of %lld tokens, at most 262144",
                    static_cast<long long>(a->logits.shape[1]));
    if (a->logits.shape[0] == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early}, sample_kernel,
                                       dim3(static_cast<unsigned>(a->logits.shape[0])), THREADS,
                                       sizeof(struct Shared), *a),
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
