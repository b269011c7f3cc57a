/* race.cc - data-race check.
 *
 * Compile the kernels (only them) with -fsanitize=thread and link this file instead of the
 * ThreadSanitizer runtime: the compiler calls __tsan_readN/__tsan_writeN before each access.
 * Two accesses to the same byte by different threads of a launch, one of them a write, race
 *   - in one block: unless a __syncthreads, or for one warp a full-mask warp collective, lies
 *     between;
 *   - in different blocks: always (atomics excepted), unless the later one is the last to take a
 *     ticket (gpu_last_block) that the earlier one took behind a __syncthreads after its access.
 * A kernel that was launched early (gpu_launch_early) follows the kernels before it only from
 * gpu_wait_earlier on: before that, what a thread touches races with them, as far back as to the
 * last launch before which there was no kernel, or that was not early.
 * Only the last write and the last two reads of a byte are remembered, so a race can be
 * missed.  Named barriers, partial-mask collectives and release/acquire flags are not counted
 * as ordering: kernels that rely on them can raise false alarms.
 * Accesses outside shared and device memory (stacks, constants, host memory) are not looked at. */
#include "tests/simt/simt.h"
#include "tests/simt/internal.h"
#include <cstdlib>
#include <dlfcn.h>
#include <cxxabi.h>
#include <set>
#include <string>
#include <unistd.h>
#include <unordered_map>

