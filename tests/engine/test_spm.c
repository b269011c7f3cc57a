/* test_spm.c - SentencePiece BPE: scores decide, bytes stand in for what is missing, and cutting
 * before blanks changes nothing. */
#include "engine/text/spm.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/json_fixture.h"
#include "tests/support/test.h"
#include "tests/support/vocab.h"

#define B(s)                                                                                       \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }
#define _ "\xe2\x96\x81"

enum { UNK, BYTE_C3, BYTE_A9, BLANK, A, BB, AB, BA, BLANK_A, BLANK_AB, BLANKS, N, A_BLANK = N };
/* The last token is only there in the vocabulary that joins across words. */
static const struct bytes token[N + 1] = {B("<unk>"), B("<0xC3>"), B("<0xA9>"), B(_),
                                          B("a"),     B("b"),      B("ab"),     B("ba"),
                                          B(_ "a"),   B(_ "ab"),   B(_ _),      B("a" _)};
static const int32_t type[N + 1] = {
    TOKEN_UNKNOWN, TOKEN_BYTE, TOKEN_BYTE, 1, 1, 1, 1, 1, 1, 1, 1, 1};
static const float score[N + 1] = {0, 0, 0, -10, -11, -12, -2, -1, -3, -4, -5, -6};

static struct tokenizer *make(bool across, bool add_space)
{
    struct tokenizer_spec s = {.model = "llama",
                               .n_vocab = across ? N + 1 : N,
                               .token = token,
                               .score = score,
                               .type = type,
                               .bos = -1,
                               .eos = -1,
                               .unk = UNK,
                               .add_space_prefix = add_space};
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&s, &t), OK);
    return t;
}

static void expect(const struct tokenizer *t, const char *text, int n, const int32_t *want)
{
    struct tokens got = {0};
    assert_int_equal(tokenizer_encode(t, bytes_of(text), 0, &got), OK);
    assert_int_equal(got.n, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(got.id[i], want[i]);
    tokens_clear(&got);
}
#define EXPECT(t, text, ...)                                                                       \
    expect(t, text, (int)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)),                     \
           (int32_t[]){__VA_ARGS__})

static void test_scores(void **state)
{
    (void)state;
    struct tokenizer *t = make(false, false);
    EXPECT(t, "ab", AB);
    EXPECT(t, "aba", A, BA); /* "ba" has the higher score */
    EXPECT(t, " ab", BLANK_AB);
    EXPECT(t, " aba", BLANK_A, BA);
    EXPECT(t, "a  a", A, BLANK, BLANK_A); /* " a" before "  " */
    EXPECT(t, "   ", BLANKS, BLANK);
    tokenizer_free(t);
}

static void test_missing_characters(void **state)
{
    (void)state;
    struct tokenizer *t = make(false, false);
    EXPECT(t,
           "a\xc3\xa9"
           "b",
           A, BYTE_C3, BYTE_A9, BB);
    EXPECT(t, "a\xc3", A, BYTE_C3);       /* no UTF-8, but a byte */
    EXPECT(t, "x\xe4\xb8\xad", UNK, UNK); /* no token and not all bytes: one for each */
    EXPECT(t, "a" _ "a", A, BLANK_A);     /* U+2581 reads as a blank */
    tokenizer_free(t);
}

static void test_space_prefix(void **state)
{
    (void)state;
    struct tokenizer *t = make(false, true);
    EXPECT(t, "ab", BLANK_AB);
    expect(t, "", 0, NULL);
    tokenizer_free(t);
}

static void test_words_that_join(void **state)
{
    (void)state;
    struct tokenizer *t = make(true, false);
    EXPECT(t, "a b", A_BLANK, BB);
    EXPECT(t, "a a", A, BLANK_A); /* " a" has the higher score */
    tokenizer_free(t);
}

static void test_spelling(void **state)
{
    (void)state;
    struct buf out = {0};
    spm_spell(bytes_of("<0xE4>"), TOKEN_BYTE, &out);
    assert_int_equal(out.len, 1);
    assert_int_equal((unsigned char)out.data[0], 0xe4);
    buf_reset(&out);
    spm_spell(bytes_of("<0xG4>"), TOKEN_BYTE, &out); /* a file that lies: taken as it stands */
    assert_string_equal(out.data, "<0xG4>");
    buf_reset(&out);
    spm_spell(bytes_of("<0xE4>"), TOKEN_NORMAL, &out);
    assert_string_equal(out.data, "<0xE4>");
    buf_reset(&out);
    spm_spell(bytes_of(_ "a" _), TOKEN_NORMAL, &out);
    assert_string_equal(out.data, " a ");
    buf_reset(&out);
    spm_spell(bytes_of(_ "a"), TOKEN_CONTROL, &out);
    assert_string_equal(out.data, _ "a");
    buf_clear(&out);
}

/* --- agreement with SentencePiece (tests/tools/gen_spm.py) --- */

static void test_sentencepiece(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct json *models = json_fixture(&a, "tests/data/tokenizer/sentencepiece.json");
    const struct json *texts = json_fixture(&a, "tests/data/tokenizer/json/texts.json");
    assert_int_equal(models->count, 5);
    for (const struct json *m = models->first; m; m = m->next) {
        struct tokenizer *t = vocab_of_pieces(&a, m);
        assert_true(vocab_agrees(t, m->key, texts, json_get(m, "ids")) > 50);
        tokenizer_free(t);
    }
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentencepiece),      cmocka_unit_test(test_scores),
        cmocka_unit_test(test_missing_characters), cmocka_unit_test(test_space_prefix),
        cmocka_unit_test(test_words_that_join),    cmocka_unit_test(test_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
