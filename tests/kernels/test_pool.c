/* test_pool.c - every chunk runs once, on a thread of its own number, under all the ways that
 * stages follow each other; idle threads sleep; subnormals are flushed in chunks only. */
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/cpu/pool.h"
#include "tests/support/test.h"

enum { CHUNKS_MAX = 5000, THREADS = 4 };

struct count {
    _Atomic int runs[CHUNKS_MAX];
    _Atomic int busy[THREADS + 4];
    _Atomic int wrong;
    int plain[CHUNKS_MAX]; /* not atomic: a race here is the pool's (thread sanitizer) */
    int stage;
};

static void count_chunk(void *arg, int64_t chunk, int worker)
{
    struct count *c = arg;

    if (worker < 0 || worker >= THREADS + 4 || atomic_fetch_add(&c->busy[worker], 1) != 0)
        atomic_store(&c->wrong, 1);
    atomic_fetch_add(&c->runs[chunk], 1);
    c->plain[chunk] = c->stage;
    atomic_fetch_sub(&c->busy[worker], 1);
}

static void check_stage(struct pool *p, struct count *c, int n)
{
    c->stage++;
    pool_run(p, n, count_chunk, c);
    for (int i = 0; i < n; i++) {
        assert_int_equal(atomic_exchange(&c->runs[i], 0), 1);
        assert_int_equal(c->plain[i], c->stage);
    }
    assert_int_equal(atomic_load(&c->wrong), 0);
}

static void test_every_chunk_once(void **state)
{
    static struct count c;

    (void)state;
    for (int threads = 1; threads <= THREADS; threads++) {
        struct pool *p;
        assert_int_equal(pool_open(threads, &p), OK);
        assert_int_equal(pool_threads(p), threads);
        for (int step = 0; step < 60; step++) {
            pool_begin(p);
            for (int s = 0; s < 40; s++)
                check_stage(p, &c, (step * 41 + s * 7) % 67);
            if (step % 20 == 0)
                usleep(300); /* workers fall asleep inside the step */
            check_stage(p, &c, 33);
            pool_end(p);
            if (step % 10 == 0)
                usleep(300);
            check_stage(p, &c, step); /* outside a step */
        }
        check_stage(p, &c, CHUNKS_MAX);
        pool_close(p);
    }
}

static void test_opens_and_closes(void **state)
{
    struct pool *p;

    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pool_open(1 + i % THREADS, &p), OK);
        if (i % 3 == 0)
            pool_begin(p);
        if (i % 3 == 1)
            usleep(100);
        pool_close(p);
    }
    assert_int_equal(pool_open(-1, &p), ERR_INVALID);
    assert_int_equal(pool_open(100000, &p), ERR_INVALID);
    pool_close(NULL);
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* After a step nobody spins: 0.2 s of idling cost far less than 0.2 s of one processor. */
static void test_sleeps_when_idle(void **state)
{
    static struct count c;
    struct pool *p;

    (void)state;
    assert_int_equal(pool_open(3, &p), OK);
    pool_begin(p);
    check_stage(p, &c, 100);
    pool_end(p);
    usleep(20000);
    double before = cpu_seconds();
    usleep(200000);
    assert_true(cpu_seconds() - before < 0.02);
    pool_begin(p); /* in a step with nothing to do too, once 50 us are over */
    usleep(20000);
    before = cpu_seconds();
    usleep(200000);
    assert_true(cpu_seconds() - before < 0.02);
    pool_end(p);
    pool_close(p);
}

static void tiny_chunk(void *arg, int64_t chunk, int worker)
{
    volatile float tiny = 1e-38f, scale = 1e-3f;

    (void)worker;
    ((float *)arg)[chunk] = tiny * scale;
}

static void test_flushes_subnormals(void **state)
{
    volatile float tiny = 1e-38f, scale = 1e-3f;
    float got[64];
    struct pool *p;

    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        assert_int_equal(pool_open(threads, &p), OK);
        memset(got, 0xff, sizeof got);
        pool_run(p, 64, tiny_chunk, got);
        for (int i = 0; i < 64; i++)
            assert_true(got[i] == 0);
        assert_true(tiny * scale != 0); /* the caller's mode is back */
        pool_begin(p);
        assert_true(tiny * scale == 0);
        pool_end(p);
        assert_true(tiny * scale != 0);
        pool_close(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_chunk_once),
        cmocka_unit_test(test_opens_and_closes),
        cmocka_unit_test(test_sleeps_when_idle),
        cmocka_unit_test(test_flushes_subnormals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
