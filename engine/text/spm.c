/* spm.c - SentencePiece BPE. It joins whichever two neighbours make the token of highest score; as
 * a table of pairs (every cut of every token into two tokens) that is BPE with the scores as ranks.
 *
 * SentencePiece writes a blank as U+2581; here it is a blank again, in tokens and in text alike, so
 * a literal U+2581 in the text is read as a blank, as there. SentencePiece sees the text as one
 * word; where no token has a blank behind another character, as in all known vocabularies but
 * those trained across words, cutting before blanks changes nothing and makes words cacheable. */
#include "engine/text/spm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/merge.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

static const char BLANK[] = "\xe2\x96\x81"; /* U+2581 */

enum { /* what a real vocabulary stays far below: the table is quadratic in a token's length */
       MAX_TOKEN = 1024,
       MAX_CUTS = 1 << 24
};

struct spm {
    const struct vocab *v;
    struct merges merges;
    int32_t ascii[128]; /* the token of each character, -1: none */
    int32_t byte[256];  /* the byte-fallback tokens, -1: none */
    int32_t unk;
    bool add_space;
    bool cut_before_blank;
};

struct spm_run { /* one call of tokenizer_encode */
    const struct spm *spm;
    struct merge_work *work;
    struct buf text;
};

/* "<0x0A>" -> 10; -1: something else. */
static int fallback_byte(struct bytes s)
{
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>')
        return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        const char *digits = "0123456789ABCDEF0123456789abcdef";
        const char *d = s.p[i] ? strchr(digits, s.p[i]) : NULL;
        if (!d)
            return -1;
        value = value * 16 + (int)((d - digits) % 16);
    }
    return value;
}

static void with_blanks(struct bytes s, struct buf *out)
{
    for (size_t i = 0; i < s.n;) {
        bool blank = s.n - i >= 3 && memcmp(s.p + i, BLANK, 3) == 0;
        buf_putc(out, blank ? ' ' : s.p[i]);
        i += blank ? 3 : 1;
    }
}

void spm_spell(struct bytes spelling, enum token_type type, struct buf *out)
{
    int byte = type == TOKEN_BYTE ? fallback_byte(spelling) : -1;
    if (byte >= 0)
        buf_putc(out, (char)byte);
    else if (type == TOKEN_NORMAL || type == TOKEN_UNUSED)
        with_blanks(spelling, out);
    else
        buf_append(out, spelling.p, spelling.n);
}

/* --- the table of pairs --- */

