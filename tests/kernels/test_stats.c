/* test_stats.c - nothing is lost between threads; a bound belongs to its bucket. */
#include "kernels/base/stats.h"

#include <math.h>
#include <pthread.h>

#include "tests/support/test.h"

enum { THREADS = 4, ROUNDS = 20000 };

static struct counter counter;
static struct gauge gauge;
static struct histogram histogram;
static const double bounds[] = {0.001, 0.01, 1};

static void *add(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        counter_add(&counter, 3);
        gauge_add(&gauge, i % 2 ? 5 : -4);
        histogram_add(&histogram, 0.005);
    }
    return arg;
}

static void test_threads(void **state)
{
    pthread_t t[THREADS];

    (void)state;
    histogram_init(&histogram, bounds, 3);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, add, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(counter_get(&counter), 3 * THREADS * ROUNDS);
    assert_int_equal(gauge_get(&gauge), THREADS * ROUNDS / 2);
    assert_int_equal(histogram.bucket[1], THREADS * ROUNDS);
    assert_int_equal(histogram.sum_nano, (uint64_t)THREADS * ROUNDS * 5000000);
    gauge_set(&gauge, -3);
    assert_int_equal(gauge_get(&gauge), -3);
}

static void test_buckets(void **state)
{
    struct histogram h;

    (void)state;
    histogram_init(&h, bounds, 3);
    histogram_add(&h, 0);
    histogram_add(&h, 0.001);
    histogram_add(&h, 0.0010001);
    histogram_add(&h, 1);
    histogram_add(&h, 1.5);
    histogram_add(&h, 1e6);
    histogram_add(&h, -1);
    histogram_add(&h, NAN);
    assert_int_equal(h.bucket[0], 4);
    assert_int_equal(h.bucket[1], 1);
    assert_int_equal(h.bucket[2], 1);
    assert_int_equal(h.bucket[3], 2);
    assert_int_equal(h.sum_nano, 1000002502000100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_buckets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
