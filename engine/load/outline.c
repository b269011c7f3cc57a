/* outline.c - GGUF sources keep their names and keys; what concerns the old file alone (its format,
 * its parts, its alignment) is left out. */
#include "engine/load/outline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Keys, or beginnings of keys, that the new file says for itself. */
static const char *const dropped[] = {"general.file_type", "general.quantization_version",
                                      "general.alignment", "split.", "quantize.imatrix."};

static bool is_dropped(const char *key)
{
    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0]; i++) {
        if (strncmp(key, dropped[i], strlen(dropped[i])) == 0)
            return true;
    }
    return false;
}

static int64_t number(const struct checkpoint *c, const char *architecture, const char *key,
                      int64_t fallback)
{
    char name[256];
    const struct value *v;

    snprintf(name, sizeof name, "%s.%s", architecture, key);
    v = checkpoint_key(c, name);
    return v && v->kind == VALUE_INT && v->integer > 0 && v->integer < INT32_MAX ? v->integer
                                                                                 : fallback;
}

static void describe(struct outline *o, const struct checkpoint *c)
{
    const struct value *v = checkpoint_key(c, "general.architecture");
    char architecture[128] = "";

    if (v && v->kind == VALUE_STRING)
        snprintf(architecture, sizeof architecture, "%.*s", (int)v->text.n, v->text.p);
    int64_t heads = number(c, architecture, "attention.head_count", 1);
    o->model = (struct mix_model){
        .n_layer = (int)number(c, architecture, "block_count", 0),
        .n_expert = (int)number(c, architecture, "expert_count", 0),
        .heads_a_kv_head = (int)(heads / number(c, architecture, "attention.head_count_kv", heads)),
        .tied = checkpoint_tensor(c, "output.weight") == NULL,
    };
}

/* The NVFP4 weight whose companion `t` is, or NULL: who writes such a weight writes its factor. */
static const struct ckpt_tensor *weight_of(const struct checkpoint *c, const struct ckpt_tensor *t)
{
    size_t n = strlen(t->name), tail = strlen(".scale");
    char name[1100];
    const struct ckpt_tensor *w;

    if (n <= tail || strcmp(t->name + n - tail, ".scale") != 0)
        return NULL;
    snprintf(name, sizeof name, "%.*s.weight", (int)(n - tail), t->name);
    w = checkpoint_tensor(c, name);
    return w && w->dtype == DT_NVFP4 ? w : NULL;
}

/* What the numbers of an NVFP4 weight are multiplied by. */
static enum status factor_of(const struct checkpoint *c, const struct ckpt_tensor *t, float *out)
{
    size_t n = strlen(t->name), tail = strlen(".weight");
    const struct ckpt_tensor *s;
    char name[1100];

    *out = t->global != 0 ? t->global : 1;
    if (t->dtype != DT_NVFP4 || n <= tail)
        return OK;
    snprintf(name, sizeof name, "%.*s.scale", (int)(n - tail), t->name);
    s = checkpoint_tensor(c, name);
    if (!s)
        return OK;
    if (s->dtype != DT_F32 || s->bytes != sizeof *out)
        return fail(ERR_UNSUPPORTED, "tensor %s: expected one number of type f32", name);
    memcpy(out, checkpoint_view(c, s).data, sizeof *out);
    return isfinite(*out) && *out > 0
               ? OK
               : fail(ERR_FORMAT, "tensor %s: expected a positive number", name);
}

enum status outline_open(struct outline *o, const struct checkpoint *c)
{
    *o = (struct outline){0};
    arena_init(&o->arena, 0);
    if (c->refusal)
        return fail(ERR_UNSUPPORTED, "%s: %s", c->path, c->refusal);
    if (c->format->names == NAMES_HF)
        return outline_hf_open(o, c);
    describe(o, c);
    o->tensor = arena_calloc(&o->arena, (size_t)c->n_tensors * sizeof *o->tensor);
    for (int i = 0; i < c->n_tensors; i++) {
        const struct ckpt_tensor *t = &c->tensor[i];
        struct outline_tensor *to = &o->tensor[o->n];

        if (weight_of(c, t))
            continue;
        *to = (struct outline_tensor){.name = t->name, .src = t};
        TRY(factor_of(c, t, &to->factor));
        o->n++;
    }
    return OK;
}

void outline_close(struct outline *o)
{
    arena_clear(&o->arena);
}

int64_t outline_row(const struct outline_tensor *t, int64_t row)
{
    if (!t->heads)
        return row;
    int64_t rows = t->src->shape[0] / t->heads, head = row / rows, at = row % rows;
    return head * rows + at % 2 * (rows / 2) + at / 2;
}

enum status outline_keys(const struct outline *o, const struct checkpoint *c, struct gguf_writer *w)
{
    if (c->format->names == NAMES_HF)
        return outline_hf_keys(o, c, w);
    for (int i = 0; i < c->n_keys; i++) {
        if (!is_dropped(c->key[i].name))
            gguf_put(w, c->key[i].name, &c->key[i].value);
    }
    return OK;
}
