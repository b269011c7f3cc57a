/* bind.c - matches the weight table of an architecture with the tensors of a checkpoint.
 *
 * Problems are collected and reported together: who converted a file wrongly wants the list, not
 * the first. The invariant: after OK every tensor of the file is used exactly once, and every
 * non-optional row has one. */
#include "engine/load/bind.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/load/hparams.h"

enum { MAX_REPORTED = 8 };

struct binder {
    const struct checkpoint *c;
    const struct recipe *recipe;
    struct net *net;
    struct placement *p;
    bool *used;         /* [n_tensors] */
    struct buf problem; /* "; " between them */
    int n_problems;
    bool unsupported; /* every problem so far is one of support, not of the file */
    const struct ckpt_tensor *factors[N_FACTORS];
};

int64_t bind_dim(const struct hparams *hp, enum weight_dim d)
{
    switch (d) {
    case DIM_NONE:
        return 1;
    case DIM_VOCAB:
        return hp->n_vocab;
    case DIM_EMBD:
        return hp->n_embd;
    case DIM_FF:
        return hp->n_ff;
    case DIM_Q:
        return (int64_t)hp->n_head * hp->head_dim;
    case DIM_KV:
        return (int64_t)hp->n_kv_head * hp->head_dim;
    case DIM_HEAD:
        return hp->head_dim;
    case DIM_ROPE_HALF:
        return hp->rope_dim / 2;
    }
    return 0;
}

void bind_name(const struct checkpoint *c, const struct weight_row *row, int l, char *out,
               size_t size)
{
    const char *pattern = c->format->names == NAMES_HF ? row->hf : row->gguf;
    const char *number = strstr(pattern, "%d");

    if (number)
        snprintf(out, size, "%.*s%d%s", (int)(number - pattern), pattern, l, number + 2);
    else
        snprintf(out, size, "%s", pattern);
}

static void problem(struct binder *b, bool support, const char *text)
{
    b->unsupported = support && (b->unsupported || b->n_problems == 0);
    if (b->n_problems++ < MAX_REPORTED) {
        if (b->problem.len)
            buf_puts(&b->problem, "; ");
        buf_puts(&b->problem, text);
    }
}

static void print_shape(char *out, size_t size, const int64_t *shape, int ndim)
{
    size_t at = 0;

    for (int i = 0; i < ndim && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "[", (long long)shape[i]);
    if (at < size)
        snprintf(out + at, size - at, "]");
}

/* The row's tensor in layer l, checked; NULL when absent or wrong (reported unless `optional`). */
static const struct ckpt_tensor *take(struct binder *b, const struct weight_row *row, int l,
                                      bool optional)
{
    const struct hparams *hp = &b->net->hp;
    int ndim = row->dim[1] == DIM_NONE ? 1 : 2;
    int64_t want[2] = {bind_dim(hp, row->dim[0]), bind_dim(hp, row->dim[1])};
    const struct ckpt_tensor *t;
    char name[256], text[640], got[112], expected[64];

    bind_name(b->c, row, l, name, sizeof name);
    print_shape(expected, sizeof expected, want, ndim);
    t = checkpoint_tensor(b->c, name);
    if (!t) {
        snprintf(text, sizeof text, "tensor %s %s is missing", name, expected);
        if (!optional)
            problem(b, false, text);
        return NULL;
    }
    b->used[t - b->c->tensor] = true;
    if (t->ndim != ndim || t->shape[0] != want[0] || (ndim == 2 && t->shape[1] != want[1])) {
        print_shape(got, sizeof got, t->shape, t->ndim);
        snprintf(text, sizeof text, "tensor %s has shape %s, expected %s", name, got, expected);
        problem(b, false, text);
        return NULL;
    }
    if (t->dtype < 0 || !dtype_info((enum dtype)t->dtype)->decode) {
        snprintf(text, sizeof text, "tensor %s has type %s, which is not supported (supported: %s)",
                 name, checkpoint_type_name(b->c, t), dtype_list());
        problem(b, true, text);
        return NULL;
    }
    return t;
}

static bool exists(const struct binder *b, const struct weight_row *row, int l)
{
    char name[256];

    bind_name(b->c, row, l, name, sizeof name);
    return checkpoint_tensor(b->c, name) != NULL;
}

