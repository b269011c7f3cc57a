/* hf_config.c - from JSON to keys, with what Transformers' configuration classes do to it.
 *
 * Each generation of Transformers writes config.json otherwise (rope_theta and rope_scaling, then
 * rope_parameters; sliding_window with and without a switch). Here all become the one spelling that
 * the tables of hyper-parameters have in their `hf` column. The invariant: a key that is there
 * holds for the network; what the class ignores is taken away. */
#include "engine/load/hf_config.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/load/lexicon.h"
#include "engine/load/recipe.h"
#include "engine/load/scan.h"
#include "engine/nn/net.h"

enum { CONFIG_MOST = 1 << 20, TEMPLATE_MOST = 1 << 20, MAX_KEYS = 1 << 15, MAX_KEY = 512 };

struct keys {
    struct checkpoint *c;
    struct ckpt_key *key; /* on the heap while it grows */
    int n, cap;
};

static enum status too_large(void)
{
    return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
}

static enum status put(struct keys *k, const char *name, struct value v)
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

static struct value number_value(double v)
{
    bool whole = v == floor(v) && fabs(v) < 0x1p62;

    return (struct value){
        .kind = whole ? VALUE_INT : VALUE_FLOAT, .integer = whole ? (int64_t)v : 0, .number = v};
}

static struct value string_value(struct bytes text)
{
    return (struct value){.kind = VALUE_STRING, .text = text};
}

static struct ckpt_key *find(const struct keys *k, const char *name)
{
    for (int i = 0; i < k->n; i++) {
        if (strcmp(k->key[i].name, name) == 0)
            return &k->key[i];
    }
    return NULL;
}

static double number_of(const struct keys *k, const char *name, double absent)
{
    const struct ckpt_key *key = find(k, name);

    return key && (key->value.kind <= VALUE_FLOAT) ? key->value.number : absent;
}

static void drop(struct keys *k, const char *name)
{
    struct ckpt_key *key = find(k, name);

    if (key)
        *key = k->key[--k->n];
}

/* ---- arrays: doubles or struct bytes, in the arena ------------------------------------------- */

static enum status put_array(struct keys *k, const char *name, const struct json *v)
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
    return put(k, name,
               (struct value){.kind = VALUE_ARRAY,
                              .elem = strings ? VALUE_STRING : VALUE_FLOAT,
                              .text = {data, (size_t)v->count * size},
                              .n = v->count});
}

bool hf_config_at(const struct value *array, int64_t i, struct value *out)
{
    double v;

    if (array->kind != VALUE_ARRAY || array->elem != VALUE_FLOAT || i < 0 || i >= array->n)
        return false;
    memcpy(&v, array->text.p + (size_t)i * sizeof v, sizeof v);
    *out = number_value(v);
    return true;
}

bool hf_config_strings(const struct value *array, struct bytes *out)
{
    if (array->kind != VALUE_ARRAY || array->elem != VALUE_STRING)
        return false;
    memcpy(out, array->text.p, (size_t)array->n * sizeof *out);
    return true;
}

/* ---- config.json ----------------------------------------------------------------------------- */

/* `v` under `name` and, of objects, all below it. null is as good as absent. */
static enum status flatten(struct keys *k, const char *name, const struct json *v)
{
    char below[MAX_KEY];

    switch (v->type) {
    case JSON_NULL:
        return OK;
    case JSON_BOOL:
        return put(k, name,
                   (struct value){.kind = VALUE_BOOL, .integer = v->boolean, .number = v->boolean});
    case JSON_NUMBER:
        return put(k, name, number_value(v->number));
    case JSON_STRING:
        return put(k, name, string_value(v->text));
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
        TRY(flatten(k, below, m));
    }
    return OK;
}

static double get_number(const struct json *object, const char *key, double absent)
{
    const struct json *v = json_get(object, key);

    return json_is(v, JSON_NUMBER) ? v->number : absent;
}

/* YaRN's factor on sine and cosine. The network computes 0.1 ln(factor) + 1 itself; a file that
 * says otherwise gets the quotient. */
