/* outline_hf.c - a Hugging Face directory as a GGUF file: names by the network's tables, numbers
 * from the hyper-parameters as they were read, the tokenizer from tokenizer.json.
 *
 * A GGUF file names the rule that cuts text into words instead of spelling it out. Which name is
 * right is found by trying: the first whose tokenizer gives a probe the same tokens as the
 * directory's own. Where GGUF files of an architecture have rotary pairs side by side, rows of Q
 * and K change places. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/load/bind.h"
#include "engine/load/hparams.h"
#include "engine/load/lexicon.h"
#include "engine/load/outline.h"
#include "engine/text/pipeline.h"

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
    if (!t && (row->optional || row->tied))
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

/* What GGUF files have in place of Llama 3's rule: by how much each frequency is lower. */
static void find_factors(struct outline *o)
{
    struct hparams plain = o->hp;
    int n = o->hp.rope_dim / 2;
    float *scaled = arena_alloc(&o->arena, (size_t)n * sizeof *scaled);
    float *factor = arena_alloc(&o->arena, (size_t)n * sizeof *factor), unused;

    plain.rope_scaling = ROPE_PLAIN;
    hparams_rope(&o->hp, NULL, scaled, &unused);
    hparams_rope(&plain, NULL, factor, &unused);
    for (int i = 0; i < n; i++)
        factor[i] /= scaled[i];
    o->factors = factor;
    o->n_factors = n;
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
    if (o->hp.rope_scaling == ROPE_LLAMA3)
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
    if (strncmp(row->gguf, "rope.scaling.", 13) == 0 &&
        (o->hp.rope_scaling == ROPE_PLAIN || o->factors))
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

/* ---- tokenizer ------------------------------------------------------------------------------- */

/* Names of rules of byte-level BPE, the usual ones first; of several for one rule, one. */
static const char *const rules[] = {
    "llama-bpe",   "qwen2",        "gpt-2",  "smollm",    "tekken",         "gpt-4o",
    "deepseek-v3", "deepseek-llm", "falcon", "starcoder", "deepseek-coder", "command-r",
    "olmo",        "dbrx",         "bloom",  "poro-chat", "chatglm-bpe",    "viking",
    "superbpe",    "kimi-k2",      "qwen35", "default"};

static const char probe[] =
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n I've been 'told he's there, 'RE you sure? "
    "'M not sure I'll make it, 'D you like some tea? We'Ve a'lL 3 33 333 3333 33333 333333 "
    "3.3 3..3 3...3 x1y22z333 ?!?!? !!!!!! camelCase HTTPServer don't DON'T _a__b "
    "\xc3\xa9t\xc3\xa9 "
    "e\xcc\x81 \xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xd9\x85\xd8\xb1\xd8\xad\xd8\xa8"
    "\xd8\xa7 \xe6\x88\x91\xe6\x83\xb3\xe5\x9c\xa8 \xe3\x82\xab\xe3\x82\xbf \xed\x95\x9c\xea\xb5"
    "\xad\xec\x96\xb4 \xf0\x9f\x98\x80\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x92\xbb (a/b) {c}=[d] "
    "#tag @me http://x.y/z?q=1&r=2 \r\n\r\n\treturn 0; // 12,345.67  \n";

struct lent { /* what put_vocabulary needs beside the lists */
    const struct outline *o;
    struct gguf_writer *w;
    const struct checkpoint *c;
};

static bool same_tokens(const struct tokenizer *a, const struct tokenizer *b)
{
    struct bytes text = {probe, sizeof probe - 1};
    struct tokens x = {0}, y = {0};
    bool same = tokenizer_encode(a, text, 0, &x) == OK && tokenizer_encode(b, text, 0, &y) == OK &&
                x.n == y.n && (x.n == 0 || memcmp(x.id, y.id, (size_t)x.n * sizeof *x.id) == 0);

    tokens_clear(&x);
    tokens_clear(&y);
    return same;
}

static const char *find_rule(const struct tokenizer_spec *spec, const struct tokenizer *t)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct tokenizer_spec as = *spec;
        struct tokenizer *try;
        bool same;

        as.model = "gpt2";
        as.pre = rules[i];
        as.pipeline = NULL;
        as.before = as.behind = NULL;
        as.n_before = as.n_behind = 0;
        if (tokenizer_new(&as, &try) != OK)
            continue;
        same = same_tokens(try, t);
        tokenizer_free(try);
        if (same)
            return rules[i];
    }
    return NULL;
}

