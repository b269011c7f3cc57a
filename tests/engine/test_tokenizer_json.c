/* test_tokenizer_json.c - tokenizer.json files of every kind agree with the `tokenizers` package.
 *
 * tests/data/tokenizer/json has the files, the texts, and what the package makes of them
 * (tests/tools/gen_tokenizer_json.py). */
#include "engine/text/tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "tests/support/json_fixture.h"
#include "tests/support/test.h"

#define DIRECTORY "tests/data/tokenizer/json/"

static struct tokenizer *read_json(struct bytes json, struct bytes config)
{
    struct tokenizer_files f = {.tokenizer = json, .config = config, .bos = -1, .eos = -1};
    struct tokenizer *t = NULL;
    enum status s = tokenizer_json_read(&f, &t);
    if (s != OK)
        print_message("%s\n", fail_text());
    assert_int_equal(s, OK);
    return t;
}

static void check_ids(const char *name, int i, const struct tokens *got, const struct json *want)
{
    const struct json *v = want->first;
    for (int k = 0; k < got->n; k++, v = v->next) {
        if (!v || (int)v->number != got->id[k])
            print_message("%s: text %d differs at token %d\n", name, i, k);
        assert_non_null(v);
        assert_int_equal((int)v->number, got->id[k]);
    }
    assert_null(v);
}

static void check_decoded(const struct tokenizer *t, const struct tokens *ids,
                          const struct json *want)
{
    struct buf out = {0};
    struct detok d = {0};
    buf_append(&out, "", 0);
    for (int i = 0; i < ids->n; i++)
        detok_push(t, &d, ids->id[i], true, &out);
    detok_flush(&d, &out);
    assert_string_equal(out.data, want->text.p);
    buf_clear(&out);
}

static void agree(const char *name)
{
    struct arena a = {0};
    char path[256];
    snprintf(path, sizeof path, DIRECTORY "%s.json", name);
    const struct json *root = json_fixture(&a, path),
                      *texts = json_fixture(&a, DIRECTORY "texts.json");
    struct buf json = {0};
    json_write(&json, json_get(root, "tokenizer"));
    struct tokenizer *t = read_json((struct bytes){json.data, json.len}, (struct bytes){0});
    const struct json *ids = json_get(root, "ids")->first;
    const struct json *decoded = json_get(root, "decoded")->first;
    int n = 0, n_decoded = 0;
    for (const struct json *v = texts->first; v;
         v = v->next, ids = ids->next, decoded = decoded->next, n++) {
        if (ids->type == JSON_NULL)
            continue;
        struct bytes text = json_fixture_text(&a, v);
        char *copy = xmalloc(text.n); /* exact size: a read behind it is seen by the sanitizer */
        memcpy(copy, text.p, text.n);
        struct tokens got = {0};
        enum status s =
            tokenizer_encode(t, (struct bytes){copy, text.n}, ENCODE_BOS | ENCODE_SPECIAL, &got);
        assert_int_equal(s, OK);
        check_ids(name, n, &got, ids);
        if (decoded->type == JSON_STRING) {
            check_decoded(t, &got, decoded);
            n_decoded++;
        }
        tokens_clear(&got);
        xfree(copy);
    }
    assert_true(n > 50 && n_decoded > 6);
    buf_clear(&json);
    tokenizer_free(t);
    arena_clear(&a);
}

#define KINDS(X)                                                                                   \
    X(gpt2, "gpt2")                                                                                \
    X(llama3, "llama3")                                                                            \
    X(qwen35, "qwen35")                                                                            \
    X(o200k, "o200k")                                                                              \
    X(kimi, "kimi")                                                                                \
    X(deepseek, "deepseek")                                                                        \
    X(falcon, "falcon")                                                                            \
    X(odd_pattern, "odd-pattern")                                                                  \
    X(bounds, "bounds")                                                                            \
    X(roberta, "roberta")                                                                          \
    X(clip, "clip")                                                                                \
    X(llama2, "llama2")                                                                            \
    X(mistral, "mistral")                                                                          \
    X(mistral_split, "mistral-split")                                                              \
    X(gemma, "gemma")                                                                              \
    X(bpe_white, "bpe-white")                                                                      \
    X(bpe_prefix, "bpe-prefix")                                                                    \
    X(t5, "t5")                                                                                    \
    X(xlm, "xlm")                                                                                  \
    X(unigram_bytes, "unigram-bytes")                                                              \
    X(unigram_scripts, "unigram-scripts")                                                          \
    X(unigram_runs, "unigram-runs")                                                                \
    X(unigram_no_blank, "unigram-no-blank")                                                        \
    X(bert, "bert")                                                                                \
    X(bert_cased, "bert-cased")                                                                    \
    X(words, "words")                                                                              \
    X(ctc, "ctc")                                                                                  \
    X(cut_removed, "cut-removed")                                                                  \
    X(cut_merged, "cut-merged-with-previous")                                                      \
    X(cut_contiguous, "cut-contiguous")                                                            \
    X(byte_normalizer, "byte-normalizer")

