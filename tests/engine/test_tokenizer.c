/* test_tokenizer.c - special tokens, BOS and EOS, incremental decoding, and specs that lie. */
#include "engine/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/utf8.h"
#include "tests/support/test.h"
#include "tests/support/vocab.h"

#define VOCAB(name) "../shared/data/vocab/ggml-vocab-" name ".gguf"
#define STORIES     "../shared/data/models/stories260K/stories260K-f32.gguf"

static void expect(const struct tokenizer *t, const char *text, unsigned flags, int n,
                   const int32_t *want)
{
    struct tokens got = vocab_encode(t, bytes_of(text), flags);
    bool equal = got.n == n && memcmp(got.id, want, (size_t)n * sizeof *want) == 0;
    if (!equal)
        for (int i = 0; i < got.n; i++)
            print_message("%d%s", got.id[i], i + 1 < got.n ? " " : "\n");
    tokens_clear(&got);
    assert_true(equal);
}
#define EXPECT(t, text, flags, ...)                                                                \
    expect(t, text, flags, (int)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)),              \
           (int32_t[]){__VA_ARGS__})

/* --- special tokens, BOS and EOS --- */

static void test_special_tokens(void **state)
{
    (void)state;
    struct tokenizer *t = vocab_or_skip(VOCAB("qwen2"));
    int32_t start = tokenizer_find(t, "<|im_start|>"), end = tokenizer_find(t, "<|im_end|>");
    int32_t tool = tokenizer_find(t, "<tool_call>");
    assert_int_equal(start, 151644);
    assert_int_equal(end, 151645);
    assert_int_equal(tool, 151657);
    assert_int_equal(tokenizer_type(t, end), TOKEN_CONTROL);
    assert_int_equal(tokenizer_type(t, tool), TOKEN_USER);
    EXPECT(t, "<|im_start|>user\nhi<|im_end|>\n", ENCODE_SPECIAL, start, 872, 198, 6023, end, 198);
    /* Written by a user they are text, so no prompt can forge a turn ... */
    struct tokens ids = vocab_encode(t, bytes_of("<|im_start|>user\nhi<|im_end|>\n"), 0);
    for (int i = 0; i < ids.n; i++)
        assert_int_not_equal(tokenizer_type(t, ids.id[i]), TOKEN_CONTROL);
    tokens_clear(&ids);
    /* ... but user-defined tokens are always parsed. */
    EXPECT(t, "<tool_call>\n", 0, tool, 198);
    EXPECT(t, "<tool_call", ENCODE_SPECIAL, 27, 14172, 13429);
    assert_int_equal(tokenizer_find(t, "no such token"), -1);
    assert_int_equal(tokenizer_find(t, ""), -1);
    assert_int_equal(tokenizer_find(t, "\xc4\xa0the"), 279); /* as the file spells " the" */
    assert_true(tokenizer_is_end(t, end));
    assert_true(tokenizer_is_end(t, 151643)); /* <|endoftext|> */
    assert_false(tokenizer_is_end(t, start));
    assert_false(tokenizer_is_end(t, -1));
    tokenizer_free(t);
}

