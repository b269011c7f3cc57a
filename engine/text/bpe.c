/* bpe.c - BPE: the symbols of a word, bytes or characters, joined by merges.
 *
 * Byte-level files spell each byte as a printable character (charprops.h); here their tokens are
 * plain bytes from the start, so text needs no translation. A byte that the vocabulary lacks
 * (SmolLM's lacks some control characters) vanishes unless there is an unknown token, and its
 * neighbours may join, as in the `tokenizers` package.
 *
 * Vocabularies from SentencePiece see the whole text as one word; where no join makes a token with
 * a blank behind another character, as in all known ones but those trained across words, cutting
 * before blanks changes nothing and makes words cacheable. */
#include <string.h>

#include "engine/text/charprops.h"
#include "engine/text/decoder.h"
#include "engine/text/merge.h"
#include "engine/text/pipeline.h"
#include "engine/text/spm.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

enum { MAX_HIDDEN = 256 }; /* merges that make control tokens; honest files have hardly any */

struct bpe {
    int n_hidden;
    const struct vocab *v;
    struct merges merges;
    int32_t ascii[256]; /* the token of each byte, or of each ASCII character; -1: none */
    int32_t byte[256];  /* the byte-fallback tokens, -1: none */
    int32_t unk;
    bool bytes, whole_word, fallback, fuse_unk;
    char *prefix, *suffix; /* NULL: none */
    const char *blank;     /* words are cut before it, NULL: they are not */
};

struct bpe_run { /* one call of tokenizer_encode */
    const struct bpe *bpe;
    struct merge_work *work;
    struct buf key;
};

/* --- merges --- */

/* Appends the bytes by which the vocabulary knows a half of a merge. */
static void put_half(const struct bpe *b, struct bytes half, struct buf *out)
{
    if (!b->bytes || !alphabet_decode(half, out))
        buf_append(out, half.p, half.n);
}

/* A merge on its way into the table. Finding its tokens and its slot are five looks at memory that
 * is in no cache; so a few dozen merges go through each stage together, and what one needs is
 * fetched while others are worked on. */
enum { AHEAD = 32 };
struct coming {
    struct bytes half[2];
    struct bytes piece[3]; /* left, right, result, as the vocabulary knows them */
    size_t at[3];          /* where they begin among the spelled bytes */
    uint64_t hash[3];
    struct merge_pair pair;
};

static void spell_merge(const struct bpe *b, struct coming *m, struct buf *bytes)
{
    size_t prefix = b->prefix ? strlen(b->prefix) : 0;
    m->at[0] = bytes->len;
    put_half(b, m->half[0], bytes);
    m->at[1] = bytes->len;
    put_half(b, m->half[1], bytes);
    size_t n = bytes->len - m->at[1];
    m->piece[0].n = m->at[1] - m->at[0];
    m->piece[1].n = n;
    m->at[2] = m->at[0]; /* the result is both, one behind the other */
    m->piece[2].n = m->piece[0].n + n;
    if (prefix == 0 || n < prefix)
        return;
    m->at[2] = bytes->len; /* but for the prefix of the right half, with which it goes on */
    m->piece[2].n -= prefix;
    buf_reserve(bytes, m->piece[0].n + n);
    buf_append(bytes, bytes->data + m->at[0], m->piece[0].n);
    buf_append(bytes, bytes->data + m->at[1] + prefix, n - prefix);
}

static void hash_merge(const struct bpe *b, struct coming *m, const struct buf *bytes)
{
    for (int i = 0; i < 3; i++) {
        m->piece[i].p = bytes->data + m->at[i];
        m->hash[i] = vocab_hash(b->v, m->piece[i].p, m->piece[i].n);
    }
}

/* Whether these bytes are a token that text must not become. */
static bool is_hidden(const struct vocab *v, const char *p, size_t n)
{
    for (int32_t id = 0; id < v->n; id++) {
        struct bytes piece = vocab_piece(v, id);
        if (piece.n == n && memcmp(piece.p, p, n) == 0)
            return true;
    }
    return false;
}

/* A merge that would spell a control token gets no left half, which stands for "no merge". */
static enum status find_merge(struct bpe *b, struct coming *m, int32_t rank)
{
    struct merge_pair *p = &m->pair;
    const struct bytes *half = m->half;
    *p = (struct merge_pair){.left = vocab_find_hashed(b->v, m->piece[0], m->hash[0]),
                             .right = vocab_find_hashed(b->v, m->piece[1], m->hash[1]),
                             .rank = rank,
                             .merged = vocab_find_hashed(b->v, m->piece[2], m->hash[2])};
    if (p->left >= 0 && p->right >= 0 && p->merged < 0 &&
        is_hidden(b->v, m->piece[2].p, m->piece[2].n)) {
        p->left = -1;
        return ++b->n_hidden <= MAX_HIDDEN
                   ? OK
                   : fail(ERR_FORMAT, "tokenizer: more than %d merges make control tokens",
                          MAX_HIDDEN);
    }
    if (p->left < 0 || p->right < 0 || p->merged < 0)
        return fail(ERR_FORMAT,
                    "tokenizer: merge %d '%.*s %.*s': %s is not a token of the vocabulary", rank,
                    (int)(half[0].n < 64 ? half[0].n : 64), half[0].p,
                    (int)(half[1].n < 64 ? half[1].n : 64), half[1].p,
                    p->left < 0    ? "the left half"
                    : p->right < 0 ? "the right half"
                                   : "the result");
    merges_expect(&b->merges, p);
    return OK;
}

