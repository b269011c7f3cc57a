/* normalizer.c - the steps of tokenizer.json's "normalizer", each from a text to a buffer. A step
 * that changes nothing says so, and the text is not copied. */
#include "engine/text/normalizer.h"

#include <string.h>
#include <utf8proc.h>

#include "engine/text/charprops.h"
#include "engine/text/charsmap.h"
#include "engine/text/regex.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

enum { MAX_STEPS = 256 };

struct step {
    enum normal_kind kind;
    int number;
    struct buf from, to;
    struct regex *regex;
    struct charsmap *map;
};
struct normalizer {
    struct step *step;
    int n;
};

struct normalizer *normalizer_new(void)
{
    return xcalloc(1, sizeof(struct normalizer));
}

void normalizer_free(struct normalizer *n)
{
    if (!n)
        return;
    for (int i = 0; i < n->n; i++) {
        buf_clear(&n->step[i].from);
        buf_clear(&n->step[i].to);
        regex_free(n->step[i].regex);
        charsmap_free(n->step[i].map);
    }
    xfree(n->step);
    xfree(n);
}

bool normalizer_is_empty(const struct normalizer *n)
{
    return !n || n->n == 0;
}

enum status normalizer_add(struct normalizer *n, enum normal_kind kind, int number,
                           struct bytes from, struct bytes to)
{
    if (n->n == MAX_STEPS)
        return fail(ERR_UNSUPPORTED, "normalizer: more than %d steps", MAX_STEPS);
    struct step s = {.kind = kind, .number = number};
    if (kind == NORMAL_CHARSMAP)
        TRY(charsmap_new(from, &s.map));
    else
        buf_append(&s.from, from.p ? from.p : "", from.n);
    buf_append(&s.to, to.p ? to.p : "", to.n);
    n->step = xrealloc(n->step, ((size_t)n->n + 1) * sizeof *n->step);
    n->step[n->n++] = s;
    return OK;
}

enum status normalizer_add_regex(struct normalizer *n, struct bytes onig, struct bytes to)
{
    struct regex *regex;
    TRY(regex_new_onig(onig, &regex));
    enum status s = normalizer_add(n, NORMAL_REPLACE, 0, (struct bytes){"", 0}, to);
    if (s == OK)
        n->step[n->n - 1].regex = regex;
    else
        regex_free(regex);
    return s;
}

void normal_work_clear(struct normal_work *w)
{
    buf_clear(&w->buf[0]);
    buf_clear(&w->buf[1]);
}

/* --- steps that look at one character after the other --- */

static void put(struct buf *out, uint32_t cp)
{
    char utf8[4];
    buf_append(out, utf8, (size_t)utf8_encode(cp, utf8));
}