static void test_bos_policy(void **state)
{
    (void)state;
    struct tokenizer *t = vocab_or_skip(VOCAB("llama-bpe"));
    assert_true(tokenizer_adds_bos(t));
    assert_int_equal(tokenizer_bos(t), 128000);
    assert_int_equal(tokenizer_eos(t), 128009);
    EXPECT(t, "Hello", ENCODE_BOS, 128000, 9906);
    EXPECT(t, "Hello", 0, 9906);
    EXPECT(t, "", ENCODE_BOS, 128000);
    EXPECT(t, "<|begin_of_text|>Hello", ENCODE_SPECIAL, 128000, 9906);
    tokenizer_free(t);

    t = vocab_or_skip(VOCAB("qwen2"));
    assert_false(tokenizer_adds_bos(t));
    EXPECT(t, "Hello", ENCODE_BOS, 9707);
    tokenizer_free(t);

    t = vocab_or_skip(VOCAB("llama-spm"));
    EXPECT(t, "Hello", ENCODE_BOS, 1, 15043);
    EXPECT(t, "<s>Hello</s> a", ENCODE_SPECIAL, 1, 15043, 2, 29871, 263);
    EXPECT(t, "<s>", 0, 529, 29879, 29958);
    tokenizer_free(t);

    assert_true(tokenizer_default_policy("llama", NULL).bos);
    assert_true(tokenizer_default_policy("gpt2", "llama-bpe").bos);
    assert_false(tokenizer_default_policy("gpt2", "qwen2").bos);
    assert_false(tokenizer_default_policy("gpt2", NULL).bos);
    assert_false(tokenizer_default_policy("none", NULL).bos);
    assert_true(tokenizer_default_policy("gpt2", "roberta-bpe").sep);
    assert_true(tokenizer_default_policy("bert", "llama-bpe").sep);
    assert_true(tokenizer_default_policy("t5", NULL).eos);
}

/* --- decoding --- */

/* Any ids at all: what comes out is always whole characters, and the pieces' bytes where those are
 * whole. */
static void random_ids(const char *path)
{
    struct tokenizer *t = vocab_or_skip(path);
    struct buf out = {0}, bytes = {0};
    int n_whole = 0;
    for (uint64_t round = 0; round < 300; round++) {
        struct tokens ids = {0};
        buf_reset(&bytes);
        for (uint64_t i = 0; i < 1 + round % 40; i++) {
            struct rng_block r = rng_philox(3, round, i);
            /* Low ids are single bytes in most vocabularies: many broken characters. */
            uint32_t n = r.v[1] % 3 ? 300 : (uint32_t)tokenizer_n_vocab(t);
            tokens_push(&ids, (int32_t)(r.v[0] % n));
            struct bytes piece = tokenizer_piece(t, ids.id[i]);
            if (tokenizer_type(t, ids.id[i]) != TOKEN_UNUSED)
                buf_append(&bytes, piece.p, piece.n);
        }
        vocab_decode(t, &ids, true, &out);
        assert_int_equal(utf8_valid_prefix(out.data, out.len), out.len);
        if (utf8_valid_prefix(bytes.data, bytes.len) == bytes.len) {
            size_t dropped = bytes.len - out.len; /* SentencePiece's first blank */
            assert_true(dropped == 0 || (dropped == 1 && bytes.data[0] == ' '));
            assert_memory_equal(out.data, bytes.data + dropped, out.len);
            n_whole++;
        }
        tokens_clear(&ids);
    }
    assert_in_range(n_whole, 1, 299); /* both cases occurred */
    buf_clear(&out);
    buf_clear(&bytes);
    tokenizer_free(t);
}

static void test_random_ids_bpe(void **state)
{
    (void)state;
    random_ids(VOCAB("gpt-2"));
}

static void test_random_ids_spm(void **state)
{
    (void)state;
    random_ids(STORIES);
}