struct scored {
    float score;
    int32_t id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool is_char_start(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

/* All cuts of token `id` into two tokens; with `m` they are added to it. Returns how many. */
static size_t cuts(const struct vocab *v, int32_t id, int32_t rank, struct merges *m)
{
    struct bytes piece = vocab_piece(v, id);
    size_t n = 0;
    for (size_t i = 1; i < piece.n; i++) {
        if (!is_char_start(piece.p[i]))
            continue;
        if (!m) {
            n++;
            continue;
        }
        int32_t left = vocab_find(v, piece.p, i);
        int32_t right = left < 0 ? -1 : vocab_find(v, piece.p + i, piece.n - i);
        if (right >= 0)
            merges_add(m, (struct merge_pair){left, right, rank, id});
    }
    return n;
}

static enum status add_pairs(struct spm *s, const struct tokenizer_spec *spec)
{
    const struct vocab *v = s->v;
    struct scored *list = xmalloc((size_t)v->n * sizeof *list);
    size_t n = 0, n_cuts = 0;
    enum status status = OK;
    for (int32_t id = 0; id < v->n && status == OK; id++) {
        if (v->type[id] != TOKEN_NORMAL)
            continue;
        if (isnan(spec->score[id]))
            status = fail(ERR_FORMAT, "tokenizer: the score of token %d is not a number", id);
        if (vocab_piece(v, id).n > MAX_TOKEN)
            status = fail(ERR_FORMAT, "tokenizer: token %d has more than %d bytes", id, MAX_TOKEN);
        list[n++] = (struct scored){spec->score[id], id};
        n_cuts += cuts(v, id, 0, NULL);
    }
    if (status == OK && n_cuts > MAX_CUTS)
        status = fail(ERR_FORMAT, "tokenizer: the tokens have %zu characters, at most %d", n_cuts,
                      MAX_CUTS);
    if (status == OK) {
        qsort(list, n, sizeof *list, by_score);
        merges_init(&s->merges, n_cuts);
        int32_t rank = 0;
        for (size_t i = 0; i < n; i++) {
            rank += i > 0 && list[i].score != list[i - 1].score;
            cuts(v, list[i].id, rank, &s->merges);
        }
        s->merges.n_ranks = rank + 1;
    }
    xfree(list);
    return status;
}

static bool has_blank_inside(struct bytes piece)
{
    for (size_t i = 1; i < piece.n; i++)
        if (piece.p[i] == ' ' && piece.p[i - 1] != ' ')
            return true;
    return false;
}

enum status spm_open(const struct tokenizer_spec *spec, const struct vocab *v, void **out)
{
    struct spm *s = xcalloc(1, sizeof *s);
    *out = s; /* the caller closes it whatever happens */
    s->v = v;
    s->unk = spec->unk;
    s->add_space = spec->add_space_prefix;
    s->cut_before_blank = true;
    for (int c = 0; c < 256; c++)
        s->byte[c] = -1;
    for (int c = 0; c < 128; c++) {
        char byte = (char)c;
        s->ascii[c] = vocab_find(v, &byte, 1);
    }
    for (int32_t id = 0; id < v->n; id++) {
        struct bytes piece = vocab_piece(v, id);
        if (v->type[id] == TOKEN_BYTE && piece.n == 1)
            s->byte[(unsigned char)piece.p[0]] = id;
        if (v->type[id] == TOKEN_NORMAL && has_blank_inside(piece))
            s->cut_before_blank = false;
    }
    if (!spec->score)
        return fail(ERR_FORMAT, "tokenizer: model 'llama' needs scores, the file has none");
    return add_pairs(s, spec);
}

void spm_close(void *spm)
{
    struct spm *s = spm;
    if (!s)
        return;
    merges_clear(&s->merges);
    xfree(s);
}

/* --- encoding --- */

void *spm_begin(const void *spm, size_t text_bytes)
{
    struct spm_run *r = xcalloc(1, sizeof *r);
    r->spm = spm;
    r->work = merge_work_new(&r->spm->merges, text_bytes);
    return r;
}

void spm_end(void *run)
{
    struct spm_run *r = run;
    merge_work_free(r->work);
    buf_clear(&r->text);
    xfree(r);
}

/* Writes the symbols of one character: its token, or its bytes', or the unknown token. */
static int put_char(const struct spm *s, const char *p, int len, int32_t *id)
{
    unsigned char first = (unsigned char)p[0];
    int32_t token = first < 128 ? s->ascii[first] : vocab_find(s->v, p, (size_t)len);
    if (token >= 0) {
        *id = token;
        return 1;
    }
    for (int i = 0; i < len; i++) {
        id[i] = s->byte[(unsigned char)p[i]];
        if (id[i] < 0) {
            *id = s->unk;
            return s->unk >= 0;
        }
    }
    return len;
}

static void encode_word(struct spm_run *r, struct bytes word, struct tokens *out)
{
    if (word_cache_get(r->work, word, out))
        return;
    tokens_reserve(out, word.n);
    int32_t *id = out->id + out->n;
    int n = 0;
    for (size_t i = 0; i < word.n;) {
        uint32_t cp;
        int len = utf8_decode(word.p + i, word.n - i, &cp); /* 1 for a byte that is no UTF-8 */
        n += put_char(r->spm, word.p + i, len, id + n);
        i += (size_t)len;
    }
    n = merge_run(r->work, id, n);
    out->n += n;
    word_cache_put(r->work, word, id, n);
}

void spm_text(void *run, struct bytes text, bool after_token, struct tokens *out)
{
    struct spm_run *r = run;
    bool add_space = r->spm->add_space && after_token;
    if (add_space || memmem(text.p, text.n, BLANK, 3)) {
        buf_reset(&r->text);
        if (add_space)
            buf_putc(&r->text, ' ');
        with_blanks(text, &r->text);
        text = (struct bytes){r->text.data, r->text.len};
    }
    for (size_t at = 0, end; at < text.n; at = end) {
        end = text.n;
        for (size_t i = at + 1; r->spm->cut_before_blank && i < end; i++)
            if (text.p[i] == ' ' && text.p[i - 1] != ' ')
                end = i;
        encode_word(r, (struct bytes){text.p + at, end - at}, out);
    }
}
