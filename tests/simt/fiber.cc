/* fiber.cc - context switch, stacks, scheduler and the running of grids.
 *
 * One Engine per OS thread runs blocks one after another. A block's threads are fibers; a fiber
 * runs until it blocks in a collective, then control goes straight to the next ready fiber. */
#include "tests/simt/engine.h"

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <pthread.h>
#include <sys/mman.h>
#include <thread>

#include "tests/simt/mode.h"

#ifdef SIMT_HAS_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim, gridDim;

namespace simt
{

Config config;
Stats stats;
std::string last_report;
__thread ThreadView *self;
__thread BlockView *blk;
__thread Engine *eng;

bool in_kernel()
{
    return self != nullptr;
}
unsigned current_thread_id()
{
    return static_cast<Thread *>(self)->linear;
}
bool current_waited()
{
    return static_cast<Thread *>(self)->waited;
}
void wait_earlier()
{
    static_cast<Thread *>(self)->waited = true;
}

/* --- context switch */
#if defined(__x86_64__)
// Saves the callee-saved registers and swaps stacks: about 2 ns.  (ucontext's
// swapcontext makes a sigprocmask system call each time: about 100 times slower.)
extern "C" void simt_switch(void **save_sp, void *to_sp);
asm(".text\n.globl simt_switch\n.type simt_switch,@function\nsimt_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp,(%rdi)\n  movq %rsi,%rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n  ret\n"
    ".size simt_switch,.-simt_switch\n");
static void *make_frame(unsigned char *top, void (*fn)())
{
    void **p = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15));
    *--p = nullptr; // fn's "return address": keeps rsp % 16 == 8 on entry
    *--p = reinterpret_cast<void *>(fn);
    for (int i = 0; i < 6; i++)
        *--p = nullptr;
    return p;
}
#elif defined(__aarch64__)
extern "C" void simt_switch(void **save_sp, void *to_sp);
asm(".text\n.globl simt_switch\n.type simt_switch,%function\nsimt_switch:\n"
    "  sub sp,sp,#176\n  stp x19,x20,[sp,#0]\n  stp x21,x22,[sp,#16]\n  stp x23,x24,[sp,#32]\n"
    "  stp x25,x26,[sp,#48]\n  stp x27,x28,[sp,#64]\n  stp x29,x30,[sp,#80]\n"
    "  stp d8,d9,[sp,#96]\n  stp d10,d11,[sp,#112]\n  stp d12,d13,[sp,#128]\n  stp "
    "d14,d15,[sp,#144]\n"
    "  mov x9,sp\n  str x9,[x0]\n  mov sp,x1\n"
    "  ldp x19,x20,[sp,#0]\n  ldp x21,x22,[sp,#16]\n  ldp x23,x24,[sp,#32]\n"
    "  ldp x25,x26,[sp,#48]\n  ldp x27,x28,[sp,#64]\n  ldp x29,x30,[sp,#80]\n"
    "  ldp d8,d9,[sp,#96]\n  ldp d10,d11,[sp,#112]\n  ldp d12,d13,[sp,#128]\n  ldp "
    "d14,d15,[sp,#144]\n"
    "  add sp,sp,#176\n  ret\n");
static void *make_frame(unsigned char *top, void (*fn)())
{ // not yet run on an Arm machine
    uintptr_t sp = (reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15)) - 176;
    std::memset(reinterpret_cast<void *>(sp), 0, 176);
    reinterpret_cast<void **>(sp)[11] = reinterpret_cast<void *>(fn); // x30
    return reinterpret_cast<void *>(sp);
}
#else
#error "add a context switch for this processor"
#endif

