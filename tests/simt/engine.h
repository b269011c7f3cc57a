/* engine.h - what runs one block of CUDA threads on one OS thread: fibers, their warps and
 * barriers, and the stack of those ready to run. Of fiber.cc, warp.cc and report.cc alone. */
#ifndef TESTS_SIMT_ENGINE_H
#define TESTS_SIMT_ENGINE_H

#include "tests/simt/simt.h"

#include <string>
#include <vector>

#include "tests/simt/internal.h"

namespace simt
{

#ifdef SIMT_HAS_ASAN
constexpr bool kAsan = true;
constexpr size_t kStack = 256 << 10;
#else
constexpr bool kAsan = false;
constexpr size_t kStack = 64 << 10;
#endif
constexpr int kMaxThreads = 1024;

enum State : uint8_t { NEW, READY, RUNNING, IN_WARP_OP, IN_BARRIER, DONE };
using WarpFn = void (*)(void *const *args, uint32_t lanes);
struct PendingCopy {
    void *dst;
    const void *src;
    int bytes, src_bytes;
    uint32_t group;
};

struct Thread : ThreadView { // ThreadView first: `self` points here
    void *sp;
    unsigned char *stack;
    uint32_t linear, warp;
    State state;
    bool waited; /* for the kernels before its own; true unless that was launched early */
    Kind kind;
    uint32_t mask;
    WarpFn fn;
    void *args;
    bool aligned; // what it waits in
    int bar;
    int pred;
    const char *file;
    int line;
    uint32_t group; // cp.async: open group number
    std::vector<PendingCopy> copies;
#ifdef SIMT_HAS_ASAN
    void *fake_stack;
#endif
};
struct Warp {
    uint32_t live, waiting, epoch;
};
struct Barrier {
    int arrived, expected;
    const char *file;
    int line;
    int count, all, any;
};

inline uint64_t rng_next(uint64_t &s)
{
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return s;
}

struct Engine {
    BlockView view; // `blk` points here
    Thread threads[kMaxThreads];
    Warp warps[32];
    Barrier bars[16];
    Thread *ready[kMaxThreads];
    int nready;
    std::vector<unsigned char *> free_stacks;
    int nthreads, live;
    uint32_t block_epoch;
    uint64_t rng, block_id, launch_id;
    int sched;
    uint64_t mix; // mix/256: chance of a random pick
    void *main_sp;
    Thread *current;
    bool failed;
    std::string report;
    void (*thunk)(const void *);
    const void *closure;
    const LaunchDesc *desc;
    unsigned char *smem_map = nullptr;
    size_t smem_cap = 0;
    uint64_t n_switch, n_coll, n_bar, n_thr, n_blk;
#ifdef SIMT_HAS_ASAN
    void *main_fake;
    const void *main_bottom;
    size_t main_size;
#endif
};
extern __thread Engine *eng;

/* fiber.cc: leaves the current fiber (from; nullptr: the scheduler) for `to` (nullptr: back). */
void switch_to(Engine *e, Thread *from, Thread *to, bool from_dies);
void fail_block(Engine *e,
                const std::string &msg); /* records it; the block's fibers are given up */
[[noreturn]] void fail_here(Engine *e, const std::string &msg);
/* report.cc */
std::string strf(const char *f, ...) __attribute__((format(printf, 1, 2)));
const char *kind_name(const Thread &t);
std::string where(Engine *e); /* the kernel, the block, the thread */
std::string deadlock_report(Engine *e);
/* warp.cc */
bool try_complete(Engine *e, Thread *t); /* true, and performed, if all its lanes are there */
void release_barrier(Engine *e, int id);

inline void push_ready(Engine *e, Thread *t)
{
    t->state = t->state == NEW ? NEW : READY;
    e->ready[e->nready++] = t;
}
// Calls f(i) for all i < n, warp by warp: last first (so that the first runs first), first
// first, or from a random warp and lane in a random direction.
template <class F> inline void for_threads(Engine *e, int n, F f)
{
    if (e->sched == 0) {
        for (int i = n - 1; i >= 0; i--)
            f(i);
        return;
    }
    if (e->sched == 1) {
        for (int i = 0; i < n; i++)
            f(i);
        return;
    }
    int nw = (n + 31) / 32;
    uint64_t r = rng_next(e->rng);
    int w0 = (int)(r % (uint64_t)nw), dw = (r >> 20) & 1 ? 1 : nw - 1, l0 = (int)(r >> 24) & 31,
        dl = (r >> 32) & 1 ? 1 : 31;
    for (int k = 0, w = w0; k < nw; k++, w = (w + dw) % nw)
        for (int j = 0, l = l0; j < 32; j++, l = (l + dl) & 31)
            if (w * 32 + l < n)
                f(w * 32 + l);
}
inline Thread *pop_ready(Engine *e)
{
    if (!e->nready)
        return nullptr;
    // Random mode: mostly depth first (one warp runs far ahead of the others, which is what
    // exposes a missing barrier), with a random thread brought forward now and then.
    if (e->sched == 2) {
        uint64_t r = rng_next(e->rng);
        if ((r & 255) < e->mix)
            std::swap(e->ready[(r >> 8) % (uint64_t)e->nready], e->ready[e->nready - 1]);
    }
    return e->ready[--e->nready];
}
inline void block_here(Engine *e, Thread *t)
{
    switch_to(e, t, pop_ready(e), false);
}
} // namespace simt

#endif
