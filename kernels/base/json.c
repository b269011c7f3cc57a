/* json.c - three passes over a text: check, cJSON, copy.
 *
 * The check is a full RFC 8259 parser without a result: cJSON takes more than JSON ("01", "1.", raw
 * line feeds in strings, text behind a NUL) and loses what we keep (where a number stood, which key
 * came twice). It notes where each number lies; what it lets through, cJSON reads without surprise,
 * and the copy turns cJSON's tree into ours, taking the numbers' source texts in document order. */
#include "kernels/base/json.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/map.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

/* cJSON copies a number into 64 bytes and stops at the end of them; longer ones are hidden from it.
 */
enum { CJSON_NUMBER_MAX = 60 };
/* Objects with at most this many keys compare each with each; larger ones use a map. */
enum { FEW_KEYS = 12 };

struct span {
    size_t at, n;
};

struct name {    /* a key of an object that is still open */
    size_t at;   /* where it stands in the text */
    size_t from; /* decoded, in check.names */
    size_t n;
};

struct check {
    const char *text;
    size_t n, at;
    int depth;
    struct span *number; /* every number, in document order */
    size_t n_numbers, cap_numbers;
    bool long_number;
    struct buf names; /* decoded keys of the open objects, innermost last */
    struct name *name;
    size_t n_names, cap_names;
};

static enum status check_value(struct check *c);

static enum status refuse_at(size_t at, const char *why)
{
    return fail(ERR_JSON, "invalid JSON at byte %zu: %s", at, why);
}

static enum status refuse(const struct check *c, const char *why)
{
    return refuse_at(c->at, c->at < c->n ? why : "the text ends too early");
}

/* Room for one more item in a growing array. */
static void *room(void *items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return items;
    *cap = *cap ? *cap * 2 : 32;
    return xrealloc(items, *cap * size);
}

static int peek(const struct check *c)
{
    return c->at < c->n ? (unsigned char)c->text[c->at] : -1;
}

static void skip_space(struct check *c)
{
    int ch = peek(c);

    while (ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r') {
        c->at++;
        ch = peek(c);
    }
}

static bool digits(struct check *c)
{
    size_t from = c->at;

    while (peek(c) >= '0' && peek(c) <= '9')
        c->at++;
    return c->at > from;
}

/* number = [ "-" ] ( "0" / 1-9 *digit ) [ "." 1*digit ] [ ("e" / "E") [ "+" / "-" ] 1*digit ] */
static enum status check_number(struct check *c)
{
    size_t from = c->at;

    if (peek(c) == '-')
        c->at++;
    if (peek(c) == '0')
        c->at++;
    else if (!digits(c))
        return refuse(c, "a digit is missing");
    if (peek(c) == '.') {
        c->at++;
        if (!digits(c))
            return refuse(c, "a digit is missing behind the point");
    }
    if (peek(c) == 'e' || peek(c) == 'E') {
        c->at++;
        if (peek(c) == '+' || peek(c) == '-')
            c->at++;
        if (!digits(c))
            return refuse(c, "a digit is missing in the exponent");
    }
    if (peek(c) >= '0' && peek(c) <= '9') /* only "0" above stops before a digit */
        return refuse(c, "a number cannot begin with 0");
    c->number = room(c->number, c->n_numbers, &c->cap_numbers, sizeof *c->number);
    c->number[c->n_numbers++] = (struct span){from, c->at - from};
    c->long_number |= c->at - from > CJSON_NUMBER_MAX;
    return OK;
}

/* Four hex digits; -1 otherwise. */
static int hex4(struct check *c)
{
    int v = 0;

    for (int i = 0; i < 4; i++, c->at++) {
        int ch = peek(c), low = ch | 0x20;

        if (ch >= '0' && ch <= '9')
            v = v * 16 + ch - '0';
        else if (low >= 'a' && low <= 'f')
            v = v * 16 + low - 'a' + 10;
        else
            return -1;
    }
    return v;
}

/* Behind "\u". A pair of surrogates is one character; half a pair is none. */
static enum status check_unicode(struct check *c, struct buf *out)
{
    size_t from = c->at - 2;
    int v = hex4(c), low;
    char utf8[4];