/* --- stacks */
static unsigned char *stack_take(Engine *e)
{
    if (e->free_stacks.empty()) {
        // One mapping for many stacks, a guard page below each.
        const int n = 64;
        size_t each = kStack + 4096;
        auto *m = (unsigned char *)mmap(nullptr, n * each, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (m == MAP_FAILED) {
            std::perror("simt: mmap stacks");
            std::abort();
        }
        for (int i = 0; i < n; i++) {
            mprotect(m + i * each, 4096, PROT_NONE);
            e->free_stacks.push_back(m + i * each + 4096);
        }
    }
    unsigned char *s = e->free_stacks.back();
    e->free_stacks.pop_back();
#ifdef SIMT_HAS_ASAN
    __asan_unpoison_memory_region(s, kStack);
#endif
    return s;
}

/* --- scheduler */
static void fiber_main();

// Leave the current fiber (or the main context when from == nullptr) for `to` (nullptr = main).
void switch_to(Engine *e, Thread *from, Thread *to, bool from_dies)
{
    if (from == to && from) {
        from->state = RUNNING;
        return;
    } // picked itself
    void *dummy;
    void **save = from ? (from_dies ? &dummy : &from->sp) : &e->main_sp;
    void *target;
    if (to) {
        if (to->state == NEW) {
            to->stack = stack_take(e);
            to->sp = make_frame(to->stack + kStack, fiber_main);
        }
        to->state = RUNNING;
        e->current = to;
        self = to;
        threadIdx = to->tidx;
        target = to->sp;
    } else {
        e->current = nullptr;
        self = nullptr;
        target = e->main_sp;
    }
    e->n_switch++;
#ifdef SIMT_HAS_ASAN
    void **fake = from ? (from_dies ? nullptr : &from->fake_stack) : &e->main_fake;
    if (to)
        __sanitizer_start_switch_fiber(fake, to->stack, kStack);
    else
        __sanitizer_start_switch_fiber(fake, e->main_bottom, e->main_size);
    simt_switch(save, target);
    __sanitizer_finish_switch_fiber(from ? from->fake_stack : e->main_fake, nullptr, nullptr);
#else
    simt_switch(save, target);
#endif
}
/* --- errors */
void fail_block(Engine *e, const std::string &msg)
{ // record; abandon the block's fibers
    e->failed = true;
    e->report = where(e) + "\n  " + msg + "\n";
    if (config.abort_on_error) {
        std::fputs(e->report.c_str(), stderr);
        std::abort();
    }
}
[[noreturn]] void fail_here(Engine *e, const std::string &msg)
{
    fail_block(e, msg);
    e->nready = 0;
    switch_to(e, static_cast<Thread *>(self), nullptr, true);
    __builtin_unreachable();
}
void trap(const char *what, const char *file, int line)
{
    fail_here(eng, strf("%s at %s:%d", what, file, line));
}

/* --- running blocks */
static void thread_exits(Engine *e, Thread *t)
{
    t->state = DONE;
    e->live--;
    if (!t->waited && !e->failed)
        fail_block(e, "was launched early, and a thread ends that has not waited for the kernels "
                      "before: gpu_wait_earlier");
    if (!t->copies.empty())
        t->copies.clear();
    Warp &w = e->warps[t->warp];
    w.live &= ~(1u << t->lane);
    // Others may have been waiting for this lane only.
    for (uint32_t m = w.waiting & w.live; m; m &= m - 1) {
        Thread &o = e->threads[t->warp * 32 + __builtin_ctz(m)];
        if (o.state == IN_WARP_OP && try_complete(e, &o))
            break;
    }
    Barrier &b = e->bars[0];
    if (b.arrived && b.expected < 0 && b.arrived >= e->live && e->live)
        release_barrier(e, 0);
}

// A fiber runs threads until the next ready one already has a stack of its own: kernels
// that never block run all threads of a block on one stack, without a switch.
static void fiber_main()
{
#ifdef SIMT_HAS_ASAN
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    Engine *e = eng;
    for (;;) {
        Thread *t = e->current;
        e->thunk(e->closure);
        t = e->current;
        unsigned char *stack = t->stack;
        thread_exits(e, t);
        if (e->failed) {
            e->nready = 0;
            e->free_stacks.push_back(stack);
            switch_to(e, t, nullptr, true);
        }
        Thread *n = pop_ready(e);
        if (n && n->state == NEW) {
            n->stack = stack;
            n->state = RUNNING;
            e->current = n;
            self = n;
            threadIdx = n->tidx;
            continue;
        }
        e->free_stacks.push_back(stack);
        switch_to(e, t, n, true);
    }
}

static void setup_smem(Engine *e, size_t bytes)
{
    // The array ends at a guard page (to 16 bytes): running past it faults at once.
    size_t pages = (bytes + 4095) / 4096 * 4096;
    if (!e->smem_map || e->smem_cap != pages) {
        if (e->smem_map)
            munmap(e->smem_map, e->smem_cap + 8192);
        e->smem_map = (unsigned char *)mmap(nullptr, pages + 8192, PROT_NONE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        e->smem_cap = pages;
        if (pages)
            mprotect(e->smem_map + 4096, pages, PROT_READ | PROT_WRITE);
    }
    size_t al = (bytes + 15) / 16 * 16;
    e->view.dyn_smem = e->smem_map + 4096 + pages - al;
    e->view.dyn_bytes = bytes;
}

static bool run_block(Engine *e, uint3 b)
{
    const LaunchDesc &d = *e->desc;
    blockIdx = b;
    blockDim = d.block;
    gridDim = d.grid;
    if (d.smem)
        std::memset(e->view.dyn_smem, 0xff,
                    d.smem); // NaN in every float format: uninitialised reads show
    int n = (int)(d.block.x * d.block.y * d.block.z);
    e->nthreads = e->live = n;
    e->nready = 0;
    e->failed = false;
    e->block_epoch = 0;
    std::memset(e->bars, 0, sizeof e->bars);
    for (int w = 0; w * 32 < n; w++) {
        int l = std::min(32, n - w * 32);
        e->warps[w] = {l == 32 ? 0xffffffffu : (1u << l) - 1, 0, 0};
    }
    for (int i = 0; i < n; i++) {
        Thread &t = e->threads[i];
        t.tidx = {(unsigned)i % d.block.x, (unsigned)i / d.block.x % d.block.y,
                  (unsigned)i / (d.block.x * d.block.y)};
        t.lane = (unsigned)i & 31;
        t.linear = (unsigned)i;
        t.warp = (unsigned)i >> 5;
        t.state = NEW;
        t.waited = !d.early;
        t.group = 0;
        t.copies.clear();
    }
    e->mix = e->sched == 2 ? std::array<uint64_t, 4>{0, 2, 16, 256}[rng_next(e->rng) & 3] : 0;
    for_threads(e, n, [&](int i) { push_ready(e, &e->threads[i]); });
    if (simt_race_block_begin)
        simt_race_block_begin(e->launch_id, e->block_id, e->view.dyn_smem, d.smem, d.overlaps);
    blk = &e->view;
    while (Thread *t = pop_ready(e))
        switch_to(e, nullptr, t, false);
    self = nullptr;
    if (!e->failed && e->live)
        fail_block(e, deadlock_report(e));
    blk = nullptr;
    if (e->failed)
        for (int i = 0; i < n; i++) {
            Thread &t = e->threads[i];
            if (t.state != NEW && t.state != DONE)
                e->free_stacks.push_back(t.stack);
        }
    e->n_thr += (uint64_t)n;
    e->n_blk++;
    return !e->failed;
}

static std::atomic<uint64_t> launch_counter{0};
/* An engine and its stacks go on to the next OS thread when theirs ends. */
static std::mutex engines_mu;
static auto &idle_engines =
    *new std::vector<Engine *>; // never destroyed: other threads outlive main
struct EngineLease {
    ~EngineLease()
    {
        std::lock_guard<std::mutex> l(engines_mu);
        idle_engines.push_back(eng);
    }
};
static Engine *engine()
{
    if (eng)
        return eng;
    static thread_local EngineLease lease;
    (void)lease;
    std::lock_guard<std::mutex> l(engines_mu);
    if (idle_engines.empty())
        return eng = new Engine();
    eng = idle_engines.back();
    idle_engines.pop_back();
    return eng;
}
static bool run_blocks(const LaunchDesc &d, void (*thunk)(const void *), const void *closure,
                       std::atomic<uint64_t> &next, const std::vector<uint32_t> &order,
                       uint64_t launch, std::mutex &mu, std::string &report)
{
    Engine *e = engine();
    e->thunk = thunk;
    e->closure = closure;
    e->desc = &d;
    e->launch_id = launch;
    e->sched = config.sched;
    e->rng = config.seed * 0x9E3779B97F4A7C15ull ^ (launch + 1) * 0xD1B54A32D192ED03ull;
    if (!e->rng)
        e->rng = 1;
    e->n_switch = e->n_coll = e->n_bar = e->n_thr = e->n_blk = 0;
#ifdef SIMT_HAS_ASAN
    {
        pthread_attr_t at;
        void *lo;
        size_t sz;
        pthread_getattr_np(pthread_self(), &at);
        pthread_attr_getstack(&at, &lo, &sz);
        pthread_attr_destroy(&at);
        e->main_bottom = lo;
        e->main_size = sz;
    }
#endif
    setup_smem(e, d.smem);
    uint64_t total = (uint64_t)d.grid.x * d.grid.y * d.grid.z;
    bool ok = true;
    for (uint64_t i; ok && (i = next.fetch_add(1)) < total;) {
        uint64_t b = config.sched == 0 ? i : config.sched == 1 ? total - 1 - i : order[i];
        e->block_id = b;
        ok = run_block(e, uint3{(unsigned)(b % d.grid.x), (unsigned)(b / d.grid.x % d.grid.y),
                                (unsigned)(b / ((uint64_t)d.grid.x * d.grid.y))});
    }
    std::lock_guard<std::mutex> l(mu);
    stats.switches += e->n_switch;
    stats.collectives += e->n_coll;
    stats.barriers += e->n_bar;
    stats.threads += e->n_thr;
    stats.blocks += e->n_blk;
    if (!ok) {
        report = e->report;
        next = total;
    }
    return ok;
}

// Helper OS threads, started on first use.
struct Pool {
    std::mutex mu;
    std::condition_variable cv, done;
    std::vector<std::thread> th;
    std::function<void()> job;
    uint64_t gen = 0;
    int busy = 0;
    bool stop = false;
    void start(int n)
    {
        while ((int)th.size() < n)
            th.emplace_back([this, g = gen]() mutable {
                std::unique_lock<std::mutex> l(mu);
                for (;;) {
                    cv.wait(l, [&] { return stop || gen != g; });
                    if (stop)
                        return;
                    g = gen;
                    auto j = job;
                    l.unlock();
                    j();
                    l.lock();
                    if (--busy == 0)
                        done.notify_all();
                }
            });
    }
    void run(int n, std::function<void()> j)
    {
        start(n);
        {
            std::lock_guard<std::mutex> l(mu);
            job = j;
            busy = (int)th.size();
            gen++;
        }
        cv.notify_all();
        j();
        std::unique_lock<std::mutex> l(mu);
        done.wait(l, [&] { return busy == 0; });
    }
    ~Pool()
    {
        {
            std::lock_guard<std::mutex> l(mu);
            stop = true;
        }
        cv.notify_all();
        for (auto &t : th)
            t.join();
    }
};

// SIMT_PROFILE=1: launches and time of each kernel, at exit.
static bool profile_on;
struct Profile : std::map<const void *, std::pair<uint64_t, double>> {
    ~Profile()
    {
        for (auto &p : *this)
            std::fprintf(stderr, "simt: %8llu launches %10.3f ms  %s\n",
                         (unsigned long long)p.second.first, p.second.second * 1e3,
                         fn_name(p.first).c_str());
        if (profile_on)
            std::fprintf(stderr,
                         "simt: %llu blocks, %llu threads, %llu warp collectives, %llu block "
                         "barriers, %llu switches\n",
                         (unsigned long long)stats.blocks, (unsigned long long)stats.threads,
                         (unsigned long long)stats.collectives, (unsigned long long)stats.barriers,
                         (unsigned long long)stats.switches);
    }
};
static Profile profile;

void run_grid(const LaunchDesc &d, void (*thunk)(const void *), const void *closure)
{
    static Pool pool;
    uint64_t total = (uint64_t)d.grid.x * d.grid.y * d.grid.z, launch = launch_counter++;
    std::vector<uint32_t> order;
    if (config.sched == 2) {
        order.resize(total);
        uint64_t r = config.seed * 77 + launch * 1315423911u + 1;
        for (uint64_t i = 0; i < total; i++) {
            order[i] = (uint32_t)i;
            std::swap(order[i], order[rng_next(r) % (i + 1)]);
        }
    }
    std::atomic<uint64_t> next{0};
    std::mutex mu;
    std::string report;
    auto job = [&] { run_blocks(d, thunk, closure, next, order, launch, mu, report); };
    int n = config.os_threads;
#ifdef SIMT_HAS_ASAN
    n = 1;
#endif
    if (simt_race_access)
        n = 1;
    stats.launches++;
    simt_clock.us += simt_clock.launch_us;
    auto t0 = std::chrono::steady_clock::now();
    if (n > 1 && total > 1)
        pool.run(n - 1, job);
    else
        job();
    last_report = report;
    if (profile_on) {
        auto &p = profile[d.fn];
        p.first++;
        p.second += std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count();
    }
}

extern "C" bool simt_checks_races(void)
{
    return simt_race_access != nullptr;
}

extern "C" bool simt_real(void)
{
    return false;
}

extern "C" bool simt_slow(void)
{
    return kAsan || simt_checks_races();
}

extern "C" void simt_mode(const struct simt_mode *m)
{
    config.sched = m->random ? 2 : m->backward ? 1 : 0;
    config.seed = (uint64_t)m->seed + 1;
    config.async_copies = m->random ? 2 : 0;
    config.lazy_streams = m->lazy;
    if (config.protect && !m->protect)
        set_access(true);
    config.protect = m->protect;
}

static int env_int(const char *n, int d)
{
    const char *v = std::getenv(n);
    return v && *v ? (int)std::strtol(v, nullptr, 10) : d;
}
__attribute__((constructor)) static void read_env()
{
    const char *s = std::getenv("SIMT_SCHED");
    if (s)
        config.sched = *s == 'b' ? 1 : *s == 'r' ? 2 : 0;
    config.seed = (uint64_t)env_int("SIMT_SEED", 1);
    config.os_threads = env_int("SIMT_THREADS", 1);
    config.async_copies = env_int("SIMT_ASYNC", config.sched == 2 ? 2 : 0);
    config.lazy_streams = env_int("SIMT_LAZY_STREAMS", 0) != 0;
    profile_on = env_int("SIMT_PROFILE", 0) != 0;
    config.protect = env_int("SIMT_PROTECT", 0) != 0;
    config.idle = env_int("SIMT_IDLE", 0);
}
} // namespace simt
