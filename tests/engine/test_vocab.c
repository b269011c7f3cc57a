/* test_vocab.c - whole tokenizers on real vocabularies.
 *
 * The expected ids are others': the pairs of the llama.cpp project (../shared/data/vocab) and what
 * the `tokenizers` package gives (tests/data/tokenizer, by tests/tools/gen_tokenizer.py). */
#include "engine/text/vocab.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"
#include "tests/support/json_fixture.h"
#include "tests/support/test.h"
#include "tests/support/vocab.h"

#define VOCAB(name) "../shared/data/vocab/ggml-vocab-" name ".gguf"
#define STORIES     "../shared/data/models/stories260K/stories260K-f32.gguf"

/* --- the pairs of ../shared/data/vocab --- */

static void pairs(const char *path)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    struct tokenizer *t = vocab_or_skip(path);
    char name[256], *text, *want;
    size_t n_text, n_want;
    snprintf(name, sizeof name, "%s.inp", path);
    assert_int_equal(file_read(name, 1 << 20, &text, &n_text), OK);
    snprintf(name, sizeof name, "%s.out", path);
    assert_int_equal(file_read(name, 1 << 20, &want, &n_want), OK);
    int n_cases = 0;
    char *line = want;
    for (char *p = text, *next; p; p = next, n_cases++) {
        char *end = strstr(p, separator);
        next = end ? end + strlen(separator) : NULL;
        end = end ? end : text + n_text;
        struct tokens ids = vocab_encode(t, (struct bytes){p, (size_t)(end - p)}, 0);
        for (int i = 0; i < ids.n; i++)
            assert_int_equal(strtol(line, &line, 10), ids.id[i]);
        line += strspn(line, " ");
        assert_int_equal(*line, next ? '\n' : 0); /* the last line, of the empty string, has none */
        line += next != NULL;
        tokens_clear(&ids);
    }
    assert_int_equal(n_cases, 47);
    assert_ptr_equal(line, want + n_want);
    xfree(text);
    xfree(want);
    tokenizer_free(t);
}

static void test_pairs_gpt2(void **state)
{
    (void)state;
    pairs(VOCAB("gpt-2"));
}

static void test_pairs_llama_bpe(void **state)
{
    (void)state;
    pairs(VOCAB("llama-bpe"));
}

static void test_pairs_qwen2(void **state)
{
    (void)state;
    pairs(VOCAB("qwen2"));
}

static void test_pairs_llama_spm(void **state)
{
    (void)state;
    pairs(VOCAB("llama-spm"));
}

static void test_pairs_phi3(void **state)
{
    (void)state;
    pairs(VOCAB("phi-3"));
}

static void test_pairs_deepseek_llm(void **state)
{
    (void)state;
    pairs(VOCAB("deepseek-llm"));
}

static void test_pairs_bert(void **state)
{
    (void)state;
    pairs(VOCAB("bert-bge"));
}

/* --- agreement with the tokenizers package, and the way back --- */

/* What decoding must give: the text itself, in NFC where the tokenizer normalises. */
static struct bytes normal(struct arena *a, struct bytes text, bool nfc)
{
    if (!nfc || text.n == 0 || memchr(text.p, 0, text.n))
        return text;
    char *c = arena_strndup(a, text.p, text.n);
    char *p = (char *)utf8proc_NFC((const utf8proc_uint8_t *)c);
    struct bytes out = bytes_of(arena_strndup(a, p, strlen(p)));
    free(p);
    return out;
}

enum way_back { EXACT, EXACT_NFC, LOSSY };

static void fixture(const char *path, const char *name, enum way_back back)
{
    struct tokenizer *t = vocab_or_skip(path);
    struct arena a = {0};
    struct buf decoded = {0};
    const struct json *cases = json_fixture(&a, name);
    assert_true(cases->count >= 200);
    int i_case = 0;
    for (const struct json *c = cases->first; c; c = c->next, i_case++) {
        struct bytes text = json_fixture_text(&a, c);
        struct tokens ids = vocab_encode(t, text, 0);
        const struct json *want = json_get(c, "ids")->first;
        for (int i = 0; i < ids.n; i++, want = want->next) {
            if (!want || (int)want->number != ids.id[i])
                print_message("%s: case %d differs at token %d\n", name, i_case, i);
            assert_non_null(want);
            assert_int_equal((int)want->number, ids.id[i]);
        }
        assert_null(want);
        struct bytes same = normal(&a, text, back == EXACT_NFC);
        vocab_decode(t, &ids, true, &decoded);
        if (back != LOSSY) {
            assert_int_equal(decoded.len, same.n);
            assert_memory_equal(decoded.data, same.p, same.n);
        }
        tokens_clear(&ids);
    }
    buf_clear(&decoded);
    arena_clear(&a);
    tokenizer_free(t);
}

static void test_fixture_gpt2(void **state)
{
    (void)state;
    fixture(VOCAB("gpt-2"), "tests/data/tokenizer/gpt-2.json", EXACT);
}

static void test_fixture_llama_bpe(void **state)
{
    (void)state;
    fixture(VOCAB("llama-bpe"), "tests/data/tokenizer/llama-bpe.json", EXACT);
}

static void test_fixture_qwen2(void **state)
{
    (void)state;
    fixture(VOCAB("qwen2"), "tests/data/tokenizer/qwen2.json", EXACT_NFC);
}

/* SmolLM's vocabulary lacks 21 bytes, so not every text comes back. */
static void test_fixture_smollm(void **state)
{
    (void)state;
    fixture(vocab_default_model(), "tests/data/tokenizer/smollm.json", LOSSY);
}

static void test_fixture_stories260k(void **state)
{
    (void)state;
    fixture(STORIES, "tests/data/tokenizer/stories260k.json", EXACT);
}