/* U+0130 is the one character whose lower case is two. */
static void lower(uint32_t cp, struct buf *out)
{
    if (cp < 128) {
        buf_putc(out, (char)(cp >= 'A' && cp <= 'Z' ? cp + 32 : cp));
        return;
    }
    if (cp == 0x130)
        buf_puts(out, "i\xcc\x87");
    else
        put(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
}

static void bert_clean(uint32_t cp, struct buf *out)
{
    bool line = cp == '\t' || cp == '\n' || cp == '\r';
    if (!line && (cp == 0 || cp == 0xfffd || char_is_other(cp)))
        return;
    put(out, char_is_white(cp) ? ' ' : cp);
}

static void pad_ideograph(uint32_t cp, struct buf *out)
{
    bool pad = char_is_ideograph(cp);
    if (pad)
        buf_putc(out, ' ');
    put(out, cp);
    if (pad)
        buf_putc(out, ' ');
}

static void drop_nonspacing(uint32_t cp, struct buf *out)
{
    if (!char_is_nonspacing(cp))
        put(out, cp);
}

static void drop_marks(uint32_t cp, struct buf *out)
{
    if (!char_is_mark(cp))
        put(out, cp);
}

static void nmt(uint32_t cp, struct buf *out)
{
    bool dropped = (cp >= 1 && cp <= 8) || cp == 0xb || (cp >= 0xe && cp <= 0x1f) || cp == 0x7f ||
                   cp == 0x8f || cp == 0x9f;
    bool blank = cp == 9 || cp == 0xa || cp == 0xc || cp == 0xd || cp == 0x1680 ||
                 (cp >= 0x200b && cp <= 0x200f) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
                 cp == 0xfeff || cp == 0xfffd;
    if (!dropped)
        put(out, blank ? ' ' : cp);
}

static void as_alphabet(uint32_t cp, struct buf *out)
{
    char utf8[4];
    int n = utf8_encode(cp, utf8);
    for (int i = 0; i < n; i++)
        alphabet_append(out, (unsigned char)utf8[i]);
}

static bool each(struct bytes text, void (*how)(uint32_t cp, struct buf *out), struct buf *out)
{
    for (size_t i = 0; i < text.n;) {
        uint32_t cp;
        i += (size_t)utf8_decode(text.p + i, text.n - i, &cp);
        how(cp, out);
    }
    return true;
}

/* --- the others; each returns whether it wrote to `out` --- */

static size_t blank_before(const char *p, size_t n)
{
    size_t i = n - 1;
    while (i > 0 && ((unsigned char)p[i] & 0xc0) == 0x80)
        i--;
    uint32_t cp;
    utf8_decode(p + i, n - i, &cp);
    return char_is_white(cp) ? n - i : 0;
}

static bool strip(struct bytes text, int where, struct buf *out)
{
    size_t begin = 0, end = text.n;
    for (uint32_t cp; (where & STRIP_LEFT) && begin < end;) {
        int len = utf8_decode(text.p + begin, end - begin, &cp);
        if (!char_is_white(cp))
            break;
        begin += (size_t)len;
    }
    for (size_t k; (where & STRIP_RIGHT) && end > begin; end -= k)
        if (!(k = blank_before(text.p + begin, end - begin)))
            break;
    buf_append(out, text.p + begin, end - begin);
    return true;
}

static bool replace_text(const struct step *s, struct bytes text, struct buf *out)
{
    if (s->from.len == 0 || !memmem(text.p, text.n, s->from.data, s->from.len))
        return false;
    for (size_t at = 0;;) {
        const char *found = memmem(text.p + at, text.n - at, s->from.data, s->from.len);
        size_t end = found ? (size_t)(found - text.p) : text.n;
        buf_append(out, text.p + at, end - at);
        if (!found)
            return true;
        buf_append(out, s->to.data, s->to.len);
        at = end + s->from.len;
    }
}

static bool replace_matches(const struct step *s, struct regex_work *w, struct bytes text,
                            struct buf *out)
{
    size_t at = 0, from = 0, begin, end;
    while (from <= text.n && regex_find(s->regex, w, text, from, &begin, &end)) {
        buf_append(out, text.p + at, begin - at);
        buf_append(out, s->to.data, s->to.len);
        at = from = end;
        if (begin == end) { /* an empty match: go on behind the next character */
            uint32_t cp;
            if (end == text.n)
                break;
            from += (size_t)utf8_decode(text.p + end, text.n - end, &cp);
        }
    }
    buf_append(out, text.p + at, text.n - at);
    return true;
}

static bool prepend(const struct step *s, struct bytes text, struct buf *out)
{
    if (text.n == 0)
        return false;
    buf_append(out, s->to.data, s->to.len);
    buf_append(out, text.p, text.n);
    return true;
}

static bool run_step(const struct step *s, struct regex_work *w, struct bytes text, struct buf *out)
{
    buf_reset(out);
    switch (s->kind) {
    case NORMAL_FORM:
        return normal_form((enum normal_form)s->number, text, out);
    case NORMAL_LOWERCASE:
        return each(text, lower, out);
    case NORMAL_STRIP_ACCENTS:
        return each(text, drop_marks, out);
    case NORMAL_STRIP:
        return strip(text, s->number, out);
    case NORMAL_REPLACE:
        return s->regex ? replace_matches(s, w, text, out) : replace_text(s, text, out);
    case NORMAL_PREPEND:
        return prepend(s, text, out);
    case NORMAL_NMT:
        return each(text, nmt, out);
    case NORMAL_CHARSMAP:
        charsmap_apply(s->map, text, out);
        return true;
    case NORMAL_BYTES:
        return each(text, as_alphabet, out);
    case NORMAL_BERT:
        break; /* several, see below */
    }
    return false;
}

/* Swaps the buffers when the step wrote. */
struct flow {
    struct normal_work *w;
    struct bytes text;
    int free; /* the buffer that does not hold the text */
};

/* Whether the step takes the first character away: the text then does not begin where it did. */
static bool drops_head(const struct step *s, struct bytes text)
{
    uint32_t cp;
    if (text.n == 0)
        return false;
    utf8_decode(text.p, text.n, &cp);
    struct buf out = {0};
    void (*how)(uint32_t, struct buf *) = s->kind == NORMAL_NMT             ? nmt
                                          : s->kind == NORMAL_STRIP_ACCENTS ? drop_marks
                                          : s->kind == NORMAL_BERT          ? bert_clean
                                                                            : NULL;
    if (s->kind == NORMAL_STRIP)
        return (s->number & STRIP_LEFT) && char_is_white(cp);
    if (!how || (s->kind == NORMAL_BERT && !(s->number & BERT_CLEAN)))
        return false;
    how(cp, &out);
    bool dropped = out.len == 0;
    buf_clear(&out);
    return dropped;
}

static void flow(struct flow *f, bool wrote)
{
    if (!wrote)
        return;
    const struct buf *out = &f->w->buf[f->free];
    f->text = (struct bytes){out->data ? out->data : "", out->len};
    f->free = !f->free;
}

static void flow_each(struct flow *f, void (*how)(uint32_t cp, struct buf *out))
{
    buf_reset(&f->w->buf[f->free]);
    flow(f, each(f->text, how, &f->w->buf[f->free]));
}

static void flow_bert(struct flow *f, int how)
{
    if (how & BERT_CLEAN)
        flow_each(f, bert_clean);
    if (how & BERT_IDEOGRAPHS)
        flow_each(f, pad_ideograph);
    if (how & BERT_ACCENTS) {
        buf_reset(&f->w->buf[f->free]);
        flow(f, normal_form(NORMAL_NFD, f->text, &f->w->buf[f->free]));
        flow_each(f, drop_nonspacing);
    }
    if (how & BERT_LOWERCASE)
        flow_each(f, lower);
}

struct bytes normalizer_run(const struct normalizer *n, struct normal_work *w, struct bytes text,
                            bool goes_on)
{
    struct flow f = {w, text, 0};
    w->lost_head = false;
    for (int i = 0; n && i < n->n; i++) {
        if (n->step[i].kind == NORMAL_PREPEND && goes_on)
            continue;
        w->lost_head = w->lost_head || drops_head(&n->step[i], f.text);
        if (n->step[i].kind == NORMAL_BERT)
            flow_bert(&f, n->step[i].number);
        else
            flow(&f, run_step(&n->step[i], w->regex, f.text, &w->buf[f.free]));
    }
    return f.text;
}