#define TEST(id, name)                                                                             \
    static void test_##id(void **state)                                                            \
    {                                                                                              \
        (void)state;                                                                               \
        agree(name);                                                                               \
    }
KINDS(TEST)

/* --- the same vocabularies as GGUF files have them, for which there are no files --- */

enum { MAX_TOKENS = 2000 };
struct as_gguf {
    struct arena a;
    struct bytes token[MAX_TOKENS], merge[2 * MAX_TOKENS];
    int32_t type[MAX_TOKENS];
    struct tokenizer_spec spec;
    const struct json *root, *texts;
    bool decodes;
};

static struct as_gguf *as_gguf(const char *path)
{
    struct as_gguf *g = xcalloc(1, sizeof *g);
    g->root = json_fixture(&g->a, path);
    g->texts = json_fixture(&g->a, DIRECTORY "texts.json");
    const struct json *model = json_get(json_get(g->root, "tokenizer"), "model");
    struct tokenizer_spec *s = &g->spec;
    for (const struct json *v = json_get(model, "vocab")->first; v; v = v->next, s->n_vocab++) {
        int id = (int)v->number;
        assert_in_range(id, 0, MAX_TOKENS - 1);
        g->token[id] = bytes_of(v->key);
        g->type[id] = strncmp(v->key, "<0x", 3) == 0 ? TOKEN_BYTE : TOKEN_NORMAL;
    }
    for (const struct json *v = json_get(model, "merges")->first; v; v = v->next, s->n_merges++) {
        assert_in_range(s->n_merges, 0, MAX_TOKENS - 1);
        g->merge[2 * s->n_merges] = json_at(v, 0)->text;
        g->merge[2 * s->n_merges + 1] = json_at(v, 1)->text;
    }
    s->token = g->token;
    s->type = g->type;
    s->merge = g->merge;
    s->merge_halves = true;
    s->bos = s->eos = s->unk = -1;
    g->decodes = true;
    return g;
}

/* The ids, and the texts, of the fixture; ends `g`. */
static void agree_as_gguf(struct as_gguf *g, const char *name)
{
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&g->spec, &t), OK);
    const struct json *ids = json_get(g->root, "ids")->first;
    const struct json *decoded = json_get(g->root, "decoded")->first;
    int n = 0;
    for (const struct json *v = g->texts->first; v;
         v = v->next, ids = ids->next, decoded = decoded->next, n++) {
        struct tokens got = {0};
        if (ids->type == JSON_NULL)
            continue;
        assert_int_equal(
            tokenizer_encode(t, json_fixture_text(&g->a, v), ENCODE_BOS | ENCODE_SPECIAL, &got),
            OK);
        check_ids(name, n, &got, ids);
        if (g->decodes && decoded->type == JSON_STRING)
            check_decoded(t, &got, decoded);
        tokens_clear(&got);
    }
    tokenizer_free(t);
    arena_clear(&g->a);
    xfree(g);
}

static void test_gemma4(void **state)
{
    (void)state;
    struct as_gguf *g = as_gguf(DIRECTORY "gemma.json");
    g->type[0] = TOKEN_UNKNOWN;
    g->type[1] = g->type[2] = TOKEN_CONTROL;
    g->spec.model = "gpt2";
    g->spec.pre = "gemma4"; /* as some files say it */
    g->spec.bos = 1;
    g->spec.eos = 2;
    g->spec.add_bos = tokenizer_default_policy("gemma4", NULL).bos;
    agree_as_gguf(g, "gemma4");
}

static void test_whitespace(void **state)
{
    (void)state;
    struct as_gguf *g = as_gguf(DIRECTORY "bpe-white.json");
    g->spec.model = g->spec.pre = "whitespace";
    g->spec.lowercase = true;
    g->decodes = false; /* no file says what stood between words */
    agree_as_gguf(g, "whitespace");
}

/* Files of Kimi-K2 have no merges: tokens join in order of their ids. */
static void test_kimi_k2(void **state)
{
    (void)state;
    struct as_gguf *g = as_gguf(DIRECTORY "kimi.json");
    g->spec.model = "gpt2";
    g->spec.pre = "kimi-k2";
    g->spec.n_merges = 0;
    agree_as_gguf(g, "kimi-k2");
}

/* --- what is around a text, and what is refused --- */