namespace simt
{
bool is_device_ptr(const void *p);
}
namespace
{
struct Rec {
    uint64_t block;
    uint32_t be, we;
    uint16_t thread;
    uint16_t warp;
    const void *pc;
    const char *what;
}; // block 0 = none
struct Cell {
    Rec w, r, r2;
};
struct Page {
    Cell c[256];
};
std::unordered_map<uintptr_t, Page *> shadow;
uint64_t gen, launch_first, chain_first; // first block of this launch, of those it overlaps
uint64_t last_launch = ~0ull;
uint32_t be[1024], we[1024];
const unsigned char *dyn_lo, *dyn_hi;
uint64_t n_read, n_write, n_races;
std::set<std::string> seen;
bool busy;

std::string lookup(const void *pc)
{
    Dl_info i;
    char b[64];
    if (dladdr(const_cast<void *>(pc), &i) && i.dli_fname) {
        // addr2line -e needs the offset in the file.
        std::snprintf(b, sizeof b, "+0x%zx",
                      (size_t)((const char *)pc - (const char *)i.dli_fbase - 1));
        std::string cmd =
                        std::string("addr2line -e ") + i.dli_fname + " " + (b + 1) + " 2>/dev/null",
                    out;
        char line[256];
        if (FILE *p = popen(cmd.c_str(), "r")) {
            if (std::fgets(line, sizeof line, p))
                out = line;
            pclose(p);
        }
        while (!out.empty() && out.back() == '\n')
            out.pop_back();
        size_t sl = out.rfind('/');
        return sl == std::string::npos ? out : out.substr(sl + 1);
    }
    std::snprintf(b, sizeof b, "%p", pc);
    return b;
}
std::string sym(const Rec &r)
{
    static std::unordered_map<const void *, std::string> cache;
    if (r.what)
        return r.what;
    auto &s = cache[r.pc];
    if (s.empty())
        s = lookup(r.pc);
    return s;
}
/* Tickets: blocks that came, with their barrier epoch; and those that this block was last of. */
std::unordered_map<const void *, std::unordered_map<uint64_t, uint32_t>> came;
std::unordered_map<uint64_t, uint32_t> joined;

bool ordered(const Rec &a, const Rec &b, bool shared)
{ // a happened earlier in this emulation: is it before b on any GPU?
    if (!a.block)
        return true;
    if (a.block < launch_first)
        return shared || a.block < chain_first || simt::current_waited();
    if (a.block != b.block) {
        auto j = joined.find(a.block);
        return shared || (j != joined.end() && a.be < j->second); // its own shared memory
    }
    if (a.thread == b.thread || a.be != b.be)
        return true;
    return a.warp == b.warp && a.we != b.we;
}
void race(const char *kind, const Rec &a, const Rec &b, uintptr_t p)
{
    n_races++;
    char m[512];
    const char *mem = (const unsigned char *)p >= dyn_lo && (const unsigned char *)p < dyn_hi
                          ? "dynamic shared"
                      : simt::is_device_ptr((void *)p) ? "global"
                                                       : "static shared";
    std::string key = std::string(kind) + sym(a) + sym(b);
    if (!seen.insert(key).second)
        return;
    std::snprintf(m, sizeof m,
                  "simt: race (%s, %s memory%s): thread %u at %s, then thread %u at %s\n", kind,
                  mem,
                  a.block < launch_first ? ", two kernels"
                  : a.block != b.block   ? ", two blocks"
                                         : "",
                  a.thread, sym(a).c_str(), b.thread, sym(b).c_str());
    std::fputs(m, stderr);
}
// Stacks and constants are skipped; static __shared__ (thread_local) is not.
bool is_tls(const void *p)
{
    const char *tp = (const char *)__builtin_thread_pointer();
    return (const char *)p >= tp - (1 << 20) && (const char *)p < tp;
}

void access(const void *ptr, size_t n, bool write, const void *pc, const char *what = nullptr)
{
    if (!simt::in_kernel() || busy)
        return;
    bool smem = (const unsigned char *)ptr >= dyn_lo && (const unsigned char *)ptr < dyn_hi,
         tls = is_tls(ptr);
    if (tls && ((const char *)ptr >= (const char *)&threadIdx &&
                (const char *)ptr < (const char *)(&threadIdx + 1)))
        return;
    if (tls && ((const char *)ptr >= (const char *)&blockIdx &&
                (const char *)ptr < (const char *)(&blockIdx + 1)))
        return;
    if (tls && (((const char *)ptr >= (const char *)&blockDim &&
                 (const char *)ptr < (const char *)(&blockDim + 1)) ||
                ((const char *)ptr >= (const char *)&gridDim &&
                 (const char *)ptr < (const char *)(&gridDim + 1))))
        return;
    if (tls && ((const char *)ptr == (const char *)&simt::self ||
                (const char *)ptr == (const char *)&simt::blk))
        return;
    if (!smem && !tls && !simt::is_device_ptr(ptr))
        return;
    busy = true;
    (write ? n_write : n_read) += n;
    unsigned t = simt::current_thread_id();
    Rec now{gen, be[t], we[t], (uint16_t)t, (uint16_t)(t / 32), pc, what};
    const bool sh = smem || tls;
    for (size_t i = 0; i < n; i++) {
        uintptr_t p = (uintptr_t)ptr + i;
        Page *&pg = shadow[p >> 8];
        if (!pg)
            pg = new Page();
        Cell &c = pg->c[p & 255];
        if (!ordered(c.w, now, sh)) {
            race(write ? "write after write" : "read after write", c.w, now, p);
            if (!write)
                c.w.block = 0;
        }
        if (write) {
            if (!ordered(c.r, now, sh))
                race("write after read", c.r, now, p);
            else if (!ordered(c.r2, now, sh))
                race("write after read", c.r2, now, p);
            c.w = now;
            c.r.block = c.r2.block = 0;
        } else if (c.r.block != gen || c.r.thread != now.thread) {
            if (c.r.block && c.r.warp != now.warp)
                c.r2 = c.r;
            c.r = now;
        } else
            c.r = now;
    }
    busy = false;
}
struct AtExit {
    ~AtExit()
    {
        if (n_read || n_write)
            std::fprintf(stderr, "simt: race check: %.1f MB read, %.1f MB written, %llu races\n",
                         n_read / 1e6, n_write / 1e6, (unsigned long long)n_races);
        if (n_races)
            _exit(66);
    }
} at_exit_;
} // namespace

