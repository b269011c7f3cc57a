/* warp.cc - warp collectives, block barriers, cp.async, ldmatrix and mma.sync.
 *
 * The last lane to arrive at a warp collective performs it for all lanes (their operands lie on
 * their own stacks) and makes the others ready again. */
#include "tests/simt/engine.h"

#include <memory>

namespace simt
{

/* --- warp collectives */
// True, and performed, if every live lane named in the mask waits in the same operation.
bool try_complete(Engine *e, Thread *t)
{
    Warp &w = e->warps[t->warp];
    uint32_t need = t->mask & w.live;
    if ((w.waiting & need) != need)
        return false;
    Thread *base = &e->threads[t->warp * 32];
    void *args[32];
    for (uint32_t m = need; m; m &= m - 1) {
        Thread &o = base[__builtin_ctz(m)];
        if (o.mask != t->mask || o.kind != t->kind || o.fn != t->fn)
            return false; // it waits in another operation
        args[o.lane] = o.args;
    }
    if (t->aligned)
        for (uint32_t m = need; m; m &= m - 1) {
            Thread &o = base[__builtin_ctz(m)];
            if (o.line != t->line || o.file != t->file) {
                fail_block(e, strf("warp %u: %s (.aligned) executed at two places by one warp: "
                                   "%s:%d and %s:%d",
                                   t->warp, kind_name(*t), o.file, o.line, t->file, t->line));
            }
        }
    if (t->fn)
        t->fn(args, need);
    w.waiting &= ~need;
    e->n_coll++;
    if (need == w.live) {
        w.epoch++;
    }
    for (uint32_t m = need; m;) { // push highest lane first: the lowest runs first
        int l = e->sched == 1 ? __builtin_ctz(m) : 31 - __builtin_clz(m);
        m &= ~(1u << l);
        Thread &o = base[l];
        if (simt_race_warp_sync && need == w.live)
            simt_race_warp_sync(o.linear, w.epoch);
        if (o.state == IN_WARP_OP)
            push_ready(e, &o);
    }
    return true;
}

static void warp_op(Kind k, uint32_t mask, WarpFn fn, void *args, bool aligned, const char *file,
                    int line)
{
    Engine *e = eng;
    Thread *t = static_cast<Thread *>(self);
    Warp &w = e->warps[t->warp];
    t->kind = k;
    t->mask = mask;
    t->fn = fn;
    t->args = args;
    t->aligned = aligned;
    t->file = file;
    t->line = line;
    if (!(mask >> t->lane & 1))
        fail_here(e, strf("%s: calling lane %u is not in mask %08x at %s:%d", kind_name(*t),
                          t->lane, mask, file, line));
    w.waiting |= 1u << t->lane;
    if (try_complete(e, t)) {
        if (e->failed) {
            e->nready = 0;
            switch_to(e, t, nullptr, true);
        } // reported already: give the block up
        if (e->sched == 2 && (rng_next(e->rng) & 255) < e->mix) {
            t->state = READY;
            push_ready(e, t);
            block_here(e, t);
        }
        return;
    }
    t->state = IN_WARP_OP;
    block_here(e, t);
}

struct ShflArgs {
    uint64_t v, out;
    int src;
    uint32_t mask;
};
static void shfl_fn(void *const *a, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        auto *x = static_cast<ShflArgs *>(a[__builtin_ctz(m)]);
        if (lanes >> x->src & 1)
            x->out = static_cast<ShflArgs *>(a[x->src])->v;
        else {
            x->out = 0xffffffffffffffffull;
            x->mask = 0;
        } // undefined on a GPU: reported by the caller
    }
}
uint64_t shfl_bits(uint32_t mask, uint64_t v, int src, const char *file, int line)
{
    ShflArgs a{v, 0, src, mask};
    warp_op(K_SHFL, mask, shfl_fn, &a, false, file, line);
    if (!a.mask)
        fail_here(eng,
                  strf("__shfl_*_sync reads lane %d, which does not take part (mask %08x) at %s:%d",
                       src, mask, file, line));
    return a.out;
}
struct VoteArgs {
    bool p;
    uint32_t out;
};
template <Kind K> static void vote_fn(void *const *a, uint32_t lanes)
{
    uint32_t b = 0;
    for (uint32_t m = lanes; m; m &= m - 1) {
        int l = __builtin_ctz(m);
        b |= (uint32_t) static_cast<VoteArgs *>(a[l])->p << l;
    }
    uint32_t r = K == K_VOTE_BALLOT ? b : K == K_VOTE_ANY ? b != 0 : b == lanes;
    for (uint32_t m = lanes; m; m &= m - 1)
        static_cast<VoteArgs *>(a[__builtin_ctz(m)])->out = r;
}
uint32_t vote(Kind k, uint32_t mask, bool p, const char *file, int line)
{
    VoteArgs a{p, 0};
    warp_op(k, mask,
            k == K_VOTE_BALLOT ? vote_fn<K_VOTE_BALLOT>
            : k == K_VOTE_ANY  ? vote_fn<K_VOTE_ANY>
                               : vote_fn<K_VOTE_ALL>,
            &a, false, file, line);
    return a.out;
}
struct MatchArgs {
    uint64_t v;
    uint32_t out;
};
static void match_fn(void *const *a, uint32_t lanes)
{
    for (uint32_t m = lanes; m; m &= m - 1) {
        auto *x = static_cast<MatchArgs *>(a[__builtin_ctz(m)]);
        x->out = 0;
        for (uint32_t n = lanes; n; n &= n - 1) {
            int l = __builtin_ctz(n);
            if (static_cast<MatchArgs *>(a[l])->v == x->v)
                x->out |= 1u << l;
        }
    }
}
uint32_t match_any(uint32_t mask, uint64_t v, const char *file, int line)
{
    MatchArgs a{v, 0};
    warp_op(K_MATCH_ANY, mask, match_fn, &a, false, file, line);
    return a.out;
}
struct RedArgs {
    int64_t v;
    int op;
};
static void red_fn(void *const *a, uint32_t lanes)
{
    bool first = true;
    int64_t r = 0;
    int op = 0;
    for (uint32_t m = lanes; m; m &= m - 1) {
        auto *x = static_cast<RedArgs *>(a[__builtin_ctz(m)]);
        op = x->op;
        if (first) {
            r = x->v;
            first = false;
            continue;
        }
        r = op == 0   ? r + x->v
            : op == 1 ? std::min(r, x->v)
            : op == 2 ? std::max(r, x->v)
            : op == 3 ? (r | x->v)
                      : (r & x->v);
    }
    for (uint32_t m = lanes; m; m &= m - 1)
        static_cast<RedArgs *>(a[__builtin_ctz(m)])->v = r;
}
int64_t warp_reduce(uint32_t mask, int64_t v, int op, const char *file, int line)
{
    RedArgs a{v, op};
    warp_op(K_REDUCE, mask, red_fn, &a, false, file, line);
    return a.v;
}
void sync_warp(uint32_t mask, const char *file, int line)
{
    warp_op(K_SYNCWARP, mask, nullptr, nullptr, false, file, line);
}
uint32_t active_mask()
{
    return eng->warps[static_cast<Thread *>(self)->warp].live;
}
void yield_spin()
{
    Engine *e = eng;
    Thread *t = static_cast<Thread *>(self);
    if (!e->nready)
        fail_here(
            e,
            "spin wait that no other thread of the block can end (blocks run one after another)");
    // Behind everyone else: put at the bottom of the ready stack.
    t->state = READY;
    std::memmove(e->ready + 1, e->ready, sizeof(Thread *) * e->nready);
    e->ready[0] = t;
    e->nready++;
    block_here(e, t);
}

