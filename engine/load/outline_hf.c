/* outline_hf.c - a Hugging Face directory as a GGUF file: names by the network's tables, numbers
 * from the hyper-parameters as they were read, the tokenizer by lexicon_put.
 *
 * Where GGUF files of an architecture have rotary pairs side by side, rows of Q and K change
 * places. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/load/bind.h"
#include "engine/load/generation.h"
#include "engine/load/hparams.h"
#include "engine/load/lexicon.h"
#include "engine/load/outline.h"

/* ---- tensors --------------------------------------------------------------------------------- */

static int64_t heads_of(const struct outline *o, const char *name)
{
    if (strstr(name, ".attn_q.weight") || strstr(name, ".attn_q.bias"))
        return o->hp.n_head;
    if (strstr(name, ".attn_k.weight") || strstr(name, ".attn_k.bias"))
        return o->hp.n_kv_head;
    return 0;
}

static enum status add_tensor(struct outline *o, const struct checkpoint *c,
                              const struct weight_row *row, int l, bool turn)
{
    struct outline_tensor *to = &o->tensor[o->n];
    const struct ckpt_tensor *t;
    const char *number = strstr(row->gguf, "%d");
    char name[256];

    bind_name(c, row, l, name, sizeof name);
    t = checkpoint_tensor(c, name);
    if (!t && (row->optional || (row->tied && bind_may_tie(c))))
        return OK;
    if (!t)
        return fail(ERR_FORMAT, "%s: tensor %s is missing", c->path, name);
    *to = (struct outline_tensor){.src = t, .factor = t->global != 0 ? t->global : 1};
    to->name = number ? arena_printf(&o->arena, "%.*s%d%s", (int)(number - row->gguf), row->gguf, l,
                                     number + 2)
                      : row->gguf;
    to->heads = turn ? heads_of(o, to->name) : 0;
    if (to->heads && t->shape[0] % (2 * to->heads) != 0)
        return fail(ERR_FORMAT, "%s: tensor %s: %lld rows are no pairs in %lld heads", c->path,
                    name, (long long)t->shape[0], (long long)to->heads);
    if (row->tied)
        o->model.tied = false;
    o->n++;
    return OK;
}

/* By how much each frequency is lower than the base's: what GGUF files have in place of Llama 3's
 * rule, and of a YaRN that they cannot spell. */
static void find_factors(struct outline *o)
{
    struct hparams plain = o->hp;
    int n = o->hp.rope_dim / 2;
    float *scaled = arena_alloc(&o->arena, (size_t)n * sizeof *scaled);
    float *factor = arena_alloc(&o->arena, (size_t)n * sizeof *factor), unused;

    plain.rope_scaling = ROPE_PLAIN;
    hparams_rope(&o->hp, NULL, scaled, &o->hp.rope_attn);
    hparams_rope(&plain, NULL, factor, &unused);
    for (int i = 0; i < n; i++)
        factor[i] /= scaled[i];
    o->hp.rope_scaling = ROPE_PLAIN;
    o->factors[o->n_sets].name = "rope_freqs.weight";
    o->factors[o->n_sets++].value = factor;
}

/* LongRoPE's, as config.json has them. */
static enum status copy_factors(struct outline *o, const struct checkpoint *c)
{
    static const char *const name[2][2] = {
        {"rope_scaling.short_factor", "rope_factors_short.weight"},
        {"rope_scaling.long_factor", "rope_factors_long.weight"}};

    for (int i = 0; i < 2; i++) {
        float *factor = arena_calloc(&o->arena, (size_t)o->n_factors * sizeof *factor);

        TRY(bind_factors(c, name[i][0], o->n_factors, factor));
        o->factors[o->n_sets].name = name[i][1];
        o->factors[o->n_sets++].value = factor;
    }
    return OK;
}

enum status outline_hf_open(struct outline *o, const struct checkpoint *c)
{
    const struct value *v = checkpoint_key(c, "model_type");
    char name[64] = "";
    const struct hf_class *class;

