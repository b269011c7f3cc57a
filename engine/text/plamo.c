/* plamo.c - PLaMo-2's tokenizer: of all ways to cut a text into tokens the cheapest, found from the
 * end of the text to its beginning.
 *
 * As the model's tokenization_plamo.py: costs are whole numbers, 10 000 times the scores; of equal
 * costs the longer token wins; a character that is no token costs 1000 and becomes its bytes. A
 * text is one word, blanks are blanks. What is kept of costs is a ring, longer than any token. */
#include <math.h>
#include <string.h>

#include "engine/text/decoder.h"
#include "engine/text/pipeline.h"
#include "engine/text/trie.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

static const double UNITS = 1e4;         /* of a score */
static const int64_t UNKNOWN = 10000000; /* cost of a character that is no token */

struct plamo {
    const struct vocab *v;
    struct trie trie;
    int32_t *cost; /* [v->n] */
    int32_t unk, byte[256];
    size_t window; /* a power of two, more than a token's bytes */
};
struct plamo_run {
    const struct plamo *p;
    int64_t *cost; /* [window] of the best way from a place to the end */
    int32_t *next; /* the token to go on with from a place, -1: a character that is no token */
    size_t cap;
};

/* A token of part of a character never begins and ends between characters, where words are cut. */
static bool is_word(const struct vocab *v, int32_t id)
{
    struct bytes piece = vocab_piece(v, id);
    return piece.n > 0 && (v->type[id] == TOKEN_NORMAL || v->type[id] == TOKEN_USER) &&
           utf8_valid_prefix(piece.p, piece.n) == piece.n;
}

static enum status read_tokens(struct plamo *p, const struct tokenizer_spec *spec)
{
    size_t n_bytes = 0;
    for (int32_t id = 0; id < p->v->n; id++) {
        double score = rint(UNITS * (double)spec->score[id]);
        size_t n = is_word(p->v, id) ? vocab_piece(p->v, id).n : 0;
        int byte = p->v->type[id] == TOKEN_BYTE ? fallback_byte(spec->token[id]) : -1;
        if (n > 0 && !(fabs(score) < INT32_MAX))
            return fail(ERR_FORMAT, "tokenizer: the score of token %d is %g", id,
                        (double)spec->score[id]);
        p->cost[id] = n > 0 ? -(int32_t)score : 0;
        if (byte >= 0)
            p->byte[byte] = id;
        n_bytes += n;
        while (p->window <= n)
            p->window *= 2;
    }
    TRY(trie_init(&p->trie, n_bytes));
    for (int32_t id = 0; id < p->v->n; id++)
        if (is_word(p->v, id))
            trie_add(&p->trie, vocab_piece(p->v, id), id);
    return OK;
}

enum status plamo_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out)
{
    struct plamo *p = xcalloc(1, sizeof *p);
    *out = p;
    p->v = v;
    p->unk = spec->unk;
    p->window = 8; /* more than a character's bytes */
    p->cost = xcalloc((size_t)v->n, sizeof *p->cost);
    memset(p->byte, -1, sizeof p->byte);
    if (!spec->score)
        return fail(ERR_FORMAT, "tokenizer: a plamo2 model needs scores, the file has none");
    return read_tokens(p, spec);
}

static void close_plamo(void *model)
{
    struct plamo *p = model;
    if (!p)
        return;
    trie_clear(&p->trie);
    xfree(p->cost);
    xfree(p);
}

static void *begin_plamo(const void *model, size_t text_bytes)
{
    struct plamo_run *r = xcalloc(1, sizeof *r);
    (void)text_bytes;
    r->p = model;
    r->cap = 64;
    r->next = xmalloc(r->cap * sizeof *r->next);
    r->cost = xcalloc(r->p->window, sizeof *r->cost);
    return r;
}

static void end_plamo(void *run)
{
    struct plamo_run *r = run;
    xfree(r->cost);
    xfree(r->next);
    xfree(r);
}

/* Fills next[0 .. n) where characters begin. */
static void find_best(struct plamo_run *r, struct bytes word)
{
    const struct plamo *p = r->p;
    const size_t mask = p->window - 1;
    r->cost[word.n & mask] = 0;
    for (size_t at = word.n, behind = word.n; at-- > 0;) {
        if (at > 0 && ((unsigned char)word.p[at] & 0xc0) == 0x80)
            continue; /* inside a character */
        int64_t best = r->cost[behind & mask] + UNKNOWN;
        int32_t node = 0, next = -1;
        for (size_t i = at; i < word.n; i++) {
            node = trie_step(&p->trie, node, word.p[i]);
            if (node < 0)
                break;
            int32_t id = p->trie.node[node].id;
            int64_t cost = id < 0 ? 0 : r->cost[(i + 1) & mask] + p->cost[id];
            if (id < 0 || cost > best)
                continue;
            best = cost;
            next = id;
        }
        r->cost[at & mask] = best;
        r->next[at] = next;
        behind = at;
    }
}

static void put_bytes(const struct plamo *p, struct bytes text, struct tokens *out)
{
    for (size_t i = 0; i < text.n; i++) {
        int32_t byte = p->byte[(unsigned char)text.p[i]];
        byte = byte >= 0 ? byte : p->unk;
        if (byte >= 0)
            tokens_push(out, byte);
    }
}

static void word_plamo(void *run, struct bytes word, struct tokens *out)
{
    struct plamo_run *r = run;
    if (word.n > r->cap) {
        r->cap = word.n;
        r->next = xrealloc(r->next, r->cap * sizeof *r->next);
    }
    find_best(r, word);
    for (size_t at = 0, n; at < word.n; at += n) {
        uint32_t cp;
        int32_t id = r->next[at];
        if (id >= 0) {
            n = vocab_piece(r->p->v, id).n;
            tokens_push(out, id);
        } else {
            n = (size_t)utf8_decode(word.p + at, word.n - at, &cp);
            put_bytes(r->p, (struct bytes){word.p + at, n}, out);
        }
    }
}

const struct word_model *plamo_model(void)
{
    static const struct word_model model = {close_plamo, begin_plamo, word_plamo, end_plamo};
    return &model;
}