/* --- block barriers */
void release_barrier(Engine *e, int id)
{
    Barrier &b = e->bars[id];
    b.arrived = 0;
    e->n_bar++;
    if (id == 0)
        e->block_epoch++;
    for_threads(e, e->nthreads, [&](int i) {
        Thread &t = e->threads[i];
        if (t.state == IN_BARRIER && t.bar == id) {
            if (simt_race_barrier && id == 0)
                simt_race_barrier(t.linear, e->block_epoch);
            push_ready(e, &t);
        }
    });
}
static int barrier(int id, int expected, int pred, int op, bool wait, const char *file, int line)
{
    Engine *e = eng;
    Thread *t = static_cast<Thread *>(self);
    Barrier &b = e->bars[id];
    if (b.arrived == 0) {
        b.file = file;
        b.line = line;
        b.expected = expected;
        b.count = 0;
    } else if (expected < 0 && (b.line != line || b.file != file))
        fail_here(e, strf("divergent __syncthreads: some threads are at %s:%d, thread %u at %s:%d",
                          b.file, b.line, t->linear, file, line));
    else if (b.expected != expected)
        fail_here(e, strf("barrier %d used with two thread counts (%d, %d) at %s:%d", id,
                          b.expected, expected, file, line));
    b.arrived++;
    b.count += pred != 0;
    int total = expected < 0 ? e->live : expected;
    t->bar = id;
    t->file = file;
    t->line = line;
    t->pred = b.count;
    if (wait)
        t->state = IN_BARRIER;
    if (b.arrived >= total) {
        int count = b.count;
        for (int i = 0; i < e->nthreads; i++)
            if (e->threads[i].state == IN_BARRIER && e->threads[i].bar == id)
                e->threads[i].pred = op == 2 ? count == total : op == 3 ? count > 0 : count;
        release_barrier(e, id);
    }
    if (!wait)
        return 0;
    block_here(e, t);
    return t->pred;
}
int sync_block(int pred, int op, const char *file, int line)
{
    return barrier(0, -1, pred, op, true, file, line);
}
void bar_sync(int id, int n, const char *file, int line)
{
    barrier(id, n, 0, 0, true, file, line);
}
void bar_arrive(int id, int n, const char *file, int line)
{
    barrier(id, n, 0, 0, false, file, line);
}

