/* test_loose.c - directories without a tokenizer.json: the tokens that Transformers, tiktoken and
 * Mistral's own library give, also out of a GGUF file made of them; and what is refused.
 *
 * tests/data/tokenizer/loose.json has the files, and what those make of the texts beside it
 * (tests/tools/gen_loose.py). */
#include "engine/text/loose.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/load/lexicon.h"
#include "kernels/base/mem.h"
#include "tests/support/json_fixture.h"
#include "tests/support/test.h"
#include "tests/support/vocab.h"

enum { MAX_FILES = 8 };
struct folder { /* a directory that is lent to a checkpoint */
    struct arena a;
    struct ckpt_lent file[MAX_FILES];
    int n;
    char *weights;
};

static void put_file(struct folder *d, const char *name, struct bytes text)
{
    assert_true(d->n < MAX_FILES);
    d->file[d->n++] = (struct ckpt_lent){arena_printf(&d->a, "d/%s", name), text};
}

static void begin_folder(struct folder *d, const char *model_type)
{
    size_t n;
    *d = (struct folder){0};
    assert_int_equal(file_read("tests/data/hf/mistral/model.safetensors", 1 << 20, &d->weights, &n),
                     OK);
    put_file(d, "model.safetensors", (struct bytes){d->weights, n});
    put_file(d, "config.json",
             bytes_of(arena_printf(&d->a, "{\"model_type\":\"%s\"}", model_type)));
}

static struct checkpoint *open_folder(const struct folder *d)
{
    struct checkpoint *c = NULL;
    if (checkpoint_borrow(d->file, d->n, &c) != OK)
        fail_msg("%s", fail_text());
    assert_true(lexicon_has(c));
    return c;
}

static void end_folder(struct folder *d)
{
    xfree(d->weights);
    arena_clear(&d->a);
}

/* The ids of the fixture, and their text. */
static void agrees(const struct tokenizer *t, const char *name, const struct json *texts,
                   const struct json *want)
{
    struct arena a = {0};
    const struct json *ids = json_get(want, "ids")->first,
                      *decoded = json_get(want, "decoded")->first;
    int n = 0, n_decoded = 0;
    for (const struct json *v = texts->first; v;
         v = v->next, ids = ids->next, decoded = decoded->next) {
        if (ids->type == JSON_NULL)
            continue;
        struct tokens got = vocab_encode(t, json_fixture_text(&a, v), ENCODE_BOS | ENCODE_SPECIAL);
        const struct json *id = ids->first;
        for (int i = 0; i < got.n; i++, id = id->next)
            if (!id || (int)id->number != got.id[i])
                fail_msg("%s: token %d of '%s'", name, i, json_fixture_text(&a, v).p);
        assert_null(id);
        n++;
        if (decoded->type == JSON_STRING) {
            struct buf text = {0};
            vocab_decode(t, &got, true, &text);
            assert_int_equal(text.len, decoded->text.n);
            assert_memory_equal(text.data, decoded->text.p, text.len);
            buf_clear(&text);
            n_decoded++;
        }
        tokens_clear(&got);
    }
    assert_true(n > 60 && n_decoded > 12);
    arena_clear(&a);
}

/* The same out of a GGUF file, as `inferd quantize` writes it. */
static void agrees_as_gguf(const struct checkpoint *c, const char *name, const struct json *texts,
                           const struct json *want)
{
    char path[] = "/tmp/inferd-loose-XXXXXX";
    struct checkpoint *made;
    struct tokenizer *t;
    struct gguf_writer *w;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_create(path, &w), OK);
    gguf_put_text(w, "general.architecture", bytes_of("llama"));
    if (lexicon_write(c, w) != OK)
        fail_msg("%s", fail_text());
    assert_int_equal(gguf_start(w), OK);
    assert_int_equal(gguf_commit(w), OK);
    gguf_close(w);
    if (checkpoint_open(path, &made) != OK || lexicon_open(made, &t) != OK)
        fail_msg("%s", fail_text());
    if (!bytes_equal(checkpoint_key(made, "tokenizer.ggml.model")->text, "bert"))
        agrees(t, name, texts, want);
    tokenizer_free(t);
    checkpoint_close(made);
    unlink(path);
}

static void test_directories(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct json *texts = json_fixture(&a, "tests/data/tokenizer/json/texts.json");
    const struct json *all = json_fixture(&a, "tests/data/tokenizer/loose.json");
    int n = 0;
    for (const struct json *v = all->first; v; v = v->next, n++) {
        struct tokenizer *t;
        struct folder d;
        begin_folder(&d, json_get(v, "model_type")->text.p);
        for (const struct json *f = json_get(v, "files")->first; f; f = f->next)
            put_file(&d, f->key, f->text);
        struct checkpoint *c = open_folder(&d);
        if (lexicon_open(c, &t) != OK)
            fail_msg("%s: %s", v->key, fail_text());
        agrees(t, v->key, texts, v);
        agrees_as_gguf(c, v->key, texts, v);
        tokenizer_free(t);
        checkpoint_close(c);
        end_folder(&d);
    }
    assert_int_equal(n, 10);
    arena_clear(&a);
}