/* May layer l do without? What layer 0 has, every layer must have; what the class of checkpoint
 * always has is not optional; and a bias has all its parts (rows [row, row + n)) or none. */
static bool may_lack(const struct binder *b, const struct weight_row *row, int n, int l)
{
    if (!row->optional)
        return false;
    for (int i = 0; i < 4 && b->recipe->needs[i]; i++) {
        if (strcmp(b->recipe->needs[i], row->gguf) == 0)
            return false;
    }
    for (int i = 0; i < n; i++) {
        if (exists(b, &row[i], 0) || (row->layer && exists(b, &row[i], l)))
            return false;
    }
    return true;
}

static struct bound *add(struct placement *p, enum weight_kind kind, struct tensor *dst)
{
    struct bound *b;

    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 64;
        p->bound = xrealloc(p->bound, (size_t)p->cap * sizeof *p->bound);
    }
    b = &p->bound[p->n++];
    *b = (struct bound){.dst = dst, .kind = kind, .dtype = DT_F32, .k = 1};
    return b;
}

static void extend(struct bound *d, const struct ckpt_tensor *t)
{
    d->src[d->n_src++] = t;
    d->n += t->shape[0];
    if (t->ndim == 2)
        d->k = t->shape[1];
}

/* What a weight's format says besides its blocks. In GGUF files the tensor `t` as name.weight may
 * have companions of one number: name.scale multiplies it (NVFP4 files). name.input_scale is what a
 * kernel with activations in FP4 divides them by; ours are not. */
static struct quant companions(struct binder *b, const struct ckpt_tensor *t)
{
    static const char *const suffix[] = {".scale", ".input_scale"};
    const char *tail = strstr(t->name, ".weight");
    struct quant out = {
        .global = t->global, .x = t->x, .x_scale = t->x_scale, .row_scale = t->row_scale};
    char name[256], text[320];

    for (int i = 0; i < 2 && tail && b->c->format->names == NAMES_GGUF; i++) {
        const struct ckpt_tensor *s;
        float value = 0;

        snprintf(name, sizeof name, "%.*s%s", (int)(tail - t->name), t->name, suffix[i]);
        s = checkpoint_tensor(b->c, name);
        if (!s)
            continue;
        b->used[s - b->c->tensor] = true;
        if (s->dtype == DT_F32 && s->bytes == sizeof value)
            memcpy(&value, checkpoint_view(b->c, s).data, sizeof value);
        if (!(value > 0) || !isfinite(value)) {
            snprintf(text, sizeof text, "tensor %s: expected one positive number of type f32",
                     name);
            problem(b, false, text);
        } else if (i == 0) {
            out.global = value;
        }
    }
    return out;
}

static bool same_quant(const struct quant *a, const struct quant *b)
{
    return a->global == b->global && a->x == b->x && a->x_scale == b->x_scale &&
           a->row_scale == b->row_scale;
}

static bool same_order(const struct ckpt_tensor *a, const struct ckpt_tensor *b)
{
    size_t n = (size_t)a->shape[1] * sizeof *a->order;

    return a->order == b->order || (a->order && b->order && a->shape[1] == b->shape[1] &&
                                    memcmp(a->order, b->order, n) == 0);
}

/* A matrix as `t`, and in front of it the order of its columns where it has one. */
static struct bound *add_matrix(struct placement *p, const struct ckpt_tensor *t,
                                struct tensor *dst)
{
    struct bound *d;
    int order = 0;

    if (t->order) {
        d = add(p, WEIGHT_VECTOR, NULL);
        d->host = t->order;
        d->dtype = DT_I32;
        d->n = t->shape[1];
        order = p->n - 1;
    }
    d = add(p, WEIGHT_MATRIX, dst);
    d->order = order;
    return d;
}

bool bind_may_tie(const struct checkpoint *c)
{
    const struct value *v = checkpoint_key(c, "tie_word_embeddings");

    return c->format->names != NAMES_HF || !v || v->kind != VALUE_BOOL || v->integer;
}

/* Rows [row, row + n) are the parts of one weight; neighbours of one format, companions and order
 * become one tensor. */
