/* fields.c - see fields.h. */
#include "api/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A million values: a prompt of a million token ids. */
enum { MAX_VALUES = 1 << 20 };
static const size_t tree_limit = (size_t)256 << 20;

static const char *type_name(const struct json *v)
{
    static const char *const name[] = {"null",     "a boolean", "a number",
                                       "a string", "an array",  "an object"};

    return v ? name[v->type] : "nothing";
}

enum status fields_wrong(const char *path, const char *wanted, const struct json *v)
{
    return fail_field(ERR_INVALID, path, "`%s` must be %s, got %s", path, wanted, type_name(v));
}

static enum status check_range(const struct field *f, const char *path, double v, const char *unit)
{
    const bool above = f->flags & FIELD_ABOVE;

    if (f->min == 0 && f->max == 0)
        return OK;
    if (v <= f->max && (above ? v > f->min : v >= f->min))
        return OK;
    return fail_field(ERR_INVALID, path, "`%s` must be %s %.15g and at most %.15g%s, got %.15g",
                      path, above ? "above" : "at least", f->min, f->max, unit, v);
}

static enum status read_int(const struct field *f, const struct json *v, const char *path,
                            struct opt_int *out)
{
    if (!json_integer(v, &out->v)) {
        if (json_is(v, JSON_NUMBER))
            return fail_field(ERR_INVALID, path, "`%s` must be a 64-bit integer, got %.40s", path,
                              v->text.p);
        return fields_wrong(path, "an integer", v);
    }
    out->has = true;
    return check_range(f, path, (double)out->v, "");
}

static enum status read_number(const struct field *f, const struct json *v, const char *path,
                               struct opt_number *out)
{
    if (!json_is(v, JSON_NUMBER))
        return fields_wrong(path, "a number", v);
    if (!isfinite(v->number))
        return fail_field(ERR_INVALID, path, "`%s` is out of range: %.40s", path, v->text.p);
    *out = (struct opt_number){true, v->number};
    return check_range(f, path, v->number, "");
}

static enum status read_word(const struct field *f, const struct json *v, const char *path)
{
    const char *w = f->words;

    while (*w) {
        size_t n = strcspn(w, "|");

        if (n == v->text.n && memcmp(w, v->text.p, n) == 0)
            return OK;
        w += n + (w[n] == '|');
    }
    return fail_field(ERR_INVALID, path, "`%s` must be one of %s; got \"%.40s\"", path, f->words,
                      v->text.p);
}

static enum status read_text(const struct field *f, const struct json *v, const char *path,
                             struct opt_text *out)
{
    if (!json_is(v, JSON_STRING))
        return fields_wrong(path, "a string", v);
    *out = (struct opt_text){true, v->text};
    if (f->type == FIELD_WORD)
        return read_word(f, v, path);
    return check_range(f, path, (double)v->text.n, " bytes long");
}

static enum status read_value(const struct field *f, const struct json *v, const char *path,
                              char *base)
{
    void *out = base + f->offset;

    switch (f->type) {
    case FIELD_BOOL:
        if (!json_is(v, JSON_BOOL))
            return fields_wrong(path, "a boolean", v);
        *(struct opt_bool *)out = (struct opt_bool){true, v->boolean};
        return OK;
    case FIELD_INT:
        return read_int(f, v, path, out);
    case FIELD_NUMBER:
        return read_number(f, v, path, out);
    case FIELD_TEXT:
    case FIELD_WORD:
        return read_text(f, v, path, out);
    case FIELD_ANY:
        break;
    case FIELD_ARRAY:
        if (!json_is(v, JSON_ARRAY))
            return fields_wrong(path, "an array", v);
        TRY(check_range(f, path, v->count, " items long"));
        break;
    case FIELD_OBJECT:
        if (!json_is(v, JSON_OBJECT))
            return fields_wrong(path, "an object", v);
        break;
    case FIELD_NESTED:
        return fields_read(f->table, v, path, base);
    case FIELD_REFUSED:
        return fail_field(ERR_UNSUPPORTED, path, "`%s` is not supported%s%s", path,
                          f->words ? "; " : "", f->words ? f->words : "");
    }
    *(const struct json **)out = v;
    return OK;
}

enum status fields_read(const struct field *table, const struct json *object, const char *path,
                        void *out)
{
    char name[FIELD_PATH];

    if (!json_is(object, JSON_OBJECT))
        return fields_wrong(path, "an object", object);
    for (const struct field *f = table; f->name; f++) {
        const struct json *v = json_get(object, f->name);

        snprintf(name, sizeof name, "%s%s%s", path, *path ? "." : "", f->name);
        if (v && v->type != JSON_NULL)
            TRY(read_value(f, v, name, out));
        else if (f->flags & FIELD_NEEDED)
            return fail_field(ERR_INVALID, name, "`%s` is missing", name);
    }
    return OK;
}

enum status fields_tokens(const struct json *array, const char *path, int n_vocab, struct arena *a,
                          int32_t **id)
{
    int32_t *next = arena_alloc(a, sizeof *next * (size_t)(array->count + 1));
    char name[FIELD_PATH];
    int64_t token;

    *id = next;
    for (const struct json *v = array->first; v; v = v->next) {
        if (!json_integer(v, &token) || token < 0 || token >= n_vocab) {
            snprintf(name, sizeof name, "%s[%td]", path, next - *id);
            return fail_field(ERR_INVALID, name, "`%s` must be a token id from 0 to %d", name,
                              n_vocab - 1);
        }
        *next++ = (int32_t)token;
    }
    return OK;
}

/* How many values the text can hold at most: each but the first of a container follows a comma, and
 * the first of a container a bracket. */
static size_t count_values(struct bytes text)
{
    size_t n = 1;
    bool quoted = false;

    for (size_t i = 0; i < text.n; i++) {
        char ch = text.p[i];

        if (quoted && ch == '\\')
            i++;
        else if (ch == '"')
            quoted = !quoted;
        else if (!quoted)
            n += ch == ',' || ch == '[' || ch == '{';
    }
    return n;
}

enum status fields_parse(struct arena *a, struct bytes text, const struct json **out)
{
    enum status s;

    if (count_values(text) > MAX_VALUES)
        return fail(ERR_TOO_LARGE, "the JSON text has more than %d values", MAX_VALUES);
    a->limit = tree_limit;
    s = json_parse(a, text.p, text.n, out);
    a->limit = 0; /* what follows is bounded by the tree */
    return s;
}

enum status fields_body(struct arena *a, struct bytes text, const struct json **out)
{
    if (text.n == 0)
        return fail(ERR_JSON, "the request body is empty; it must be a JSON object");
    TRY(fields_parse(a, text, out));
    if (!json_is(*out, JSON_OBJECT))
        return fail(ERR_INVALID, "the request body must be a JSON object, got %s", type_name(*out));
    return OK;
}
