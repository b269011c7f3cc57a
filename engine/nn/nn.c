/* nn.c - words of a forward as ops. Shapes are checked by ops.c; here they are only derived. */
#include "engine/nn/nn.h"

#include <math.h>

/* Runs an op unless the pass has failed already. */
#define RUN(p, call)                                                                               \
    do {                                                                                           \
        if ((p)->status == OK)                                                                     \
            pass_fail((p), (call));                                                                \
    } while (0)

void nn_begin(struct pass *p, const struct batch *b)
{
    p->b = b;
    p->live = b->r.live;
}

void nn_layer(struct pass *p, int l, struct tensor *x, struct tensor *h)
{
    const char *from = p->work;

    if (p->status != OK || !p->next.q || l != p->next.layer)
        return; /* they are where they have to be */
    pass_cross(p);
    pass_carry(p, from, x);
    if (h)
        pass_carry(p, from, h);
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

void nn_add_rmsnorm(struct pass *p, struct tensor x, struct tensor delta, struct tensor weight,
                    float eps, struct tensor y)
{
    struct op_add_rmsnorm a = {.x = x,
                               .delta = delta,
                               .weight = pass_vector(p, weight),
                               .y = y,
                               .eps = eps,
                               .live = p->live};

    RUN(p, op_add_rmsnorm(p->q, &a));
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

void nn_linear_into(struct pass *p, const struct weight *w, struct tensor x, struct tensor y)
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
        if (p->tap)
            p->tap(p->tap_ctx, &x, &w->part[i], p->live);
        RUN(p, op_linear(p->q, &a));
        pass_release(p, mark);
        first += n;
    }
}

struct tensor nn_linear(struct pass *p, const struct weight *w, struct tensor x)
{
    struct tensor y = pass_tensor(p, DT_F32, x.shape[0], weight_rows(w)); /* [R, N] */

    nn_linear_into(p, w, x, y);
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
    struct tensor qkv = nn_linear(p, &w->qkv, x); /* [R, nq + 2 nkv] */
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

struct tensor nn_glu(struct pass *p, const struct layer *layer, enum act act, struct tensor x)
{
    struct tensor both = nn_linear(p, &layer->gate_up, x); /* [R, gate F | up F] */
    struct tensor h = pass_tensor(p, DT_F32, both.shape[0], both.shape[1] / 2);
    struct tensor y = pass_tensor(p, DT_F32, both.shape[0], layer->down.part[0].shape[0]);
    struct op_glu_linear a = {.x = both,
                              .h = h,
                              .act = act,
                              .w = layer->down.part[0], /* one tensor of a file, so one part */
                              .bias = layer->down.bias,
                              .y = y,
                              .live = p->live};

    const struct quant *q = layer->down.part[0].q;
    if (p->tap || (q && q->order)) { /* the product's input is wanted, or has to be put in order */
        struct op_glu apart = {.x = both, .y = h, .act = act, .live = p->live};

        RUN(p, op_glu(p->q, &apart));
        nn_linear_into(p, &layer->down, h, y);
        return y;
    }
    RUN(p, op_glu_linear(p->q, &a));
    return y;
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