static enum status yarn_factor(struct keys *k, const struct json *rope)
{
    double factor = get_number(rope, "factor", 1), usual = factor > 1 ? 0.1 * log(factor) + 1 : 1;
    double wanted = get_number(rope, "attention_factor", 0), m = get_number(rope, "mscale", 0);
    double all = get_number(rope, "mscale_all_dim", 0);

    if (json_is(json_get(rope, "truncate"), JSON_BOOL) && !json_get(rope, "truncate")->boolean)
        TRY(put(k, "rope_scaling.rope_type",
                string_value(bytes_of("yarn without truncation of its range"))));
    if (wanted == 0 && m != 0 && all != 0 && factor > 1)
        wanted = (0.1 * m * log(factor) + 1) / (0.1 * all * log(factor) + 1);
    return wanted == 0 ? OK : put(k, "rope_scaling.attn_factor", number_value(wanted / usual));
}

/* rope_parameters, or rope_scaling with `type`, as rope_theta and rope_scaling.*. */
static enum status settle_rope(struct keys *k, const struct json *config)
{
    const struct json *now = json_get(config, "rope_parameters");
    const struct json *rope = json_is(now, JSON_OBJECT) ? now : json_get(config, "rope_scaling");
    const struct json *type;
    char name[MAX_KEY];

    if (!json_is(rope, JSON_OBJECT))
        return OK;
    for (const struct json *m = rope->first; m && rope == now; m = m->next) {
        bool theta = strcmp(m->key, "rope_theta") == 0;
        size_t n = strlen(m->key);

        if (n > 64 || m->type == JSON_OBJECT)
            continue;
        memcpy(name, "rope_scaling.", 13);
        memcpy(name + 13, m->key, n + 1);
        drop(k, theta ? m->key : name);
        TRY(flatten(k, theta ? m->key : name, m));
    }
    type = json_get(rope, "rope_type") ? json_get(rope, "rope_type") : json_get(rope, "type");
    if (!json_is(type, JSON_STRING))
        return OK;
    drop(k, "rope_scaling.rope_type");
    if (bytes_equal(type->text, "yarn"))
        TRY(yarn_factor(k, rope));
    return find(k, "rope_scaling.rope_type")
               ? OK
               : put(k, "rope_scaling.rope_type", string_value(type->text));
}

/* Layers that have the window: where layer_types says so, else from max_window_layers on. */
static bool has_window(const struct json *types, double from, int l)
{
    const struct json *type = json_at(types, l);

    if (json_is(type, JSON_STRING))
        return bytes_equal(type->text, "sliding_attention");
    return l >= from;
}

/* sliding_window as one number, or one for each layer where they differ, or not at all. */
static enum status settle_window(struct keys *k, const struct json *config,
                                 const struct hf_class *class)
{
    double window = number_of(k, "sliding_window", 0),
           layers = number_of(k, "num_hidden_layers", 0);
    double from = class->window == HF_WINDOW_USED ? number_of(k, "max_window_layers", 28) : 0;
    bool used = class->window == HF_WINDOW_ALL ||
                (class->window == HF_WINDOW_USED && number_of(k, "use_sliding_window", 0) != 0);
    const struct json *types = json_get(config, "layer_types");
    double *each;
    int n = 0;

    drop(k, "sliding_window");
    if (!used || window == 0 || !(layers >= 1 && layers <= NET_MAX_LAYERS))
        return OK;
    each = arena_alloc(&k->c->arena, (size_t)layers * sizeof *each);
    if (!each)
        return too_large();
    for (int l = 0; l < (int)layers; l++) {
        each[l] = has_window(types, from, l) ? window : 0;
        n += each[l] != 0;
    }
    return n ? put(k, "sliding_window",
                   (struct value){.kind = VALUE_ARRAY,
                                  .elem = VALUE_FLOAT,
                                  .text = {(const char *)each, (size_t)layers * sizeof *each},
                                  .n = (int64_t)layers})
             : OK;
}

static enum status settle(struct keys *k, const struct json *config)
{
    const struct json *type = json_get(config, "model_type");
    const struct hf_class *class = json_is(type, JSON_STRING) ? recipe_class(type->text.p) : NULL;

