/* splitter.c - the steps of tokenizer.json's "pre_tokenizer", run one inside the other: each piece
 * a step cuts off goes through all later steps before the next is looked for, so that no list of
 * pieces is ever kept.
 *
 * A step finds delimiters; what lies between them are segments too; the rule (enum cut) says how
 * both become pieces. At most one segment waits, for what the next one is. */
#include "engine/text/splitter.h"

#include <string.h>

#include "engine/text/charprops.h"
#include "engine/text/regex.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

enum { MAX_STEPS = 64 };

enum step_kind { /* first those that cut */
                 BY_REGEX,
                 BY_TEXT,
                 BY_CHARS,
                 BY_LENGTH,
                 TO_BLANK,
                 TO_META,
                 TO_BYTES
};
struct step {
    enum step_kind kind;
    enum cut cut;
    bool inverted;
    struct regex *regex;
    bool (*is)(uint32_t cp);
    struct buf text; /* the delimiter; the replacement */
    int number;      /* characters; enum prepend */
};
struct splitter {
    struct step *step;
    int n;
};
struct segment {
    size_t begin, end;
    bool delimiter;
};
struct split_run {
    const struct splitter *s;
    struct regex_work *regex;
    void (*word)(void *to, struct bytes word);
    void *to;
    struct buf *text; /* [n] of the steps that change it */
};
struct piece { /* of text, on its way through one step */
    struct split_run *run;
    int step;
    struct bytes text;
    bool at_start;
    struct segment waiting;
    bool waits, after_delimiter;
};

struct splitter *splitter_new(void)
{
    return xcalloc(1, sizeof(struct splitter));
}

void splitter_free(struct splitter *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n; i++) {
        regex_free(s->step[i].regex);
        buf_clear(&s->step[i].text);
    }
    xfree(s->step);
    xfree(s);
}

static enum status add(struct splitter *s, struct step step)
{
    if (s->n == MAX_STEPS)
        return fail(ERR_UNSUPPORTED, "pre-tokenizer: more than %d steps", MAX_STEPS);
    s->step = xrealloc(s->step, ((size_t)s->n + 1) * sizeof *s->step);
    s->step[s->n++] = step;
    return OK;
}

enum status splitter_add_regex(struct splitter *s, struct bytes pattern, bool onig, enum cut cut,
                               bool inverted)
{
    struct step step = {.kind = BY_REGEX, .cut = cut, .inverted = inverted};
    TRY(onig ? regex_new_onig(pattern, &step.regex) : regex_new(pattern, &step.regex));
    enum status status = add(s, step);
    if (status != OK)
        regex_free(step.regex);
    return status;
}

enum status splitter_add_text(struct splitter *s, struct bytes delimiter, enum cut cut,
                              bool inverted)
{
    if (delimiter.n == 0) /* it lies between all characters */
        return splitter_add_length(s, 1);
    TRY(add(s, (struct step){.kind = BY_TEXT, .cut = cut, .inverted = inverted}));
    buf_append(&s->step[s->n - 1].text, delimiter.p, delimiter.n);
    return OK;
}

enum status splitter_add_chars(struct splitter *s, bool (*is)(uint32_t cp), enum cut cut)
{
    return add(s, (struct step){.kind = BY_CHARS, .cut = cut, .is = is});
}

enum status splitter_add_length(struct splitter *s, int chars)
{
    if (chars <= 0)
        return fail(ERR_FORMAT, "pre-tokenizer: pieces of %d characters", chars);
    return add(s, (struct step){.kind = BY_LENGTH, .cut = CUT_ISOLATED, .number = chars});
}

enum status splitter_add_blank(struct splitter *s)
{
    return add(s, (struct step){.kind = TO_BLANK});
}

enum status splitter_add_meta(struct splitter *s, struct bytes replacement, enum prepend prepend)
{
    TRY(add(s, (struct step){.kind = TO_META, .number = prepend}));
    buf_append(&s->step[s->n - 1].text, replacement.p, replacement.n);
    return OK;
}

