/* added.c - which tokens are added to a vocabulary, as Transformers decides it.
 *
 * added_tokens_decoder in tokenizer_config.json, where it is, says all; special_tokens_map.json
 * and added_tokens.json are what was written before it and count only without it. */
#include "engine/text/added.h"

#include "engine/text/json_parts.h"
#include "kernels/base/mem.h"

static enum status parse(struct added *a, struct bytes text, const char *name,
                         const struct json **out)
{
    if (text.n == 0)
        return OK;
    enum status s = json_parse(&a->arena, text.p, text.n, out);
    return s == OK ? OK : fail_in(s, "%s", name);
}

static bool decimal(const char *s, int64_t *out)
{
    *out = 0;
    for (const char *p = s; *p; p++) {
        if (*p < '0' || *p > '9' || *out > ADDED_MAX_ID)
            return false;
        *out = *out * 10 + (*p - '0');
    }
    return *s && *out < ADDED_MAX_ID;
}

bool added_token_of(const struct json *v, struct added_token *out)
{
    bool object = json_is(v, JSON_OBJECT);
    const struct json *text = object ? json_get(v, "content") : v;
    if (!json_is(text, JSON_STRING) || text->text.n == 0)
        return false;
    *out = (struct added_token){.text = text->text, .id = -1, .special = true};
    if (!object)
        return true;
    out->special = json_flag(v, "special", false);
    out->lstrip = json_flag(v, "lstrip", false);
    out->rstrip = json_flag(v, "rstrip", false);
    out->single = json_flag(v, "single_word", false);
    out->normalized = json_flag(v, "normalized", !out->special);
    return true;
}

/* Whether a token is one of those that have a name. */
static bool is_named(const struct added *a, struct bytes text)
{
    static const char *const key[] = {
        "bos_token", "eos_token", "unk_token",  "sep_token",
        "pad_token", "cls_token", "mask_token", "additional_special_tokens",
    };
    struct added_token t;
    for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) {
        const struct json *v = added_named(a, key[i]);
        bool list = json_is(v, JSON_ARRAY);
        for (const struct json *e = list ? v->first : v; e; e = list ? e->next : NULL)
            if (added_token_of(e, &t) && bytes_equal(t.text, text.p))
                return true;
    }
    return false;
}

/* {"12": {"content": ...}, ...} */
static void read_decoder(struct added *a, const struct json *list)
{
    for (const struct json *v = list->first; v; v = v->next) {
        struct added_token *t = &a->token[a->n];
        int64_t id;
        if (!decimal(v->key, &id) || !json_is(v, JSON_OBJECT) || !added_token_of(v, t))
            continue;
        t->id = id;
        a->n++;
    }
}

/* {"<pad>": 12, ...} */
static void read_map(struct added *a, const struct json *list)
{
    for (const struct json *v = list->first; v; v = v->next) {
        struct bytes text = bytes_of(v->key);
        int64_t id;
        if (text.n == 0 || !json_integer(v, &id) || id < 0 || id >= ADDED_MAX_ID)
            continue;
        bool special = is_named(a, text);
        a->token[a->n++] = (struct added_token){
            .text = text, .id = id, .special = special, .normalized = !special};
    }
}

enum status added_open(struct added *a, const struct tokenizer_files *f)
{
    const struct json *map = NULL;
    *a = (struct added){0};
    arena_init(&a->arena, 0);
    TRY(parse(a, f->config, "tokenizer_config.json", &a->config));
    TRY(parse(a, f->special, "special_tokens_map.json", &a->special));
    TRY(parse(a, f->added, "added_tokens.json", &map));
    const struct json *list = json_get(a->config, "added_tokens_decoder");
    bool decoder = json_is(list, JSON_OBJECT);
    if (!decoder)
        list = json_is(map, JSON_OBJECT) ? map : NULL;
    a->token = xcalloc((size_t)(list ? list->count : 0) + 1, sizeof *a->token);
    if (decoder)
        read_decoder(a, list);
    else if (list)
        read_map(a, list);
    return OK;
}

void added_close(struct added *a)
{
    xfree(a->token);
    arena_clear(&a->arena);
    *a = (struct added){0};
}

const struct json *added_named(const struct added *a, const char *key)
{
    const struct json *v = json_get(a->config, "added_tokens_decoder");
    const struct json *old = json_is(v, JSON_OBJECT) ? NULL : json_get(a->special, key);
    return old ? old : json_get(a->config, key);
}