    TRY(settle_rope(k, config));
    if (!class)
        return OK;
    for (int i = 0; i < 2 && class->absent[i].key; i++) {
        if (!json_get(config, class->absent[i].key))
            TRY(put(k, class->absent[i].key, number_value(class->absent[i].value)));
    }
    return settle_window(k, config, class);
}

/* ---- the files ------------------------------------------------------------------------------- */

/* folder/name, mapped; `*out` is empty where there is none. */
static enum status open_beside(struct checkpoint *c, const char *folder, const char *name,
                               struct bytes *out)
{
    char *path = arena_printf(&c->arena, "%s%s", folder, name);

    *out = (struct bytes){NULL, 0};
    if (!path)
        return too_large();
    for (int i = 0; i < c->n_files; i++) { /* what was named first is open already */
        if (strcmp(c->file_path[i], path) == 0) {
            *out = (struct bytes){(const char *)c->file[i].data, c->file[i].size};
            return OK;
        }
    }
    if (!checkpoint_has_file(c, path))
        return OK;
    TRY(checkpoint_add_file(c, path));
    *out = (struct bytes){(const char *)c->file[c->n_files - 1].data, c->file[c->n_files - 1].size};
    return OK;
}

/* Python writes NaN and Infinity, which JSON has not: `{}` in their place, which gives no key, as
 * no number that matters here is either. NULL: out of memory. */
static const char *without_infinity(struct arena *a, struct bytes text)
{
    static const char *const word[] = {"-Infinity", "Infinity", "NaN"};
    char *copy;
    bool string = false;

    if (!memmem(text.p, text.n, "Infinity", 8) && !memmem(text.p, text.n, "NaN", 3))
        return text.p;
    copy = arena_strndup(a, text.p, text.n);
    for (size_t i = 0; copy && i < text.n; i++) {
        if (copy[i] == '"')
            string = !string;
        i += string && copy[i] == '\\';
        for (int w = 0; w < 3 && !string; w++) {
            size_t n = strlen(word[w]);

            if (text.n - i >= n && memcmp(copy + i, word[w], n) == 0)
                memcpy(memset(copy + i, ' ', n), "{}", 2);
        }
    }
    return copy;
}

static enum status parse_text(struct checkpoint *c, struct bytes text, const char *name,
                              const struct json **out)
{
    const char *p = text.n > CONFIG_MOST ? text.p : without_infinity(&c->arena, text);
    enum status s = text.n > CONFIG_MOST
                        ? fail(ERR_TOO_LARGE, "%zu bytes, at most %d are read", text.n, CONFIG_MOST)
                    : p ? json_parse(&c->arena, p, text.n, out)
                        : too_large();

    return s == OK ? OK : fail_in(s, "%s", name);
}

/* The value of a member of the object in `text`, unparsed: such files may be long. */
static enum status member(struct bytes text, const char *key, struct bytes *out)
{
    struct scan s = {text.p, text.n, 0};
    struct bytes name;
    bool more;

    *out = (struct bytes){NULL, 0};
    TRY(scan_expect(&s, '{'));
    for (int64_t n = 0;; n++) {
        size_t start;

        TRY(scan_next(&s, '}', n, &more));
        if (!more)
            return OK;
        TRY(scan_key(&s, &name));
        start = s.at;
        TRY(scan_skip(&s));
        if (bytes_equal(name, key))
            *out = (struct bytes){text.p + start, s.at - start};
    }
}

/* One of named templates: [{"name": ..., "template": ...}, ...]. */
static const struct json *named_template(const struct json *list, const char *which)
{
    const struct json *found = NULL;

    for (const struct json *t = json_is(list, JSON_ARRAY) ? list->first : NULL; t; t = t->next) {
        const struct json *name = json_get(t, "name");

        if (json_is(name, JSON_STRING) && bytes_equal(name->text, which))
            found = json_get(t, "template");
    }
    return found;
}

