/* test_bpe.c - byte-level BPE where texts are unusual: bytes the vocabulary lacks, bytes that are
 * no UTF-8, words of millions of characters, many threads. */
#include "engine/text/tokenizer.h"

#include <pthread.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/test.h"
#include "tests/support/vocab.h"

#define VOCAB(name) "../shared/data/vocab/ggml-vocab-" name ".gguf"
#define B(s)                                                                                       \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

static struct tokenizer *small_tokenizer(const char *pre)
{
    static const struct bytes token[] = {B("a"),        B("b"),        B("ab"),
                                         B("\xc4\xa0"), B("\xc3\xbf"), B("abab")};
    static const struct bytes merge[] = {B("a b"), B("ab ab")};
    struct tokenizer_spec s = {.model = "gpt2",
                               .pre = pre,
                               .n_vocab = 6,
                               .token = token,
                               .merge = merge,
                               .n_merges = 2,
                               .bos = -1,
                               .eos = -1,
                               .unk = -1};
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&s, &t), OK);
    return t;
}

static void expect(const struct tokenizer *t, struct bytes text, int n, const int32_t *want)
{
    struct tokens got = {0};
    assert_int_equal(tokenizer_encode(t, text, 0, &got), OK);
    assert_int_equal(got.n, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(got.id[i], want[i]);
    tokens_clear(&got);
}

static void test_missing_bytes(void **state)
{
    (void)state;
    struct tokenizer *t = small_tokenizer("gpt-2");
    expect(t, bytes_of("ab ba"), 4, (int32_t[]){2, 3, 1, 0});
    expect(t, bytes_of("cab"), 1, (int32_t[]){2});
    expect(t, bytes_of("acb"), 1, (int32_t[]){2}); /* c vanishes, and a and b meet */
    expect(t, bytes_of("ccc"), 0, NULL);
    expect(t, (struct bytes){"a\0b", 3}, 2, (int32_t[]){0, 1}); /* three words, one lost */
    expect(t, bytes_of("abab"), 1, (int32_t[]){5});
    tokenizer_free(t);
}

static void test_broken_utf8(void **state)
{
    (void)state;
    struct tokenizer *t = small_tokenizer("llama-bpe");
    expect(t,
           bytes_of("ab\xff"
                    "ab"),
           3, (int32_t[]){2, 4, 2});
    expect(t, bytes_of("\xff\xff"), 2, (int32_t[]){4, 4});
    expect(t, bytes_of("\xc3"), 0, NULL);
    tokenizer_free(t);
}

/* Every byte of the text is in a token, whatever its length. */
static void long_run(const struct tokenizer *t, char c, size_t n)
{
    struct tokens ids = {0};
    char *text = xmalloc(n);
    size_t bytes = 0;
    memset(text, c, n);
    assert_int_equal(tokenizer_encode(t, (struct bytes){text, n}, 0, &ids), OK);
    for (int i = 0; i < ids.n; i++) {
        struct bytes piece = tokenizer_piece(t, ids.id[i]);
        assert_true(piece.n <= n);
        assert_memory_equal(piece.p, text, piece.n);
        bytes += piece.n;
    }
    assert_int_equal(bytes, n);
    tokens_clear(&ids);
    xfree(text);
}

static void test_long_runs(void **state)
{
    (void)state;
    static const char *const name[] = {VOCAB("gpt-2"), VOCAB("llama-bpe")};
    for (int i = 0; i < 2; i++) {
        struct tokenizer *t = vocab_tokenizer(name[i]);
        if (!t)
            SKIP("%s is not there", name[i]);
        long_run(t, 'a', i == 0 ? 10000000 : 1000000);
        for (const char *c = " \n.1\x01"; *c; c++)
            long_run(t, *c, 1000000);
        tokenizer_free(t);
    }
}

static void *encode_much(void *arg)
{
    static const char text[] = "Threads share one tokenizer: it's never written to, 12345 times.";
    struct tokens first = {0};
    assert_int_equal(tokenizer_encode(arg, bytes_of(text), 0, &first), OK);
    for (int i = 0; i < 50; i++) {
        struct tokens again = {0};
        assert_int_equal(tokenizer_encode(arg, bytes_of(text), 0, &again), OK);
        assert_int_equal(again.n, first.n);
        assert_memory_equal(again.id, first.id, (size_t)first.n * sizeof *first.id);
        tokens_clear(&again);
    }
    tokens_clear(&first);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct tokenizer *t = vocab_tokenizer(VOCAB("gpt-2"));
    pthread_t thread[4];
    if (!t)
        SKIP("the gpt-2 vocabulary is not there");
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, encode_much, t), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_bytes),
        cmocka_unit_test(test_broken_utf8),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
