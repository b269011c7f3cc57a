/* jinja_dict.c - dicts: entries in the order of their insertion, and from nine on a table of hashes
 * over them. Nothing is ever taken out. */
#include "engine/text/jinja_value.h"

#include <string.h>

#include "kernels/base/map.h"

enum { INDEX_FROM = 9 };

/* Equal numbers of any type hash alike, as in Python. The seed is an address: a client cannot aim.
 */
static uint64_t hash_of(struct jinja *j, struct jval v)
{
    uint64_t seed = (uintptr_t)j, h = v.type;
    jinja_enter(j);
    switch (v.type) {
    case JV_BOOL:
    case JV_INT: {
        int64_t i = jv_as_int(v);
        h = hash_bytes(&i, sizeof i, seed);
        break;
    }
    case JV_FLOAT: {
        int64_t i = v.f >= -9.2e18 && v.f <= 9.2e18 ? (int64_t)v.f : 0;
        h = (double)i == v.f ? hash_bytes(&i, sizeof i, seed) : hash_bytes(&v.f, sizeof v.f, seed);
        break;
    }
    case JV_STR:
    case JV_BIGINT:
        jinja_charge(j, v.s->n / 64);
        h = hash_bytes(v.s->p, v.s->n, seed);
        break;
    case JV_TUPLE:
        for (size_t i = 0; i < v.l->n; i++)
            h = h * 1000003 + hash_of(j, v.l->v[i]);
        break;
    case JV_LIST:
    case JV_DICT:
        jinja_raise(j, "unhashable type: '%s'", jv_type_name(v));
    case JV_UNDEFINED:
    case JV_NONE:
        break;
    default:
        h = hash_bytes(&v.s, sizeof v.s, seed);
    }
    jinja_leave(j);
    return h;
}

struct jval jv_dict(struct jinja *j, size_t room)
{
    struct jdict *d = jinja_alloc(j, sizeof *d);
    *d = (struct jdict){.cap = room, .e = jinja_array(j, room, sizeof *d->e)};
    return (struct jval){.type = JV_DICT, .d = d};
}

static void dict_index(struct jdict *d, size_t at)
{
    size_t k = d->e[at].hash & (d->n_index - 1);
    while (d->index[k] >= 0)
        k = (k + 1) & (d->n_index - 1);
    d->index[k] = (int32_t)at;
}

static void dict_grow(struct jinja *j, struct jdict *d)
{
    size_t cap = d->cap < 4 ? 8 : 2 * d->cap;
    struct jentry *e = jinja_array(j, cap, sizeof *e);
    if (d->n)
        memcpy(e, d->e, d->n * sizeof *e);
    d->e = e;
    d->cap = cap;
}

static void dict_reindex(struct jinja *j, struct jdict *d)
{
    if (d->n + 1 < INDEX_FROM || 2 * (d->n + 1) <= d->n_index)
        return;
    for (d->n_index = 32; d->n_index < 4 * (d->n + 1);)
        d->n_index *= 2;
    d->index = jinja_array(j, d->n_index, sizeof *d->index);
    memset(d->index, 0xff, d->n_index * sizeof *d->index);
    for (size_t i = 0; i < d->n; i++)
        dict_index(d, i);
}

static struct jentry *dict_find(struct jinja *j, const struct jdict *d, struct jval key,
                                uint64_t hash)
{
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (d->e[i].hash == hash && jv_equal(j, d->e[i].key, key))
                return &d->e[i];
        return NULL;
    }
    for (size_t k = hash & (d->n_index - 1); d->index[k] >= 0; k = (k + 1) & (d->n_index - 1)) {
        struct jentry *e = &d->e[d->index[k]];
        if (e->hash == hash && jv_equal(j, e->key, key))
            return e;
    }
    return NULL;
}

void jv_put(struct jinja *j, struct jdict *d, struct jval key, struct jval value)
{
    uint64_t hash = hash_of(j, key);
    struct jentry *e = dict_find(j, d, key, hash);
    if (e) {
        e->value = value;
        return;
    }
    if (d->n == d->cap)
        dict_grow(j, d);
    dict_reindex(j, d);
    d->e[d->n] = (struct jentry){.key = key, .value = value, .hash = hash};
    if (d->index)
        dict_index(d, d->n);
    d->n++;
}

const struct jval *jv_get(struct jinja *j, const struct jdict *d, struct jval key)
{
    const struct jentry *e = dict_find(j, d, key, hash_of(j, key));
    return e ? &e->value : NULL;
}

const struct jval *jv_get_text(struct jinja *j, const struct jdict *d, const char *key, size_t n)
{
    struct jstr s = {.p = key, .n = n};
    return jv_get(j, d, (struct jval){.type = JV_STR, .s = &s});
}