/* --- cp.async */
// A GPU may perform the copy at any time between issue and wait: so does the emulator.
static void do_copy(const PendingCopy &c)
{
    if (simt_race_access) {
        simt_race_access(c.src, (size_t)c.src_bytes, 0, "cp.async");
        simt_race_access(c.dst, (size_t)c.bytes, 1, "cp.async");
    }
    std::memcpy(c.dst, c.src, (size_t)c.src_bytes);
    std::memset((char *)c.dst + c.src_bytes, 0, (size_t)(c.bytes - c.src_bytes));
}
void cp_async(void *smem, const void *gmem, int bytes, int src_bytes)
{
    Engine *e = eng;
    Thread *t = static_cast<Thread *>(self);
    auto a = reinterpret_cast<uintptr_t>(smem), g = reinterpret_cast<uintptr_t>(gmem);
    if (a % (unsigned)bytes || (src_bytes > 0 && g % (unsigned)bytes))
        fail_here(e, strf("cp.async: %d-byte copy to %p from %p is misaligned", bytes, smem, gmem));
    PendingCopy c{smem, gmem, bytes, src_bytes, t->group};
    int mode = config.async_copies == 2 ? (int)(rng_next(e->rng) & 1) : config.async_copies;
    // The write may land from now on: the race checker sees it here and again when it is done.
    if (mode == 1)
        do_copy(c);
    else {
        if (simt_race_access)
            simt_race_access(smem, (size_t)bytes, 1, "cp.async");
        if (simt_race_access && !t->waited && src_bytes > 0) /* what it reads may still change */
            simt_race_access(gmem, (size_t)src_bytes, 0, "cp.async before gpu_wait_earlier");
        t->copies.push_back(c);
    }
}
void cp_async_commit()
{
    static_cast<Thread *>(self)->group++;
}
void arrived(const void *ticket, bool last)
{
    if (simt_race_arrived)
        simt_race_arrived(ticket, last);
}
void cp_async_wait(int pending)
{
    Thread *t = static_cast<Thread *>(self);
    size_t n = 0;
    for (auto &c : t->copies) {
        if (c.group + (uint32_t)pending < t->group)
            do_copy(c);
        else
            t->copies[n++] = c;
    }
    t->copies.resize(n);
}