static enum status put_template(struct keys *k, const char *key, const struct json *v)
{
    return json_is(v, JSON_STRING) ? put(k, key, string_value(v->text)) : OK;
}

/* What `text`, a JSON file's, has under chat_template. */
static enum status read_template(struct keys *k, struct bytes text)
{
    const struct json *v = NULL;
    struct bytes raw;

    TRY(member(text, "chat_template", &raw));
    if (raw.n)
        TRY(parse_text(k->c, raw, "chat_template", &v));
    if (!json_is(v, JSON_ARRAY))
        return put_template(k, LEXICON_CHAT, v);
    TRY(put_template(k, LEXICON_CHAT, named_template(v, "default")));
    return put_template(k, LEXICON_TOOLS, named_template(v, "tool_use"));
}

/* Whether there is a template of its own file, which is then all that counts. */
static enum status read_jinja(struct keys *k, const char *folder, bool *found)
{
    static const struct {
        const char *file, *key;
    } row[] = {{"chat_template.jinja", LEXICON_CHAT},
               {"additional_chat_templates/tool_use.jinja", LEXICON_TOOLS}};

    *found = false;
    for (int i = 0; i < 2; i++) {
        struct bytes text;

        TRY(open_beside(k->c, folder, row[i].file, &text));
        if (text.n > TEMPLATE_MOST)
            return fail(ERR_TOO_LARGE, "%s has %zu bytes, at most %d are read", row[i].file, text.n,
                        TEMPLATE_MOST);
        if (text.n)
            TRY(put(k, row[i].key, string_value(text)));
        *found = *found || text.n;
    }
    return OK;
}

/* Which tokens are special, and the policy for plain prompts. */
static enum status read_specials(struct keys *k, struct bytes text)
{
    static const char *const name[] = {"bos_token",     "eos_token",     "unk_token",
                                       "add_bos_token", "add_eos_token", "tokenizer_class"};
    char key[64];

    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        const struct json *v = NULL;
        struct bytes raw;

        TRY(member(text, name[i], &raw));
        if (raw.n)
            TRY(parse_text(k->c, raw, name[i], &v));
        if (json_is(v, JSON_OBJECT)) /* an added token, with its flags */
            v = json_get(v, "content");
        memcpy(key, "tokenizer.", 10);
        memcpy(key + 10, name[i], strlen(name[i]) + 1);
        if (json_is(v, JSON_STRING) || json_is(v, JSON_BOOL))
            TRY(flatten(k, key, v));
    }
    return OK;
}

struct bytes hf_config_file(const struct checkpoint *c, const char *name)
{
    for (int i = 0; i < c->n_files; i++) {
        const char *slash = strrchr(c->file_path[i], '/');

        if (strcmp(slash ? slash + 1 : c->file_path[i], name) == 0)
            return (struct bytes){(const char *)c->file[i].data, c->file[i].size};
    }
    return (struct bytes){NULL, 0};
}

/* Whatever holds the words: the first of these, and what belongs to it. */
static enum status open_vocabulary(struct checkpoint *c, const char *folder)
{
    static const char *const name[] = {"tokenizer.json", "tokenizer.model", "tekken.json",
                                       "vocab.json", "vocab.txt"};
    enum { N_NAMES = sizeof name / sizeof *name, ALL = 0, PAIR = 3 };
    struct bytes found = {NULL, 0}, other;
    int i = -1;

    while (!found.n && ++i < N_NAMES)
        TRY(open_beside(c, folder, name[i], &found));
    if (i == PAIR)
        TRY(open_beside(c, folder, "merges.txt", &other));
    return i == ALL ? OK : open_beside(c, folder, "added_tokens.json", &other);
}

static enum status read_tokenizer_config(struct keys *k, const char *folder)
{
    struct bytes config, old, other;
    enum status s;
    bool jinja;

