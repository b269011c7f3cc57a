/* sample.cu - choosing a token from a row of logits, and counting tokens: the very tokens of
 * kernels/cpu/naive_sample.c. The random number, what settles a row before the search and what is
 * reported after it are here; sample_find.cuh searches.
 *
 * Nothing is sorted. Some blocks share a row: each settles its slice (bias, mask, penalties) and
 * finds its likeliest; the block that ends last goes on alone. Greedy rows end there. */
#include "kernels/cuda/sample_find.cuh"

#include <cfloat>

enum {
    SLICE = 2048, /* logits a block has at least, where several share a row */
    V_MAX = 1 << 18
};

struct sample_args {
    struct op_sample op;
    struct Best *best; /* [rows][slices] */
    unsigned *ticket;  /* [rows] zeros */
    int slice;         /* logits of a block, a multiple of 32 */
};

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