/* A vocabulary without expected ids: the texts come back. What it has no tokens for, each string of
 * `lost`, comes back as `instead`, and nothing else goes. */
struct loss {
    const char *const *lost; /* ends in NULL */
    const char *instead;
};

static struct bytes replaced(struct arena *a, struct bytes text, const struct loss *l)
{
    struct buf out = {0};
    for (size_t at = 0, n; at < text.n; at += n) {
        int i = 0;
        while (l->lost[i] && (strlen(l->lost[i]) > text.n - at ||
                              memcmp(text.p + at, l->lost[i], strlen(l->lost[i])) != 0))
            i++;
        n = l->lost[i] ? strlen(l->lost[i]) : 1;
        buf_append(&out, l->lost[i] ? l->instead : text.p + at,
                   l->lost[i] ? strlen(l->instead) : 1);
    }
    struct bytes copy = {arena_strndup(a, out.data ? out.data : "", out.len), out.len};
    buf_clear(&out);
    return copy;
}

static void round_trip(const char *path, const struct loss *l)
{
    struct tokenizer *t = vocab_or_skip(path);
    struct arena a = {0};
    struct buf decoded = {0};
    const struct json *texts = json_fixture(&a, "tests/data/tokenizer/json/texts.json");
    int n_lossy = 0;
    for (const struct json *c = texts->first; c; c = c->next) {
        struct bytes text = json_fixture_text(&a, c);
        struct tokens ids = vocab_encode(t, text, 0);
        struct bytes same =
            normal(&a, l ? replaced(&a, text, l) : text, strstr(path, "mpt") != NULL);
        n_lossy += l && (same.n != text.n || memcmp(same.p, text.p, text.n) != 0);
        vocab_decode(t, &ids, true, &decoded);
        if (utf8_valid_prefix(same.p, same.n) < same.n) { /* decoding mends it */
            buf_reset(&decoded);
            for (int i = 0; i < ids.n; i++) {
                struct bytes piece = tokenizer_piece(t, ids.id[i]);
                buf_append(&decoded, piece.p, piece.n);
            }
        }
        assert_int_equal(decoded.len, same.n);
        assert_memory_equal(decoded.data, same.p, same.n);
        assert_true(ids.n <= (int)text.n + 1);
        tokens_clear(&ids);
    }
    assert_true(!l || n_lossy > 0);
    buf_clear(&decoded);
    arena_clear(&a);
    tokenizer_free(t);
}

/* SentencePiece spells blanks with this character and cannot tell them apart. */
static void test_round_trip_baichuan(void **state)
{
    (void)state;
    static const char *const lost[] = {"\xe2\x96\x81", NULL};
    round_trip(VOCAB("baichuan"), &(struct loss){lost, " "});
}

static void test_round_trip_deepseek_coder(void **state)
{
    (void)state;
    round_trip(VOCAB("deepseek-coder"), NULL);
}

/* The vocabulary has no tokens for these bytes, so nothing can stand for them. */
static void test_round_trip_falcon(void **state)
{
    (void)state;
    static const char *const lost[] = {"\x03", "\x04", "\x05", "\x0b", "\x11", "\x13",
                                       "\x14", "\x15", "\x16", "\x17", "\x19", "\x1c",
                                       "\x1d", "\x1e", "\xf2", NULL};
    struct tokenizer *t = vocab_or_skip(VOCAB("falcon"));
    for (int byte = 1; byte < 256; byte++) {
        bool has = false, gone = false;
        for (int32_t id = 0; id < tokenizer_n_vocab(t) && !has; id++) {
            struct bytes piece = tokenizer_piece(t, id);
            has = piece.n == 1 && (unsigned char)piece.p[0] == byte;
        }
        for (int i = 0; lost[i]; i++)
            gone = gone || (unsigned char)lost[i][0] == byte;
        assert_true(has || gone || byte == 0xc0 || byte == 0xc1 || byte >= 0xf5);
        assert_false(has && gone);
    }
    tokenizer_free(t);
    round_trip(VOCAB("falcon"), &(struct loss){lost, ""});
}

static void test_round_trip_gpt_neox(void **state)
{
    (void)state;
    round_trip(VOCAB("gpt-neox"), NULL);
}

static void test_round_trip_mpt(void **state)
{
    (void)state;
    round_trip(VOCAB("mpt"), NULL);
}

static void test_round_trip_refact(void **state)
{
    (void)state;
    round_trip(VOCAB("refact"), NULL);
}

static void test_round_trip_starcoder(void **state)
{
    (void)state;
    round_trip(VOCAB("starcoder"), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs_gpt2),
        cmocka_unit_test(test_pairs_llama_bpe),
        cmocka_unit_test(test_pairs_qwen2),
        cmocka_unit_test(test_pairs_llama_spm),
        cmocka_unit_test(test_pairs_phi3),
        cmocka_unit_test(test_pairs_deepseek_llm),
        cmocka_unit_test(test_pairs_bert),
        cmocka_unit_test(test_fixture_gpt2),
        cmocka_unit_test(test_fixture_llama_bpe),
        cmocka_unit_test(test_fixture_qwen2),
        cmocka_unit_test(test_fixture_smollm),
        cmocka_unit_test(test_fixture_stories260k),
        cmocka_unit_test(test_round_trip_baichuan),
        cmocka_unit_test(test_round_trip_deepseek_coder),
        cmocka_unit_test(test_round_trip_falcon),
        cmocka_unit_test(test_round_trip_gpt_neox),
        cmocka_unit_test(test_round_trip_mpt),
        cmocka_unit_test(test_round_trip_refact),
        cmocka_unit_test(test_round_trip_starcoder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
