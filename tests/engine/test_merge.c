/* test_merge.c - joining against the definition: look at all neighbours, join the pair of lowest
 * rank, the leftmost of equals, again and again. Tables are random: also with equal ranks, with
 * ranks lower than those of the pairs they build on, and words on both sides of the length where
 * the method changes. */
#include "engine/text/merge.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/support/test.h"

enum { LETTERS = 4, N_PAIRS = 60, N_TOKENS = LETTERS + N_PAIRS };

static struct merge_pair pairs[N_PAIRS];

static uint32_t draw(uint64_t key, uint64_t i)
{
    return rng_philox(key, i, 7).v[0];
}

/* Pair i makes token LETTERS + i of earlier tokens. */
static void random_table(uint64_t key, struct merges *m, bool ties, bool in_order)
{
    merges_init(m, N_PAIRS);
    for (uint32_t i = 0; i < N_PAIRS; i++) {
        uint32_t n = LETTERS + i, a = draw(key, 4 * i), b = draw(key, 4 * i + 1);
        uint32_t rank = in_order ? i : draw(key, 4 * i + 2) % (ties ? 8 : 1000);
        pairs[i] =
            (struct merge_pair){(int32_t)(a % n), (int32_t)(b % n), (int32_t)rank, (int32_t)n};
        for (uint32_t j = 0; j < i; j++) /* the first of two alike counts, as in the table */
            if (pairs[j].left == pairs[i].left && pairs[j].right == pairs[i].right)
                pairs[i].rank = pairs[j].rank, pairs[i].merged = pairs[j].merged;
        merges_add(m, pairs[i]);
    }
    m->n_ranks = 1000;
}

static const struct merge_pair *lookup(int32_t left, int32_t right)
{
    for (int i = 0; i < N_PAIRS; i++)
        if (pairs[i].left == left && pairs[i].right == right)
            return &pairs[i];
    return NULL;
}

static int by_definition(int32_t *id, int n)
{
    for (;;) {
        const struct merge_pair *best = NULL;
        int at = 0;
        for (int i = 0; i + 1 < n; i++) {
            const struct merge_pair *p = lookup(id[i], id[i + 1]);
            if (p && (!best || p->rank < best->rank)) {
                best = p;
                at = i;
            }
        }
        if (!best)
            return n;
        id[at] = best->merged;
        memmove(id + at + 1, id + at + 2, (size_t)(n - at - 2) * sizeof *id);
        n--;
    }
}

static void compare(uint64_t key, bool ties, bool in_order)
{
    struct merges m = {0};
    int32_t got[500], want[500];
    random_table(key, &m, ties, in_order);
    struct merge_work *w = merge_work_new(&m, 1000);
    for (uint64_t round = 0; round < 30; round++) {
        int n = 1 + (int)(draw(key + 1000, round) % 499);
        uint32_t letters = 1 + draw(key + 2000, round) % LETTERS;
        for (int i = 0; i < n; i++)
            got[i] = want[i] = (int32_t)(draw(key * 1000 + round, (uint64_t)i + 50) % letters);
        int n_want = by_definition(want, n);
        assert_int_equal(merge_run(w, got, n), n_want);
        assert_memory_equal(got, want, (size_t)n_want * sizeof *got);
    }
    merge_work_free(w);
    merges_clear(&m);
}

static void test_ranks_in_order(void **state)
{
    (void)state;
    for (uint64_t key = 0; key < 30; key++)
        compare(key, false, true);
}

static void test_ranks_out_of_order(void **state)
{
    (void)state;
    for (uint64_t key = 100; key < 130; key++)
        compare(key, false, false);
}

static void test_equal_ranks(void **state)
{
    (void)state;
    for (uint64_t key = 200; key < 230; key++)
        compare(key, true, false);
}

static void test_without_pairs(void **state)
{
    (void)state;
    struct merges m = {0};
    int32_t id[300] = {0};
    merges_init(&m, 0);
    struct merge_work *w = merge_work_new(&m, 0);
    assert_int_equal(merge_run(w, id, 0), 0);
    assert_int_equal(merge_run(w, id, 300), 300);
    merge_work_free(w);
    merges_clear(&m);
}

static void test_word_cache(void **state)
{
    (void)state;
    struct merges m = {0};
    struct tokens out = {0};
    int32_t id[8] = {11, 12, 13, 14, 15, 16, 17, 18};
    merges_init(&m, 0);
    struct merge_work *w = merge_work_new(&m, 100);
    struct bytes a = bytes_of("word"), with_nul = {"word\0", 5}, none = {"", 0};
    struct bytes longest = bytes_of("0123456789abcdef0123456789abcdef");
    struct bytes longer = bytes_of("0123456789abcdef0123456789abcdefX");
    assert_false(word_cache_get(w, a, &out));
    assert_false(word_cache_get(w, none, &out));
    word_cache_put(w, a, id, 3);
    assert_true(word_cache_get(w, a, &out));
    assert_int_equal(out.n, 3);
    assert_memory_equal(out.id, id, 3 * sizeof *id);
    assert_false(word_cache_get(w, with_nul, &out));
    word_cache_put(w, longest, id, 7);
    assert_true(word_cache_get(w, longest, &out));
    assert_int_equal(out.n, 10);
    word_cache_put(w, longer, id, 1);
    assert_false(word_cache_get(w, longer, &out));
    word_cache_put(w, bytes_of("many"), id, 8);
    assert_false(word_cache_get(w, bytes_of("many"), &out));
    tokens_clear(&out);
    merge_work_free(w);
    merges_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks_in_order), cmocka_unit_test(test_ranks_out_of_order),
        cmocka_unit_test(test_equal_ranks),    cmocka_unit_test(test_without_pairs),
        cmocka_unit_test(test_word_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
