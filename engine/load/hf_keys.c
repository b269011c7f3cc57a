/* hf_keys.c - see hf_keys.h. Arrays are doubles or struct bytes, in the checkpoint's arena. */
#include "engine/load/hf_keys.h"

#include <math.h>
#include <string.h>

enum { MAX_KEYS = 1 << 15, MAX_KEY = 512 };

static enum status too_large(void)
{
    return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
}

enum status hf_keys_put(struct hf_keys *k, const char *name, struct value v)
{
    struct ckpt_key *key;

    if (k->n == MAX_KEYS)
        return fail(ERR_TOO_LARGE, "has more than %d keys", MAX_KEYS);
    if (k->n == k->cap) {
        k->cap = k->cap ? k->cap * 2 : 64;
        k->key = xrealloc(k->key, (size_t)k->cap * sizeof *k->key);
    }
    key = &k->key[k->n++];
    key->name = arena_strndup(&k->c->arena, name, strlen(name));
    key->value = v;
    return key->name ? OK : too_large();
}

struct value hf_number(double v)
{
    bool whole = v == floor(v) && fabs(v) < 0x1p62;

    return (struct value){
        .kind = whole ? VALUE_INT : VALUE_FLOAT, .integer = whole ? (int64_t)v : 0, .number = v};
}

struct value hf_string(struct bytes text)
{
    return (struct value){.kind = VALUE_STRING, .text = text};
}

struct ckpt_key *hf_keys_find(const struct hf_keys *k, const char *name)
{
    for (int i = 0; i < k->n; i++) {
        if (strcmp(k->key[i].name, name) == 0)
            return &k->key[i];
    }
    return NULL;
}

double hf_keys_number(const struct hf_keys *k, const char *name, double absent)
{
    const struct ckpt_key *key = hf_keys_find(k, name);

    return key && (key->value.kind <= VALUE_FLOAT) ? key->value.number : absent;
}

void hf_keys_drop(struct hf_keys *k, const char *name)
{
    struct ckpt_key *key = hf_keys_find(k, name);

    if (key)
        *key = k->key[--k->n];
}

enum status hf_keys_replace(struct hf_keys *k, const char *name, struct value v)
{
    hf_keys_drop(k, name);
    return hf_keys_put(k, name, v);
}

/* ---- arrays: doubles or struct bytes, in the arena ------------------------------------------- */

static enum status put_array(struct hf_keys *k, const char *name, const struct json *v)
{
    bool strings = json_is(v->first, JSON_STRING);
    size_t size = strings ? sizeof(struct bytes) : sizeof(double);
    char *data = arena_alloc(&k->c->arena, (size_t)v->count * size);
    int i = 0;

    if (!data)
        return too_large();
    for (const struct json *e = v->first; e; e = e->next, i++) {
        double number = e->type == JSON_BOOL ? e->boolean : e->number;

        if (e->type != JSON_BOOL && e->type != (strings ? JSON_STRING : JSON_NUMBER))
            return OK; /* a mixture, or objects: nothing that a table could name */
        memcpy(data + (size_t)i * size, strings ? (const void *)&e->text : &number, size);
    }
    return hf_keys_put(k, name,
                       (struct value){.kind = VALUE_ARRAY,
                                      .elem = strings ? VALUE_STRING : VALUE_FLOAT,
                                      .text = {data, (size_t)v->count * size},
                                      .n = v->count});
}

bool hf_keys_at(const struct value *array, int64_t i, struct value *out)
{
    double v;

    if (array->kind != VALUE_ARRAY || array->elem != VALUE_FLOAT || i < 0 || i >= array->n)
        return false;
    memcpy(&v, array->text.p + (size_t)i * sizeof v, sizeof v);
    *out = hf_number(v);
    return true;
}

bool hf_keys_strings(const struct value *array, struct bytes *out)
{
    if (array->kind != VALUE_ARRAY || array->elem != VALUE_STRING)
        return false;
    memcpy(out, array->text.p, (size_t)array->n * sizeof *out);
    return true;
}

/* ---- config.json ----------------------------------------------------------------------------- */

/* `v` under `name` and, of objects, all below it. null is as good as absent. */
enum status hf_keys_flatten(struct hf_keys *k, const char *name, const struct json *v)
{
    char below[MAX_KEY];

    switch (v->type) {
    case JSON_NULL:
        return OK;
    case JSON_BOOL:
        return hf_keys_put(
            k, name,
            (struct value){.kind = VALUE_BOOL, .integer = v->boolean, .number = v->boolean});
    case JSON_NUMBER:
        return hf_keys_put(k, name, hf_number(v->number));
    case JSON_STRING:
        return hf_keys_put(k, name, hf_string(v->text));
    case JSON_ARRAY:
        return v->count ? put_array(k, name, v) : OK;
    case JSON_OBJECT:
        break;
    }
    for (const struct json *m = v->first; m; m = m->next) {
        size_t n = strlen(name), more = strlen(m->key);

        if (n + more + 2 > sizeof below)
            continue; /* no key of ours is so long */
        memcpy(below, name, n);
        if (n)
            below[n++] = '.';
        memcpy(below + n, m->key, more + 1);
        TRY(hf_keys_flatten(k, below, m));
    }
    return OK;
}