    if (v < 0)
        return refuse(c, "\\u needs four hexadecimal digits");
    if (v == 0)
        return refuse_at(from, "\\u0000 is not accepted in text");
    if (v >= 0xdc00 && v < 0xe000)
        return refuse_at(from, "a low surrogate without a high one before it");
    if (v >= 0xd800 && v < 0xdc00) {
        if (c->n - c->at < 2 || c->text[c->at] != '\\' || c->text[c->at + 1] != 'u')
            return refuse_at(from, "a high surrogate without a low one behind it");
        c->at += 2;
        low = hex4(c);
        if (low < 0xdc00 || low >= 0xe000)
            return refuse_at(from, "a high surrogate without a low one behind it");
        v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
    }
    if (out)
        buf_append(out, utf8, (size_t)utf8_encode((uint32_t)v, utf8));
    return OK;
}

static enum status check_escape(struct check *c, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;
    int ch;

    c->at++; /* the backslash */
    ch = peek(c);
    if (ch == 'u') {
        c->at++;
        return check_unicode(c, out);
    }
    found = ch > 0 ? strchr(from, ch) : NULL;
    if (!found)
        return refuse(c, "an unknown escape");
    c->at++;
    if (out)
        buf_putc(out, to[found - from]);
    return OK;
}

/* From the opening quote to behind the closing one. out, unless NULL, gets the decoded text.
 * UTF-8 was checked for the whole text before. */
static enum status check_string(struct check *c, struct buf *out)
{
    if (peek(c) != '"')
        return refuse(c, "a string is expected");
    c->at++;
    for (;;) {
        size_t from = c->at;
        int ch = peek(c);

        while (ch >= 0x20 && ch != '"' && ch != '\\') {
            c->at++;
            ch = peek(c);
        }
        if (out)
            buf_append(out, c->text + from, c->at - from);
        if (ch == '\\') {
            TRY(check_escape(c, out));
            continue;
        }
        if (ch != '"')
            return refuse(c, "a control character in a string; write it as an escape");
        c->at++;
        return OK;
    }
}

static enum status duplicate(const struct check *c, const struct name *k)
{
    return fail(ERR_JSON, "invalid JSON at byte %zu: the key \"%.*s\" stands twice in one object",
                k->at, (int)(k->n < 64 ? k->n : 64), c->names.data + k->from);
}

/* The names from index `from` on are one object's: no two may be equal. */
static enum status check_unique(struct check *c, size_t from)
{
    const char *text = c->names.data;
    size_t n = c->n_names - from;
    enum status s = OK;
    struct map *seen;

    for (size_t i = from; n <= FEW_KEYS && i < c->n_names; i++) {
        for (size_t j = from; j < i; j++) {
            const struct name *a = &c->name[i], *b = &c->name[j];

            if (a->n == b->n && memcmp(text + a->from, text + b->from, a->n) == 0)
                return duplicate(c, a);
        }
    }
    if (n <= FEW_KEYS)
        return OK;
    seen = map_new(n);
    for (size_t i = from; s == OK && i < c->n_names; i++) {
        const struct name *k = &c->name[i];

        if (map_put(seen, text + k->from, k->n, 1, 0))
            s = duplicate(c, k);
    }
    map_free(seen);
    return s;
}

static enum status check_key(struct check *c)
{
    struct name k = {c->at, c->names.len, 0};

    TRY(check_string(c, &c->names));
    k.n = c->names.len - k.from;
    c->name = room(c->name, c->n_names, &c->cap_names, sizeof *c->name);
    c->name[c->n_names++] = k;
    skip_space(c);
    if (peek(c) != ':')
        return refuse(c, "':' is expected behind a key");
    c->at++;
    return OK;
}

static enum status check_members(struct check *c, bool object)
{
    const int end = object ? '}' : ']';

    if (++c->depth > JSON_MAX_DEPTH)
        return fail(ERR_JSON, "invalid JSON at byte %zu: nested deeper than %d levels", c->at,
                    JSON_MAX_DEPTH);
    c->at++;
    skip_space(c);
    for (bool more = peek(c) != end; more;) {
        skip_space(c);
        if (object)
            TRY(check_key(c));
        TRY(check_value(c));
        skip_space(c);
        more = peek(c) == ',';
        c->at += more;
    }
    if (peek(c) != end)
        return refuse(c, object ? "',' or '}' is expected" : "',' or ']' is expected");
    c->at++;
    c->depth--;
    return OK;
}

