/* jinja_wrap.c - the filter wordwrap: Python's textwrap, line by line.
 *
 * A line is cut into chunks (words, blanks, parts between hyphens) by Python's own pattern; then
 * lines are filled with chunks. The pattern's matcher lives between two calls that cannot raise. */
#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_filters.h"
#include "engine/text/jinja_str.h"
#include "engine/text/regex.h"
#include "kernels/base/utf8.h"

#define WORD   "\\p{L}\\p{N}_"
#define SIGN   "[" WORD "!\"'&.,?]"
#define LETTER "[\\p{L}\\p{Nl}\\p{No}_]"
#define BLANK  "[\\t-\\r ]"
#define OTHER  "[^\\t-\\r ]"
/* Blanks; a dash between words; a word up to a hyphen in it, to its end, or to a dash. */
static const char hyphenated[] = BLANK
    "+|(?<=" SIGN ")-{2,}(?=[" WORD "])|" OTHER "+?(?:-(?:(?<=" LETTER LETTER "-)|(?<=" LETTER
    "-" LETTER "-))(?=" LETTER "-?" LETTER ")|(?=" BLANK "|\\z)|(?<=" SIGN ")(?=-{2,}[" WORD "]))";
static const char simple[] = BLANK "+|" OTHER "+";

struct wrap {
    struct jinja *j;
    struct jval line, separator;
    size_t *end; /* [n] of the chunks, in bytes */
    size_t n;
    int64_t width;
    bool break_words, hyphens;
    bool any; /* something has been written */
};

/* Finds the chunks; never raises. */
static void cut(struct wrap *w, const struct regex *r)
{
    const struct jstr *s = w->line.s;
    struct regex_work *work = regex_work_new();
    size_t at = 0, begin, end;
    w->n = 0;
    while (at < s->n && regex_find(r, work, (struct bytes){s->p, s->n}, at, &begin, &end)) {
        if (begin > at) /* what the pattern leaves out */
            w->end[w->n++] = begin;
        if (end > begin)
            w->end[w->n++] = end;
        at = end > at ? end : s->n;
    }
    if (w->n == 0 || w->end[w->n - 1] < s->n)
        w->end[w->n++] = s->n;
    regex_work_free(work);
}

static bool all_blank(const struct jstr *s, size_t from, size_t to)
{
    while (from < to) {
        uint32_t cp;
        from += (size_t)utf8_decode(s->p + from, to - from, &cp);
        if (!js_is(cp, JCLASS_SPACE))
            return false;
    }
    return true;
}

static int64_t chars(const struct jstr *s, size_t from, size_t to)
{
    return (int64_t)js_count(s->p + from, to - from);
}

/* Where a word that is too long is cut so that `room` characters of it fit. */
static size_t cut_word(const struct wrap *w, size_t from, size_t to, int64_t room)
{
    const struct jstr *s = w->line.s;
    size_t end = from, hyphen = 0;
    bool other = false; /* a character that is no hyphen came before */
    for (int64_t i = 0; i < room && end < to; i++) {
        if (s->p[end] == '-' && other)
            hyphen = end + 1;
        other = other || s->p[end] != '-';
        end += js_char_bytes(s->p, s->n, end);
    }
    return w->hyphens && hyphen > 0 && chars(s, from, to) > room ? hyphen : end;
}

static void put_line(struct wrap *w, size_t from, size_t to)
{
    if (w->any)
        jinja_write(w->j, w->separator.s->p, w->separator.s->n);
    w->any = true;
    jinja_write(w->j, w->line.s->p + from, to - from);
}

/* A line of the result is a stretch of the source line, chunks being dropped only at its ends. */
static void fill(struct wrap *w)
{
    const struct jstr *s = w->line.s;
    size_t at = 0, i = 0; /* where the next chunk begins, and which it is */
    bool lines = false;
    while (i < w->n) {
        int64_t used = 0;
        if (lines && all_blank(s, at, w->end[i]))
            at = w->end[i++];
        size_t from = at, last = at; /* the line, and where its last chunk begins */
        for (int64_t n; i < w->n && used + (n = chars(s, at, w->end[i])) <= w->width; used += n) {
            last = at;
            at = w->end[i++];
        }
        if (i < w->n && chars(s, at, w->end[i]) > w->width && (w->break_words || at == from)) {
            last = at;
            at = w->break_words ? cut_word(w, at, w->end[i], w->width - used) : w->end[i];
            i += at == w->end[i];
        }
        size_t to = last < at && all_blank(s, last, at) ? last : at;
        if (to > from) {
            put_line(w, from, to);
            lines = true;
        }
        jinja_charge(w->j, 1);
    }
}

static bool flag(struct jinja *j, struct jval v, bool absent)
{
    return v.type == JV_MISSING ? absent : jv_truth(j, v);
}

struct jval jf_wordwrap(struct jinja *j, struct jval v, const struct jargs *a)
{
    struct wrap w = {.j = j, .width = 79};
    if (v.type == JV_UNDEFINED)
        jv_raise_undefined(j, v);
    if (v.type != JV_STR)
        jinja_raise(j, "'%s' object has no attribute 'splitlines'", jv_type_name(v));
    if (a->v[0].type != JV_MISSING && !jv_is_integer(a->v[0]))
        jinja_raise(j, "wordwrap takes an integer as width, not %s", jv_type_name(a->v[0]));
    w.width = a->v[0].type == JV_MISSING ? 79 : jv_as_int(a->v[0]);
    w.break_words = flag(j, a->v[1], true);
    bool newline = a->v[2].type == JV_MISSING || a->v[2].type == JV_NONE;
    w.separator = newline ? jv_text(j, "\n") : a->v[2];
    w.hyphens = flag(j, a->v[3], true);
    if (w.separator.type != JV_STR)
        jinja_raise(j, "wordwrap takes text as wrapstring, not %s", jv_type_name(w.separator));
    const struct jlist *l = js_lines(j, v, false).l;
    size_t mark = j->out->len;
    if (w.width <= 0 && l->n > 0)
        jinja_raise(j, "invalid width %lld (must be > 0)", (long long)w.width);
    w.end = jinja_array(j, v.s->n + 1, sizeof *w.end);
    jinja_charge(j, v.s->n / 4 + 16 * l->n);
    struct regex *r = NULL;
    for (size_t i = 0; i < l->n; i++) {
        w.line = l->v[i];
        if (i > 0)
            jinja_write(j, w.separator.s->p, w.separator.s->n);
        w.any = false;
        if (w.line.s->n == 0)
            continue;
        if (regex_new(bytes_of(w.hyphens ? hyphenated : simple), &r) != OK)
            jinja_raise(j, "%s", fail_text());
        cut(&w, r);
        regex_free(r);
        fill(&w);
    }
    return jx_capture(j, mark);
}
