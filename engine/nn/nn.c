/* nn.c - words of a forward as ops. Shapes are checked by ops.c; here they are only derived. */
#include "engine/nn/nn.h"

#include <math.h>

/* Runs an op unless the pass has failed already, or is idle here. */
#define RUN(p, call)                                                                               \
    do {                                                                                           \
        if ((p)->status == OK && !(p)->idle)                                                       \
            pass_fail((p), (call));                                                                \
    } while (0)

void nn_begin(struct pass *p, const struct batch *b)
{
    p->b = b;
    p->live = b->r.live;
}

void nn_layer(struct pass *p, int l, struct tensor *x)
{
    if (p->status != OK || !p->next.q || l != p->next.layer)
        return; /* it is where it has to be */
    pass_carry(p, pass_cross(p), x);
}

struct tensor nn_embed(struct pass *p, const struct net *net, float scale)
{
    const struct batch *b = p->b;
    struct op_embed a = {.table = net->embed,
                         .rows = b->embed,
                         .r = b->r,
                         .token = b->token,
                         .last = b->last,
                         .y = pass_tensor(p, DT_F32, b->r.rows, net->hp.n_embd),
                         .scale = scale};

    RUN(p, op_embed(p->q, &a));
    return a.y;
}

void nn_rmsnorm(struct pass *p, struct tensor x, struct tensor weight, float eps, struct tensor y)
{
    struct op_rmsnorm a = {
        .x = x, .weight = pass_vector(p, weight), .y = y, .eps = eps, .live = p->live};

    RUN(p, op_rmsnorm(p->q, &a));
}

static int64_t weight_rows(const struct weight *w)
{
    int64_t n = 0;

    for (int i = 0; i < w->n_parts; i++)
        n += w->part[i].shape[0];
    return n;
}

/* x with its columns as the weight has them. */
static struct tensor in_order(struct pass *p, const struct tensor *w, struct tensor x)
{
    struct op_columns a = {.x = x, .y = x, .live = p->live};

    if (!w->q || !w->q->order)
        return x;
    a.y = pass_tensor(p, DT_F32, x.shape[0], x.shape[1]);
    a.index = w->q->order;
    RUN(p, op_columns(p->q, &a));
    return a.y;
}

/* y = x W^T + bias, plus what y holds with `add`. */
static void linear(struct pass *p, const struct weight *w, struct tensor x, struct tensor y,
                   bool add)
{
    int64_t first = 0;

    for (int i = 0; i < w->n_parts && p->status == OK; i++) {
        int64_t n = w->part[i].shape[0];
        size_t mark = pass_mark(p);
        struct op_linear a = {.x = in_order(p, &w->part[i], x),
                              .w = w->part[i],
                              .y = w->n_parts == 1 ? y : tensor_cols(y, first, n),
                              .live = p->live};

        if (w->bias.data)
            a.bias = tensor_1d((float *)w->bias.data + first, DT_F32, n);
        if (add)
            a.add = a.y;
        if (p->tap)
            p->tap(p->tap_ctx, &x, &w->part[i], p->live);
        RUN(p, op_linear(p->q, &a));
        pass_release(p, mark);
        first += n;
    }
}

void nn_linear_into(struct pass *p, const struct weight *w, struct tensor x, struct tensor y)
{
    linear(p, w, x, y, false);
}

void nn_linear_add(struct pass *p, const struct weight *w, struct tensor x, struct tensor y)
{
    linear(p, w, x, y, true);
}

/* Whether somebody has to see, or put in order, what a product takes: then it is made apart. */
static bool seen(const struct pass *p, const struct weight *w)
{
    for (int i = 0; i < w->n_parts; i++)
        if (w->part[i].q && w->part[i].q->order)
            return true;
    return p->tap != NULL;
}

struct tensor nn_norm_linear(struct pass *p, struct tensor x, struct tensor norm, float eps,
                             const struct weight *w)
{
    struct tensor y = pass_tensor(p, DT_F32, x.shape[0], weight_rows(w)); /* [R, N] */
    size_t mark = pass_mark(p);
    struct tensor h = pass_tensor(p, DT_F32, x.shape[0], x.shape[1]); /* [R, K] */
    struct op_norm_linear a = {.x = x,
                               .weight = pass_vector(p, norm),
                               .eps = eps,
                               .h = h,
                               .n_parts = w->n_parts,
                               .bias = w->bias,
                               .y = y,
                               .live = p->live};

    if (seen(p, w)) {
        nn_rmsnorm(p, x, norm, eps, h);
        nn_linear_into(p, w, h, y);
    } else {
        for (int i = 0; i < w->n_parts; i++)
            a.w[i] = w->part[i];
        RUN(p, op_norm_linear(p->q, &a));
    }
    pass_release(p, mark);
    return y;
}

