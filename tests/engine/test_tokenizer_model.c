/* test_tokenizer_model.c - tokenizer.model: the ids of SentencePiece (tests/tools/gen_spm.py), what
 * tokenizer_config.json adds, and files that lie. */
#include "engine/text/tokenizer_model.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/json_fixture.h"
#include "tests/support/test.h"
#include "tests/support/vocab.h"

#define DATA "tests/data/tokenizer/"

static struct bytes load(const char *name)
{
    char path[128], *file;
    size_t n;
    snprintf(path, sizeof path, DATA "model/%s.model", name);
    assert_int_equal(file_read(path, 1 << 20, &file, &n), OK);
    return (struct bytes){file, n};
}

static enum status open_model(struct bytes model, const char *config, int rows,
                              struct tokenizer **out)
{
    struct tokenizer_files f = {
        .tokenizer = model, .config = bytes_of(config), .n_rows = rows, .bos = -1, .eos = -1};
    *out = NULL;
    return tokenizer_model_read(&f, NULL, NULL, out);
}

static void test_sentencepiece(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct json *models = json_fixture(&a, DATA "sentencepiece.json");
    const struct json *texts = json_fixture(&a, DATA "json/texts.json");
    for (const struct json *m = models->first; m; m = m->next) {
        struct bytes file = load(m->key);
        struct tokenizer *t;
        assert_int_equal(open_model(file, "", 0, &t), OK);
        xfree((void *)(uintptr_t)file.p); /* nothing of it is kept */
        assert_int_equal(tokenizer_n_vocab(t), json_get(m, "pieces")->count);
        assert_true(vocab_agrees(t, m->key, texts, json_get(m, "ids")) > 50);
        assert_int_equal(tokenizer_bos(t), 1);
        assert_int_equal(tokenizer_eos(t), 2);
        tokenizer_free(t);
    }
    arena_clear(&a);
}

static void around(const struct tokenizer *t, bool bos, bool eos)
{
    struct tokens ids = vocab_encode(t, bytes_of("hello"), ENCODE_BOS);
    assert_int_equal(ids.id[0] == 1, bos);
    assert_int_equal(ids.id[ids.n - 1] == 2, eos);
    tokens_clear(&ids);
}

static void test_policy(void **state)
{
    (void)state;
    struct bytes bpe = load("llama"), unigram = load("t5");
    struct tokenizer *t;
    assert_int_equal(open_model(bpe, "", 0, &t), OK);
    around(t, true, false);
    tokenizer_free(t);
    assert_int_equal(open_model(unigram, "", 0, &t), OK);
    around(t, false, true);
    tokenizer_free(t);
    assert_int_equal(open_model(bpe, "{\"add_bos_token\":false,\"add_eos_token\":true}", 0, &t),
                     OK);
    around(t, false, true);
    tokenizer_free(t);
    xfree((void *)(uintptr_t)bpe.p);
    xfree((void *)(uintptr_t)unigram.p);
}

static void test_added(void **state)
{
    (void)state;
    struct bytes file = load("llama");
    struct tokenizer *t;
    assert_int_equal(open_model(file, "", 0, &t), OK);
    int n = tokenizer_n_vocab(t);
    char config[400];
    tokenizer_free(t);
    snprintf(config, sizeof config,
             "{\"eos_token\":{\"content\":\"<|end|>\"},\"added_tokens_decoder\":{"
             "\"1\":{\"content\":\"<s>\",\"special\":true},"
             "\"%d\":{\"content\":\"<|end|>\",\"special\":true},"
             "\"%d\":{\"content\":\"<tool>\",\"special\":false}}}",
             n, n + 2);
    assert_int_equal(open_model(file, config, n + 8, &t), OK);
    assert_int_equal(tokenizer_n_vocab(t), n + 8);
    assert_int_equal(tokenizer_eos(t), n);
    assert_int_equal(tokenizer_type(t, n), TOKEN_CONTROL);
    assert_int_equal(tokenizer_type(t, n + 1), TOKEN_UNUSED);
    assert_int_equal(tokenizer_find(t, "<tool>"), n + 2);
    struct tokens ids = vocab_encode(t, bytes_of("<tool><|end|>"), 0);
    assert_int_equal(ids.id[0], n + 2);
    assert_true(ids.n > 2); /* a control token is text unless it is asked for */
    tokens_clear(&ids);
    ids = vocab_encode(t, bytes_of("<tool><|end|>"), ENCODE_SPECIAL);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.id[1], n);
    tokens_clear(&ids);
    tokenizer_free(t);
    assert_int_equal(
        open_model(file, "{\"added_tokens_decoder\":{\"9999999\":{\"content\":\"x\"}}}", 0, &t),
        ERR_FORMAT);
    assert_non_null(strstr(fail_text(), "token 9999999 is added"));
    assert_int_equal(open_model(file, "{", 0, &t), ERR_JSON);
    xfree((void *)(uintptr_t)file.p);
}

/* What Transformers' LlamaTokenizer (4.57) makes of special tokens and what follows them, as the
 * config says "legacy" or not. */