#define WORDS(more)                                                                                \
    "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0,\"b\":1,\"<s>\":2,\"</s>\":3},"         \
    "\"unk_token\":\"a\"},\"added_tokens\":[{\"id\":2,\"content\":\"<s>\",\"special\":true},"      \
    "{\"id\":3,\"content\":\"</s>\",\"special\":true}]" more "}"
#define TEMPLATE                                                                                   \
    ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"  \
    "\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{"    \
    "\"<s>\":{\"id\":\"<s>\",\"ids\":[2],\"tokens\":[\"<s>\"]}}}"

static void around(const char *json, const char *config, int n, const int32_t *want)
{
    struct tokenizer *t = read_json(bytes_of(json), bytes_of(config));
    struct tokens got = {0};
    assert_int_equal(tokenizer_encode(t, bytes_of("b"), ENCODE_BOS, &got), OK);
    assert_int_equal(got.n, n);
    assert_memory_equal(got.id, want, (size_t)n * sizeof *want);
    tokens_clear(&got);
    tokenizer_free(t);
}

static void encodes(const char *json, const char *text, int n, const int32_t *want)
{
    struct tokenizer *t = read_json(bytes_of(json), (struct bytes){0});
    struct tokens got = {0};
    assert_int_equal(tokenizer_encode(t, bytes_of(text), ENCODE_SPECIAL, &got), OK);
    assert_int_equal(got.n, n);
    assert_memory_equal(got.id, want, (size_t)n * sizeof *want);
    tokens_clear(&got);
    tokenizer_free(t);
}

/* As the `tokenizers` package has it: an added token that the model does not know is never one of
 * the model's words, also where it was not taken for want of a word's end; and scores are doubles.
 */
static void test_unigram_details(void **state)
{
    static const char added[] = "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>"
                                "\",0],[\"a\",-1],[\"b\",-1]]},"
                                "\"added_tokens\":[{\"id\":3,\"content\":\"ab\",\"single_word\":"
                                "true,\"normalized\":false}]}";
    static const char scores[] =
        "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",-9],"
        "[\"a\",-1.00000001],[\"b\",-1],[\"ab\",-2.00000002]]}}";
    (void)state;
    encodes(added, "xab", 3, (const int32_t[]){0, 1, 2});
    encodes(added, "ab", 1, (const int32_t[]){3});
    encodes(scores, "ab", 2, (const int32_t[]){1, 2});
}

/* BERT's clean-up takes controls, formats and private characters away, but none that nobody has
 * assigned, as the package has it. */
static void test_unassigned(void **state)
{
    static const char bert[] =
        "{\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\xcd\xb8\":1,"
        "\"ab\":2}},\"normalizer\":{\"type\":\"BertNormalizer\"}}";
    (void)state;
    encodes(bert, "a\xcd\xb8", 1, (const int32_t[]){1}); /* U+0378 */
    encodes(bert,
            "a\xc2\xad\xee\x80\x80\x01"
            "b",
            1, (const int32_t[]){2}); /* U+00AD, U+E000 */
}

static void test_policy(void **state)
{
    (void)state;
    around(WORDS(""), NULL, 1, (int32_t[]){1});
    around(WORDS(TEMPLATE), NULL, 2, (int32_t[]){2, 1});
    around(WORDS(TEMPLATE), "{\"bos_token\":\"<s>\",\"add_bos_token\":false}", 1, (int32_t[]){1});
    around(WORDS(""), "{\"bos_token\":{\"content\":\"<s>\"},\"add_bos_token\":true}", 2,
           (int32_t[]){2, 1});
    around(WORDS(TEMPLATE),
           "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_bos_token\":true,"
           "\"add_eos_token\":true}",
           3, (int32_t[]){2, 1, 3});
    around(WORDS(""), "{\"bos_token\":\"<s>\",\"tokenizer_class\":\"LlamaTokenizerFast\"}", 2,
           (int32_t[]){2, 1});
    around(WORDS(""), "{\"bos_token\":\"<s>\",\"tokenizer_class\":\"PreTrainedTokenizerFast\"}", 1,
           (int32_t[]){1});
}

/* A vocabulary may have NUL; "\\\\u0000" is a backslash and letters. */
static void test_nul(void **state)
{
    (void)state;
    struct tokenizer *t = read_json(
        bytes_of("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\\u0000\":0,\"a\":1,\"a\\u0000\":2,"
                 "\"\\\\u0000\":3},\"merges\":[[\"a\",\"\\u0000\"]]}}"),
        (struct bytes){0});
    struct tokens got = {0};
    assert_int_equal(tokenizer_encode(t, (struct bytes){"\0a\0", 3}, 0, &got), OK);
    assert_int_equal(got.n, 2);
    assert_int_equal(got.id[0], 0);
    assert_int_equal(got.id[1], 2);
    assert_int_equal(tokenizer_find(t, "\\u0000"), 3);
    tokens_clear(&got);
    tokenizer_free(t);
}