extern "C" {
void simt_race_block_begin(uint64_t launch, uint64_t, const void *dyn, size_t bytes, bool overlaps)
{
    gen++;
    if (launch != last_launch) {
        last_launch = launch;
        launch_first = gen;
        if (!overlaps)
            chain_first = gen;
    }
    joined.clear();
    std::memset(be, 0, sizeof be);
    std::memset(we, 0, sizeof we);
    dyn_lo = (const unsigned char *)dyn;
    dyn_hi = dyn_lo + bytes;
}
void simt_race_barrier(unsigned t, uint32_t e)
{
    be[t] = e;
}
void simt_race_warp_sync(unsigned t, uint32_t e)
{
    we[t] = e;
}
void simt_race_arrived(const void *ticket, bool last)
{
    auto &c = came[ticket];
    c[gen] = be[0];
    if (last) {
        joined = c;
        came.erase(ticket);
    }
}
void simt_race_access(const void *p, size_t n, int w, const char *what)
{
    access(p, n, w != 0, nullptr, what);
}
#define PC __builtin_return_address(0)
#define RW(n)                                                                                      \
    void __tsan_read##n(void *p)                                                                   \
    {                                                                                              \
        access(p, n, false, PC);                                                                   \
    }                                                                                              \
    void __tsan_write##n(void *p)                                                                  \
    {                                                                                              \
        access(p, n, true, PC);                                                                    \
    }                                                                                              \
    void __tsan_unaligned_read##n(void *p)                                                         \
    {                                                                                              \
        access(p, n, false, PC);                                                                   \
    }                                                                                              \
    void __tsan_unaligned_write##n(void *p)                                                        \
    {                                                                                              \
        access(p, n, true, PC);                                                                    \
    }
RW(1) RW(2) RW(4) RW(8) RW(16) void __tsan_read_range(void *p, size_t n)
{
    access(p, n, false, PC);
}
void __tsan_write_range(void *p, size_t n)
{
    access(p, n, true, PC);
}
void __tsan_init()
{
}
void __tsan_func_entry(void *)
{
}
void __tsan_func_exit()
{
}
void __tsan_vptr_update(void **, void *)
{
}
void __tsan_vptr_read(void **)
{
}
void *__tsan_memcpy(void *d, const void *s, size_t n)
{
    access(s, n, false, PC);
    access(d, n, true, PC);
    return std::memcpy(d, s, n);
}
void *__tsan_memset(void *d, int v, size_t n)
{
    access(d, n, true, PC);
    return std::memset(d, v, n);
}
void *__tsan_memmove(void *d, const void *s, size_t n)
{
    access(s, n, false, PC);
    access(d, n, true, PC);
    return std::memmove(d, s, n);
}
// Atomic operations do not race with each other: performed, not recorded.
#define AT(B, T)                                                                                   \
    T __tsan_atomic##B##_load(const volatile T *p, int)                                            \
    {                                                                                              \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                               \
    }                                                                                              \
    void __tsan_atomic##B##_store(volatile T *p, T v, int)                                         \
    {                                                                                              \
        __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                  \
    }                                                                                              \
    T __tsan_atomic##B##_exchange(volatile T *p, T v, int)                                         \
    {                                                                                              \
        return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                        \
    }                                                                                              \
    T __tsan_atomic##B##_fetch_add(volatile T *p, T v, int)                                        \
    {                                                                                              \
        return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                         \
    }                                                                                              \
    T __tsan_atomic##B##_fetch_sub(volatile T *p, T v, int)                                        \
    {                                                                                              \
        return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);                                         \
    }                                                                                              \
    T __tsan_atomic##B##_fetch_and(volatile T *p, T v, int)                                        \
    {                                                                                              \
        return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST);                                         \
    }                                                                                              \
    T __tsan_atomic##B##_fetch_or(volatile T *p, T v, int)                                         \
    {                                                                                              \
        return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);                                          \
    }                                                                                              \
    T __tsan_atomic##B##_fetch_xor(volatile T *p, T v, int)                                        \
    {                                                                                              \
        return __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST);                                         \
    }                                                                                              \
    int __tsan_atomic##B##_compare_exchange_strong(volatile T *p, T *e, T v, int, int)             \
    {                                                                                              \
        return __atomic_compare_exchange_n(p, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);    \
    }                                                                                              \
    int __tsan_atomic##B##_compare_exchange_weak(volatile T *p, T *e, T v, int, int)               \
    {                                                                                              \
        return __atomic_compare_exchange_n(p, e, v, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);     \
    }                                                                                              \
    T __tsan_atomic##B##_compare_exchange_val(volatile T *p, T e, T v, int, int)                   \
    {                                                                                              \
        __atomic_compare_exchange_n(p, &e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);          \
        return e;                                                                                  \
    }
AT(8, uint8_t)
AT(16, uint16_t) AT(32, uint32_t) AT(64, uint64_t) void __tsan_atomic_thread_fence(int)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int)
{
}
}