static void test_legacy(void **state)
{
    (void)state;
    enum { MOST = 8 };
    static const struct {
        const char *text;
        int32_t want[3][MOST]; /* by config; 0 ends them */
    } row[] = {
        {"hi", {{349, 364, 356}, {349, 364, 356}, {364, 356}}},
        {"<s>hi</s>hi",
         {{1, 349, 364, 356, 2, 349, 364, 356},
          {1, 364, 356, 2, 364, 356},
          {1, 364, 356, 2, 364, 356}}},
        {" hi", {{349, 349, 364, 356}, {349, 349, 364, 356}, {349, 364, 356}}},
        {"</s> hi", {{2, 349, 349, 364, 356}, {2, 349, 364, 356}, {2, 349, 364, 356}}},
        {"a</s>b  c", {{283, 2, 285, 349, 281}, {283, 2, 351, 349, 281}, {350, 2, 351, 349, 281}}},
    };
    static const char *const config[] = {"{}", "{\"legacy\":false}",
                                         "{\"legacy\":false,\"add_prefix_space\":false}"};
    struct bytes file = load("llama");
    for (int k = 0; k < 3; k++) {
        struct tokenizer *t;
        assert_int_equal(open_model(file, config[k], 0, &t), OK);
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            const int32_t *want = row[i].want[k];
            struct tokens got = vocab_encode(t, bytes_of(row[i].text), ENCODE_SPECIAL);
            int n = 0;
            while (n < MOST && want[n])
                n++;
            assert_int_equal(got.n, n);
            assert_memory_equal(got.id, want, (size_t)n * sizeof *want);
            tokens_clear(&got);
        }
        tokenizer_free(t);
    }
    xfree((void *)(uintptr_t)file.p);
}

/* As checkpoints of 2023 have them, whose tokenizer_config.json lists no tokens. */
static void test_added_files(void **state)
{
    (void)state;
    struct bytes file = load("llama");
    struct tokenizer *t;
    assert_int_equal(open_model(file, "", 0, &t), OK);
    int n = tokenizer_n_vocab(t);
    char added[100];
    tokenizer_free(t);
    snprintf(added, sizeof added, "{\"<tool>\":%d,\"<|end|>\":%d}", n + 1, n);
    struct tokenizer_files f = {.tokenizer = file,
                                .config = bytes_of("{\"eos_token\":\"</s>\"}"),
                                .special = bytes_of("{\"eos_token\":{\"content\":\"<|end|>\"}}"),
                                .added = bytes_of(added),
                                .bos = -1,
                                .eos = -1};
    assert_int_equal(tokenizer_model_read(&f, NULL, NULL, &t), OK);
    assert_int_equal(tokenizer_n_vocab(t), n + 2);
    assert_int_equal(tokenizer_eos(t), n);
    assert_int_equal(tokenizer_type(t, n), TOKEN_CONTROL);
    assert_int_equal(tokenizer_type(t, n + 1), TOKEN_USER);
    assert_int_equal(tokenizer_find(t, "<tool>"), n + 1);
    tokenizer_free(t);
    /* A list in tokenizer_config.json is the newer word, and may give a piece another name. */
    f.config = bytes_of("{\"eos_token\":\"</s>\",\"added_tokens_decoder\":{"
                        "\"5\":{\"content\":\"<five>\",\"special\":true}}}");
    assert_int_equal(tokenizer_model_read(&f, NULL, NULL, &t), OK);
    assert_int_equal(tokenizer_n_vocab(t), n);
    assert_int_equal(tokenizer_eos(t), 2);
    assert_int_equal(tokenizer_find(t, "<five>"), 5);
    tokenizer_free(t);
    xfree((void *)(uintptr_t)file.p);
}

static void test_lies(void **state)
{
    (void)state;
    static const struct {
        struct bytes file;
        const char *word;
        enum status status;
    } row[] = {
        {{"", 0}, "it has no pieces", ERR_FORMAT},
        {{"\x80", 1}, "a number does not end", ERR_FORMAT},
        {{"\x0a\x05"
          "abc",
          5},
         "has 5 bytes, the file 3 more",
         ERR_FORMAT},
        {{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10}, "the file 0 more", ERR_FORMAT},
        {{"\x0b", 1}, "wire type 3", ERR_FORMAT},
        {{"\x0a\x03\x0a\x01"
          "a"
          "\x12\x02\x18\x03",
          9},
         "only BPE and unigram",
         ERR_UNSUPPORTED},
        {{"\x0a\x03\x0a\x01"
          "a"
          "\x12\x03\xc0\x01\x01",
          10},
         "ends of words",
         ERR_UNSUPPORTED},
        {{"\x0a\x03\x0a\x01"
          "a"
          "\x1a\x02\x28\x00",
          9},
         "U+2581",
         ERR_UNSUPPORTED},
        {{"\x0a\x05\x0a\x01"
          "a"
          "\x18\x07",
          7},
         "token 0 has type 0",
         ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct tokenizer *t;
        assert_int_equal(open_model(row[i].file, "", 0, &t), row[i].status);
        if (!strstr(fail_text(), row[i].word) || strncmp(fail_text(), "tokenizer.model: ", 17) != 0)
            fail_msg("row %zu: %s", i, fail_text());
        assert_null(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentencepiece), cmocka_unit_test(test_policy),
        cmocka_unit_test(test_added),         cmocka_unit_test(test_added_files),
        cmocka_unit_test(test_legacy),        cmocka_unit_test(test_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