/* ---- what is refused ------------------------------------------------------------------------- */

#define PAIR                                                                                       \
    {                                                                                              \
        "vocab.json", "{\"a\":0,\"b\":1,\"ab\":2}"                                                 \
    }
#define MERGES                                                                                     \
    {                                                                                              \
        "merges.txt", "a b\n"                                                                      \
    }
#define CONFIG(s)                                                                                  \
    {                                                                                              \
        "tokenizer_config.json", s                                                                 \
    }
#define TEKKEN(special, vocab)                                                                     \
    {                                                                                              \
        "tekken.json", "{\"config\":{\"pattern\":\"a\",\"default_num_special_tokens\":2},"         \
                       "\"special_tokens\":[" special "],\"vocab\":[" vocab "]}"                   \
    }

/* clang-format off */
static const struct {
    const char *file[3][2];
    enum status status;
    const char *says;
} refused[] = {
    {{PAIR, MERGES}, ERR_UNSUPPORTED, "vocab.json: how a network of model_type llama cuts text is not known"},
    {{PAIR, MERGES, CONFIG("{\"tokenizer_class\":\"PreTrainedTokenizerFast\"}")}, ERR_UNSUPPORTED, "vocab.json: how a network of model_type llama cuts"},
    {{PAIR, MERGES, CONFIG("{\"tokenizer_class\":\"OddTokenizerFast\"}")}, ERR_UNSUPPORTED,
     "vocab.json: how tokenizer_class OddTokenizer cuts text is not known, only how these do: Qwen2Tokenizer GPT2Tokenizer"},
    {{{"vocab.txt", "a\n"}, CONFIG("{\"tokenizer_class\":\"GPT2Tokenizer\"}")}, ERR_UNSUPPORTED, "vocab.txt: how tokenizer_class GPT2Tokenizer"},
    {{PAIR, CONFIG("{\"tokenizer_class\":\"GPT2Tokenizer\"}")}, ERR_FORMAT, "vocab.json: there is no merges.txt"},
    {{PAIR, {"merges.txt", "#version: 0.2\na b\nab\n"}, CONFIG("{\"tokenizer_class\":\"GPT2Tokenizer\"}")}, ERR_FORMAT, "merges.txt: line 3 "},
    {{PAIR, {"merges.txt", "a b c\n"}, CONFIG("{\"tokenizer_class\":\"GPT2Tokenizer\"}")}, ERR_FORMAT, "merges.txt: line 1 "},
    {{PAIR, {"merges.txt", "a c\n"}, CONFIG("{\"tokenizer_class\":\"GPT2Tokenizer\"}")}, ERR_FORMAT, "merge 0 'a c'"},
    {{{"vocab.json", "[1]"}, MERGES, CONFIG("{\"tokenizer_class\":\"GPT2Tokenizer\"}")}, ERR_FORMAT, "vocab.json: it is not an object"},
    {{{"vocab.json", "{\"a\":-1}"}, MERGES, CONFIG("{\"tokenizer_class\":\"GPT2Tokenizer\"}")}, ERR_FORMAT, "vocab.json: token 'a' has no id"},
    {{{"vocab.json", "{\"a\":"}, MERGES, CONFIG("{\"tokenizer_class\":\"GPT2Tokenizer\"}")}, ERR_JSON, "vocab.json: "},
    {{{"tekken.json", "{}"}}, ERR_FORMAT, "tekken.json: it has no \"vocab\""},
    {{TEKKEN("{\"rank\":2,\"token_str\":\"x\"}", "")}, ERR_FORMAT, "tekken.json: a special token has rank 2"},
    {{TEKKEN("{\"rank\":1,\"token_str\":\"x\"},{\"rank\":1,\"token_str\":\"y\"}", "")}, ERR_FORMAT, "a special token has rank 1"},
    {{TEKKEN("", "{\"token_bytes\":\"YQ==\"},{\"token_bytes\":\"?\"}")}, ERR_FORMAT, "tekken.json: token 1 is not base64"},
    {{TEKKEN("", "{\"token_bytes\":\"YQ==\"},{\"token_bytes\":\"YQ==\"}")}, ERR_FORMAT, "tekken.json: token 1 is there twice"},
    {{TEKKEN("", "{}")}, ERR_FORMAT, "tekken.json: token 0 has 0 bytes"},
    {{{"tokenizer.model", "YQ== 0\nYg== 2\n"}}, ERR_FORMAT, "tokenizer.model: line 2 is not a token and rank 1"},
};
/* clang-format on */

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct tokenizer *t = NULL;
        struct folder d;
        begin_folder(&d, "llama");
        for (int k = 0; k < 3 && refused[i].file[k][0]; k++)
            put_file(&d, refused[i].file[k][0], bytes_of(refused[i].file[k][1]));
        struct checkpoint *c = open_folder(&d);
        enum status s = lexicon_open(c, &t);
        if (s != refused[i].status || !strstr(fail_text(), refused[i].says))
            fail_msg("row %zu: %s", i, s == OK ? "not refused" : fail_text());
        checkpoint_close(c);
        end_folder(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
