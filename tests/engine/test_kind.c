/* test_kind.c - the kinds of GGUF vocabularies that no library reads but the models' own programs:
 * RWKV's and PLaMo-2's (tests/tools/gen_kind.py). */
#include "engine/text/kind.h"

#include <string.h>

#include "tests/support/json_fixture.h"
#include "tests/support/test.h"
#include "tests/support/vocab.h"

/* The tokens' pieces one behind the other are the text. */
static void comes_back(const struct tokenizer *t, struct bytes text)
{
    struct tokens ids = {0};
    size_t at = 0;
    assert_int_equal(tokenizer_encode(t, text, 0, &ids), OK);
    for (int i = 0; i < ids.n; i++) {
        struct bytes piece = tokenizer_piece(t, ids.id[i]);
        assert_true(at + piece.n <= text.n);
        assert_memory_equal(text.p + at, piece.p, piece.n);
        at += piece.n;
    }
    assert_int_equal(at, text.n);
    tokens_clear(&ids);
}

static void agrees(const char *model)
{
    struct arena a = {0};
    const struct json *m = json_get(json_fixture(&a, "tests/data/tokenizer/kinds.json"), model);
    const struct json *texts = json_fixture(&a, "tests/data/tokenizer/json/texts.json");
    const struct json *noise = json_get(m, "noise");
    struct tokenizer *t = vocab_of_pieces(&a, m);
    assert_int_equal(vocab_agrees(t, model, texts, json_get(m, "ids")), texts->count);
    for (const struct json *v = texts->first; v; v = v->next)
        comes_back(t, json_fixture_text(&a, v));
    if (noise)
        assert_int_equal(vocab_agrees(t, "noise", noise, json_get(m, "noise_ids")), 20);
    comes_back(t, (struct bytes){"\xf0\x9f a\xff\x80", 6});
    tokenizer_free(t);
    arena_clear(&a);
}

static void test_rwkv(void **state)
{
    (void)state;
    agrees("rwkv");
}

static void test_plamo2(void **state)
{
    (void)state;
    agrees("plamo2");
}

static void test_rwkv_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *spelling, *bytes;
        enum token_type type;
    } row[] = {
        {"a'\\t\\n\\r", "a'\t\n\r", TOKEN_NORMAL},
        {"\\xe4\\xb8", "\xe4\xb8", TOKEN_NORMAL},
        {"\\\\n", "\\n", TOKEN_NORMAL},
        {"\\'\\xg0\\x1", "'xg0x1", TOKEN_NORMAL},
        {"\xc3\xa9\\", "\xc3\xa9\\", TOKEN_NORMAL},
        {"\\n", "\\n", TOKEN_CONTROL},
    };
    struct buf out = {0};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        buf_reset(&out);
        kind_find("rwkv", NULL)->spell(bytes_of(row[i].spelling), row[i].type, &out);
        assert_int_equal(out.len, strlen(row[i].bytes));
        assert_memory_equal(out.data, row[i].bytes, out.len);
    }
    buf_clear(&out);
}

/* A control token written in the text is text, unless it is asked for. */
static void test_special(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct json *all = json_fixture(&a, "tests/data/tokenizer/kinds.json");
    static const struct {
        const char *model, *text;
        int32_t id;
    } row[] = {{"rwkv", "<s>", 0}, {"plamo2", "<|plamo:bos|>", 1}};
    for (int i = 0; i < 2; i++) {
        struct tokenizer *t = vocab_of_pieces(&a, json_get(all, row[i].model));
        struct tokens ids = {0};
        comes_back(t, bytes_of(row[i].text));
        assert_int_equal(tokenizer_encode(t, bytes_of(row[i].text), 0, &ids), OK);
        assert_true(ids.n > 1);
        tokens_clear(&ids);
        assert_int_equal(tokenizer_encode(t, bytes_of(row[i].text), ENCODE_SPECIAL, &ids), OK);
        assert_int_equal(ids.n, 1);
        assert_int_equal(ids.id[0], row[i].id);
        tokens_clear(&ids);
        tokenizer_free(t);
    }
    arena_clear(&a);
}

static void fails(enum status s, enum status want, const char *message)
{
    assert_int_equal(s, want);
    assert_non_null(strstr(fail_text(), message));
}

static void test_unknown(void **state)
{
    (void)state;
    assert_null(kind_find("sentencepiece", NULL));
    assert_null(kind_find(NULL, "gpt-2"));
    assert_ptr_equal(kind_find("gpt2", "gemma4"), kind_find("gemma4", NULL));
    fails(kind_unknown("x"), ERR_UNSUPPORTED,
          "tokenizer model 'x' is not supported; known are gpt2, llama, gemma4, bert, t5, rwkv, "
          "plamo2, whitespace");
}

static void test_plamo2_needs_scores(void **state)
{
    (void)state;
    struct bytes token = bytes_of("a");
    float score = -1.0F / 0.0F;
    struct tokenizer_spec s = {
        .model = "plamo2", .n_vocab = 1, .token = &token, .bos = -1, .eos = -1, .unk = -1};
    struct tokenizer *t = NULL;
    fails(tokenizer_new(&s, &t), ERR_FORMAT, "a plamo2 model needs scores");
    s.score = &score;
    fails(tokenizer_new(&s, &t), ERR_FORMAT, "the score of token 0 is -inf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rwkv),          cmocka_unit_test(test_plamo2),
        cmocka_unit_test(test_rwkv_spelling), cmocka_unit_test(test_special),
        cmocka_unit_test(test_unknown),       cmocka_unit_test(test_plamo2_needs_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