    TRY(open_vocabulary(k->c, folder));
    TRY(open_beside(k->c, folder, "special_tokens_map.json", &other));
    TRY(open_beside(k->c, folder, "tokenizer_config.json", &config));
    TRY(read_jinja(k, folder, &jinja));
    TRY(open_beside(k->c, folder, "chat_template.json", &old));
    if (config.n) {
        s = read_specials(k, config);
        if (s != OK)
            return fail_in(s, "tokenizer_config.json");
    }
    if (jinja || (!old.n && !config.n))
        return OK;
    s = read_template(k, old.n ? old : config);
    return s == OK ? OK : fail_in(s, old.n ? "chat_template.json" : "tokenizer_config.json");
}

static enum status read_generation(struct keys *k, const char *folder)
{
    const struct json *v;
    struct bytes text;

    TRY(open_beside(k->c, folder, "generation_config.json", &text));
    if (!text.n)
        return OK;
    TRY(parse_text(k->c, text, "generation_config.json", &v));
    return flatten(k, "generation", v);
}

/* In a download cache, .../models--OWNER--NAME/snapshots/HASH, a directory is called by its hash:
 * "OWNER/NAME" instead, else NULL. Changes `path`. */
static char *cached_name(char *path, char *base)
{
    char *owner, *name;

    if (base - path < 10 || strncmp(base - 10, "/snapshots", 10) != 0)
        return NULL;
    base[-10] = '\0';
    owner = strrchr(path, '/');
    if (!owner || strncmp(owner, "/models--", 9) != 0)
        return NULL;
    owner += 9;
    name = strstr(owner, "--");
    if (!name)
        return owner;
    *name = '/';
    memmove(name + 1, name + 2, strlen(name + 2) + 1);
    return owner;
}

static enum status read_name(struct keys *k, const char *folder)
{
    char real[PATH_MAX], *path, *base;

    if (k->c->lent || !realpath(*folder ? folder : ".", real))
        return OK;
    path = arena_strndup(&k->c->arena, real, strlen(real));
    base = path ? strrchr(path, '/') : NULL;
    if (!base)
        return too_large();
    path = cached_name(path, base);
    return put(k, "general.name", string_value(bytes_of(path ? path : base + 1)));
}

/* Older tools left what they did to the weights in a file of its own. */
static enum status read_quant(struct keys *k, const char *folder, const struct json *config)
{
    static const struct {
        const char *file, *method;
    } old[] = {{"quantize_config.json", "gptq"},
               {"quant_config.json", "awq"},
               {"hf_quant_config.json", "modelopt"}};

    for (int i = 0; i < 3 && !json_get(config, "quantization_config"); i++) {
        const struct json *v;
        struct bytes text;

        TRY(open_beside(k->c, folder, old[i].file, &text));
        if (!text.n)
            continue;
        TRY(parse_text(k->c, text, old[i].file, &v));
        TRY(flatten(k, "quantization_config", v));
        if (!find(k, "quantization_config.quant_method"))
            TRY(put(k, "quantization_config.quant_method", string_value(bytes_of(old[i].method))));
        break;
    }
    return OK;
}

static enum status read_keys(struct keys *k, const char *folder, const struct json **config)
{
    struct bytes text;

    TRY(open_beside(k->c, folder, "config.json", &text));
    if (!text.n)
        return fail(ERR_NOT_FOUND, "there is no config.json beside it");
    TRY(parse_text(k->c, text, "config.json", config));
    if (!json_is(*config, JSON_OBJECT))
        return fail(ERR_FORMAT, "config.json is not an object");
    TRY(flatten(k, "", *config));
    TRY(settle(k, *config));
    TRY(read_quant(k, folder, *config));
    TRY(read_generation(k, folder));
    TRY(read_tokenizer_config(k, folder));
    return read_name(k, folder);
}

enum status hf_config_read(struct checkpoint *c, const char *folder, const struct json **config)
{
    struct keys k = {.c = c};
    enum status s = read_keys(&k, folder, config);

    if (s == OK) {
        c->key = arena_alloc(&c->arena, (size_t)(k.n + 1) * sizeof *c->key);
        if (!c->key)
            s = too_large();
    }
    if (s == OK) {
        memcpy(c->key, k.key, (size_t)k.n * sizeof *c->key);
        c->n_keys = k.n;
    }
    xfree(k.key);
    return s;
}