enum status splitter_add_bytes(struct splitter *s)
{
    return add(s, (struct step){.kind = TO_BYTES});
}

bool splitter_drop_bytes(struct splitter *s)
{
    if (!s || s->n == 0 || s->step[s->n - 1].kind != TO_BYTES)
        return false;
    s->n--; /* such a step owns nothing */
    return true;
}

struct split_run *split_run_new(const struct splitter *s, struct regex_work *w,
                                void (*word)(void *to, struct bytes word), void *to)
{
    struct split_run *r = xcalloc(1, sizeof *r);
    *r = (struct split_run){s, w, word, to, NULL};
    r->text = xcalloc(s ? (size_t)s->n + 1 : 1, sizeof *r->text);
    return r;
}

void split_run_free(struct split_run *r)
{
    if (!r)
        return;
    for (int i = 0; r->s && i < r->s->n; i++)
        buf_clear(&r->text[i]);
    xfree(r->text);
    xfree(r);
}

/* --- from segments to pieces --- */

static void run_step(struct split_run *r, int step, struct bytes text, bool at_start);

static void emit(struct piece *p, struct segment s)
{
    if (s.begin < s.end)
        run_step(p->run, p->step + 1, (struct bytes){p->text.p + s.begin, s.end - s.begin},
                 p->at_start && s.begin == 0);
}

static void flush(struct piece *p)
{
    if (p->waits)
        emit(p, p->waiting);
    p->waits = false;
}

static void wait_for(struct piece *p, struct segment s)
{
    flush(p);
    p->waiting = s;
    p->waits = true;
}

/* The next segment, in order. */
static void take(struct piece *p, size_t begin, size_t end, bool delimiter)
{
    const struct step *step = &p->run->s->step[p->step];
    struct segment s = {begin, end, delimiter != step->inverted};
    bool after_delimiter = p->after_delimiter;
    if (begin == end)
        return;
    p->after_delimiter = s.delimiter;
    switch (step->cut) {
    case CUT_REMOVED:
        if (!s.delimiter)
            emit(p, s);
        return;
    case CUT_ISOLATED:
        emit(p, s);
        return;
    case CUT_CONTIGUOUS:
        if (p->waits && p->waiting.delimiter == s.delimiter)
            p->waiting.end = end;
        else
            wait_for(p, s);
        return;
    case CUT_MERGED_PREVIOUS: /* of several only the first joins */
        if (p->waits && s.delimiter && !after_delimiter)
            p->waiting.end = end;
        else
            wait_for(p, s);
        return;
    case CUT_MERGED_NEXT: /* of several only the last joins */
        if (p->waits && p->waiting.delimiter && !s.delimiter)
            p->waiting = (struct segment){p->waiting.begin, end, false};
        else
            wait_for(p, s);
        return;
    }
}

/* --- finding delimiters --- */

static void by_regex(struct piece *p, const struct step *s)
{
    size_t from = 0, done = 0, begin, end;
    while (from < p->text.n && regex_find(s->regex, p->run->regex, p->text, from, &begin, &end)) {
        if (begin == end) { /* finds nothing: look again behind the next character */
            uint32_t cp;
            if (end >= p->text.n)
                break;
            from = end + (size_t)utf8_decode(p->text.p + end, p->text.n - end, &cp);
            take(p, done, begin, false);
            done = begin;
            continue;
        }
        take(p, done, begin, false);
        take(p, begin, end, true);
        done = from = end;
    }
    take(p, done, p->text.n, false);
}

static void by_text(struct piece *p, const struct step *s)
{
    size_t done = 0;
    for (;;) {
        const char *found = memmem(p->text.p + done, p->text.n - done, s->text.data, s->text.len);
        if (!found)
            break;
        size_t begin = (size_t)(found - p->text.p);
        take(p, done, begin, false);
        done = begin + s->text.len;
        take(p, begin, done, true);
    }
    take(p, done, p->text.n, false);
}