static void bind_matrix(struct binder *b, const struct weight_row *row, int n, int l, char *base)
{
    struct weight *w = (struct weight *)(void *)(base + row->offset);
    struct bound *d = NULL;

    for (int i = 0; i < n; i++) {
        const struct ckpt_tensor *t = take(b, &row[i], l, row[i].tied && bind_may_tie(b->c));

        if (!t && row[i].tied && b->n_problems == 0) {
            b->p->bound[0].also = &w->part[0]; /* the table is the first row of every network */
            w->n_parts = 1;
        }
        if (!t)
            continue;
        struct quant q = companions(b, t);
        if (!d || d->dtype != (enum dtype)t->dtype || !same_quant(&d->quant, &q) ||
            !same_order(d->src[0], t))
            d = add_matrix(b->p, t, &w->part[w->n_parts++]);
        d->quant = q;
        d->dtype = (enum dtype)t->dtype;
        extend(d, t);
    }
}

static void bind_bias(struct binder *b, const struct weight_row *row, int n, int l, char *base)
{
    struct weight *w = (struct weight *)(void *)(base + row->offset);
    struct bound *d = NULL;
    bool lack = may_lack(b, row, n, l);

    for (int i = 0; i < n; i++) {
        const struct ckpt_tensor *t = take(b, &row[i], l, lack);

        if (t && !d)
            d = add(b->p, WEIGHT_BIAS, &w->bias);
        if (t)
            extend(d, t);
    }
}

static void bind_row(struct binder *b, const struct weight_row *row, int n, int l)
{
    char *base = row->layer ? (char *)&b->net->layer[l] : (char *)b->net;
    const struct ckpt_tensor *t;

    if (row->kind == WEIGHT_MATRIX) {
        bind_matrix(b, row, n, l, base);
        return;
    }
    if (row->kind == WEIGHT_BIAS) {
        bind_bias(b, row, n, l, base);
        return;
    }
    t = take(b, row, l, may_lack(b, row, 1, l));
    if (t && (t->global != 0 || t->order))
        problem(b, true, "a table or vector is quantised, which only matrices may be");
    if (t && row->kind == WEIGHT_FACTORS) {
        b->factors[row->part] = t;
    } else if (t) {
        struct bound *d = add(b->p, row->kind, (struct tensor *)(void *)(base + row->offset));

        if (row->kind == WEIGHT_TABLE)
            d->dtype = (enum dtype)t->dtype;
        extend(d, t);
    }
}

/* How many rows from `row` on are parts of the same thing. */
static int group(const struct weight_row *row)
{
    int n = 1;

    if (row->kind != WEIGHT_MATRIX && row->kind != WEIGHT_BIAS)
        return 1;
    while (row[n].gguf && row[n].kind == row->kind && row[n].offset == row->offset &&
           row[n].layer == row->layer)
        n++;
    return n;
}

static void bind_rows(struct binder *b, bool per_layer, int l)
{
    const struct weight_row *row = b->net->arch->weights;

    for (int n; row->gguf; row += n) {
        int first = b->p->n, layer = row->layer ? l : b->net->hp.n_layer;

        n = group(row);
        if (row->layer == per_layer)
            bind_row(b, row, n, l);
        for (; first < b->p->n; first++)
            b->p->bound[first].layer = row->kind == WEIGHT_TABLE ? 0 : layer;
    }
}

static void find_surplus(struct binder *b)
{
    char text[320];

    for (int i = 0; i < b->c->n_tensors; i++) {
        if (!b->used[i]) {
            snprintf(text, sizeof text, "tensor %s has no place in this network",
                     b->c->tensor[i].name);
            problem(b, false, text);
        }
    }
}

enum status bind_factors(const struct checkpoint *c, const char *key, int64_t n, float *out)
{
    const struct value *v = checkpoint_key(c, key);
    struct value e;

    for (int64_t i = 0; i < n; i++) {
        if (!v || v->n != n || !checkpoint_at(c, v, i, &e) || !((float)e.number > 0) ||
            !isfinite((float)e.number))
            return fail(ERR_FORMAT, "longrope needs %lld positive numbers as %s", (long long)n,
                        key);
        out[i] = (float)e.number;
    }
    return OK;
}