/* --- ldmatrix, mma.sync */
struct LdArgs {
    uint32_t *r;
    int n;
    const void *row;
};
template <bool TRANS> static void ldmatrix_fn(void *const *a, uint32_t)
{
    int n = static_cast<LdArgs *>(a[0])->n;
    for (int q = 0; q < n; q++) {
        uint16_t m[8][8];
        for (int i = 0; i < 8; i++)
            std::memcpy(m[i], static_cast<LdArgs *>(a[q * 8 + i])->row,
                        16); // lanes 8q..8q+7 give the rows
        for (int l = 0; l < 32; l++) {
            int r = l >> 2, c = (l & 3) * 2;
            uint32_t v = TRANS ? (uint32_t)m[c][r] | (uint32_t)m[c + 1][r] << 16
                               : (uint32_t)m[r][c] | (uint32_t)m[r][c + 1] << 16;
            static_cast<LdArgs *>(a[l])->r[q] = v;
        }
    }
}
void ldmatrix(uint32_t *r, int n, bool trans, const void *row, const char *file, int line)
{
    LdArgs a{r, n, row};
    Thread *t = static_cast<Thread *>(self);
    if ((int)t->lane < 8 * n) {
        if (reinterpret_cast<uintptr_t>(row) & 15)
            fail_here(eng,
                      strf("ldmatrix: row address %p of lane %u is not 16-byte aligned at %s:%d",
                           row, t->lane, file, line));
        auto *p = (const unsigned char *)row;
        BlockView &v = eng->view;
        if (v.dyn_bytes && p > v.dyn_smem - 65536 && p < v.dyn_smem + v.dyn_bytes + 65536 &&
            (p < v.dyn_smem || p + 16 > v.dyn_smem + v.dyn_bytes))
            fail_here(eng, strf("ldmatrix: row of lane %u is outside dynamic shared memory (offset "
                                "%td of %zu) at %s:%d",
                                t->lane, p - v.dyn_smem, v.dyn_bytes, file, line));
        if (simt_race_access)
            simt_race_access(row, 16, 0, "ldmatrix");
    }
    warp_op(trans ? K_LDMATRIX_T : K_LDMATRIX, 0xffffffffu,
            trans ? ldmatrix_fn<true> : ldmatrix_fn<false>, &a, true, file, line);
}

static const float *half_table()
{
    static const std::unique_ptr<float[]> t = [] {
        std::unique_ptr<float[]> p(new float[65536]);
        for (int i = 0; i < 65536; i++) {
            __half_raw r;
            r.x = (unsigned short)i;
            p[i] = __half2float(__half(r));
        }
        return p;
    }();
    return t.get();
}
static const float *e4m3_table()
{
    static const std::unique_ptr<float[]> t = [] {
        std::unique_ptr<float[]> p(new float[256]);
        for (int i = 0; i < 256; i++) {
            __nv_fp8_e4m3 v;
            v.__x = (__nv_fp8_storage_t)i;
            p[i] = float(v);
        }
        return p;
    }();
    return t.get();
}
static inline float bf16f(uint32_t h)
{
    uint32_t u = h << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
}

