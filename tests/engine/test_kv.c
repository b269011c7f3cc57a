/* Pages: promises, prefix reuse, eviction order, and random walks against a plain model. */
#include <stdlib.h>
#include <string.h>

#include "engine/run/kv.h"
#include "kernels/base/rng.h"
#include "tests/support/test.h"

enum { PAGE = 4 };

static void fill(int32_t *tok, int n, int first)
{
    for (int i = 0; i < n; i++)
        tok[i] = first + i;
}

static void grows_from_its_promise(void **state)
{
    (void)state;
    struct kv *kv = kv_new(8, PAGE, true);
    struct kv_pages a = {0}, b = {0};
    assert_true(kv_reserve(kv, &a, 17)); /* 5 pages */
    assert_int_equal(kv_available(kv), 3);
    assert_false(kv_reserve(kv, &b, 13)); /* 4 pages */
    assert_int_equal(kv_available(kv), 3);
    assert_true(kv_reserve(kv, &b, 12));
    assert_true(kv_grow(kv, &a, 20));
    assert_int_equal(a.n, 5);
    assert_int_equal(kv_used(kv), 5);
    assert_false(kv_grow(kv, &a, 21)); /* the rest is promised to b */
    assert_true(kv_grow(kv, &b, 9));
    kv_release(kv, &b);
    assert_true(kv_grow(kv, &a, 21));
    kv_release(kv, &a);
    assert_int_equal(kv_available(kv), 8);
    assert_int_equal(kv_used(kv), 0);
    kv_free(kv);
}

static void finds_a_prefix_again(void **state)
{
    (void)state;
    struct kv *kv = kv_new(8, PAGE, true);
    int32_t tok[16];
    struct kv_pages a = {0}, b = {0}, c = {0};
    fill(tok, 16, 100);
    assert_true(kv_grow(kv, &a, 14));
    kv_publish(kv, &a, tok, 14); /* three full pages */
    int32_t first = a.id[0], third = a.id[2];
    assert_int_equal(kv_match(kv, &b, tok, 16), 12);
    assert_int_equal(b.id[0], first);
    assert_int_equal(b.id[2], third);
    kv_release(kv, &a);
    kv_release(kv, &b);
    assert_int_equal(kv_used(kv), 0);
    assert_int_equal(kv_match(kv, &c, tok, 11), 8); /* only whole pages inside n */
    kv_release(kv, &c);
    tok[5]++; /* in the second page */
    assert_int_equal(kv_match(kv, &c, tok, 16), 4);
    kv_release(kv, &c);
    tok[5]--;
    tok[0]++; /* everything behind depends on it */
    assert_int_equal(kv_match(kv, &c, tok, 16), 0);
    kv_free(kv);
}

static void forgets_the_end_of_a_text_first(void **state)
{
    (void)state;
    struct kv *kv = kv_new(4, PAGE, true);
    int32_t tok[16];
    struct kv_pages a = {0}, b = {0};
    fill(tok, 16, 0);
    assert_true(kv_grow(kv, &a, 16));
    kv_publish(kv, &a, tok, 16);
    kv_release(kv, &a);
    assert_true(kv_grow(kv, &b, 8)); /* takes two pages from the cache */
    assert_int_equal(kv_match(kv, &a, tok, 16), 8);
    kv_release(kv, &a);
    kv_release(kv, &b);
    kv_free(kv);
}

static void forgets_at_once_without_a_cache(void **state)
{
    (void)state;
    struct kv *kv = kv_new(4, PAGE, false);
    int32_t tok[8];
    struct kv_pages a = {0}, b = {0};
    fill(tok, 8, 0);
    assert_true(kv_grow(kv, &a, 8));
    kv_publish(kv, &a, tok, 8);
    assert_int_equal(kv_match(kv, &b, tok, 8), 8); /* while somebody holds it, choices share it */
    kv_release(kv, &a);
    kv_release(kv, &b);
    assert_int_equal(kv_match(kv, &b, tok, 8), 0);
    kv_free(kv);
}

static uint64_t counter;
static uint32_t draw(uint32_t n)
{
    return rng_philox(7, counter++, 0).v[0] % n;
}

/* Many sequences over few distinct texts. Invariants: no page is held by two sequences unless their
 * texts agree up to its end; used + available never exceeds the pool; a promise is always kept. */
static void survives_a_random_walk(void **state)
{
    (void)state;
    enum { N = 12, LEN = 40, PAGES = 40 };
    struct kv *kv = kv_new(PAGES, PAGE, true);
    struct kv_pages p[N] = {{0}};
    int32_t tok[N][LEN];
    int len[N] = {0}, promise[N] = {0};
    for (int round = 0; round < 20000; round++) {
        int i = (int)draw(N);
        if (len[i] == 0) {
            int fork = (int)draw(LEN);
            for (int k = 0; k < LEN; k++)
                tok[i][k] = k < fork ? k : (int32_t)draw(3) * 1000 + k;
            int got = kv_match(kv, &p[i], tok[i], LEN - 1);
            promise[i] = got + (int)draw((uint32_t)(LEN - got)) + 1;
            if (!kv_reserve(kv, &p[i], promise[i])) {
                kv_release(kv, &p[i]);
                continue;
            }
            len[i] = got > 0 ? got : 1;
            assert_true(kv_grow(kv, &p[i], len[i]));
        } else if (draw(8) == 0) {
            kv_release(kv, &p[i]);
            len[i] = 0;
        } else if (len[i] < promise[i]) {
            len[i]++;
            assert_true(kv_grow(kv, &p[i], len[i]));
            kv_publish(kv, &p[i], tok[i], len[i]);
        }
        assert_true(kv_available(kv) >= 0 && kv_used(kv) + kv_available(kv) <= PAGES);
        for (int a = 0; a < N; a++)
            for (int k = 0; len[i] && len[a] && a != i && k < p[i].n && k < p[a].n; k++)
                if (p[i].id[k] == p[a].id[k])
                    assert_memory_equal(tok[i], tok[a], sizeof(int32_t) * (size_t)((k + 1) * PAGE));
    }
    for (int i = 0; i < N; i++)
        kv_release(kv, &p[i]);
    assert_int_equal(kv_used(kv), 0);
    assert_int_equal(kv_available(kv), PAGES);
    kv_free(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_from_its_promise),
        cmocka_unit_test(finds_a_prefix_again),
        cmocka_unit_test(forgets_the_end_of_a_text_first),
        cmocka_unit_test(forgets_at_once_without_a_cache),
        cmocka_unit_test(survives_a_random_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