/* "left right": neither half has a blank in the spelling of such files. */
static enum status cut_merge(struct bytes merge, int32_t rank, struct bytes half[2])
{
    const char *blank = merge.n > 1 ? memchr(merge.p + 1, ' ', merge.n - 1) : NULL;
    if (!blank)
        return fail(ERR_FORMAT, "tokenizer: merge %d '%.*s' is not two tokens and a blank", rank,
                    (int)(merge.n < 64 ? merge.n : 64), merge.p);
    half[0] = (struct bytes){merge.p, (size_t)(blank - merge.p)};
    half[1] = (struct bytes){blank + 1, merge.n - half[0].n - 1};
    return OK;
}

/* The merges from `first` on, AHEAD at most. */
static enum status add_some(struct bpe *b, const struct tokenizer_spec *spec, int32_t first,
                            struct buf *bytes)
{
    struct coming m[AHEAD];
    int n = spec->n_merges - first < AHEAD ? spec->n_merges - first : AHEAD;
    buf_reset(bytes);
    for (int i = 0; i < n; i++) {
        if (spec->merge_halves)
            memcpy(m[i].half, spec->merge + 2 * (first + i), sizeof m[i].half);
        else
            TRY(cut_merge(spec->merge[first + i], first + i, m[i].half));
        spell_merge(b, &m[i], bytes);
    }
    for (int i = 0; i < n; i++)
        hash_merge(b, &m[i], bytes);
    for (int i = 0; i < n; i++)
        TRY(find_merge(b, &m[i], first + i));
    for (int i = 0; i < n; i++)
        if (m[i].pair.left >= 0)
            merges_add(&b->merges, m[i].pair);
    return OK;
}

static enum status add_merges(struct bpe *b, const struct tokenizer_spec *spec)
{
    struct buf bytes = {0};
    enum status s = OK;
    if (spec->n_merges < 0 || spec->n_merges > 1 << 26 || (spec->n_merges && !spec->merge))
        return fail(ERR_FORMAT, "tokenizer: %d merges", spec->n_merges);
    merges_init(&b->merges, (size_t)spec->n_merges);
    b->merges.n_ranks = spec->n_merges;
    buf_reserve(&bytes, 64);
    for (int32_t i = 0; i < spec->n_merges && s == OK; i += AHEAD)
        s = add_some(b, spec, i, &bytes);
    buf_clear(&bytes);
    return s;
}

/* --- making one --- */

static bool has_blank_inside(struct bytes piece, const char *blank, size_t n)
{
    for (size_t i = 1; i + n <= piece.n; i++)
        if (memcmp(piece.p + i, blank, n) == 0 && (i < n || memcmp(piece.p + i - n, blank, n) != 0))
            return true;
    return false;
}

static bool can_cut_before(const struct bpe *b, const char *blank)
{
    size_t n = strlen(blank);
    if (b->bytes || b->whole_word || b->prefix || b->suffix || vocab_find(b->v, blank, n) < 0)
        return false;
    for (size_t i = 0; b->merges.slot && i <= b->merges.mask; i++)
        if (b->merges.slot[i].left >= 0 &&
            has_blank_inside(vocab_piece(b->v, b->merges.slot[i].merged), blank, n))
            return false;
    return true;
}

static void find_symbols(struct bpe *b, const struct tokenizer_spec *spec)
{
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        b->ascii[c] = b->bytes || c < 128 ? vocab_find(b->v, &byte, 1) : -1;
        b->byte[c] = -1;
    }
    for (int32_t id = 0; id < b->v->n; id++) {
        int byte = b->v->type[id] == TOKEN_BYTE ? fallback_byte(spec->token[id]) : -1;
        if (byte >= 0)
            b->byte[byte] = id;
    }
}

enum status bpe_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out)
{
    const struct pipeline_spec *p = spec->pipeline;
    struct bpe *b = xcalloc(1, sizeof *b);
    *out = b;
    b->v = v;
    b->unk = p->vanish ? -1 : spec->unk;
    b->bytes = p->bytes;
    b->whole_word = p->whole_word;
    b->fallback = p->byte_fallback;
    b->fuse_unk = p->fuse_unk;
    b->prefix = p->prefix.n ? xstrndup(p->prefix.p, p->prefix.n) : NULL;
    b->suffix = p->suffix.n ? xstrndup(p->suffix.p, p->suffix.n) : NULL;
    find_symbols(b, spec);
    bool by_id = p->from_ids && spec->n_merges == 0;
    TRY(by_id || p->from_scores ? spm_merges(spec, v, by_id, &b->merges) : add_merges(b, spec));
    const char *blank = p->from_scores ? " " : "\xe2\x96\x81";
    b->blank = can_cut_before(b, blank) ? blank : NULL;
    return OK;
}

