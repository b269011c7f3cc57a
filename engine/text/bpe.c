/* bpe.c - byte-level BPE. The file spells each byte as a printable character (the "byte-level
 * alphabet"); here tokens are plain bytes from the start, so text needs no translation.
 *
 * A byte that the vocabulary lacks (SmolLM's lacks some control characters) vanishes, and its
 * neighbours may join, as in the `tokenizers` package. */
#include "engine/text/bpe.h"

#include <string.h>

#include "engine/text/merge.h"
#include "engine/text/pretok.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

struct bpe {
    const struct vocab *v;
    struct pretok *pretok;
    struct pretok_rule rule;
    struct merges merges;
    int32_t byte[256]; /* the token of each byte, -1: none */
};

struct bpe_run { /* one call of tokenizer_encode */
    const struct bpe *bpe;
    struct pretok_scan *scan;
    struct merge_work *work;
    struct buf nfc;
};

/* The byte that a character of the alphabet stands for, -1: not in it. Printable Latin-1 stands for
 * itself; U+0100 .. U+0143 for the other 68 bytes in order. */
static int alphabet_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff))
        return (int)cp;
    if (cp < 0x100 || cp > 0x143)
        return -1;
    int n = (int)cp - 0x100;
    return n < 33 ? n : n < 67 ? n - 33 + 0x7f : 0xad;
}

/* False when a character is none of the alphabet; `out` then has what came before. */
static bool decode_alphabet(struct bytes s, struct buf *out)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        i += (size_t)utf8_decode(s.p + i, s.n - i, &cp);
        int byte = alphabet_byte(cp);
        if (byte < 0)
            return false;
        buf_putc(out, (char)byte);
    }
    return true;
}

void bpe_spell(struct bytes spelling, enum token_type type, struct buf *out)
{
    size_t begin = out->len;
    bool raw = type == TOKEN_CONTROL || type == TOKEN_UNKNOWN || type == TOKEN_USER;
    if (raw || !decode_alphabet(spelling, out)) {
        out->len = begin;
        buf_append(out, spelling.p, spelling.n);
    }
}

/* "left right": neither half has a blank in the alphabet's spelling. */
static enum status add_merge(struct bpe *b, struct bytes merge, int32_t rank, struct buf *bytes)
{
    const char *blank = merge.n > 1 ? memchr(merge.p + 1, ' ', merge.n - 1) : NULL;
    if (!blank)
        return fail(ERR_FORMAT, "tokenizer: merge %d '%.*s' is not two tokens and a blank", rank,
                    (int)(merge.n < 64 ? merge.n : 64), merge.p);
    struct bytes half[2] = {{merge.p, (size_t)(blank - merge.p)}, {blank + 1, 0}};
    half[1].n = merge.n - half[0].n - 1;
    buf_reset(bytes);
    bpe_spell(half[0], TOKEN_NORMAL, bytes);
    size_t cut = bytes->len;
    bpe_spell(half[1], TOKEN_NORMAL, bytes);
    struct merge_pair pair = {.left = vocab_find(b->v, bytes->data, cut),
                              .right = vocab_find(b->v, bytes->data + cut, bytes->len - cut),
                              .rank = rank,
                              .merged = vocab_find(b->v, bytes->data, bytes->len)};
    if (pair.left < 0 || pair.right < 0 || pair.merged < 0)
        return fail(ERR_FORMAT, "tokenizer: merge %d '%.*s': %s is not a token of the vocabulary",
                    rank, (int)(merge.n < 64 ? merge.n : 64), merge.p,
                    pair.left < 0    ? "the left half"
                    : pair.right < 0 ? "the right half"
                                     : "the result");
    merges_add(&b->merges, pair);
    return OK;
}

static enum status add_merges(struct bpe *b, const struct tokenizer_spec *spec)
{
    struct buf bytes = {0};
    enum status s = OK;
    merges_init(&b->merges, (size_t)spec->n_merges);
    b->merges.n_ranks = spec->n_merges;
    buf_reserve(&bytes, 64);
    for (int32_t i = 0; i < spec->n_merges && s == OK; i++)
        s = add_merge(b, spec->merge[i], i, &bytes);
    buf_clear(&bytes);
    return s;
}

enum status bpe_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out)
{
    struct bpe *b = xcalloc(1, sizeof *b);
    enum status s = OK;
    *out = b; /* the caller closes it whatever happens */
    b->v = v;
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        b->byte[c] = vocab_find(v, &byte, 1);
    }
    TRY(pretok_new(spec->pre, &b->pretok));
    b->rule = *pretok_rule(spec->pre);
    if (spec->n_merges < 0 || spec->n_merges > 1 << 26 || (spec->n_merges && !spec->merge))
        s = fail(ERR_FORMAT, "tokenizer: %d merges", spec->n_merges);
    return s == OK ? add_merges(b, spec) : s;
}

void bpe_close(void *bpe)
{
    struct bpe *b = bpe;
    if (!b)
        return;
    merges_clear(&b->merges);
    pretok_free(b->pretok);
    xfree(b);
}

void *bpe_begin(const void *bpe, size_t text_bytes)
{
    struct bpe_run *r = xcalloc(1, sizeof *r);
    r->bpe = bpe;
    r->scan = pretok_scan_new(r->bpe->pretok);
    r->work = merge_work_new(&r->bpe->merges, text_bytes);
    return r;
}

void bpe_end(void *run)
{
    struct bpe_run *r = run;
    pretok_scan_free(r->scan);
    merge_work_free(r->work);
    buf_clear(&r->nfc);
    xfree(r);
}

static void encode_word(struct bpe_run *r, struct bytes word, struct tokens *out)
{
    const struct bpe *b = r->bpe;
    if (word_cache_get(r->work, word, out))
        return;
    tokens_reserve(out, word.n);
    int32_t *id = out->id + out->n;
    int n = 0;
    int32_t whole = b->rule.whole_word ? vocab_find(b->v, word.p, word.n) : -1;
    if (whole >= 0) {
        id[n++] = whole;
    } else {
        for (size_t i = 0; i < word.n; i++) {
            int32_t byte = b->byte[(unsigned char)word.p[i]];
            if (byte >= 0)
                id[n++] = byte;
        }
        n = merge_run(r->work, id, n);
    }
    out->n += n;
    word_cache_put(r->work, word, id, n);
}

static void encode_valid(struct bpe_run *r, struct bytes text, struct tokens *out)
{
    buf_reset(&r->nfc);
    if (r->bpe->rule.nfc && pretok_nfc(text, &r->nfc))
        text = (struct bytes){r->nfc.data, r->nfc.len};
    for (size_t at = 0, end; at < text.n; at = end) {
        end = pretok_next(r->scan, text, at);
        encode_word(r, (struct bytes){text.p + at, end - at}, out);
    }
}

/* A byte that is no UTF-8 is a word of its own. */
void bpe_text(void *run, struct bytes text, bool after_token, struct tokens *out)
{
    (void)after_token;
    while (text.n > 0) {
        size_t valid = utf8_valid_prefix(text.p, text.n);
        encode_valid(run, (struct bytes){text.p, valid}, out);
        if (valid < text.n)
            encode_word(run, (struct bytes){text.p + valid, 1}, out);
        valid += valid < text.n;
        text = (struct bytes){text.p + valid, text.n - valid};
    }
}