static enum status check_object(struct check *c)
{
    size_t first = c->n_names, text = c->names.len;

    TRY(check_members(c, true));
    TRY(check_unique(c, first));
    c->n_names = first;
    c->names.len = text;
    return OK;
}

static enum status check_word(struct check *c, const char *word)
{
    size_t n = strlen(word);

    if (c->n - c->at < n || memcmp(c->text + c->at, word, n) != 0)
        return refuse(c, "a value is expected");
    c->at += n;
    return OK;
}

static enum status check_value(struct check *c)
{
    skip_space(c);
    switch (peek(c)) {
    case '{':
        return check_object(c);
    case '[':
        return check_members(c, false);
    case '"':
        return check_string(c, NULL);
    case 't':
        return check_word(c, "true");
    case 'f':
        return check_word(c, "false");
    case 'n':
        return check_word(c, "null");
    default:
        if (peek(c) == '-' || (peek(c) >= '0' && peek(c) <= '9'))
            return check_number(c);
        return refuse(c, "a value is expected");
    }
}

static enum status check_text(struct check *c)
{
    size_t valid = utf8_valid_prefix(c->text, c->n);

    if (valid < c->n)
        return refuse_at(valid, "the text is not UTF-8");
    TRY(check_value(c));
    skip_space(c);
    return c->at < c->n ? refuse(c, "more text behind the value") : OK;
}

/* A copy in which numbers that cJSON would cut read 0: their value is taken from the source text.
 */
static char *without_long_numbers(const struct check *c)
{
    char *copy = xmalloc(c->n + 1);

    memcpy(copy, c->text, c->n);
    copy[c->n] = '\0';
    for (size_t i = 0; i < c->n_numbers; i++) {
        struct span s = c->number[i];

        if (s.n > CJSON_NUMBER_MAX) {
            memset(copy + s.at, ' ', s.n);
            copy[s.at] = '0';
        }
    }
    return copy;
}

static enum status run_cjson(const struct check *c, cJSON **out)
{
    char *copy = c->long_number ? without_long_numbers(c) : NULL;
    const char *text = copy ? copy : c->text, *end = NULL;
    enum status s = OK;

    *out = cJSON_ParseWithLengthOpts(text, c->n, &end, 0);
    if (!*out)
        s = refuse_at(end ? (size_t)(end - text) : 0, "it cannot be read");
    xfree(copy);
    return s;
}

struct copy {
    struct arena *arena;
    const char *text;
    const struct span *number; /* the next one */
};

static enum status copy_text(struct arena *a, const char *s, size_t n, struct bytes *out)
{
    *out = (struct bytes){arena_strndup(a, s, n), n};
    return out->p ? OK
                  : fail(ERR_TOO_LARGE,
                         "the JSON text needs more than the %zu bytes allowed for it", a->limit);
}

/* Recursion is bounded: the check refused what is nested deeper than JSON_MAX_DEPTH. */
static enum status copy_value(struct copy *c, const cJSON *from, const struct json **out)
{
    struct json *v = arena_calloc(c->arena, sizeof *v);
    const struct json **link;
    struct bytes key;

    if (!v)
        return fail(ERR_TOO_LARGE, "the JSON text needs more than the %zu bytes allowed for it",
                    c->arena->limit);
    *out = v;
    if (from->string) {
        TRY(copy_text(c->arena, from->string, strlen(from->string), &key));
        v->key = key.p;
    }
    if (cJSON_IsBool(from)) {
        v->type = JSON_BOOL;
        v->boolean = cJSON_IsTrue(from);
    } else if (cJSON_IsNumber(from)) {
        v->type = JSON_NUMBER;
        TRY(copy_text(c->arena, c->text + c->number->at, c->number->n, &v->text));
        v->number = strtod(v->text.p, NULL);
        c->number++;
    } else if (cJSON_IsString(from)) {
        v->type = JSON_STRING;
        return copy_text(c->arena, from->valuestring, strlen(from->valuestring), &v->text);
    } else if (cJSON_IsArray(from) || cJSON_IsObject(from)) {
        v->type = cJSON_IsArray(from) ? JSON_ARRAY : JSON_OBJECT;
        link = &v->first;
        for (const cJSON *child = from->child; child; child = child->next) {
            TRY(copy_value(c, child, link));
            link = (const struct json **)(uintptr_t) & (*link)->next; /* ours until returned */
            v->count++;
        }
    }
    return OK;
}