static void test_detok(void **state)
{
    (void)state;
    struct tokenizer *t = vocab_or_skip(STORIES);
    struct buf out = {0};
    struct detok d = {0};
    int32_t byte = 3; /* <0x00> */
    assert_int_equal(tokenizer_type(t, byte), TOKEN_BYTE);
    /* Each row: bytes, and what Python's bytes.vocab_decode("utf-8", "replace") makes of them. */
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"\xe4\xb8\xad", "\xe4\xb8\xad"},
        {"\xf0\x9f\x98\x80!", "\xf0\x9f\x98\x80!"},
        {"\xe4\xb8", "\xef\xbf\xbd"},
        {"\xe4\xb8x", "\xef\xbf\xbdx"},
        {"\xf0\x9f\x98", "\xef\xbf\xbd"},
        {"\xff\xc3\xa9\x80z", "\xef\xbf\xbd\xc3\xa9\xef\xbf\xbdz"},
        {"\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\xe4\xb8\xad\xf4", "\xef\xbf\xbd\xe4\xb8\xad\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        d = (struct detok){0};
        buf_reset(&out);
        for (const char *p = rows[i].in; *p; p++)
            detok_push(t, &d, byte + (unsigned char)*p, false, &out);
        detok_flush(&d, &out);
        assert_string_equal(out.data, rows[i].out);
    }
    /* Only the first piece loses its blank, and not when a text is continued. */
    struct tokens ids = vocab_encode(t, bytes_of("Once upon  a time"), ENCODE_BOS);
    d = (struct detok){0};
    buf_reset(&out);
    for (int i = 0; i < ids.n; i++)
        detok_push(t, &d, ids.id[i], false, &out);
    assert_string_equal(out.data, "Once upon  a time");
    d = (struct detok){.started = true};
    buf_reset(&out);
    for (int i = 0; i < ids.n; i++)
        detok_push(t, &d, ids.id[i], true, &out);
    assert_string_equal(out.data, "<s> Once upon  a time");
    buf_reset(&out);
    detok_push(t, &d, -1, true, &out);
    detok_push(t, &d, 1 << 30, true, &out);
    assert_int_equal(out.len, 0);
    tokens_clear(&ids);
    buf_clear(&out);
    tokenizer_free(t);
}

/* --- specs that lie --- */

#define B(s)                                                                                       \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }
static const struct bytes small_token[] = {B("a"), B("b"), B("ab"), B("<e>"), B("")};
static const struct bytes small_merge[] = {B("a b")};
static const struct tokenizer_spec small = {.model = "gpt2",
                                            .n_vocab = 5,
                                            .token = small_token,
                                            .n_merges = 1,
                                            .merge = small_merge,
                                            .bos = -1,
                                            .eos = 3,
                                            .unk = -1};

static void refuse(struct tokenizer_spec spec, enum status want, const char *word)
{
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&spec, &t), want);
    assert_null(t);
    if (!strstr(fail_text(), word))
        print_message("message: %s\n", fail_text());
    assert_non_null(strstr(fail_text(), word));
}

static void test_hostile_specs(void **state)
{
    (void)state;
    static const struct bytes bad_merge[][1] = {{B("ab")},  {B("")},    {B(" ")},
                                                {B("a c")}, {B("b a")}, {B("c b")}};
    static const int32_t bad_type[] = {1, 1, 1, 7, 1};
    static const float nan_score[] = {0, 0, 0.0f / 0.0f, 0, 0};
    struct tokenizer_spec s = small;
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&s, &t), OK);
    EXPECT(t, "abba<e>", ENCODE_SPECIAL, 2, 1, 0, 3);
    EXPECT(t, "abba<e>", ENCODE_BOS, 2, 1, 0); /* no BOS known, and the vocabulary has no '<' */
    tokenizer_free(t);

    s.model = "word2vec";
    refuse(s, ERR_UNSUPPORTED, "known are gpt2, llama");
    s.model = NULL;
    refuse(s, ERR_UNSUPPORTED, "known are");
    s = small;
    s.pre = "no-such-rule";
    refuse(s, ERR_UNSUPPORTED, "smollm");
    for (size_t i = 0; i < sizeof bad_merge / sizeof bad_merge[0]; i++) {
        s = small;
        s.merge = bad_merge[i];
        refuse(s, ERR_FORMAT, "merge 0");
    }
    s = small;
    s.n_merges = -1;
    refuse(s, ERR_FORMAT, "-1 merges");
    s = small;
    s.merge = NULL;
    refuse(s, ERR_FORMAT, "1 merges");
    s = small;
    s.n_vocab = 0;
    refuse(s, ERR_FORMAT, "0 tokens");
    s.n_vocab = INT32_MAX;
    refuse(s, ERR_FORMAT, "2147483647 tokens");
    s = small;
    s.eos = 5;
    refuse(s, ERR_FORMAT, "EOS token is 5");
    s.eos = -2;
    refuse(s, ERR_FORMAT, "EOS token is -2");
    s = small;
    s.type = bad_type;
    refuse(s, ERR_FORMAT, "token 3 has type 7");
    s = small;
    s.model = "llama";
    refuse(s, ERR_FORMAT, "scores");
    s.score = nan_score;
    refuse(s, ERR_FORMAT, "score of token 2");
}

