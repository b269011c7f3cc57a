/* test_stop.c - what is given out must not depend on how the text was cut into pieces: every text
 * is pushed whole, byte by byte, and in random pieces, and compared with the definition. */
#include "engine/text/stop.h"

#include <string.h>

#include "kernels/base/rng.h"
#include "tests/support/test.h"

enum { MAX_WORDS = 4 };

static struct buf out;

static int clear(void **state)
{
    (void)state;
    buf_clear(&out);
    return 0;
}

/* The definition: the first place where a word is complete; of words complete there the longest. */
static int expected(const struct bytes *word, int n_words, const char *text, size_t *begin)
{
    size_t n = strlen(text);
    for (size_t end = 1; end <= n; end++) {
        int found = -1;
        for (int i = 0; i < n_words; i++)
            if (word[i].n <= end && memcmp(text + end - word[i].n, word[i].p, word[i].n) == 0 &&
                (found < 0 || word[i].n > word[found].n))
                found = i;
        if (found >= 0) {
            *begin = end - word[found].n;
            return found;
        }
    }
    *begin = n;
    return -1;
}

/* Pushes text in pieces of 1 .. max bytes; what may be held is checked at each step. */
static void push_all(const struct bytes *word, int n_words, const char *text, bool include,
                     uint32_t max)
{
    struct stop s;
    size_t begin, n = strlen(text), pushed = 0;
    int which = -1, want = expected(word, n_words, text, &begin);
    bool done = false;
    stop_init(&s, word, n_words);
    buf_reset(&out);
    while (pushed < n && !done) {
        size_t k = 1 + rng_philox(max, pushed, 0).v[0] % max;
        k = k < n - pushed ? k : n - pushed;
        done = stop_push(&s, (struct bytes){text + pushed, k}, include, &out, &which);
        pushed += k;
        if (!done) { /* held: the end of the text, and the beginning of a word */
            bool begins = s.held.len == 0;
            for (int i = 0; i < n_words; i++)
                begins |= word[i].n > s.held.len &&
                          memcmp(word[i].p, s.held.data ? s.held.data : "", s.held.len) == 0;
            assert_true(begins);
            assert_int_equal(out.len + s.held.len, pushed);
        }
    }
    if (!done)
        stop_flush(&s, &out);
    stop_clear(&s);
    assert_int_equal(which, want);
    assert_int_equal(done, want >= 0);
    size_t length = want >= 0 && include ? begin + word[want].n : begin;
    assert_int_equal(out.len, length);
    assert_memory_equal(out.data ? out.data : "", text, length);
}

static void check(const struct bytes *word, int n_words, const char *text)
{
    for (int include = 0; include < 2; include++) {
        push_all(word, n_words, text, include, 1);
        push_all(word, n_words, text, include, 3);
        push_all(word, n_words, text, include, 1000);
    }
}

static void test_words(void **state)
{
    (void)state;
    struct bytes word[] = {bytes_of("STOP"), bytes_of("\n\n"), bytes_of("aab")};
    check(word, 3, "say STOP now");
    check(word, 3, "STOP");
    check(word, 3, "STO");
    check(word, 3, "SSTSTOSTOP");
    check(word, 3, "line\n\nnext");
    check(word, 3, "line\nnext");
    check(word, 3, "aaab");
    check(word, 3, "nothing at all");
    check(word, 3, "");
    check(word, 1, "end \xc3\xa9 STOP");
    check(NULL, 0, "no words");
}

static void test_overlapping_words(void **state)
{
    (void)state;
    struct bytes word[] = {bytes_of("abcd"), bytes_of("bc"), bytes_of("xbc")};
    check(word, 3, "--abcd--"); /* "bc" is complete first */
    check(word, 3, "--xbc--");  /* both end here: the one that began first */
    check(word, 1, "ababcd");
}

static void test_random_words(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 400; round++) {
        char store[MAX_WORDS][6], text[60];
        struct bytes word[MAX_WORDS];
        int n_words = 1 + (int)(rng_philox(1, round, 0).v[0] % MAX_WORDS);
        for (int i = 0; i < n_words; i++) {
            struct rng_block r = rng_philox(2, round, (uint64_t)i);
            size_t n = 1 + r.v[0] % 5;
            for (size_t k = 0; k < n; k++)
                store[i][k] = "ab"[r.v[1] >> k & 1];
            word[i] = (struct bytes){store[i], n};
        }
        size_t n = rng_philox(3, round, 0).v[0] % sizeof text;
        for (size_t k = 0; k < n; k++)
            text[k] = "abc"[rng_philox(4, round, k).v[0] % 3];
        text[n < sizeof text ? n : sizeof text - 1] = 0;
        check(word, n_words, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_words, clear),
        cmocka_unit_test_teardown(test_overlapping_words, clear),
        cmocka_unit_test_teardown(test_random_words, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
