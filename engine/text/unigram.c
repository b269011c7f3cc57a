/* unigram.c - unigram language models: of all ways to cut a word into tokens the one whose scores
 * add up to most, found by dynamic programming over a trie.
 *
 * As in the `tokenizers` package: a character that is no token costs the lowest score less ten;
 * neighbours of that kind become one unknown token, or their bytes where the file has byte tokens.
 * Sums are doubles; of equal sums the one found first stays. Where a blank (U+2581) is a token, and
 * none has one behind another character, cutting before blanks changes nothing and makes words
 * cacheable. But for one thing: a run of blanks can be cut in several ways whose sums differ by
 * rounding alone, so words that begin with one go on with the sum of what is before them. */
#include <math.h>
#include <string.h>

#include "engine/text/decoder.h"
#include "engine/text/merge.h"
#include "engine/text/pipeline.h"
#include "engine/text/trie.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

#define BLANK "\xe2\x96\x81"
enum {
    BLANK_BYTES = 3,
    BLOCK = 4096, /* bytes of a word after which what is known of it may be given out */
};
static const double UNKNOWN_PENALTY = 10;

struct unigram {
    const struct vocab *v;
    double *score;
    double unknown; /* score of a character that is no token */
    int32_t unk, byte[256];
    bool fallback, cuts;
    struct trie trie;
    size_t window;      /* a power of two, more than a token's bytes */
    struct merges none; /* there are no merges; the cache of words is merge.c's */
};
struct best {      /* of the paths that end at a place */
    int32_t begin; /* of their last token, -1: none ends here */
    int32_t id;
};
struct unigram_run {
    const struct unigram *u;
    struct merge_work *cache;
    double *score; /* [window] of the best paths that end at the places a token can reach */
    struct best *best;
    size_t cap;
    double sum;   /* of what the text's tokens cost so far, added up in their order */
    bool unknown; /* among the last word's characters was one that is no token */
};

/* --- the tokens --- */

static bool is_word(const struct vocab *v, int32_t id)
{
    uint8_t type = v->type[id];
    return vocab_piece(v, id).n > 0 && !(v->added[id] & ADDED_OUTSIDE) &&
           (type == TOKEN_NORMAL || type == TOKEN_USER || type == TOKEN_UNUSED);
}

static bool blank_inside(struct bytes piece)
{
    bool other = false;
    for (size_t i = 0; i < piece.n; i++) {
        bool blank = i + BLANK_BYTES <= piece.n && memcmp(piece.p + i, BLANK, BLANK_BYTES) == 0;
        if (blank && other)
            return true;
        other = !blank;
        i += blank ? BLANK_BYTES - 1 : 0;
    }
    return false;
}

static bool is_token(const struct unigram *u, struct bytes piece)
{
    int32_t node = 0;
    for (size_t i = 0; i < piece.n && node >= 0; i++)
        node = trie_step(&u->trie, node, piece.p[i]);
    return node >= 0 && u->trie.node[node].id >= 0;
}

static enum status build_trie(struct unigram *u, const struct tokenizer_spec *spec)
{
    size_t n_bytes = 0;
    u->cuts = true;
    u->window = 8; /* more than a character's bytes */
    for (int32_t id = 0; id < u->v->n; id++) {
        size_t n = is_word(u->v, id) ? vocab_piece(u->v, id).n : 0;
        n_bytes += n;
        while (u->window <= n)
            u->window *= 2;
    }
    TRY(trie_init(&u->trie, n_bytes));
    for (int32_t id = 0; id < u->v->n; id++) {
        if (isnan(spec->score[id]))
            return fail(ERR_FORMAT, "tokenizer: the score of token %d is not a number", id);
        u->score[id] = spec->exact ? spec->exact[id] : (double)spec->score[id];
        u->unknown = u->score[id] < u->unknown ? u->score[id] : u->unknown;
        if (!is_word(u->v, id))
            continue;
        trie_add(&u->trie, vocab_piece(u->v, id), id);
        u->cuts = u->cuts && !blank_inside(vocab_piece(u->v, id));
    }
    u->unknown -= UNKNOWN_PENALTY;
    u->cuts = u->cuts && is_token(u, (struct bytes){BLANK, BLANK_BYTES});
    return OK;
}

enum status unigram_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out)
{
    struct unigram *u = xcalloc(1, sizeof *u);
    *out = u;
    u->v = v;
    u->unk = spec->unk;
    u->fallback = spec->pipeline->byte_fallback;
    u->unknown = INFINITY;
    u->score = xcalloc((size_t)v->n, sizeof *u->score);
    for (int c = 0; c < 256; c++)
        u->byte[c] = -1;
    for (int32_t id = 0; id < v->n; id++) {
        int byte = v->type[id] == TOKEN_BYTE ? fallback_byte(spec->token[id]) : -1;
        if (byte >= 0)
            u->byte[byte] = id;
    }
    if (!spec->score)
        return fail(ERR_FORMAT, "tokenizer: a unigram model needs scores, the file has none");
    return build_trie(u, spec);
}

static void close_unigram(void *model)
{
    struct unigram *u = model;
    if (!u)
        return;
    xfree(u->score);
    trie_clear(&u->trie);
    xfree(u);
}

/* --- encoding --- */

static void *begin_unigram(const void *model, size_t text_bytes)
{
    struct unigram_run *r = xcalloc(1, sizeof *r);
    r->u = model;
    r->score = xcalloc(r->u->window, sizeof *r->score);
    r->cache = merge_work_new(&r->u->none, text_bytes);
    return r;
}

static void end_unigram(void *run)
{
    struct unigram_run *r = run;
    merge_work_free(r->cache);
    xfree(r->best);
    xfree(r->score);
    xfree(r);
}

