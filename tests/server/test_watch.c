/* test_watch.c - each entry is taken out exactly once, by whoever comes first. */
#include "server/watch.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "tests/support/test.h"

struct item {
    struct watch_entry entry; /* first */
    atomic_int gone, time;
    int pair[2]; /* ours, the client's */
};

static struct watch *w;

static void fired(struct watch_entry *e, enum watch_why why)
{
    struct item *it = (struct item *)e;
    atomic_fetch_add(why == WATCH_GONE ? &it->gone : &it->time, 1);
}

static int set_up(void **state)
{
    (void)state;
    return watch_open(fired, &w) != OK;
}

static int tear_down(void **state)
{
    (void)state;
    watch_flush(w);
    watch_close(w);
    return 0;
}

static void connect_pair(struct item *it)
{
    *it = (struct item){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, it->pair), 0);
}

static void disconnect(struct item *it)
{
    close(it->pair[0]);
    if (it->pair[1] >= 0)
        close(it->pair[1]);
}

static void wait_for(atomic_int *n)
{
    double start = clock_now();
    while (!atomic_load(n) && clock_now() - start < 10)
        usleep(200);
    assert_int_equal(atomic_load(n), 1);
}

static void test_gone(void **state)
{
    struct item it;
    (void)state;
    connect_pair(&it);
    assert_true(watch_add(w, &it.entry, it.pair[0], 0));
    assert_int_equal(write(it.pair[1], "x", 1), 1); /* bytes are no reason */
    usleep(20000);
    assert_int_equal(it.gone, 0);
    close(it.pair[1]);
    it.pair[1] = -1;
    wait_for(&it.gone);
    assert_false(watch_take(w, &it.entry));              /* it is out already */
    assert_true(watch_add(w, &it.entry, it.pair[0], 0)); /* still gone: fires at once */
    double start = clock_now();
    while (it.gone < 2 && clock_now() - start < 10)
        usleep(200);
    assert_int_equal(it.gone, 2);
    disconnect(&it);
}

static void test_take(void **state)
{
    struct item it;
    (void)state;
    connect_pair(&it);
    assert_false(watch_take(w, &it.entry)); /* never was in */
    assert_true(watch_add(w, &it.entry, it.pair[0], clock_now() + 0.02));
    assert_true(watch_take(w, &it.entry));
    assert_false(watch_take(w, &it.entry));
    close(it.pair[1]);
    it.pair[1] = -1;
    usleep(60000); /* neither the hang-up nor the time concern it any more */
    assert_int_equal(it.gone + it.time, 0);
    disconnect(&it);
}

static void test_times(void **state)
{
    enum { N = 100 };
    static struct item it[N];
    double start = clock_now();
    (void)state;
    for (int i = 0; i < N; i++) { /* later ones first, so that the timer must move forward */
        connect_pair(&it[i]);
        assert_true(watch_add(w, &it[i].entry, it[i].pair[0], start + 0.1 - 0.001 * (i % 50)));
    }
    for (int i = 0; i < N; i++)
        wait_for(&it[i].time);
    assert_true(clock_now() >= start + 0.1);
    for (int i = 0; i < N; i++) {
        assert_int_equal(it[i].gone, 0);
        disconnect(&it[i]);
    }
}

static void test_flush(void **state)
{
    enum { N = 200 };
    static struct item it[N];
    (void)state;
    for (int i = 0; i < N; i++) {
        connect_pair(&it[i]);
        assert_true(watch_add(w, &it[i].entry, it[i].pair[0], i % 2 ? clock_now() + 100 : 0));
    }
    watch_flush(w);
    for (int i = 0; i < N; i++)
        assert_int_equal(it[i].gone, 1);
    assert_false(watch_add(w, &it[0].entry, it[0].pair[0], 0));
    for (int i = 0; i < N; i++)
        disconnect(&it[i]);
}

/* Taking, hanging up and timers race over the same descriptors; each round has one winner. */
static void *race(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    intptr_t bad = 0;
    for (int i = 0; i < 3000; i++) {
        struct item it;
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, it.pair))
            return (void *)1;
        atomic_store(&it.gone, 0);
        atomic_store(&it.time, 0);
        it.entry = (struct watch_entry){0};
        double at = rand_r(&seed) % 3 ? clock_now() + 1e-5 * (rand_r(&seed) % 10) : 0;
        bad += !watch_add(w, &it.entry, it.pair[0], at);
        close(it.pair[1]);
        for (int spin = rand_r(&seed) % 300; spin > 0; spin--)
            __asm__ volatile("");
        int taken = watch_take(w, &it.entry);
        double start = clock_now();
        while (!taken && !it.gone && !it.time && clock_now() - start < 10)
            usleep(10);
        bad += taken + it.gone + it.time != 1;
        close(it.pair[0]); /* its number comes back at once in another thread */
    }
    return (void *)bad;
}

static void test_races(void **state)
{
    pthread_t t[4];
    void *bad;
    (void)state;
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, race, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_gone), TEST(test_take), TEST(test_times), TEST(test_flush), TEST(test_races),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