/* Factors as the file has them: a tensor, or a list in a directory's config.json. NULL: none. */
static float *read_factors(struct binder *b, enum rope_factors which)
{
    static const char *const key[] = {NULL, "rope_scaling.short_factor",
                                      "rope_scaling.long_factor"};
    bool hf = b->c->format->names == NAMES_HF;
    const struct ckpt_tensor *t = b->factors[which];
    int n = b->net->hp.rope_dim / 2;
    float *out;

    if (!t && which == FACTORS_ALL)
        return NULL;
    out = xcalloc((size_t)n, sizeof *out);
    if (!t) {
        if (!hf || bind_factors(b->c, key[which], n, out) != OK)
            problem(b, false,
                    hf ? fail_text() : "longrope needs rope_factors_short and rope_factors_long");
        return out;
    }
    dtype_decode((enum dtype)t->dtype, checkpoint_view(b->c, t).data, out, n);
    for (int i = 0; i < n; i++) {
        if (!(out[i] > 0) || !isfinite(out[i])) {
            problem(b, false, "the tensor of rotary factors has one that is not positive");
            break;
        }
    }
    return out;
}

void bind_context(const struct net *net, struct placement *p, int64_t tokens)
{
    size_t n = (size_t)net->hp.rope_dim / 2;
    enum rope_factors which = tokens > net->hp.rope_ctx ? FACTORS_LONG : FACTORS_SHORT;

    if (net->hp.rope_scaling == ROPE_LONG && p->inv_freq)
        memcpy(p->inv_freq, p->inv_freq + n * which, n * sizeof *p->inv_freq);
}

/* The frequencies are weights too: they lie on the device beside them. */
static void bind_rope(struct binder *b)
{
    struct net *net = b->net;
    int n = net->hp.rope_dim / 2;
    bool both = net->hp.rope_scaling == ROPE_LONG;
    struct bound *d;

    if (b->factors[both ? FACTORS_ALL : FACTORS_SHORT] || (!both && b->factors[FACTORS_LONG]))
        problem(b, false, "the rotary factors are not those that the type of scaling has");

    b->p->inv_freq = xcalloc((size_t)N_FACTORS * (size_t)n, sizeof *b->p->inv_freq);
    for (int i = both; i < (both ? N_FACTORS : 1); i++) {
        float *factors = read_factors(b, (enum rope_factors)i);

        hparams_rope(&net->hp, factors, b->p->inv_freq + i * n, &net->rope_attn_factor);
        xfree(factors);
    }
    bind_context(net, b->p, net->hp.n_ctx);
    d = add(b->p, WEIGHT_VECTOR, &net->inv_freq);
    d->host = b->p->inv_freq;
    d->n = n;
    d->layer = net->hp.n_layer;
}

enum status bind_weights(const struct checkpoint *c, const struct recipe *recipe, struct net *net,
                         struct placement *p)
{
    struct binder b = {.c = c, .recipe = recipe, .net = net, .p = p};
    enum status s = OK;

    b.used = xcalloc((size_t)c->n_tensors + 1, sizeof *b.used);
    bind_rows(&b, false, 0);
    for (int l = 0; l < net->hp.n_layer; l++)
        bind_rows(&b, true, l);
    find_surplus(&b);
    bind_rope(&b);
    if (b.n_problems > MAX_REPORTED)
        buf_printf(&b.problem, "; and %d more", b.n_problems - MAX_REPORTED);
    if (b.n_problems)
        s = fail(b.unsupported ? ERR_UNSUPPORTED : ERR_FORMAT, "%s: %s", c->path, b.problem.data);
    buf_clear(&b.problem);
    xfree(b.used);
    return s;
}

void bind_untie(struct placement *p, int n_layer)
{
    struct bound *table = &p->bound[0], *head; /* the first row of every network */

    if (!table->also)
        return;
    head = add(p, WEIGHT_MATRIX, table->also);
    table = &p->bound[0];
    table->also = NULL;
    head->src[0] = table->src[0];
    head->n_src = 1;
    head->dtype = table->dtype;
    head->n = table->n;
    head->k = table->k;
    head->layer = n_layer;
}

void bind_clear(struct placement *p)
{
    xfree(p->bound);
    xfree(p->inv_freq);
    *p = (struct placement){0};
}
