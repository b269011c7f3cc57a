/* spm.c - SentencePiece BPE. It joins whichever two neighbours make the token of highest score; as
 * a table of pairs (every cut of every token into two tokens) that is BPE with the scores as ranks.
 *
 * SentencePiece writes a blank as U+2581; here it is a blank again, in tokens and in text alike, so
 * a literal U+2581 in the text is read as a blank, as there. */
#include "engine/text/spm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/decoder.h"
#include "kernels/base/mem.h"

static const char BLANK[] = "\xe2\x96\x81"; /* U+2581 */

enum { /* what a real vocabulary stays far below: the table is quadratic in a token's length */
       MAX_TOKEN = 1024,
       MAX_CUTS = 1 << 24
};

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

/* All cuts of token `id` into two tokens, between characters or anywhere; with `m` they are added
 * to it. Returns how many. */
static size_t cuts(const struct vocab *v, int32_t id, bool anywhere, int32_t rank, struct merges *m)
{
    struct bytes piece = vocab_piece(v, id);
    size_t n = 0;
    for (size_t i = 1; i < piece.n; i++) {
        if (!anywhere && !is_char_start(piece.p[i]))
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

enum status spm_merges(const struct tokenizer_spec *spec, const struct vocab *v, bool by_id,
                       struct merges *m)
{
    if (!by_id && !spec->score)
        return fail(ERR_FORMAT, "tokenizer: model 'llama' needs scores, the file has none");
    struct scored *list = xmalloc((size_t)v->n * sizeof *list);
    size_t n = 0, n_cuts = 0;
    enum status status = OK;
    for (int32_t id = 0; id < v->n && status == OK; id++) {
        if (v->type[id] != TOKEN_NORMAL)
            continue;
        if (!by_id && isnan(spec->score[id]))
            status = fail(ERR_FORMAT, "tokenizer: the score of token %d is not a number", id);
        if (vocab_piece(v, id).n > MAX_TOKEN)
            status = fail(ERR_FORMAT, "tokenizer: token %d has more than %d bytes", id, MAX_TOKEN);
        list[n++] = (struct scored){by_id ? -(float)id : spec->score[id], id};
        n_cuts += cuts(v, id, by_id, 0, NULL);
    }
    if (status == OK && n_cuts > MAX_CUTS)
        status = fail(ERR_FORMAT, "tokenizer: the tokens have %zu characters, at most %d", n_cuts,
                      MAX_CUTS);
    if (status == OK) {
        qsort(list, n, sizeof *list, by_score);
        merges_init(m, n_cuts);
        int32_t rank = 0;
        for (size_t i = 0; i < n; i++) {
            rank += i > 0 && list[i].score != list[i - 1].score;
            cuts(v, list[i].id, by_id, rank, m);
        }
        m->n_ranks = rank + 1;
    }
    xfree(list);
    return status;
}
