/* hf_settle.c - what Transformers' configuration classes make of a config.json.
 *
 * Each generation of Transformers writes it otherwise (rope_theta and rope_scaling, then
 * rope_parameters; sliding_window with and without a switch). Here all become the one spelling that
 * the tables of hyper-parameters have in their `hf` column. The invariant: a key that is there
 * holds for the network; what the class ignores is taken away. */
#include <math.h>
#include <string.h>

#include "engine/load/hf_keys.h"
#include "engine/load/recipe.h"

enum { MAX_KEY = 512 };
#define ROPE "rope_scaling."

static double get_number(const struct json *object, const char *key, double absent)
{
    const struct json *v = json_get(object, key);

    return json_is(v, JSON_NUMBER) ? v->number : absent;
}

/* YaRN's factor on sine and cosine. The network computes 0.1 ln(factor) + 1 itself; a file that
 * says otherwise gets the quotient. */
static enum status settle_yarn(struct hf_keys *k, const struct json *rope, double factor)
{
    double usual = factor > 1 ? 0.1 * log(factor) + 1 : 1;
    double wanted = get_number(rope, "attention_factor", 0), m = get_number(rope, "mscale", 0);
    double all = get_number(rope, "mscale_all_dim", 0);
    const struct json *whole = json_get(rope, "truncate");

    if (whole)
        TRY(hf_keys_replace(k, ROPE "truncate",
                            hf_number(whole->type == JSON_BOOL && whole->boolean)));
    if (wanted == 0 && m != 0 && all != 0 && factor > 1)
        wanted = (0.1 * m * log(factor) + 1) / (0.1 * all * log(factor) + 1);
    return wanted == 0 ? OK : hf_keys_put(k, ROPE "attn_factor", hf_number(wanted / usual));
}

/* LongRoPE's: the frequencies have factors of their own, so what is left of `factor` is this. */
static enum status settle_long(struct hf_keys *k, const struct json *rope, double factor)
{
    double original = hf_keys_number(k, ROPE "original_max_position_embeddings", 0);
    double usual = factor > 1 && original > 1 ? sqrt(1 + log(factor) / log(original)) : 1;
    double wanted = get_number(rope, "attention_factor", 0);

    hf_keys_drop(k, ROPE "factor");
    return hf_keys_put(k, ROPE "attn_factor", hf_number(wanted != 0 ? wanted : usual));
}

/* The members of `rope` as keys; false: some are of kinds of layers, each with its own. */
static enum status put_rope(struct hf_keys *k, const struct json *rope, bool *flat)
{
    char name[MAX_KEY];

    *flat = true;
    for (const struct json *m = rope->first; m; m = m->next) {
        bool theta = strcmp(m->key, "rope_theta") == 0;
        size_t n = strlen(m->key);

        *flat = *flat && m->type != JSON_OBJECT;
        if (n > 64 || m->type == JSON_OBJECT)
            continue;
        memcpy(name, ROPE, sizeof ROPE - 1);
        memcpy(name + sizeof ROPE - 1, m->key, n + 1);
        hf_keys_drop(k, theta ? m->key : name);
        TRY(hf_keys_flatten(k, theta ? m->key : name, m));
    }
    return OK;
}

/* rope_scaling with `type`, else rope_parameters, as rope_theta and rope_scaling.*. */
static enum status settle_rope(struct hf_keys *k, const struct json *config)
{
    const struct json *old = json_get(config, "rope_scaling"), *type;
    const struct json *rope =
        json_is(old, JSON_OBJECT) && old->count ? old : json_get(config, "rope_parameters");
    double most = hf_keys_number(k, "max_position_embeddings", 0);
    double original = get_number(config, "original_max_position_embeddings", 0), factor;
    bool flat;

    if (!json_is(rope, JSON_OBJECT))
        return OK;
    TRY(put_rope(k, rope, &flat));
    if (!flat)
        return hf_keys_replace(k, ROPE "rope_type",
                               hf_string(bytes_of("one for each kind of layer")));
    type = json_get(rope, "rope_type") ? json_get(rope, "rope_type") : json_get(rope, "type");
    if (!json_is(type, JSON_STRING))
        return OK;
    TRY(hf_keys_replace(k, ROPE "rope_type", hf_string(type->text)));
    if (original > 0 || hf_keys_number(k, ROPE "original_max_position_embeddings", 0) == 0)
        TRY(hf_keys_replace(k, ROPE "original_max_position_embeddings",
                            hf_number(original > 0 ? original : most)));
    original = hf_keys_number(k, ROPE "original_max_position_embeddings", 0);
    factor = get_number(rope, "factor", 0);
    if (factor == 0 && original > 0)
        factor = most / original;
    if (bytes_equal(type->text, "longrope"))
        return settle_long(k, rope, factor);
    if (!bytes_equal(type->text, "yarn"))
        return OK;
    TRY(hf_keys_replace(k, ROPE "factor", hf_number(factor)));
    return settle_yarn(k, rope, factor);
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
static enum status settle_window(struct hf_keys *k, const struct json *config,
                                 const struct hf_class *class)
{
    double window = hf_keys_number(k, "sliding_window", 0),
           layers = hf_keys_number(k, "num_hidden_layers", 0);
    double from = class->window == HF_WINDOW_USED ? hf_keys_number(k, "max_window_layers", 28) : 0;
    bool used = class->window == HF_WINDOW_ALL || (class->window == HF_WINDOW_USED &&
                                                   hf_keys_number(k, "use_sliding_window", 0) != 0);
    const struct json *types = json_get(config, "layer_types");
    double *each;
    int n = 0;

    hf_keys_drop(k, "sliding_window");
    if (!used || window == 0 || !(layers >= 1 && layers <= NET_MAX_LAYERS))
        return OK;
    each = arena_alloc(&k->c->arena, (size_t)layers * sizeof *each);
    if (!each)
        return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
    for (int l = 0; l < (int)layers; l++) {
        each[l] = has_window(types, from, l) ? window : 0;
        n += each[l] != 0;
    }
    return n ? hf_keys_put(
                   k, "sliding_window",
                   (struct value){.kind = VALUE_ARRAY,
                                  .elem = VALUE_FLOAT,
                                  .text = {(const char *)each, (size_t)layers * sizeof *each},
                                  .n = (int64_t)layers})
             : OK;
}

enum status hf_settle(struct hf_keys *k, const struct json *config)
{
    const struct json *type = json_get(config, "model_type");
    const struct hf_class *class = json_is(type, JSON_STRING) ? recipe_class(type->text.p) : NULL;

    for (int i = 0; i < 4 && class && class->absent[i].key; i++) {
        if (!json_get(config, class->absent[i].key))
            TRY(hf_keys_put(k, class->absent[i].key, hf_number(class->absent[i].value)));
    }
    TRY(settle_rope(k, config));
    return class ? settle_window(k, config, class) : OK;
}
