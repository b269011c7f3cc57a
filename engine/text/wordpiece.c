/* wordpiece.c - WordPiece: the longest token that a word begins with, then the longest that its
 * rest begins with, spelled as a continuation; a word that cannot be cut so is unknown as a whole.
 * And its simplest case, a list of words. */
#include <string.h>

#include "engine/text/merge.h"
#include "engine/text/pipeline.h"
#include "kernels/base/mem.h"

struct wordpiece {
    const struct vocab *v;
    char *prefix; /* of continuations */
    size_t n_prefix;
    size_t longest;   /* bytes of the longest token */
    size_t max_chars; /* longer words are unknown */
    int32_t unk;
    bool whole;         /* words are looked up whole */
    struct merges none; /* there are no merges; the cache of words is merge.c's */
};
struct wordpiece_run {
    const struct wordpiece *p;
    struct merge_work *cache;
    struct buf key;
};

enum status wordpiece_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out)
{
    struct wordpiece *p = xcalloc(1, sizeof *p);
    *out = p;
    p->v = v;
    p->unk = spec->unk;
    p->n_prefix = spec->pipeline->prefix.n;
    p->prefix = xstrndup(p->n_prefix ? spec->pipeline->prefix.p : "", p->n_prefix);
    p->max_chars = spec->pipeline->max_chars > 0 ? (size_t)spec->pipeline->max_chars : 100;
    for (int32_t id = 0; id < v->n; id++) {
        size_t n = vocab_piece(v, id).n;
        p->longest = n > p->longest ? n : p->longest;
    }
    return OK;
}

enum status wordlevel_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out)
{
    struct wordpiece *p = xcalloc(1, sizeof *p);
    *out = p;
    p->v = v;
    p->unk = spec->unk;
    p->whole = true;
    return OK;
}

static void close_wordpiece(void *model)
{
    struct wordpiece *p = model;
    if (!p)
        return;
    xfree(p->prefix);
    xfree(p);
}

static void *begin_wordpiece(const void *model, size_t text_bytes)
{
    struct wordpiece_run *r = xcalloc(1, sizeof *r);
    r->p = model;
    r->cache = merge_work_new(&r->p->none, text_bytes);
    return r;
}

static void end_wordpiece(void *run)
{
    struct wordpiece_run *r = run;
    merge_work_free(r->cache);
    buf_clear(&r->key);
    xfree(r);
}

static bool starts_char(struct bytes s, size_t i)
{
    return i == s.n || ((unsigned char)s.p[i] & 0xc0) != 0x80;
}

static bool too_long(const struct wordpiece *p, struct bytes word)
{
    size_t chars = 0;
    for (size_t i = 0; i < word.n && chars <= p->max_chars; i++)
        chars += starts_char(word, i);
    return chars > p->max_chars;
}

/* The longest token at word[at]; its end, or `at` when there is none. */
static size_t longest(struct wordpiece_run *r, struct bytes word, size_t at, int32_t *id)
{
    const struct wordpiece *p = r->p;
    size_t skip = at > 0 ? p->n_prefix : 0, end = word.n;
    buf_reset(&r->key);
    buf_append(&r->key, p->prefix, skip);
    if (end - at + skip > p->longest)
        end = at + (p->longest > skip ? p->longest - skip : 0);
    buf_append(&r->key, word.p + at, end - at);
    for (; end > at; end--) {
        if (!starts_char(word, end))
            continue;
        *id = vocab_find(p->v, r->key.data, skip + end - at);
        if (*id >= 0)
            return end;
    }
    return at;
}

static void put_word(struct wordpiece_run *r, struct bytes word, struct tokens *out)
{
    int from = out->n;
    bool known = !too_long(r->p, word);
    for (size_t at = 0, end; known && at < word.n; at = end) {
        int32_t id;
        end = longest(r, word, at, &id);
        known = end > at;
        if (known)
            tokens_push(out, id);
    }
    if (known)
        return;
    out->n = from;
    if (r->p->unk >= 0)
        tokens_push(out, r->p->unk);
}

static void word_wordpiece(void *run, struct bytes word, struct tokens *out)
{
    struct wordpiece_run *r = run;
    if (word_cache_get(r->cache, word, out))
        return;
    int from = out->n;
    if (r->p->whole) {
        int32_t id = vocab_find(r->p->v, word.p, word.n);
        id = id >= 0 ? id : r->p->unk;
        if (id >= 0)
            tokens_push(out, id);
    } else {
        put_word(r, word, out);
    }
    word_cache_put(r->cache, word, out->id + from, out->n - from);
}

const struct word_model *wordpiece_model(void)
{
    static const struct word_model model = {close_wordpiece, begin_wordpiece, word_wordpiece,
                                            end_wordpiece};
    return &model;
}

const struct word_model *wordlevel_model(void)
{
    return wordpiece_model();
}
