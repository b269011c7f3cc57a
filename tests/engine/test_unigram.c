/* test_unigram.c - a word of many blocks is cut as a plain dynamic program over all of it would;
 * agreement with the `tokenizers` package and SentencePiece is in test_tokenizer_json, test_spm. */
#include "engine/text/trie.h"

#include <math.h>
#include <string.h>

#include "engine/text/tokenizer.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/support/test.h"

#define B(s)                                                                                       \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }
enum { UNK, N_VOCAB = 9, N_TEXT = 30000 };
static const struct bytes token[N_VOCAB] = {
    B("<unk>"), B("a"), B("b"), B("ab"), B("ba"), B("aab"), B("bbb"), B("ababab"), B("bbbbbbbbbb")};
static const float score[N_VOCAB] = {0, -2, -2.5, -3, -3, -4, -5.25, -6, -11};
static const int32_t type[N_VOCAB] = {TOKEN_UNKNOWN, 1, 1, 1, 1, 1, 1, 1, 1};

static struct tokenizer *make(void)
{
    struct tokenizer_spec s = {.model = "t5",
                               .n_vocab = N_VOCAB,
                               .token = token,
                               .score = score,
                               .type = type,
                               .bos = -1,
                               .eos = -1,
                               .unk = UNK};
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&s, &t), OK);
    return t;
}

/* The best paths to every place; neighbours that are unknown are one token. */
static int expected(struct bytes text, int32_t *out)
{
    double *best = xcalloc(text.n + 1, sizeof *best);
    int32_t *id = xcalloc(text.n + 1, sizeof *id);
    int n = 0;
    for (size_t end = 1; end <= text.n; end++)
        best[end] = -INFINITY;
    for (size_t at = 0; at < text.n; at++)
        for (int32_t k = 0; k < N_VOCAB; k++) { /* token 0: one unknown character */
            size_t len = k == UNK ? 1 : token[k].n;
            bool fits = at + len <= text.n &&
                        (k == UNK ? text.p[at] == 'x' : memcmp(text.p + at, token[k].p, len) == 0);
            double sum = best[at] + (k == UNK ? -11 - 10 : (double)score[k]);
            if (fits && sum > best[at + len]) {
                best[at + len] = sum;
                id[at + len] = k;
            }
        }
    for (size_t at = text.n; at > 0; at -= id[at] == UNK ? 1 : token[id[at]].n)
        if (id[at] != UNK || n == 0 || out[n - 1] != UNK)
            out[n++] = id[at];
    for (int i = 0; i < n / 2; i++) {
        int32_t swap = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = swap;
    }
    xfree(best);
    xfree(id);
    return n;
}

static void test_long_words(void **state)
{
    (void)state;
    static const char *const alphabet[] = {"ab", "aaaaaaabx", "abbbb", "xxxxxxxxxxxxxxxxxxxa", "b"};
    struct tokenizer *t = make();
    char *text = xmalloc(N_TEXT);
    int32_t *want = xmalloc(N_TEXT * sizeof *want);
    for (size_t k = 0; k < sizeof alphabet / sizeof alphabet[0]; k++) {
        struct tokens got = {0};
        for (uint64_t i = 0; i < N_TEXT; i++)
            text[i] = alphabet[k][rng_philox(k, i, 0).v[0] % strlen(alphabet[k])];
        int n = expected((struct bytes){text, N_TEXT}, want);
        assert_int_equal(tokenizer_encode(t, (struct bytes){text, N_TEXT}, 0, &got), OK);
        assert_int_equal(got.n, n);
        assert_memory_equal(got.id, want, (size_t)n * sizeof *want);
        tokens_clear(&got);
    }
    xfree(want);
    xfree(text);
    tokenizer_free(t);
}

/* Every token is found where it ends, nothing else is, and a node with many ways on has all. */
static void test_trie(void **state)
{
    (void)state;
    struct trie t;
    assert_int_equal(trie_init(&t, 3 * 256 + 4), OK);
    for (int i = 0; i < 256; i++)
        trie_add(&t, (struct bytes){(char[]){'k', (char)i, 'z'}, 3}, i);
    trie_add(&t, (struct bytes){"k", 1}, 300);
    trie_add(&t, (struct bytes){"k\0z", 3}, 301); /* the last stays */
    assert_int_equal(trie_step(&t, 0, 'z'), -1);
    int32_t k = trie_step(&t, 0, 'k');
    assert_int_equal(t.node[k].id, 300);
    for (int i = 0; i < 256; i++) {
        int32_t node = trie_step(&t, k, (char)i);
        assert_int_equal(t.node[node].id, -1);
        assert_int_equal(trie_step(&t, node, 'y'), -1);
        node = trie_step(&t, node, 'z');
        assert_int_equal(t.node[node].id, i ? i : 301);
        assert_int_equal(trie_step(&t, node, 'z'), -1);
    }
    trie_clear(&t);
    assert_int_equal(trie_init(&t, (size_t)1 << 40), ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_trie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
