/* logprobs.c - see logprobs.h.
 *
 * chat: {"content":[{"token","logprob","bytes","top_logprobs":[{"token","logprob","bytes"}]}],
 *        "refusal":null}
 * text: {"tokens":[],"token_logprobs":[],"top_logprobs":[{token:logprob}],"text_offset":[]}, where
 * the first prompt token has null twice, and the dictionary has the chosen token besides the best
 * ones. Evaluation harnesses take the dictionary's largest value for the greedy choice. */
#include "api/logprobs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/utf8.h"

/* Parts of the text shape, in the order they are printed. */
enum { TOKENS, TOKEN_LOGPROBS, TOP_LOGPROBS, TEXT_OFFSET };

/* The shortest text that gives the float back. Minus infinity is -9999, as OpenAI writes it. */
static void write_logprob(struct buf *out, float v)
{
    char text[32];

    if (!isfinite(v))
        v = -9999;
    for (int precision = 6; precision <= 9; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    buf_puts(out, text);
}

static void separate(struct buf *b)
{
    if (b->len)
        buf_putc(b, ',');
}

static void write_token(struct buf *out, struct bytes piece, float logprob)
{
    buf_puts(out, "{\"token\":");
    json_write_string(out, piece.p, piece.n);
    buf_puts(out, ",\"logprob\":");
    write_logprob(out, logprob);
    buf_puts(out, ",\"bytes\":[");
    for (size_t i = 0; i < piece.n; i++)
        buf_printf(out, "%s%d", i ? "," : "", (unsigned char)piece.p[i]);
    buf_putc(out, ']');
}

void logprobs_add_chat(struct logprobs *l, const struct model *m, const struct token_info *t)
{
    struct buf *out = &l->part[0];

    separate(out);
    write_token(out, model_piece(m, t->token), t->logprob);
    buf_puts(out, ",\"top_logprobs\":[");
    for (int i = 0; i < t->n_top; i++) {
        if (i)
            buf_putc(out, ',');
        write_token(out, model_piece(m, t->top[i].token), t->top[i].logprob);
        buf_putc(out, '}');
    }
    buf_puts(out, "]}");
    l->n++;
}

/* A token's name in the text shape: its text, or "bytes:\xe2\x80" when it is a part of a character,
 * so that different tokens keep different names. */
static void write_name(struct buf *out, struct bytes piece)
{
    if (utf8_valid_prefix(piece.p, piece.n) == piece.n) {
        json_write_string(out, piece.p, piece.n);
        return;
    }
    buf_puts(out, "\"bytes:");
    for (size_t i = 0; i < piece.n; i++)
        buf_printf(out, "\\\\x%02x", (unsigned char)piece.p[i]);
    buf_putc(out, '"');
}

static bool same_name(const struct model *m, int32_t a, int32_t b)
{
    struct bytes x = model_piece(m, a), y = model_piece(m, b);

    return a == b || (x.n == y.n && memcmp(x.p, y.p, x.n) == 0);
}

/* The best tokens, then the chosen one unless it is among them; of equal names the first. */
static void write_top(struct buf *out, const struct model *m, const struct token_info *t)
{
    const struct token_logprob chosen = {t->token, t->logprob};

    buf_putc(out, '{');
    for (int i = 0; i <= t->n_top; i++) {
        const struct token_logprob *x = i < t->n_top ? &t->top[i] : &chosen;
        bool seen = false;

        for (int j = 0; j < i && !seen; j++)
            seen = same_name(m, t->top[j].token, x->token);
        if (seen)
            continue;
        if (i)
            buf_putc(out, ',');
        write_name(out, model_piece(m, x->token));
        buf_putc(out, ':');
        write_logprob(out, x->logprob);
    }
    buf_putc(out, '}');
}

/* Characters that begin in these bytes: a character counts at the token that begins it. */
static int count_characters(struct bytes piece)
{
    int n = 0;

    for (size_t i = 0; i < piece.n; i++)
        n += ((unsigned char)piece.p[i] & 0xc0) != 0x80;
    return n;
}

/* Characters of the text that a token of an echoed prompt stands for: those of its piece, without
 * the space that some tokenizers put before a text, and none when the piece is not there: a BOS
 * that the tokenizer added. */
static int echo_characters(struct bytes *text, struct bytes piece)
{
    bool there = piece.n <= text->n && memcmp(piece.p, text->p, piece.n) == 0;

    if (!there && piece.n && piece.p[0] == ' ') {
        piece = (struct bytes){piece.p + 1, piece.n - 1};
        there = piece.n <= text->n && memcmp(piece.p, text->p, piece.n) == 0;
    }
    if (!there)
        return 0;
    *text = (struct bytes){text->p + piece.n, text->n - piece.n};
    return count_characters(piece);
}

static void add_text(struct logprobs *l, const struct model *m, const struct token_info *t,
                     int characters)
{
    struct bytes piece = model_piece(m, t->token);

    for (int i = 0; i < LOGPROB_PARTS; i++)
        separate(&l->part[i]);
    write_name(&l->part[TOKENS], piece);
    if (isnan(t->logprob)) {
        buf_puts(&l->part[TOKEN_LOGPROBS], "null");
        buf_puts(&l->part[TOP_LOGPROBS], "null");
    } else {
        write_logprob(&l->part[TOKEN_LOGPROBS], t->logprob);
        write_top(&l->part[TOP_LOGPROBS], m, t);
    }
    buf_printf(&l->part[TEXT_OFFSET], "%lld", (long long)l->offset);
    l->offset += characters;
    l->n++;
}

void logprobs_add_text(struct logprobs *l, const struct model *m, const struct token_info *t)
{
    add_text(l, m, t, count_characters(model_piece(m, t->token)));
}

void logprobs_add_prompt(struct logprobs *l, const struct model *m, struct bytes text,
                         const struct event *e)
{
    struct bytes rest = text;

    for (int i = 0; i < e->n_tokens; i++) {
        int n = echo_characters(&rest, model_piece(m, e->token[i].token));

        add_text(l, m, &e->token[i], n);
    }
    l->offset = count_characters(text);
}

static void write_items(struct buf *out, const char *name, const struct buf *items)
{
    buf_printf(out, "\"%s\":[", name);
    buf_append(out, items->data, items->len);
    buf_putc(out, ']');
}

void logprobs_write_chat(const struct logprobs *l, struct buf *out)
{
    buf_putc(out, '{');
    write_items(out, "content", &l->part[0]);
    buf_puts(out, ",\"refusal\":null}");
}

void logprobs_write_text(const struct logprobs *l, struct buf *out)
{
    static const char *const name[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};

    buf_putc(out, '{');
    for (int i = 0; i < LOGPROB_PARTS; i++) {
        if (i)
            buf_putc(out, ',');
        write_items(out, name[i], &l->part[i]);
    }
    buf_putc(out, '}');
}

void logprobs_reset(struct logprobs *l)
{
    for (int i = 0; i < LOGPROB_PARTS; i++)
        buf_reset(&l->part[i]);
    l->n = 0;
}

void logprobs_clear(struct logprobs *l)
{
    for (int i = 0; i < LOGPROB_PARTS; i++)
        buf_clear(&l->part[i]);
}
