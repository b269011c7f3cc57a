/* vocab.c - opens a file, takes its tokenizer, closes the file; or makes one from a fixture. */
#include "tests/support/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/load/lexicon.h"
#include "engine/text/tokenizer_json.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"
#include "tests/support/json_fixture.h"
#include "tests/support/test.h"

static struct tokenizer *of_json(const char *path)
{
    struct tokenizer_files f = {.bos = -1, .eos = -1};
    struct tokenizer *t = NULL;
    char *text;
    size_t n;
    enum status s = file_read(path, (size_t)1 << 28, &text, &n);
    if (s == OK) {
        f.tokenizer = (struct bytes){text, n};
        s = tokenizer_json_read(&f, &t);
        xfree(text);
    }
    if (s != OK) {
        fprintf(stderr, "%s\n", fail_text());
        abort();
    }
    return t;
}

struct tokenizer *vocab_tokenizer(const char *path)
{
    size_t n = strlen(path);
    struct checkpoint *c;
    struct tokenizer *t = NULL;
    if (access(path, F_OK) != 0)
        return NULL;
    if (n > 5 && strcmp(path + n - 5, ".json") == 0)
        return of_json(path);
    if (checkpoint_open(path, &c) != OK || lexicon_open(c, &t) != OK) {
        fprintf(stderr, "%s\n", fail_text());
        abort();
    }
    checkpoint_close(c);
    return t;
}

struct tokenizer *vocab_or_skip(const char *path)
{
    struct tokenizer *t = vocab_tokenizer(path);
    if (!t)
        SKIP("%s is not there", path);
    return t;
}

struct tokens vocab_encode(const struct tokenizer *t, struct bytes text, unsigned flags)
{
    struct tokens out = {0};
    char *copy = xmalloc(text.n); /* exact size: a read behind it is seen by the sanitizer */
    memcpy(copy, text.p, text.n);
    assert_int_equal(tokenizer_encode(t, (struct bytes){copy, text.n}, flags, &out), OK);
    xfree(copy);
    return out;
}

void vocab_decode(const struct tokenizer *t, const struct tokens *ids, bool special,
                  struct buf *out)
{
    struct detok d = {0};
    buf_reset(out);
    for (int i = 0; i < ids->n; i++) {
        detok_push(t, &d, ids->id[i], special, out);
        assert_int_equal(utf8_valid_prefix(out->data ? out->data : "", out->len), out->len);
    }
    detok_flush(&d, out);
    buf_append(out, "", 0);
}

const char *vocab_default_model(void)
{
    static char path[4096];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool xdg = cache && cache[0] == '/';
    snprintf(path, sizeof path, "%s%s/inferd/models/SmolLM2-135M-Instruct-Q4_1.gguf",
             xdg ? cache : (home ? home : ""), xdg ? "" : "/.cache");
    return path;
}

struct tokenizer *vocab_of_pieces(struct arena *a, const struct json *m)
{
    const struct json *pieces = json_get(m, "pieces"), *space = json_get(m, "add_space");
    const struct json *one = json_get(m, "one_space"), *map = json_get(m, "charsmap");
    struct bytes *piece = arena_alloc(a, (size_t)pieces->count * sizeof *piece);
    float *scores = arena_alloc(a, (size_t)pieces->count * sizeof *scores);
    int32_t *types = arena_alloc(a, (size_t)pieces->count * sizeof *types);
    int n = 0;
    for (const struct json *v = pieces->first; v; v = v->next, n++) {
        piece[n] = json_at(v, 0)->text;
        scores[n] = (float)json_at(v, 1)->number;
        types[n] = (int32_t)json_at(v, 2)->number;
    }
    struct tokenizer_spec s = {.model = json_get(m, "model")->text.p,
                               .n_vocab = n,
                               .token = piece,
                               .score = scores,
                               .type = types,
                               .bos = -1,
                               .eos = -1,
                               .unk = (int32_t)json_get(m, "unk")->number,
                               .add_space_prefix = space && space->boolean,
                               .one_space = one && one->boolean,
                               .charsmap =
                                   map ? json_fixture_hex(a, map->text) : (struct bytes){0}};
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&s, &t), OK);
    return t;
}

int vocab_agrees(const struct tokenizer *t, const char *name, const struct json *texts,
                 const struct json *ids)
{
    const struct json *want = ids->first;
    struct arena a = {0};
    int i = 0, n = 0;
    for (const struct json *v = texts->first; v; v = v->next, want = want->next, i++) {
        struct tokens got = {0};
        if (want->type == JSON_NULL)
            continue;
        assert_int_equal(tokenizer_encode(t, json_fixture_text(&a, v), 0, &got), OK);
        const struct json *id = want->first;
        int k = 0;
        while (k < got.n && id && (int)id->number == got.id[k]) {
            id = id->next;
            k++;
        }
        if (k < got.n || id)
            print_message("%s: text %d differs at token %d of %d\n", name, i, k, got.n);
        assert_true(k == got.n && !id);
        tokens_clear(&got);
        n++;
    }
    arena_clear(&a);
    return n;
}