static void close_bpe(void *bpe)
{
    struct bpe *b = bpe;
    if (!b)
        return;
    merges_clear(&b->merges);
    xfree(b->prefix);
    xfree(b->suffix);
    xfree(b);
}

/* --- encoding --- */

static void *begin_bpe(const void *bpe, size_t text_bytes)
{
    struct bpe_run *r = xcalloc(1, sizeof *r);
    r->bpe = bpe;
    r->work = merge_work_new(&r->bpe->merges, text_bytes);
    return r;
}

static void end_bpe(void *run)
{
    struct bpe_run *r = run;
    merge_work_free(r->work);
    buf_clear(&r->key);
    xfree(r);
}

/* The key of the symbol at `at`, with what marks its place in the word. */
static struct bytes symbol_key(struct bpe_run *r, struct bytes word, size_t at, size_t len)
{
    const struct bpe *b = r->bpe;
    struct bytes plain = {word.p + at, len};
    bool prefix = b->prefix && at > 0, suffix = b->suffix && at + len == word.n;
    if (!prefix && !suffix)
        return plain;
    buf_reset(&r->key);
    if (prefix)
        buf_puts(&r->key, b->prefix);
    buf_append(&r->key, plain.p, plain.n);
    if (suffix)
        buf_puts(&r->key, b->suffix);
    return (struct bytes){r->key.data, r->key.len};
}

/* The byte-fallback tokens of a symbol; 0: one of them does not exist. */
static int put_fallback(const struct bpe *b, struct bytes key, int32_t *id)
{
    for (size_t i = 0; i < key.n; i++)
        if ((id[i] = b->byte[(unsigned char)key.p[i]]) < 0)
            return 0;
    return (int)key.n;
}

/* Writes the symbols of a word, returns how many. */
static int put_symbols(struct bpe_run *r, struct bytes word, int32_t *id)
{
    const struct bpe *b = r->bpe;
    bool marked = b->prefix || b->suffix, was_unk = false;
    int n = 0;
    for (size_t i = 0, len; i < word.n; i += len) {
        unsigned char first = (unsigned char)word.p[i];
        uint32_t cp;
        /* 1 for a byte that is no UTF-8 */
        len = b->bytes || first < 128 ? 1 : (size_t)utf8_decode(word.p + i, word.n - i, &cp);
        struct bytes key = {word.p + i, len};
        int32_t token = b->ascii[first];
        if (marked || (!b->bytes && first >= 128)) {
            key = symbol_key(r, word, i, len);
            token = vocab_find(b->v, key.p, key.n);
        }
        int k = 1;
        if (token >= 0)
            id[n] = token;
        else if (!b->fallback || !(k = put_fallback(b, key, id + n)))
            k = 0;
        bool unk = k == 0;
        if (unk && b->unk >= 0 && !(b->fuse_unk && was_unk)) {
            id[n] = b->unk;
            k = 1;
        }
        was_unk = unk;
        n += k;
    }
    return n;
}

static void encode_word(struct bpe_run *r, struct bytes word, struct tokens *out)
{
    const struct bpe *b = r->bpe;
    if (word_cache_get(r->work, word, out))
        return;
    size_t marks = b->prefix ? strlen(b->prefix) : 0;
    tokens_reserve(out, word.n * (1 + marks) + (b->suffix ? strlen(b->suffix) : 0));
    int32_t *id = out->id + out->n;
    int n = 0;
    int32_t whole = b->whole_word ? vocab_find(b->v, word.p, word.n) : -1;
    if (whole >= 0)
        id[n++] = whole;
    else
        n = merge_run(r->work, id, put_symbols(r, word, id));
    out->n += n;
    word_cache_put(r->work, word, id, n);
}

static void word_bpe(void *run, struct bytes word, struct tokens *out)
{
    struct bpe_run *r = run;
    const char *blank = r->bpe->blank;
    size_t n = blank ? strlen(blank) : 0;
    for (size_t at = 0, end; at < word.n; at = end) {
        bool in_blanks = true;
        end = word.n;
        for (size_t i = at; blank && i + n <= word.n;) {
            bool here = memcmp(word.p + i, blank, n) == 0;
            if (here && !in_blanks) {
                end = i;
                break;
            }
            in_blanks = here;
            i += here ? n : 1;
        }
        encode_word(r, (struct bytes){word.p + at, end - at}, out);
    }
}

const struct word_model *bpe_model(void)
{
    static const struct word_model model = {close_bpe, begin_bpe, word_bpe, end_bpe};
    return &model;
}