/* A merge whose result is a control token is none: text must not become one. */
static void test_merge_to_control(void **state)
{
    (void)state;
    struct tokenizer *t =
        read_json(bytes_of("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},"
                           "\"merges\":[\"a b\"]},"
                           "\"added_tokens\":[{\"id\":2,\"content\":\"ab\",\"special\":true}]}"),
                  (struct bytes){0});
    struct tokens got = {0};
    assert_int_equal(tokenizer_encode(t, bytes_of("ab"), 0, &got), OK);
    assert_int_equal(got.n, 2);
    assert_int_equal(tokenizer_encode(t, bytes_of("ab"), ENCODE_SPECIAL, &got), OK);
    assert_int_equal(got.n, 3);
    assert_int_equal(got.id[2], 2);
    tokens_clear(&got);
    tokenizer_free(t);
}

static void test_padding(void **state)
{
    (void)state;
    struct tokenizer_files f = {.tokenizer = bytes_of(WORDS("")), .n_rows = 10, .bos = 2, .eos = 3};
    struct tokenizer *t;
    assert_int_equal(tokenizer_json_read(&f, &t), OK);
    assert_int_equal(tokenizer_n_vocab(t), 10);
    assert_int_equal(tokenizer_type(t, 9), TOKEN_UNUSED);
    assert_int_equal(tokenizer_piece(t, 9).n, 0);
    assert_int_equal(tokenizer_bos(t), 2);
    assert_true(tokenizer_is_end(t, 3));
    assert_int_equal(tokenizer_find(t, "</s>"), 3);
    tokenizer_free(t);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum status status;
        const char *words;
    } rows[] = {
        {"{", ERR_JSON, "tokenizer.json"},
        {"{}", ERR_FORMAT, "model"},
        {"{\"model\":{\"type\":\"GPT\"}}", ERR_UNSUPPORTED, "'GPT'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", ERR_FORMAT, "merges"},
        {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}",
         ERR_UNSUPPORTED, "dropout"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", ERR_FORMAT,
         "merge 0"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", ERR_FORMAT,
         "merge 0"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", ERR_FORMAT, "id -1"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":2000000000},\"merges\":[]}}", ERR_FORMAT,
         "2000000000"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", ERR_FORMAT, "token 0"},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":5,\"vocab\":[[\"a\",0]]}}", ERR_FORMAT, "5"},
        {WORDS(",\"normalizer\":{\"type\":\"Rot13\"}"), ERR_UNSUPPORTED,
         "normalizer of type 'Rot13'"},
        {WORDS(",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"X\"}]}"),
         ERR_UNSUPPORTED, "pre_tokenizer of type 'X'"},
        {WORDS(",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},"
               "\"behavior\":\"Isolated\"}"),
         ERR_FORMAT, "pattern '('"},
        {WORDS(",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},"
               "\"behavior\":\"Eaten\"}"),
         ERR_UNSUPPORTED, "'Eaten'"},
        {WORDS(",\"decoder\":{\"type\":\"Morse\"}"), ERR_UNSUPPORTED, "decoder of type 'Morse'"},
        {WORDS(",\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":0,\"stop\":1}"),
         ERR_UNSUPPORTED, "end of a text"},
        {WORDS(",\"post_processor\":{\"type\":\"Stamp\"}"), ERR_UNSUPPORTED, "'Stamp'"},
        {WORDS(",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!\"}"),
         ERR_FORMAT, "base64"},
        {WORDS(",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}"),
         ERR_FORMAT, "charsmap"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tokenizer_files f = {.tokenizer = bytes_of(rows[i].json), .bos = -1, .eos = -1};
        struct tokenizer *t = NULL;
        assert_int_equal(tokenizer_json_read(&f, &t), rows[i].status);
        assert_null(t);
        if (!strstr(fail_text(), rows[i].words))
            print_message("row %zu: %s\n", i, fail_text());
        assert_non_null(strstr(fail_text(), rows[i].words));
    }
}

int main(void)
{
#define ROW(id, name) cmocka_unit_test(test_##id),
    const struct CMUnitTest tests[] = {
        KINDS(ROW) cmocka_unit_test(test_gemma4),
        cmocka_unit_test(test_kimi_k2),
        cmocka_unit_test(test_whitespace),
        cmocka_unit_test(test_unigram_details),
        cmocka_unit_test(test_unassigned),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_nul),
        cmocka_unit_test(test_merge_to_control),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