static void offer(struct unigram_run *r, size_t end, double score, size_t begin, int32_t id)
{
    double *best = &r->score[end & (r->u->window - 1)];
    if (r->best[end].begin >= 0 && score <= *best)
        return;
    *best = score;
    r->best[end] = (struct best){(int32_t)begin, id};
}

/* Makes best[0 .. n] ready for offers; `ready` says how much of it already is. */
static size_t make_ready(struct unigram_run *r, size_t ready, size_t n)
{
    if (n + 1 > r->cap) {
        r->cap = 2 * n + 64;
        r->best = xrealloc(r->best, r->cap * sizeof *r->best);
    }
    for (; ready <= n; ready++)
        r->best[ready].begin = -1;
    return ready;
}

/* Fills best[1 .. n], the places of `word`; id -1 stands for an unknown character. Returns n: the
 * whole word, or up to a place that no token spans, so that the best path to it is final. */
static size_t find_best(struct unigram_run *r, struct bytes word)
{
    const struct unigram *u = r->u;
    size_t ready = make_ready(r, 0, 0), reach = 0;
    for (size_t at = 0, len; at < word.n; at += len) {
        uint32_t cp;
        double so_far = r->score[at & (u->window - 1)];
        bool single = false;
        int32_t node = 0;
        if (at == reach && at >= BLOCK && r->best[at].id >= 0) {
            r->score[0] = so_far;
            return at;
        }
        len = (size_t)utf8_decode(word.p + at, word.n - at, &cp);
        ready = make_ready(r, ready, at + u->window < word.n ? at + u->window : word.n);
        for (size_t i = at; i < word.n; i++) {
            node = trie_step(&u->trie, node, word.p[i]);
            if (node < 0)
                break;
            int32_t id = u->trie.node[node].id;
            if (id < 0)
                continue;
            offer(r, i + 1, so_far + u->score[id], at, id);
            single = single || i + 1 == at + len;
            reach = i + 1 > reach ? i + 1 : reach;
        }
        if (!single)
            offer(r, at + len, so_far + u->unknown, at, -1);
        reach = at + len > reach ? at + len : reach;
    }
    return word.n;
}

/* What stands for a stretch of unknown characters. */
static void put_unknown(const struct unigram *u, struct bytes text, struct tokens *out)
{
    bool all = u->fallback;
    for (size_t i = 0; all && i < text.n; i++)
        all = u->byte[(unsigned char)text.p[i]] >= 0;
    for (size_t i = 0; all && i < text.n; i++)
        tokens_push(out, u->byte[(unsigned char)text.p[i]]);
    if (!all && u->unk >= 0)
        tokens_push(out, u->unk);
}

/* The path is a chain from the end; it is turned round in place: best[i].begin of each place on it
 * becomes where the next token ends. */
static void put_path(struct unigram_run *r, struct bytes word, struct tokens *out)
{
    const struct unigram *u = r->u;
    struct best *best = r->best;
    int32_t at = (int32_t)word.n, end = -1;
    while (at > 0) {
        int32_t begin = best[at].begin;
        best[at].begin = end;
        end = at;
        at = begin;
    }
    int32_t unknown = -1; /* where a stretch of unknown characters begins */
    for (at = 0; end > 0; at = end, end = best[end].begin) {
        r->sum += best[end].id >= 0 ? u->score[best[end].id] : u->unknown;
        r->unknown = r->unknown || best[end].id < 0;
        if (best[end].id >= 0) {
            if (unknown >= 0)
                put_unknown(u, (struct bytes){word.p + unknown, (size_t)(at - unknown)}, out);
            unknown = -1;
            tokens_push(out, best[end].id);
        } else if (unknown < 0) {
            unknown = at;
        }
    }
    if (unknown >= 0)
        put_unknown(u, (struct bytes){word.p + unknown, word.n - (size_t)unknown}, out);
}

/* `blanks`: it begins with several, and is then not looked for among the cached words. */
static void encode_word(struct unigram_run *r, struct bytes word, bool blanks, struct tokens *out)
{
    int from = out->n;
    if (!blanks && word_cache_get(r->cache, word, out)) {
        for (int i = from; i < out->n; i++)
            r->sum += r->u->score[out->id[i]];
        return;
    }
    r->unknown = false;
    r->score[0] = blanks ? r->sum : 0;
    for (size_t at = 0, n; at < word.n; at += n) {
        struct bytes rest = {word.p + at, word.n - at};
        n = find_best(r, rest);
        put_path(r, (struct bytes){rest.p, n}, out);
    }
    if (!blanks && !r->unknown) /* whose tokens do not say how many characters they are */
        word_cache_put(r->cache, word, out->id + from, out->n - from);
}

static void word_unigram(void *run, struct bytes word, struct tokens *out)
{
    struct unigram_run *r = run;
    r->sum = 0;
    for (size_t at = 0, end; at < word.n; at = end) {
        bool in_blanks = true;
        end = word.n;
        for (size_t i = at; r->u->cuts && i + BLANK_BYTES <= word.n && end == word.n;) {
            bool here = memcmp(word.p + i, BLANK, BLANK_BYTES) == 0;
            if (here && !in_blanks)
                end = i;
            in_blanks = here;
            i += here ? BLANK_BYTES : 1;
        }
        struct bytes part = {word.p + at, end - at};
        bool blanks = r->u->cuts && part.n >= 2 * BLANK_BYTES &&
                      memcmp(part.p, BLANK BLANK, 2 * BLANK_BYTES) == 0;
        encode_word(r, part, blanks, out);
    }
}

const struct word_model *unigram_model(void)
{
    static const struct word_model model = {close_unigram, begin_unigram, word_unigram,
                                            end_unigram};
    return &model;
}