enum status json_parse(struct arena *a, const char *text, size_t n, const struct json **out)
{
    struct check c = {.text = text, .n = n};
    cJSON *tree = NULL;
    enum status s;

    *out = NULL;
    s = check_text(&c);
    if (s == OK)
        s = run_cjson(&c, &tree);
    if (s == OK) {
        struct copy copy = {a, text, c.number};

        s = copy_value(&copy, tree, out);
    }
    if (s != OK)
        *out = NULL;
    cJSON_Delete(tree);
    xfree(c.number);
    xfree(c.name);
    buf_clear(&c.names);
    return s;
}

const struct json *json_get(const struct json *object, const char *key)
{
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    for (const struct json *v = object->first; v; v = v->next) {
        if (strcmp(v->key, key) == 0)
            return v;
    }
    return NULL;
}

const struct json *json_at(const struct json *array, int i)
{
    const struct json *v = json_is(array, JSON_ARRAY) && i >= 0 ? array->first : NULL;

    while (v && i-- > 0)
        v = v->next;
    return v;
}

bool json_is(const struct json *v, enum json_type type)
{
    return v && v->type == type;
}

bool json_integer(const struct json *v, int64_t *out)
{
    long long i;
    char *end;

    if (!json_is(v, JSON_NUMBER))
        return false;
    errno = 0;
    i = strtoll(v->text.p, &end, 10);
    if (*end == '\0') { /* plain digits: exact over all 64 bits */
        *out = i;
        return errno == 0;
    }
    /* 1.0 and 1e3 are integers too; as doubles, 2^63 itself is already out of range */
    if (!(v->number >= -0x1p63 && v->number < 0x1p63) || v->number != trunc(v->number))
        return false;
    *out = (int64_t)v->number;
    return true;
}

void json_write(struct buf *b, const struct json *v)
{
    static const char open[] = "[{", close[] = "]}";

    switch (v ? v->type : JSON_NULL) {
    case JSON_NULL:
        buf_puts(b, "null");
        return;
    case JSON_BOOL:
        buf_puts(b, v->boolean ? "true" : "false");
        return;
    case JSON_NUMBER:
        buf_append(b, v->text.p, v->text.n);
        return;
    case JSON_STRING:
        json_write_string(b, v->text.p, v->text.n);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    buf_putc(b, open[v->type == JSON_OBJECT]);
    for (const struct json *child = v->first; child; child = child->next) {
        if (child->key) {
            json_write_string(b, child->key, strlen(child->key));
            buf_putc(b, ':');
        }
        json_write(b, child);
        if (child->next)
            buf_putc(b, ',');
    }
    buf_putc(b, close[v->type == JSON_OBJECT]);
}

static void write_escape(struct buf *b, unsigned char ch)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *found = ch ? strchr(from, ch) : NULL;

    if (found)
        buf_printf(b, "\\%c", to[found - from]);
    else
        buf_printf(b, "\\u%04x", ch);
}

void json_write_string(struct buf *b, const char *s, size_t n)
{
    size_t i = 0;

    buf_reserve(b, n + 2);
    buf_putc(b, '"');
    while (i < n) {
        size_t end = i + utf8_valid_prefix(s + i, n - i), from = i;

        for (; i < end; i++) {
            unsigned char ch = (unsigned char)s[i];

            if (ch >= 0x20 && ch != '"' && ch != '\\')
                continue;
            buf_append(b, s + from, i - from);
            write_escape(b, ch);
            from = i + 1;
        }
        buf_append(b, s + from, end - from);
        if (i < n) { /* one byte that belongs to no character */
            buf_puts(b, "\xef\xbf\xbd");
            i++;
        }
    }
    buf_putc(b, '"');
}

void json_write_number(struct buf *b, double v)
{
    char text[32];

    if (!isfinite(v)) {
        buf_puts(b, "null");
        return;
    }
    if (v == trunc(v) && fabs(v) < 0x1p53) { /* every integer up to here is exact */
        buf_printf(b, "%.0f", v);
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_puts(b, text);
}