static void by_chars(struct piece *p, const struct step *s)
{
    size_t done = 0;
    for (size_t i = 0, len; i < p->text.n; i += len) {
        uint32_t cp;
        len = (size_t)utf8_decode(p->text.p + i, p->text.n - i, &cp);
        if (!s->is(cp))
            continue;
        take(p, done, i, false);
        take(p, i, i + len, true);
        done = i + len;
    }
    take(p, done, p->text.n, false);
}

static void by_length(struct piece *p, const struct step *s)
{
    size_t done = 0;
    int n = 0;
    for (size_t i = 0; i < p->text.n;) {
        uint32_t cp;
        i += (size_t)utf8_decode(p->text.p + i, p->text.n - i, &cp);
        if (++n % s->number == 0) {
            take(p, done, i, false);
            done = i;
        }
    }
    take(p, done, p->text.n, false);
}

/* --- changing the text --- */

static struct bytes with_blank(struct buf *out, struct bytes text)
{
    if (text.p[0] == ' ')
        return text;
    buf_reset(out);
    buf_putc(out, ' ');
    buf_append(out, text.p, text.n);
    return (struct bytes){out->data, out->len};
}

static struct bytes with_meta(const struct step *s, struct buf *out, struct bytes text,
                              bool at_start)
{
    bool starts = text.p[0] == ' ' ||
                  (text.n >= s->text.len && memcmp(text.p, s->text.data, s->text.len) == 0);
    buf_reset(out);
    if (!starts && (s->number == PREPEND_ALWAYS || (s->number == PREPEND_FIRST && at_start)))
        buf_append(out, s->text.data, s->text.len);
    for (size_t i = 0; i < text.n;) {
        const char *blank = memchr(text.p + i, ' ', text.n - i);
        size_t end = blank ? (size_t)(blank - text.p) : text.n;
        buf_append(out, text.p + i, end - i);
        if (blank)
            buf_append(out, s->text.data, s->text.len);
        i = end + (blank != NULL);
    }
    return (struct bytes){out->data, out->len};
}

static struct bytes with_alphabet(struct buf *out, struct bytes text)
{
    buf_reset(out);
    for (size_t i = 0; i < text.n; i++)
        alphabet_append(out, (unsigned char)text.p[i]);
    return (struct bytes){out->data, out->len};
}

/* A single character is a piece already, unless it is one to be dropped. */
static bool is_whole(const struct step *s, struct bytes text)
{
    uint32_t cp;
    return s->kind <= BY_LENGTH && s->cut != CUT_REMOVED &&
           (text.n == 1 || (text.n <= 4 && (size_t)utf8_decode(text.p, text.n, &cp) == text.n));
}

static void run_step(struct split_run *r, int step, struct bytes text, bool at_start)
{
    while (r->s && step < r->s->n && is_whole(&r->s->step[step], text))
        step++;
    if (!r->s || step == r->s->n) {
        r->word(r->to, text);
        return;
    }
    const struct step *s = &r->s->step[step];
    struct piece p = {.run = r, .step = step, .text = text, .at_start = at_start};
    switch (s->kind) {
    case BY_REGEX:
        by_regex(&p, s);
        break;
    case BY_TEXT:
        by_text(&p, s);
        break;
    case BY_CHARS:
        by_chars(&p, s);
        break;
    case BY_LENGTH:
        by_length(&p, s);
        break;
    case TO_BLANK:
        run_step(r, step + 1, with_blank(&r->text[step], text), at_start);
        return;
    case TO_META:
        run_step(r, step + 1, with_meta(s, &r->text[step], text, at_start), at_start);
        return;
    case TO_BYTES:
        run_step(r, step + 1, with_alphabet(&r->text[step], text), at_start);
        return;
    }
    flush(&p);
}

void split_run_text(struct split_run *r, struct bytes text, bool at_start)
{
    if (text.n > 0)
        run_step(r, 0, text, at_start);
}
