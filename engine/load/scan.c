/* scan.c - a pull reader of JSON. Nesting is counted, not recursed into, so depth costs nothing. */
#include "engine/load/scan.h"

#include <string.h>

static enum status refuse(const struct scan *s, const char *expected)
{
    return fail(ERR_FORMAT, "not the JSON it should be at byte %zu: expected %s", s->at, expected);
}

static void blanks(struct scan *s)
{
    while (s->at < s->n && s->p[s->at] && strchr(" \t\r\n", s->p[s->at]))
        s->at++;
}

bool scan_take(struct scan *s, char c)
{
    blanks(s);
    if (s->at == s->n || s->p[s->at] != c)
        return false;
    s->at++;
    return true;
}

enum status scan_expect(struct scan *s, char c)
{
    char text[] = "'?'";

    text[1] = c;
    return scan_take(s, c) ? OK : refuse(s, text);
}

enum status scan_string(struct scan *s, struct bytes *out)
{
    const char *end;

    if (!scan_take(s, '"'))
        return refuse(s, "a string");
    end = memchr(s->p + s->at, '"', s->n - s->at);
    if (!end)
        return refuse(s, "a string that ends");
    *out = (struct bytes){s->p + s->at, (size_t)(end - (s->p + s->at))};
    if (memchr(out->p, '\\', out->n))
        return refuse(s, "a string without escapes");
    s->at += out->n + 1;
    return OK;
}

enum status scan_count(struct scan *s, uint64_t *out)
{
    size_t start;
    uint64_t v = 0;

    blanks(s);
    start = s->at;
    for (; s->at < s->n && s->p[s->at] >= '0' && s->p[s->at] <= '9'; s->at++) {
        unsigned digit = (unsigned)(s->p[s->at] - '0');

        if (v > ((uint64_t)INT64_MAX - digit) / 10)
            return refuse(s, "a number below 2^63");
        v = v * 10 + digit;
    }
    if (s->at == start || (s->at < s->n && s->p[s->at] && strchr(".eE", s->p[s->at])))
        return refuse(s, "a whole number");
    *out = v;
    return OK;
}

/* Behind a string that may have escapes; its opening quote is taken. */
static enum status skip_string(struct scan *s)
{
    for (; s->at < s->n && s->p[s->at] != '"'; s->at++)
        s->at += s->p[s->at] == '\\' && s->at + 1 < s->n;
    return scan_expect(s, '"');
}

enum status scan_skip(struct scan *s)
{
    int64_t depth = 0;

    do {
        if (scan_take(s, '"')) {
            TRY(skip_string(s));
        } else if (scan_take(s, '{') || scan_take(s, '[')) {
            depth++;
        } else if (depth && (scan_take(s, '}') || scan_take(s, ']'))) {
            depth--;
        } else if (depth && (scan_take(s, ',') || scan_take(s, ':'))) {
            continue;
        } else { /* a number or a word */
            size_t start = s->at;

            while (s->at < s->n && s->p[s->at] && !strchr(" \t\r\n,:]}[{\"", s->p[s->at]))
                s->at++;
            if (s->at == start)
                return refuse(s, "a value");
        }
    } while (depth);
    return OK;
}

enum status scan_end(struct scan *s)
{
    blanks(s);
    return s->at == s->n ? OK : refuse(s, "the end");
}

enum status scan_next(struct scan *s, char close, int64_t n, bool *more)
{
    *more = !scan_take(s, close);
    return *more && n ? scan_expect(s, ',') : OK;
}

enum status scan_key(struct scan *s, struct bytes *key)
{
    TRY(scan_string(s, key));
    return scan_expect(s, ':');
}