    if (v && v->kind == VALUE_STRING)
        snprintf(name, sizeof name, "%.*s", (int)v->text.n, v->text.p);
    class = recipe_class(name);
    if (!class)
        return fail(ERR_UNSUPPORTED, "%s: model_type \"%s\" is not supported", c->path, name);
    o->recipe = recipe_find(class->architecture);
    TRY(hparams_read(c, class->architecture, o->recipe->arch->hparams, &o->hp));
    o->model = (struct mix_model){
        .n_layer = o->hp.n_layer, .heads_a_kv_head = o->hp.n_head / o->hp.n_kv_head, .tied = true};
    o->tensor = arena_calloc(&o->arena, (size_t)c->n_tensors * sizeof *o->tensor);
    for (const struct weight_row *row = o->recipe->arch->weights; row->gguf || row->hf; row++) {
        for (int l = 0; row->gguf && row->hf && l < (row->layer ? o->hp.n_layer : 1); l++)
            TRY(add_tensor(o, c, row, l, class->rope_neox && !o->recipe->rope_neox));
    }
    o->n_factors = o->hp.rope_dim / 2;
    if (o->hp.rope_scaling == ROPE_LONG)
        return copy_factors(o, c);
    if (o->hp.rope_scaling == ROPE_LLAMA3 || (o->hp.rope_scaling == ROPE_YARN && !o->hp.rope_whole))
        find_factors(o);
    return OK;
}

/* ---- hyper-parameters ------------------------------------------------------------------------ */

/* One number where all layers share it. */
static void put_each(const struct outline *o, const int32_t *each, const char *key,
                     struct gguf_writer *w)
{
    bool same = true;

    for (int l = 1; l < o->hp.n_layer; l++)
        same = same && each[l] == each[0];
    if (!same)
        gguf_put_i32s(w, key, each, o->hp.n_layer);
    else if (each[0] > 0)
        gguf_put_u32(w, key, (uint32_t)each[0]);
}

static void put_row(const struct outline *o, const struct hparam_row *row, struct gguf_writer *w)
{
    const char *field = (const char *)&o->hp + row->offset;
    char key[128];
    int32_t whole;
    float real;

    snprintf(key, sizeof key, "%s.%s", o->recipe->architecture, row->gguf);
    if (strncmp(row->gguf, "rope.scaling.", 13) == 0 && o->hp.rope_scaling == ROPE_PLAIN &&
        (row->offset != offsetof(struct hparams, rope_attn) || o->hp.rope_attn == 1))
        return;
    memcpy(&whole, field, sizeof whole);
    memcpy(&real, field, sizeof real);
    if (row->kind == HPARAM_SCALING)
        gguf_put_text(w, key, bytes_of(hparams_scaling_name(o->hp.rope_scaling)));
    else if (row->kind == HPARAM_EACH)
        put_each(o, (const int32_t *)(const void *)field, key, w);
    else if (row->kind == HPARAM_INT && whole > 0)
        gguf_put_u32(w, key, (uint32_t)whole);
    else if (row->kind == HPARAM_FLOAT && real != 0)
        gguf_put_f32(w, key, real);
}

static void put_hparams(const struct outline *o, const struct checkpoint *c, struct gguf_writer *w)
{
    const char *end = c->path + strlen(c->path), *begin;
    char key[128];

    while (end > c->path && end[-1] == '/')
        end--;
    for (begin = end; begin > c->path && begin[-1] != '/';)
        begin--;
    gguf_put_text(w, "general.architecture", bytes_of(o->recipe->architecture));
    gguf_put_text(w, "general.type", bytes_of("model"));
    gguf_put_text(w, "general.name", (struct bytes){begin, (size_t)(end - begin)});
    for (const struct hparam_row *row = o->recipe->arch->hparams; row->gguf || row->hf; row++) {
        if (row->gguf)
            put_row(o, row, w);
    }
    snprintf(key, sizeof key, "%s.attention.value_length", o->recipe->architecture);
    gguf_put_u32(w, key, (uint32_t)o->hp.head_dim);
}

/* ---- keys ------------------------------------------------------------------------------------ */

enum status outline_hf_keys(const struct outline *o, const struct checkpoint *c,
                            struct gguf_writer *w)
{
    const struct value *chat = lexicon_template(c, LEXICON_CHAT);
    const struct value *tools = lexicon_template(c, LEXICON_TOOLS);
    const struct bytes name = bytes_of("tool_use");
    struct generation g;

    put_hparams(o, c, w);
    generation_read(c, &g);
    generation_write(&g, w);
    if (chat)
        gguf_put_text(w, LEXICON_CHAT, chat->text);
    if (tools) {
        gguf_put_texts(w, "tokenizer.chat_templates", &name, 1);
        gguf_put_text(w, LEXICON_TOOLS, tools->text);
    }
    if (!lexicon_has(c))
        return fail(ERR_UNSUPPORTED,
                    "%s: has no tokenizer.json, nor a " LEXICON_FILES ", and a GGUF file needs one",
                    c->path);
    return lexicon_write(c, w);
}