struct MmaArgs {
    void *d;
    const uint32_t *a, *b;
    const void *c;
};
// Fragment layouts: PTX ISA, "Matrix fragments for mma.m16n8k16" and "... m16n8k32".
template <Kind K> static void mma16816_fn(void *const *ap, uint32_t)
{
    float A[16][16], B[16][8], D[16][8];
    const float *ht = K == K_MMA_F16 ? half_table() : nullptr;
    auto cvt = [&](uint32_t h) { return K == K_MMA_F16 ? ht[h & 0xffff] : bf16f(h & 0xffff); };
    for (int l = 0; l < 32; l++) {
        auto *x = static_cast<MmaArgs *>(ap[l]);
        int g = l >> 2, t = (l & 3) * 2;
        for (int i = 0; i < 4; i++) {
            int r = g + (i & 1) * 8, c = t + (i >> 1) * 8;
            A[r][c] = cvt(x->a[i]);
            A[r][c + 1] = cvt(x->a[i] >> 16);
        }
        for (int i = 0; i < 2; i++) {
            int k = t + i * 8;
            B[k][g] = cvt(x->b[i]);
            B[k + 1][g] = cvt(x->b[i] >> 16);
        }
        auto *c = static_cast<const float *>(x->c);
        D[g][t] = c[0];
        D[g][t + 1] = c[1];
        D[g + 8][t] = c[2];
        D[g + 8][t + 1] = c[3];
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++)
                D[i][j] += A[i][k] * B[k][j];
    for (int l = 0; l < 32; l++) {
        auto *d = static_cast<float *>(static_cast<MmaArgs *>(ap[l])->d);
        int g = l >> 2, t = (l & 3) * 2;
        d[0] = D[g][t];
        d[1] = D[g][t + 1];
        d[2] = D[g + 8][t];
        d[3] = D[g + 8][t + 1];
    }
}
template <class T, Kind K> static void mma16832_fn(void *const *ap, uint32_t)
{
    T A[16][32], B[32][8], D[16][8];
    const float *e4 = K == K_MMA_E4M3 ? e4m3_table() : nullptr;
    auto cvt = [&](uint32_t v, int i) -> T {
        uint32_t b = (v >> (8 * i)) & 0xff;
        if (K == K_MMA_E4M3)
            return (T)e4[b];
        return (T)(int8_t)b;
    };
    for (int l = 0; l < 32; l++) {
        auto *x = static_cast<MmaArgs *>(ap[l]);
        int g = l >> 2, t = l & 3;
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                A[g + (i & 1) * 8][t * 4 + j + (i >> 1) * 16] = cvt(x->a[i], j);
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 4; j++)
                B[t * 4 + j + i * 16][g] = cvt(x->b[i], j);
        auto *c = static_cast<const T *>(x->c);
        D[g][2 * t] = c[0];
        D[g][2 * t + 1] = c[1];
        D[g + 8][2 * t] = c[2];
        D[g + 8][2 * t + 1] = c[3];
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 32; k++)
            for (int j = 0; j < 8; j++)
                D[i][j] += A[i][k] * B[k][j];
    for (int l = 0; l < 32; l++) {
        auto *d = static_cast<T *>(static_cast<MmaArgs *>(ap[l])->d);
        int g = l >> 2, t = (l & 3) * 2;
        d[0] = D[g][t];
        d[1] = D[g][t + 1];
        d[2] = D[g + 8][t];
        d[3] = D[g + 8][t + 1];
    }
}
// e2m1 with scales: of a's rows in lanes 4 g (row g) and 4 g + 1 (row g + 8), of b's columns in
// lanes 4 g; e4m3 for 16 numbers, or a power of two for 32. Exact, rounded once.
struct ScaledArgs {
    MmaArgs m;
    uint32_t scale[2];
};
static double block_scale(uint32_t s, int i, int block)
{
    const uint32_t byte = s >> 8 * i & 0xff;
    return block == 16 ? e4m3_table()[byte] : std::ldexp(1.0, (int)byte - 127);
}
template <int BLOCK> static void mma16864_fn(void *const *ap, uint32_t)
{
    static const double value[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    double A[16][64], B[64][8];
    auto of = [&](int l) { return static_cast<ScaledArgs *>(ap[l]); };
    auto cvt = [&](uint32_t v, int i) {
        const uint32_t code = v >> 4 * i & 15;
        return code & 8 ? -value[code & 7] : value[code];
    };
    for (int l = 0; l < 32; l++) {
        const int g = l >> 2, t = l & 3;
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 8; j++) {
                const int k = t * 8 + j + (i >> 1) * 32;
                A[g + (i & 1) * 8][k] =
                    cvt(of(l)->m.a[i], j) *
                    block_scale(of(4 * g + (i & 1))->scale[0], k / BLOCK, BLOCK);
            }
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 8; j++) {
                const int k = t * 8 + j + i * 32;
                B[k][g] =
                    cvt(of(l)->m.b[i], j) * block_scale(of(4 * g)->scale[1], k / BLOCK, BLOCK);
            }
    }
    float D[32][4];
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            double sum = static_cast<const float *>(of(l)->m.c)[i];
            for (int k = 0; k < 64; k++)
                sum += A[(l >> 2) + (i >> 1) * 8][k] * B[k][(l & 3) * 2 + (i & 1)];
            D[l][i] = (float)sum;
        }
    for (int l = 0; l < 32; l++)
        std::memcpy(of(l)->m.d, D[l], sizeof D[l]);
}
void mma_16816(float *d, const uint32_t *a, const uint32_t *b, const float *c, Kind k,
               const char *file, int line)
{
    MmaArgs x{d, a, b, c};
    warp_op(k, 0xffffffffu, k == K_MMA_F16 ? mma16816_fn<K_MMA_F16> : mma16816_fn<K_MMA_BF16>, &x,
            true, file, line);
}
void mma_16832(float *d, const uint32_t *a, const uint32_t *b, const float *c, const char *file,
               int line)
{
    MmaArgs x{d, a, b, c};
    warp_op(K_MMA_E4M3, 0xffffffffu, mma16832_fn<float, K_MMA_E4M3>, &x, true, file, line);
}
void mma_16864_e2m1(float *d, const uint32_t *a, const uint32_t *b, const float *c,
                    const uint32_t *scales, int block, const char *file, int line)
{
    ScaledArgs x{{d, a, b, c}, {scales[0], scales[1]}};
    warp_op(K_MMA_E2M1, 0xffffffffu, block == 16 ? mma16864_fn<16> : mma16864_fn<32>, &x, true,
            file, line);
}
void mma_16832_s8(int *d, const uint32_t *a, const uint32_t *b, const int *c, const char *file,
                  int line)
{
    MmaArgs x{d, a, b, c};
    warp_op(K_MMA_S8, 0xffffffffu, mma16832_fn<int, K_MMA_S8>, &x, true, file, line);
}
} // namespace simt
