/* pool.c - stages of chunks, taken from one 64-bit word: the stage's number and the chunks left.
 *
 * A thread takes a chunk of stage e by exchanging (e, left) for (e, left - 1). So a worker that
 * wakes up late, holding the function of an older stage, cannot take a chunk of a newer one, and
 * the caller need only wait for chunks, never for workers: a thread without a core delays nobody.
 * The words that describe a stage are written only while left = 0, when no exchange can succeed:
 * what a thread read before a successful exchange therefore belongs to that stage. Waiting is
 * spinning for at most 50 us (a change is seen in 0.05 us), then a futex (30-170 us): a waiter that
 * keeps spinning takes the core from the thread it waits for when there are too few. */
#include "kernels/cpu/pool.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/thread.h"

enum {
    FLUSH_MODE = 0x8040 /* FTZ | DAZ of MXCSR */,
    THREADS_MAX = 1024,
    LINE = 64,
    LEFT_BITS = 32
};
static const double SPIN_SECONDS = 50e-6;

struct worker {
    struct pool *pool;
    int index;
    pthread_t thread;
};

/* Every word that threads write has a cache line of its own. */
struct pool {
    _Alignas(LINE) _Atomic uint64_t left;   /* stage << 32 | chunks not yet taken */
    _Alignas(LINE) _Atomic uint32_t tick;   /* changes with every stage and when the mode changes */
    _Alignas(LINE) _Atomic uint32_t done;   /* chunks of the stage that are finished */
    _Alignas(LINE) _Atomic uint32_t asleep; /* workers in, or on their way into, the futex */
    _Alignas(LINE) _Atomic uint32_t waiting; /* the caller sleeps on `done` */
    _Alignas(LINE) _Atomic(pool_fn *) fn;    /* the stage; written while none runs */
    _Atomic(void *) arg;
    _Atomic uint32_t n;
    _Atomic bool awake, stop;
    /* the caller's own */
    uint32_t stage;
    int threads;
    bool in_step;
    unsigned saved_mode;
    struct worker *worker;
    void *memory;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* Spins until *word != seen or the time is up, or *awake (optional) turns false. */
static bool spin(_Atomic uint32_t *word, uint32_t seen, _Atomic bool *awake)
{
    double end = 0;

    for (;;) {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != seen)
                return true;
            _mm_pause();
        }
        if (awake && !atomic_load_explicit(awake, memory_order_relaxed))
            return false;
        double now = clock_now();
        if (end == 0)
            end = now + SPIN_SECONDS;
        else if (now > end)
            return false;
    }
}

/* Takes chunks of `stage` until none is left or another stage has begun. */
static void take_chunks(struct pool *p, uint32_t stage, int worker)
{
    uint64_t at = atomic_load_explicit(&p->left, memory_order_acquire);
    pool_fn *fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
    void *arg = atomic_load_explicit(&p->arg, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&p->n, memory_order_relaxed);

    while ((uint32_t)(at >> LEFT_BITS) == stage && (uint32_t)at > 0) {
        if (!atomic_compare_exchange_weak_explicit(&p->left, &at, at - 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        fn(arg, n - (uint32_t)at, worker);
        /* seq_cst with `waiting`: either the caller sees this count, or we see that it sleeps */
        if (atomic_fetch_add(&p->done, 1) + 1 == n && atomic_load(&p->waiting))
            futex_wake(&p->done, 1);
        at = atomic_load_explicit(&p->left, memory_order_acquire);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    uint32_t seen = 0;

    _mm_setcsr(_mm_getcsr() | FLUSH_MODE);
    for (;;) {
        bool awake = atomic_load_explicit(&p->awake, memory_order_relaxed);
        if (!awake || !spin(&p->tick, seen, &p->awake)) {
            atomic_fetch_add(&p->asleep, 1); /* seq_cst: pairs with the load in ring() */
            while (atomic_load(&p->tick) == seen)
                futex_wait(&p->tick, seen);
            atomic_fetch_sub(&p->asleep, 1);
        }
        seen = atomic_load_explicit(&p->tick, memory_order_acquire);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed))
            return NULL;
        take_chunks(p, (uint32_t)(atomic_load(&p->left) >> LEFT_BITS), w->index);
    }
}

/* Tells the workers that something changed. */
static void ring(struct pool *p)
{
    if (p->threads == 1)
        return;
    atomic_fetch_add(&p->tick, 1);
    if (atomic_load(&p->asleep))
        futex_wake(&p->tick, THREADS_MAX);
}

enum status pool_open(int threads, struct pool **out)
{
    if (threads == 0)
        threads = thread_cpus();
    if (threads < 1 || threads > THREADS_MAX)
        return fail(ERR_INVALID, "threads: 1 to %d, got %d", THREADS_MAX, threads);
    void *memory = xcalloc(1, sizeof(struct pool) + LINE);
    struct pool *p = (struct pool *)(((uintptr_t)memory + LINE - 1) / LINE * LINE);
    p->memory = memory;
    p->threads = 1;
    p->worker = xcalloc((size_t)threads, sizeof *p->worker);
    for (int i = 1; i < threads; i++) {
        char name[16];
        snprintf(name, sizeof name, "cpu %d", i);
        p->worker[i] = (struct worker){.pool = p, .index = i};
        enum status s = thread_start(&p->worker[i].thread, name, worker_main, &p->worker[i]);
        if (s != OK) {
            pool_close(p);
            return s;
        }
        p->threads = i + 1;
    }
    *out = p;
    return OK;
}

void pool_close(struct pool *p)
{
    if (!p)
        return;
    if (p->in_step)
        pool_end(p);
    atomic_store(&p->stop, true);
    ring(p);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->worker[i].thread, NULL);
    xfree(p->worker);
    xfree(p->memory);
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}

void pool_begin(struct pool *p)
{
    p->in_step = true;
    p->saved_mode = _mm_getcsr();
    _mm_setcsr(p->saved_mode | FLUSH_MODE);
    atomic_store_explicit(&p->awake, true, memory_order_relaxed);
    ring(p); /* they wake up while the caller prepares the first stage */
}

void pool_end(struct pool *p)
{
    atomic_store_explicit(&p->awake, false, memory_order_relaxed);
    _mm_setcsr(p->saved_mode);
    p->in_step = false;
}

static void run_stage(struct pool *p, uint32_t n, pool_fn *fn, void *arg)
{
    if (p->threads == 1 || n == 1) {
        for (uint32_t i = 0; i < n; i++)
            fn(arg, i, 0);
        return;
    }
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->arg, arg, memory_order_relaxed);
    atomic_store_explicit(&p->n, n, memory_order_relaxed);
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    p->stage++;
    atomic_store_explicit(&p->left, (uint64_t)p->stage << LEFT_BITS | n, memory_order_release);
    ring(p);
    take_chunks(p, p->stage, 0);
    uint32_t d;
    while ((d = atomic_load_explicit(&p->done, memory_order_acquire)) != n) {
        if (spin(&p->done, d, NULL))
            continue;
        atomic_store(&p->waiting, 1);
        while ((d = atomic_load(&p->done)) != n)
            futex_wait(&p->done, d);
        atomic_store(&p->waiting, 0);
    }
}

void pool_run(struct pool *p, int64_t n, pool_fn *fn, void *arg)
{
    unsigned mode = 0;

    if (!p->in_step) {
        mode = _mm_getcsr();
        _mm_setcsr(mode | FLUSH_MODE);
    }
    if (n > 0)
        run_stage(p, (uint32_t)n, fn, arg);
    if (!p->in_step)
        _mm_setcsr(mode);
}
