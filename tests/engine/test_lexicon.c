/* test_lexicon.c - the tokenizer of a Hugging Face directory comes back out of a GGUF file: each of
 * the tokenizers of tests/data/tokenizer/json gives all texts the same tokens, and the tokens the
 * same text (but for WordPiece, whose blanks before commas no GGUF file speaks of). */
#include "engine/load/lexicon.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/load/gguf.h"
#include "engine/text/tokenizer_model.h"
#include "kernels/base/mem.h"
#include "tests/support/gguf.h"
#include "tests/support/json_fixture.h"
#include "tests/support/test.h"
#include "tests/support/vocab.h"

#define DATA "tests/data/tokenizer/json/"

struct made { /* a GGUF file with nothing but a vocabulary */
    char path[64];
    struct checkpoint *c;
    struct tokenizer *t;
};

/* `model`: the files' tokenizer is a tokenizer.model. */
static void make(struct made *m, const struct tokenizer_files *f, bool model)
{
    struct tokenizer *t = NULL;
    struct gguf_writer *w;
    struct lexicon_out out = {.files = f};
    int fd;
    snprintf(m->path, sizeof m->path, "/tmp/inferd-lexicon-XXXXXX");
    fd = mkstemp(m->path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_create(m->path, &w), OK);
    gguf_put_text(w, "general.architecture", bytes_of("llama"));
    out.w = w;
    if ((model ? tokenizer_model_read(f, lexicon_put, &out, &t)
               : tokenizer_json_lend(f, lexicon_put, &out)) != OK)
        fail_msg("%s", fail_text());
    tokenizer_free(t);
    assert_int_equal(gguf_start(w), OK);
    assert_int_equal(gguf_commit(w), OK);
    gguf_close(w);
    if (checkpoint_open(m->path, &m->c) != OK || lexicon_open(m->c, &m->t) != OK)
        fail_msg("%s", fail_text());
}

static void unmake(struct made *m)
{
    tokenizer_free(m->t);
    checkpoint_close(m->c);
    unlink(m->path);
}

static void same(const struct tokenizer *a, const struct tokenizer *b, struct bytes text,
                 unsigned flags, bool decodes)
{
    struct tokens x = vocab_encode(a, text, flags), y = vocab_encode(b, text, flags);
    struct buf u = {0}, v = {0};
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.id, y.id, (size_t)x.n * sizeof *x.id);
    if (!flags && decodes) { /* how special tokens are shown is a decoder's own */
        vocab_decode(a, &x, true, &u);
        vocab_decode(b, &y, true, &v);
        assert_int_equal(u.len, v.len);
        assert_memory_equal(u.data, v.data, u.len);
    }
    tokens_clear(&x);
    tokens_clear(&y);
    buf_clear(&u);
    buf_clear(&v);
}

/* The member "tokenizer" as it stands in the file, which is its first. */
static struct bytes member(const char *file, size_t n)
{
    static const char begin[] = "{\"tokenizer\":", end[] = ",\n\"ids\":";
    const char *stop = memmem(file, n, end, sizeof end - 1);
    assert_memory_equal(file, begin, sizeof begin - 1);
    assert_non_null(stop);
    return (struct bytes){file + sizeof begin - 1, (size_t)(stop - file) - (sizeof begin - 1)};
}

