/* recurrent.c - see recurrent.h. Layer 0 remembers a state, layer 1 pages. */
#include "tests/support/recurrent.h"

#include "engine/nn/nn.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { VOCAB = 256, EMBD = 32, HEADS = 2, DIM = 16, WIDTH = 4, QKV = 3 * HEADS * DIM };

static float embed[VOCAB * EMBD], norm[3][EMBD], conv[EMBD * WIDTH], qkv[QKV * EMBD],
    out[EMBD * HEADS * DIM], head[VOCAB * EMBD], inv_freq[DIM / 2];

static void fill(float *w, int n, float scale, uint64_t key)
{
    for (int i = 0; i < n; i++)
        w[i] = scale * (2 * rng_uniform(rng_philox(key, (uint64_t)i, 0).v[0]) - 1);
}

static struct weight matrix(float *w, int rows, int cols)
{
    return (struct weight){.part = {tensor_2d(w, DT_F32, rows, cols)}, .n_parts = 1};
}

/* y = conv1d(x), over what each slot remembers */
static void convolve(struct pass *p, struct tensor x, struct tensor y)
{
    const struct memory *m = &p->b->mem[MEMORY_STATE];
    struct op_conv1d a = {.x = x,
                          .y = y,
                          .w = tensor_2d(conv, DT_F32, EMBD, WIDTH),
                          .r = p->b->r,
                          .state = (float *)m->base};
    if (p->status == OK)
        pass_fail(p, op_conv1d(p->q, &a));
}

static void forward(const struct net *net, struct pass *p, const struct input *in, struct output *o)
{
    const struct batch *b = in->batch;
    float eps = net->hp.norm_eps;
    nn_begin(p, b);
    o->logits = pass_tensor(p, DT_F32, b->n_want, VOCAB);
    struct tensor x = nn_embed(p, net, 1);
    struct tensor h = pass_tensor(p, DT_F32, b->r.rows, EMBD),
                  y = pass_tensor(p, DT_F32, b->r.rows, EMBD);
    nn_layer(p, 0, &x);
    nn_rmsnorm(p, x, net->layer[0].attn_norm, eps, h);
    convolve(p, h, y);
    struct op_add add = {.a = x, .b = y, .y = x, .live = p->live};
    if (p->status == OK)
        pass_fail(p, op_add(p->q, &add));
    nn_layer(p, 1, &x);
    nn_linear_add(p, &net->layer[1].out, nn_attention(p, net, 1, nn_qkv(p, net, 1, x)), x);
    nn_rmsnorm(p, x, net->out_norm, eps, h);
    if (b->n_want == 0)
        return;
    h = nn_gather(p, h);
    nn_want(p);
    nn_linear_into(p, &net->head, h, o->logits);
}

static const struct arch arch_recurrent = {"recurrent", NULL, NULL, forward};

struct model *recurrent_model(void)
{
    struct model *m = xcalloc(1, sizeof *m);
    arena_init(&m->arena, 0);
    fill(embed, VOCAB * EMBD, 1, 1);
    fill(conv, EMBD * WIDTH, 1, 2);
    fill(qkv, QKV * EMBD, 0.3f, 3);
    fill(out, EMBD * HEADS * DIM, 0.3f, 4);
    fill(head, VOCAB * EMBD, 0.5f, 5);
    for (int i = 0; i < 3 * EMBD; i++)
        (&norm[0][0])[i] = 1;
    for (int i = 0; i < DIM / 2; i++)
        inv_freq[i] = 1.0f / (float)(1 << i);
    struct net *n = &m->net;
    n->arch = &arch_recurrent;
    n->hp = (struct hparams){.n_layer = 2,
                             .n_embd = EMBD,
                             .n_vocab = VOCAB,
                             .n_head = HEADS,
                             .n_kv_head = HEADS,
                             .head_dim = DIM,
                             .n_ctx = 1024,
                             .rope_dim = DIM,
                             .norm_eps = 1e-5f,
                             .rope_neox = true,
                             .kind = {MEMORY_STATE, MEMORY_KV},
                             .n_kind = {[MEMORY_KV] = 1, [MEMORY_STATE] = 1},
                             .state_bytes = (WIDTH - 1) * EMBD * (int64_t)sizeof(float)};
    n->layer = arena_calloc(&m->arena, 2 * sizeof *n->layer);
    n->embed = tensor_2d(embed, DT_F32, VOCAB, EMBD);
    n->out_norm = tensor_1d(norm[2], DT_F32, EMBD);
    n->head = matrix(head, VOCAB, EMBD);
    n->inv_freq = tensor_1d(inv_freq, DT_F32, DIM / 2);
    n->rope_attn_factor = 1;
    n->layer[0].attn_norm = tensor_1d(norm[0], DT_F32, EMBD);
    n->layer[1].attn_norm = tensor_1d(norm[1], DT_F32, EMBD);
    n->layer[1].qkv = matrix(qkv, QKV, EMBD);
    n->layer[1].out = matrix(out, EMBD, HEADS * DIM);
    m->info = (struct model_info){.id = "recurrent",
                                  .arch = "recurrent",
                                  .format = "f32",
                                  .path = "",
                                  .n_vocab = VOCAB,
                                  .bos = "",
                                  .eos = "",
                                  .device = "",
                                  .kernels = ""};
    m->id_text = arena_calloc(&m->arena, VOCAB * sizeof *m->id_text);
    return m;
}
