/* hf_config.c - which files of a directory say what, and under which names it is kept. What
 * config.json's own keys mean is hf_settle.c's. */
#include "engine/load/hf_config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/load/hf_keys.h"
#include "engine/load/lexicon.h"
#include "engine/load/scan.h"
#include "kernels/base/log.h"
#include "kernels/base/map.h"

enum { CONFIG_MOST = 1 << 20, TEMPLATE_MOST = 1 << 20 };

static enum status too_large(void)
{
    return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
}

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

/* The member that begins at `at`, and the comma behind it, become blanks. */
static void blank_member(const struct scan *s, char *text, size_t at)
{
    struct scan member = {s->p, s->n, at};
    struct bytes key;

    if (scan_key(&member, &key) == OK && scan_skip(&member) == OK && scan_take(&member, ','))
        memset(text + at, ' ', member.at - at);
}

/* Of members of one name the last stays, in all objects of `text`, which `s` reads. */
static enum status keep_last(struct scan *s, char *text, int depth)
{
    bool object = scan_take(s, '{'), more = true;
    struct map *begin = object ? map_new(16) : NULL; /* where the member of a name is */
    enum status status = depth < JSON_MAX_DEPTH ? OK : ERR_JSON;

    if (status == OK && !object && !scan_take(s, '['))
        return scan_skip(s);
    for (int64_t n = 0; status == OK; n++) {
        struct bytes key;
        size_t at;

        status = scan_next(s, object ? '}' : ']', n, &more);
        if (status != OK || !more)
            break;
        at = s->at;
        if (object && (status = scan_key(s, &key)) == OK) {
            int32_t before = map_put(begin, key.p, key.n, (int32_t)at, -1);

            if (before >= 0)
                blank_member(s, text, (size_t)before);
        }
        if (status == OK)
            status = keep_last(s, text, depth + 1);
    }
    map_free(begin);
    return status;
}

/* The same text, if it is only that members stand twice: Python takes the last of them. */
static enum status parse_last(struct checkpoint *c, struct bytes text, const char *name,
                              const struct json **out)
{
    char *copy = arena_strndup(&c->arena, text.p, text.n), why[256];
    struct scan s = {copy, text.n, 0};
    enum status status;

    if (!copy)
        return too_large();
    snprintf(why, sizeof why, "%s", fail_text());
    if (keep_last(&s, copy, 0) != OK)
        return fail(ERR_JSON, "%s", why);
    status = json_parse(&c->arena, copy, text.n, out);
    if (status == OK)
        log_warn("%s: %s: %s; the last counts", c->path, name, why);
    return status;
}

static enum status parse_text(struct checkpoint *c, struct bytes text, const char *name,
                              const struct json **out)
{
    const char *p = text.n > CONFIG_MOST ? text.p : without_infinity(&c->arena, text);
    enum status s = text.n > CONFIG_MOST
                        ? fail(ERR_TOO_LARGE, "%zu bytes, at most %d are read", text.n, CONFIG_MOST)
                    : p ? json_parse(&c->arena, p, text.n, out)
                        : too_large();

    if (s == ERR_JSON)
        s = parse_last(c, (struct bytes){p, text.n}, name, out);
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

static enum status put_template(struct hf_keys *k, const char *key, const struct json *v)
{
    return json_is(v, JSON_STRING) ? hf_keys_put(k, key, hf_string(v->text)) : OK;
}

/* What `text`, a JSON file's, has under chat_template. */
static enum status read_template(struct hf_keys *k, struct bytes text)
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
static enum status read_jinja(struct hf_keys *k, const char *folder, bool *found)
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
            TRY(hf_keys_put(k, row[i].key, hf_string(text)));
        *found = *found || text.n;
    }
    return OK;
}

/* Which tokens are special, and the policy for plain prompts. */
static enum status read_specials(struct hf_keys *k, struct bytes text)
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
            TRY(hf_keys_flatten(k, key, v));
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

static enum status read_tokenizer_config(struct hf_keys *k, const char *folder)
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

static enum status read_generation(struct hf_keys *k, const char *folder)
{
    const struct json *v;
    struct bytes text;

    TRY(open_beside(k->c, folder, "generation_config.json", &text));
    if (!text.n)
        return OK;
    TRY(parse_text(k->c, text, "generation_config.json", &v));
    return hf_keys_flatten(k, "generation", v);
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

static enum status read_name(struct hf_keys *k, const char *folder)
{
    char real[PATH_MAX], *path, *base;

    if (k->c->lent || !realpath(*folder ? folder : ".", real))
        return OK;
    path = arena_strndup(&k->c->arena, real, strlen(real));
    base = path ? strrchr(path, '/') : NULL;
    if (!base)
        return too_large();
    path = cached_name(path, base);
    return hf_keys_put(k, "general.name", hf_string(bytes_of(path ? path : base + 1)));
}

/* Older tools left what they did to the weights in a file of its own. */
static enum status read_quant(struct hf_keys *k, const char *folder, const struct json *config)
{
    static const struct {
        const char *file, *method;
    } old[] = {{"quantize_config.json", "gptq"},
               {"quant_config.json", "awq"},
               {"hf_quant_config.json", "modelopt"}};

    for (int i = 0; i < 3 && !json_is(json_get(config, "quantization_config"), JSON_OBJECT); i++) {
        const struct json *v;
        struct bytes text;

        TRY(open_beside(k->c, folder, old[i].file, &text));
        if (!text.n)
            continue;
        TRY(parse_text(k->c, text, old[i].file, &v));
        TRY(hf_keys_flatten(k, "quantization_config", v));
        if (!hf_keys_find(k, "quantization_config.quant_method"))
            TRY(hf_keys_put(k, "quantization_config.quant_method",
                            hf_string(bytes_of(old[i].method))));
        break;
    }
    return OK;
}

static enum status read_keys(struct hf_keys *k, const char *folder, const struct json **config)
{
    struct bytes text;

    TRY(open_beside(k->c, folder, "config.json", &text));
    if (!text.n)
        return fail(ERR_NOT_FOUND, "there is no config.json beside it");
    TRY(parse_text(k->c, text, "config.json", config));
    if (!json_is(*config, JSON_OBJECT))
        return fail(ERR_FORMAT, "config.json is not an object");
    TRY(hf_keys_flatten(k, "", *config));
    TRY(hf_settle(k, *config));
    TRY(read_quant(k, folder, *config));
    TRY(read_generation(k, folder));
    TRY(read_tokenizer_config(k, folder));
    return read_name(k, folder);
}

enum status hf_config_read(struct checkpoint *c, const char *folder, const struct json **config)
{
    struct hf_keys k = {.c = c};
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