static void put_merges(const struct tokenizer_spec *s, struct gguf_writer *w)
{
    struct bytes *merge;
    struct buf text = {0};
    size_t at = 0;

    if (!s->merge_halves) {
        gguf_put_texts(w, "tokenizer.ggml.merges", s->merge, s->n_merges);
        return;
    }
    merge = xcalloc((size_t)s->n_merges, sizeof *merge);
    for (int i = 0; i < s->n_merges; i++) {
        buf_append(&text, s->merge[2 * i].p, s->merge[2 * i].n);
        buf_putc(&text, ' ');
        buf_append(&text, s->merge[2 * i + 1].p, s->merge[2 * i + 1].n);
    }
    for (int i = 0; i < s->n_merges; i++) {
        merge[i] = (struct bytes){text.data + at, s->merge[2 * i].n + 1 + s->merge[2 * i + 1].n};
        at += merge[i].n;
    }
    gguf_put_texts(w, "tokenizer.ggml.merges", merge, s->n_merges);
    buf_clear(&text);
    xfree(merge);
}

static void put_id(struct gguf_writer *w, const char *key, int32_t id)
{
    if (id >= 0)
        gguf_put_u32(w, key, (uint32_t)id);
}

/* Tokens that end a turn besides EOS: GGUF files have room for one. */
static int32_t turn_end(const struct tokenizer_spec *s)
{
    for (int i = 0; i < s->n_ends; i++) {
        if (s->ends[i] != s->eos)
            return s->ends[i];
    }
    return -1;
}

static enum status put_vocabulary(void *ctx, const struct tokenizer_spec *s,
                                  const struct tokenizer *t)
{
    const struct lent *l = ctx;
    bool bpe = s->pipeline->kind == WORD_BPE && s->pipeline->bytes;
    const char *rule = bpe ? find_rule(s, t) : NULL;

    if (!rule)
        return fail(ERR_UNSUPPORTED, "%s: %s cannot be written into a GGUF file", l->c->path,
                    bpe ? "tokenizer.json cuts text by a rule that has no name there, and"
                        : "a tokenizer that is not byte-level BPE");
    gguf_put_text(l->w, "tokenizer.ggml.model", bytes_of("gpt2"));
    gguf_put_text(l->w, "tokenizer.ggml.pre", bytes_of(rule));
    gguf_put_texts(l->w, "tokenizer.ggml.tokens", s->token, s->n_vocab);
    if (s->type)
        gguf_put_i32s(l->w, "tokenizer.ggml.token_type", s->type, s->n_vocab);
    put_merges(s, l->w);
    put_id(l->w, "tokenizer.ggml.bos_token_id", s->bos);
    put_id(l->w, "tokenizer.ggml.eos_token_id", s->eos);
    put_id(l->w, "tokenizer.ggml.unknown_token_id", s->unk);
    put_id(l->w, "tokenizer.ggml.eot_token_id", turn_end(s));
    gguf_put_bool(l->w, "tokenizer.ggml.add_bos_token", s->n_before == 1 && s->before[0] == s->bos);
    gguf_put_bool(l->w, "tokenizer.ggml.add_eos_token", s->n_behind == 1 && s->behind[0] == s->eos);
    return OK;
}

enum status outline_hf_keys(const struct outline *o, const struct checkpoint *c,
                            struct gguf_writer *w)
{
    const struct value *chat = lexicon_template(c);
    struct lent l = {o, w, c};

    put_hparams(o, c, w);
    if (chat)
        gguf_put_text(w, "tokenizer.chat_template", chat->text);
    if (!lexicon_has(c))
        return fail(ERR_UNSUPPORTED, "%s: has no tokenizer.json, and a GGUF file needs a tokenizer",
                    c->path);
    return lexicon_lend(c, put_vocabulary, &l);
}