struct kv_view nn_kv(const struct pass *p, const struct net *net, int l)
{
    const struct memory *m = &p->b->mem[MEMORY_KV];

    return (struct kv_view){.base = m->base + (net->hp.index[l] - m->first) * m->layer_bytes,
                            .dtype = m->dtype,
                            .page_tokens = m->page_tokens,
                            .n_head = net->hp.n_kv_head,
                            .head_dim = net->hp.head_dim,
                            .page_bytes = m->page_bytes,
                            .table = m->table,
                            .table_stride = m->table_stride,
                            .window = net->hp.window[l]};
}

struct tensor nn_qkv(struct pass *p, const struct net *net, int l, struct tensor x)
{
    const struct hparams *hp = &net->hp;
    const struct layer *w = &net->layer[l];
    int64_t d = hp->head_dim, nq = hp->n_head * d, nkv = hp->n_kv_head * d;
    struct tensor qkv =
        nn_norm_linear(p, x, w->attn_norm, hp->norm_eps, &w->qkv); /* [R, nq + 2 nkv] */
    struct op_rope_kv a = {
        .q = tensor_heads(tensor_cols(qkv, 0, nq), hp->n_head, d),
        .k = tensor_heads(tensor_cols(qkv, nq, nkv), hp->n_kv_head, d),
        .v = tensor_heads(tensor_cols(qkv, nq + nkv, nkv), hp->n_kv_head, d),
        .q_norm = w->q_norm,
        .k_norm = w->k_norm,
        .eps = hp->norm_eps,
        .r = p->b->r,
        .inv_freq = pass_vector(p, net->inv_freq).data,
        .n_freq = hp->rope_dim / 2,
        .neox = hp->rope_neox,
        .factor = net->rope_attn_factor,
        .kv = nn_kv(p, net, l),
    };

    RUN(p, op_rope_kv(p->q, &a));
    return qkv;
}

struct tensor nn_attention(struct pass *p, const struct net *net, int l, struct tensor qkv)
{
    const struct hparams *hp = &net->hp;
    int64_t d = hp->head_dim, nq = hp->n_head * d;
    struct tensor y = pass_tensor(p, DT_F32, qkv.shape[0], nq); /* [R, nq] */
    struct op_attention a = {
        .q = tensor_heads(tensor_cols(qkv, 0, nq), hp->n_head, d),
        .r = p->b->r,
        .kv = nn_kv(p, net, l),
        .scale = hp->attn_scale != 0 ? hp->attn_scale : 1.0f / sqrtf((float)d),
        .y = tensor_heads(y, hp->n_head, d),
    };

    RUN(p, op_attention(p->q, &a));
    return y;
}

void nn_ffn(struct pass *p, const struct net *net, int l, enum act act, struct tensor x)
{
    const struct layer *w = &net->layer[l];
    size_t mark = pass_mark(p);
    struct tensor both =
        nn_norm_linear(p, x, w->ffn_norm, net->hp.norm_eps, &w->gate_up); /* [R, gate F | up F] */
    struct tensor h = pass_tensor(p, DT_F32, both.shape[0], both.shape[1] / 2);
    struct op_glu_linear a = {.x = both,
                              .h = h,
                              .act = act,
                              .w = w->down.part[0], /* one tensor of a file, so one part */
                              .bias = w->down.bias,
                              .add = x,
                              .y = x,
                              .live = p->live};

    if (seen(p, &w->down)) {
        struct op_glu apart = {.x = both, .y = h, .act = act, .live = p->live};

        RUN(p, op_glu(p->q, &apart));
        nn_linear_add(p, &w->down, h, x);
    } else {
        RUN(p, op_glu_linear(p->q, &a));
    }
    pass_release(p, mark);
}

struct tensor nn_gather(struct pass *p, struct tensor x)
{
    const struct batch *b = p->b;
    struct op_gather a = {.x = x,
                          .y = pass_tensor(p, DT_F32, b->n_want, x.shape[1]),
                          .index = b->want,
                          .n_live = b->want_live};

    RUN(p, op_gather(p->q, &a));
    return a.y;
}

void nn_want(struct pass *p)
{
    p->live = p->b->want_live;
}
