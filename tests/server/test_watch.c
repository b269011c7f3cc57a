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
    int pair[2];      /* ours, the client's */
    atomic_int *gate; /* the watch's thread is held in `fired` until this is set */
};

static struct watch *w;

static void fired(struct watch_entry *e, enum watch_why why)
{
    struct item *it = (struct item *)e;
    atomic_int *gate = it->gate;
    atomic_fetch_add(why == WATCH_GONE ? &it->gone : &it->time, 1);
    while (gate && !atomic_load(gate))
        usleep(100);
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

static void test_timer_moves_forward(void **state)
{
    struct item late, soon;
    (void)state;
    connect_pair(&late);
    connect_pair(&soon);
    assert_true(watch_add(w, &late.entry, late.pair[0], clock_now() + 1000));
    assert_true(watch_add(w, &soon.entry, soon.pair[0], clock_now() + 0.01));
    wait_for(&soon.time);
    assert_true(watch_take(w, &late.entry));
    disconnect(&late);
    disconnect(&soon);
}

static void hang_up(struct item *it)
{
    close(it->pair[1]);
    it->pair[1] = -1;
}

/* Two clients hang up while the thread is busy, so that it learns of both at once. While it deals
 * with one, the other's entry is taken out, its socket closed, and the number used again. */
static void test_late_event_of_an_earlier_socket(void **state)
{
    atomic_int go = 0, go_on = 0;
    struct item first, a, b, *other, again;
    (void)state;
    connect_pair(&first);
    connect_pair(&a);
    connect_pair(&b);
    first.gate = &go;
    a.gate = b.gate = &go_on;
    assert_true(watch_add(w, &first.entry, first.pair[0], 0));
    assert_true(watch_add(w, &a.entry, a.pair[0], 0));
    assert_true(watch_add(w, &b.entry, b.pair[0], 0));
    hang_up(&first);
    wait_for(&first.gone);
    hang_up(&a);
    hang_up(&b);
    atomic_store(&go, 1);
    double start = clock_now();
    while (!a.gone && !b.gone && clock_now() - start < 10)
        usleep(200);
    other = a.gone ? &b : &a;
    assert_true(watch_take(w, &other->entry));
    int number = other->pair[0];
    close(number);
    connect_pair(&again); /* the lowest free number */
    if (again.pair[0] != number) {
        assert_int_equal(dup2(again.pair[0], number), number);
        close(again.pair[0]);
        again.pair[0] = number;
    }
    assert_true(watch_add(w, &again.entry, number, 0));
    atomic_store(&go_on, 1);
    usleep(50000);
    assert_int_equal(again.gone, 0);
    assert_true(watch_take(w, &again.entry));
    assert_int_equal(a.gone + b.gone, 1);
    disconnect(&again);
    disconnect(&first);
    disconnect(other == &a ? &b : &a);
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
        struct item it = {.gate = NULL};
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
        TEST(test_gone),
        TEST(test_take),
        TEST(test_times),
        TEST(test_timer_moves_forward),
        TEST(test_late_event_of_an_earlier_socket),
        TEST(test_flush),
        TEST(test_races),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