/* clang-format off */
static const struct { const char *name, *model, *pre; bool carries; } kind[] = {
    {"gpt2",            "gpt2",   "gpt-2",       false},
    {"llama3",          "gpt2",   "llama-bpe",   false},
    {"qwen35",          "gpt2",   "qwen35",      false},
    {"o200k",           "gpt2",   "gpt-4o",      false},
    {"kimi",            "gpt2",   "kimi-k2",     false},
    {"deepseek",        "gpt2",   "llama-bpe",   true},  /* a rule of its own */
    {"falcon",          "gpt2",   "falcon",      false},
    {"odd-pattern",     "gpt2",   NULL,          true},
    {"roberta",         "gpt2",   NULL,          true},  /* added tokens that take blanks */
    {"llama2",          "llama",  "default",     true},  /* special tokens in normalised text */
    {"gemma",           "llama",  "default",     false},
    {"mistral",         "llama",  "default",     true},  /* a space before the first word only */
    {"mistral-split",   "llama",  "default",     true},
    {"t5",              "t5",     "default",     true},  /* blanks stay at the ends */
    {"xlm",             "t5",     "default",     true},  /* NFKC is no table */
    {"unigram-bytes",   "t5",     "default",     true},  /* words without blanks */
    {"bert",            "bert",   "default",     false},
    {"bert-cased",      "bert",   "default",     false},
};
/* clang-format on */

static bool says(const struct checkpoint *c, const char *key, const char *text)
{
    const struct value *v = checkpoint_key(c, key);
    return v && v->text.n == strlen(text) && memcmp(v->text.p, text, v->text.n) == 0;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct json *texts = json_fixture(&a, DATA "texts.json");
    for (size_t i = 0; i < sizeof kind / sizeof *kind; i++) {
        struct tokenizer_files f = {.bos = -1, .eos = -1};
        struct tokenizer *t = NULL;
        struct made m;
        char path[128], *file;
        size_t n;
        snprintf(path, sizeof path, DATA "%s.json", kind[i].name);
        assert_int_equal(file_read(path, 1 << 20, &file, &n), OK);
        f.tokenizer = member(file, n);
        assert_int_equal(tokenizer_json_read(&f, &t), OK);
        make(&m, &f, false);
        assert_true(says(m.c, "tokenizer.ggml.model", kind[i].model));
        assert_true(!kind[i].pre || says(m.c, "tokenizer.ggml.pre", kind[i].pre));
        if ((checkpoint_key(m.c, LEXICON_JSON) != NULL) != kind[i].carries)
            fail_msg("%s carries its files, or not", kind[i].name);
        for (const struct json *v = texts->first; v; v = v->next)
            for (unsigned flags = 0; flags < 4; flags++)
                same(t, m.t, json_fixture_text(&a, v), flags, strcmp(kind[i].model, "bert") != 0);
        unmake(&m);
        tokenizer_free(t);
        xfree(file);
    }
    arena_clear(&a);
}

/* A directory's tokenizer.model too, whose texts have the tokens that SentencePiece gives them. */
static void test_models(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct json *texts = json_fixture(&a, DATA "texts.json");
    const struct json *models = json_fixture(&a, "tests/data/tokenizer/sentencepiece.json");
    for (const struct json *v = models->first; v; v = v->next) {
        struct tokenizer_files f = {.bos = -1, .eos = -1};
        struct made m;
        char path[128], *file;
        size_t n;
        snprintf(path, sizeof path, "tests/data/tokenizer/model/%s.model", v->key);
        assert_int_equal(file_read(path, 1 << 20, &file, &n), OK);
        f.tokenizer = (struct bytes){file, n};
        make(&m, &f, true);
        assert_true(says(m.c, "tokenizer.ggml.model", json_get(v, "model")->text.p));
        assert_null(checkpoint_key(m.c, LEXICON_JSON));
        assert_true(vocab_agrees(m.t, v->key, texts, json_get(v, "ids")) > 50);
        unmake(&m);
        struct tokenizer *t = NULL; /* what GGUF has no key for, too */
        f.config = bytes_of("{\"legacy\":false}");
        assert_int_equal(tokenizer_model_read(&f, NULL, NULL, &t), OK);
        make(&m, &f, true);
        same(t, m.t, bytes_of("a</s>b <s> c"), ENCODE_SPECIAL, true);
        tokenizer_free(t);
        unmake(&m);
        xfree(file);
    }
    arena_clear(&a);
}

#define B(s)                                                                                       \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

