/* decoder.c - a chain of functions from a token's spelling to its text.
 *
 * In the `tokenizers` package steps see the list of all tokens, but what they do to one depends
 * only on it and on whether it is the first; so two texts a token say everything, and decoding can
 * be incremental. What would need the end of the text (stripping there) is refused. */
#include "engine/text/decoder.h"

#include <string.h>

#include "engine/text/charprops.h"
#include "engine/text/normalizer.h"
#include "engine/text/regex.h"
#include "kernels/base/mem.h"

enum { MAX_STEPS = 64 };

struct step {
    enum decode_kind kind;
    int number;
    struct buf a, b;
    struct normalizer *replace; /* not NULL: this is all the step does */
};
struct decoder {
    struct step *step;
    int n;
};

struct decoder *decoder_new(void)
{
    return xcalloc(1, sizeof(struct decoder));
}

void decoder_free(struct decoder *d)
{
    if (!d)
        return;
    for (int i = 0; i < d->n; i++) {
        buf_clear(&d->step[i].a);
        buf_clear(&d->step[i].b);
        normalizer_free(d->step[i].replace);
    }
    xfree(d->step);
    xfree(d);
}

static enum status room(struct decoder *d)
{
    if (d->n == MAX_STEPS)
        return fail(ERR_UNSUPPORTED, "decoder: more than %d steps", MAX_STEPS);
    d->step = xrealloc(d->step, ((size_t)d->n + 1) * sizeof *d->step);
    return OK;
}

enum status decoder_add(struct decoder *d, enum decode_kind kind, int number, struct bytes a,
                        struct bytes b)
{
    TRY(room(d));
    struct step s = {.kind = kind, .number = number};
    buf_append(&s.a, a.p ? a.p : "", a.n);
    buf_append(&s.b, b.p ? b.p : "", b.n);
    d->step[d->n++] = s;
    return OK;
}

enum status decoder_add_replace(struct decoder *d, struct normalizer *n)
{
    enum status s = room(d);
    if (s != OK)
        normalizer_free(n);
    else
        d->step[d->n++] = (struct step){.replace = n};
    return s;
}

int fallback_byte(struct bytes s)
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

/* Every `from` in `text` becomes `to`. */
static void replace(struct buf *text, const struct buf *from, const char *to)
{
    struct buf out = {0};
    size_t at = 0;
    for (const char *p;
         from->len && (p = memmem(text->data + at, text->len - at, from->data, from->len));) {
        buf_append(&out, text->data + at, (size_t)(p - text->data) - at);
        buf_puts(&out, to);
        at = (size_t)(p - text->data) + from->len;
    }
    buf_append(&out, text->data + at, text->len - at);
    buf_clear(text);
    *text = out;
}

static void clean_up(struct buf *text)
{
    static const char *const rule[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++) {
        struct buf from = {(char *)(uintptr_t)rule[i][0], strlen(rule[i][0]), 0};
        replace(text, &from, rule[i][1]);
    }
}

static void strip(struct buf *text, const struct step *s)
{
    for (int i = 0; i < s->number && s->a.len > 0 && text->len >= s->a.len; i++) {
        if (memcmp(text->data, s->a.data, s->a.len) != 0)
            return;
        buf_drop(text, s->a.len);
    }
}

static void wordpiece(struct buf *text, const struct step *s, bool first)
{
    bool joined = text->len >= s->a.len && memcmp(text->data, s->a.data, s->a.len) == 0;
    if (!first && joined) {
        buf_drop(text, s->a.len);
    } else if (!first) {
        struct buf out = {0};
        buf_putc(&out, ' ');
        buf_append(&out, text->data, text->len);
        buf_clear(text);
        *text = out;
    }
    if (s->number)
        clean_up(text);
}

static void run_replace(const struct step *s, struct buf *text)
{
    struct normal_work w = {.regex = regex_work_new()};
    struct bytes to = normalizer_run(s->replace, &w, (struct bytes){text->data, text->len}, false);
    struct buf out = {0};
    buf_append(&out, to.p, to.n);
    buf_clear(text);
    *text = out;
    regex_work_free(w.regex);
    normal_work_clear(&w);
}

static void run_step(const struct step *s, bool added, bool first, struct buf *text)
{
    struct bytes all = {text->data, text->len};
    struct buf out = {0};
    int byte;
    switch (s->kind) {
    case DECODE_BYTES:
        if (!added && alphabet_decode(all, &out)) {
            buf_clear(text);
            buf_append(&out, "", 0);
            *text = out;
        } else {
            buf_clear(&out);
        }
        break;
    case DECODE_FALLBACK:
        byte = fallback_byte(all);
        if (byte >= 0) {
            buf_reset(text);
            buf_putc(text, (char)byte);
        }
        break;
    case DECODE_FUSE:
        break; /* the list of tokens becomes one: see decoder_piece */
    case DECODE_STRIP:
        strip(text, s);
        break;
    case DECODE_META:
        replace(text, &s->a, first && s->number ? "" : " ");
        break;
    case DECODE_WORDPIECE:
        wordpiece(text, s, first);
        break;
    case DECODE_SUFFIX:
        replace(text, &s->a, "");
        break;
    case DECODE_CTC:
        replace(text, &s->a, "");
        if (s->number) {
            clean_up(text);
            replace(text, &s->b, " ");
        }
        break;
    }
}

void decoder_piece(const struct decoder *d, struct bytes token, bool added, bool first,
                   struct buf *out)
{
    struct buf text = {0};
    bool fused = false;
    if (d->n == 0 && !first)
        buf_putc(&text, ' ');
    buf_append(&text, token.p, token.n);
    for (int i = 0; i < d->n; i++) {
        const struct step *s = &d->step[i];
        fused = fused || s->kind == DECODE_FUSE;
        if (s->replace)
            run_replace(s, &text);
        else if (s->kind != DECODE_STRIP || !fused || first)
            run_step(s, added, first, &text);
    }
    buf_append(out, text.data, text.len);
    buf_clear(&text);
}

bool decoder_ends_word(const struct decoder *d, struct bytes token)
{
    for (int i = 0; i < d->n; i++) {
        const struct step *s = &d->step[i];
        if (!s->replace && s->kind == DECODE_SUFFIX && s->a.len > 0 && token.n >= s->a.len &&
            memcmp(token.p + token.n - s->a.len, s->a.data, s->a.len) == 0)
            return true;
    }
    return false;
}

bool decoder_drops_repeats(const struct decoder *d)
{
    for (int i = 0; i < d->n; i++)
        if (!d->step[i].replace && d->step[i].kind == DECODE_CTC)
            return true;
    return false;
}