/* Long special tokens win over their beginnings; a control token hides no user-defined one. */
static void test_overlapping_special_tokens(void **state)
{
    (void)state;
    static const struct bytes token[] = {B("x"), B("<"), B("<a>"), B("<a><b>"), B("<a"), B(">")};
    static const int32_t type[] = {1, 1, TOKEN_USER, TOKEN_CONTROL, TOKEN_CONTROL, 1};
    struct tokenizer_spec s = {.model = "gpt2",
                               .n_vocab = 6,
                               .token = token,
                               .type = type,
                               .bos = -1,
                               .eos = -1,
                               .unk = -1};
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&s, &t), OK);
    EXPECT(t, "x<a><b>x", ENCODE_SPECIAL, 0, 3, 0);
    EXPECT(t, "x<a>x", ENCODE_SPECIAL, 0, 2, 0);
    EXPECT(t, "<ax", ENCODE_SPECIAL, 4, 0);
    EXPECT(t, "x<a><b>x", 0, 0, 2, 1, 5, 0);
    EXPECT(t, "<a", 0, 1);
    tokenizer_free(t);
}

/* What a model goes on from: BOS once, also where a template has written it; never EOS. */
static void test_prompts(void **state)
{
    (void)state;
    static const struct bytes token[] = {B("x"), B("<s>"), B("</s>"), B("<"), B("s"), B(">")};
    static const int32_t type[] = {1, TOKEN_CONTROL, TOKEN_CONTROL, 1, 1, 1};
    static const int32_t around[] = {1, 2};
    struct tokenizer_spec s = {.model = "gpt2",
                               .n_vocab = 6,
                               .token = token,
                               .type = type,
                               .bos = 1,
                               .eos = 2,
                               .unk = -1,
                               .add_bos = true,
                               .add_eos = true};
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&s, &t), OK);
    EXPECT(t, "<s>x", ENCODE_PROMPT | ENCODE_SPECIAL, 1, 0);
    EXPECT(t, "x", ENCODE_PROMPT | ENCODE_SPECIAL, 1, 0);
    EXPECT(t, "", ENCODE_PROMPT | ENCODE_SPECIAL, 1);
    EXPECT(t, "<s><s>x", ENCODE_PROMPT | ENCODE_SPECIAL, 1, 1, 0);
    EXPECT(t, "<s>x", ENCODE_PROMPT, 1, 3, 4, 5, 0); /* text that looks like it */
    EXPECT(t, "<s>x", ENCODE_BOS | ENCODE_SPECIAL, 1, 1, 0, 2);
    tokenizer_free(t);

    s.before = around; /* of two tokens, as GLM's [gMASK]<sop> */
    s.n_before = 2;
    assert_int_equal(tokenizer_new(&s, &t), OK);
    EXPECT(t, "<s></s>x", ENCODE_PROMPT | ENCODE_SPECIAL, 1, 2, 0);
    EXPECT(t, "<s>x", ENCODE_PROMPT | ENCODE_SPECIAL, 1, 2, 1, 0);
    tokenizer_free(t);
}

/* A list of ends may name tokens that a smaller sibling's vocabulary has not. */
static void test_ends_beyond(void **state)
{
    (void)state;
    static const int32_t ends[] = {151645, 0};
    struct tokenizer_spec s = small;
    struct tokenizer *t = NULL;
    s.ends = ends;
    s.n_ends = 2;
    assert_int_equal(tokenizer_new(&s, &t), OK);
    assert_true(tokenizer_is_end(t, 3));
    assert_true(tokenizer_is_end(t, 0));
    assert_false(tokenizer_is_end(t, 151645));
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_bos_policy),
        cmocka_unit_test(test_random_ids_bpe),
        cmocka_unit_test(test_random_ids_spm),
        cmocka_unit_test(test_detok),
        cmocka_unit_test(test_hostile_specs),
        cmocka_unit_test(test_overlapping_special_tokens),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_ends_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