/* Some files say that <|im_end|> is plain text, or a user's token: it ends turns all the same. */
static void test_mistyped_ends(void **state)
{
    (void)state;
    static const struct bytes token[] = {B("a"), B("<|im_end|>"), B("<end_of_turn>"), B("</s>"),
                                         B("<|endoftext|>")};
    static const int32_t type[] = {1, 1, TOKEN_USER, TOKEN_USER, TOKEN_CONTROL};
    char path[] = "/tmp/inferd-lexicon-XXXXXX";
    int fd = mkstemp(path);
    struct gguf_writer *w;
    struct checkpoint *c;
    struct tokenizer *t;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_create(path, &w), OK);
    gguf_put_text(w, "tokenizer.ggml.model", bytes_of("gpt2"));
    gguf_put_texts(w, "tokenizer.ggml.tokens", token, 5);
    gguf_put_i32s(w, "tokenizer.ggml.token_type", type, 5);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id",
                 5); /* there is no such token: as good as absent */
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 128009);
    assert_int_equal(gguf_start(w), OK);
    assert_int_equal(gguf_commit(w), OK);
    gguf_close(w);
    assert_int_equal(checkpoint_open(path, &c), OK);
    assert_int_equal(lexicon_open(c, &t), OK);
    for (int32_t id = 0; id < 5; id++)
        assert_int_equal(tokenizer_is_end(t, id), id == 1 || id == 2 || id == 4);
    assert_int_equal(tokenizer_type(t, 1), TOKEN_CONTROL);
    assert_int_equal(tokenizer_type(t, 3), TOKEN_USER);
    assert_int_equal(tokenizer_bos(t), -1);
    assert_int_equal(tokenizer_eos(t), -1);
    tokenizer_free(t);
    checkpoint_close(c);
    unlink(path);
}

/* generation_config.json may list several; a GGUF file has room for EOS and two more, also one that
 * carries its tokenizer.json. */
static void test_ends_kept(void **state)
{
    (void)state;
    static const int32_t ends[] = {6, 99999, 7, 8};
    static const char *const name[] = {DATA "gpt2.json", DATA "odd-pattern.json"};
    for (int i = 0; i < 2; i++) {
        struct tokenizer_files f = {.bos = -1, .eos = 6, .ends = ends, .n_ends = 4};
        struct made m;
        char *file;
        size_t n;
        assert_int_equal(file_read(name[i], 1 << 20, &file, &n), OK);
        f.tokenizer = member(file, n);
        make(&m, &f, false);
        for (int32_t id = 0; id < 20; id++)
            assert_int_equal(tokenizer_is_end(m.t, id), id >= 6 && id <= 8);
        unmake(&m);
        xfree(file);
    }
}

/* How many tokens a file claims is compared with what there are before there is memory for them. */
static void test_too_many(void **state)
{
    (void)state;
    struct buf b = gguf_head(0, 2);
    struct checkpoint *c;
    struct tokenizer *t;
    gguf_text(&b, "tokenizer.ggml.model");
    gguf_u32(&b, GGUF_STRING);
    gguf_text(&b, "gpt2");
    gguf_text(&b, "tokenizer.ggml.tokens");
    gguf_u32(&b, GGUF_ARRAY);
    gguf_u32(&b, GGUF_STRING);
    gguf_u64(&b, TOKENIZER_MOST + 1);
    for (int i = 0; i <= TOKENIZER_MOST; i++)
        gguf_u64(&b, 0);
    assert_int_equal(gguf_borrow("x.gguf", &b, &c), OK);
    assert_int_equal(lexicon_open(c, &t), ERR_FORMAT);
    assert_non_null(strstr(fail_text(), "x.gguf: key tokenizer.ggml.tokens has 1048577 elements"));
    checkpoint_close(c);
    buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_models),
        cmocka_unit_test(test_mistyped_ends), cmocka_unit_test(test_ends_kept),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
