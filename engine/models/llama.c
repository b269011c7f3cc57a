/* llama.c - the decoder with RMSNorm, rotary attention and a gated feed-forward network.
 *
 *   x += out(attention(rope(norm(qkv(norm(x))))))      biases on q, k, v: Qwen2
 *   x += down(silu(gate(norm(x))) * up(norm(x)))       norms of each q and k head: Qwen3
 *
 * Only wanted rows pass the end of the last layer: once its keys and values are stored nobody needs
 * the others. A row's bits do not depend on which rows travel with it, so that changes nothing. */
#include "engine/models/llama.h"

#include "engine/load/bind.h"
#include "engine/load/hparams.h"
#include "engine/nn/nn.h"

#define HP(field)    offsetof(struct hparams, field)
#define NET(field)   offsetof(struct net, field)
#define LAYER(field) offsetof(struct layer, field)
#define ATTN         "model.layers.%d.self_attn."
#define MLP          "model.layers.%d.mlp."

/* clang-format off */
static const struct hparam_row hparam_rows[] = {
    /* gguf                                 hf                                       field             kind            required fallback least  most */
    {"block_count",                         "num_hidden_layers",                     HP(n_layer),      HPARAM_INT,     true,  0,     1,    NET_MAX_LAYERS},
    {"embedding_length",                    "hidden_size",                           HP(n_embd),       HPARAM_INT,     true,  0,     1,    1 << 20},
    {"feed_forward_length",                 "intermediate_size",                     HP(n_ff),         HPARAM_INT,     true,  0,     1,    1 << 24},
    {"attention.head_count",                "num_attention_heads",                   HP(n_head),       HPARAM_INT,     true,  0,     1,    1 << 14},
    {"attention.head_count_kv",             "num_key_value_heads",                   HP(n_kv_head),    HPARAM_INT,     false, 0,     1,    1 << 14},
    {"attention.key_length",                "head_dim",                              HP(head_dim),     HPARAM_INT,     false, 0,     1,    1 << 12},
    {"context_length",                      "max_position_embeddings",               HP(n_ctx),        HPARAM_INT,     true,  0,     1,    1 << 30},
    {"vocab_size",                          "vocab_size",                            HP(n_vocab),      HPARAM_INT,     false, 0,     1,    1 << 20},
    {"attention.layer_norm_rms_epsilon",    "rms_norm_eps",                          HP(norm_eps),     HPARAM_FLOAT,   true,  0,     0,    1},
    {"attention.scale",                     NULL,                                    HP(attn_scale),   HPARAM_FLOAT,   false, 0,     0,    1e4},
    {"attention.sliding_window",            "sliding_window",                        HP(window),       HPARAM_EACH,    false, 0,     0,    1 << 30},
    {"rope.dimension_count",                NULL,                                    HP(rope_dim),     HPARAM_INT,     false, 0,     2,    1 << 12},
    {"rope.freq_base",                      "rope_theta",                            HP(rope_base),    HPARAM_FLOAT,   false, 10000, 1.001, 1e12},
    {"rope.scaling.type",                   "rope_scaling.rope_type",                HP(rope_scaling), HPARAM_SCALING, false, 0,     0,    0},
    {"rope.scaling.factor",                 "rope_scaling.factor",                   HP(rope_factor),  HPARAM_FLOAT,   false, 0,     0,    1e4},
    {"rope.scaling.low_freq_factor",        "rope_scaling.low_freq_factor",          HP(rope_low),     HPARAM_FLOAT,   false, 0,     0,    1e4},
    {"rope.scaling.high_freq_factor",       "rope_scaling.high_freq_factor",         HP(rope_high),    HPARAM_FLOAT,   false, 0,     0,    1e4},
    {"rope.scaling.yarn_beta_slow",         "rope_scaling.beta_slow",                HP(rope_low),     HPARAM_FLOAT,   false, 0,     0,    1e4},
    {"rope.scaling.yarn_beta_fast",         "rope_scaling.beta_fast",                HP(rope_high),    HPARAM_FLOAT,   false, 0,     0,    1e4},
    {"rope.scaling.attn_factor",            "rope_scaling.attn_factor",              HP(rope_attn),    HPARAM_FLOAT,   false, 0,     0,    1e4},
    {"rope.scaling.original_context_length","rope_scaling.original_max_position_embeddings", HP(rope_ctx), HPARAM_INT, false, 0,     0,    1 << 30},
    {NULL,                                  "rope_scaling.truncate",                 HP(rope_whole),   HPARAM_INT,     false, 1,     0,    1},
    {"expert_count",                        "num_local_experts",                     0,                HPARAM_REFUSE,  false, 0,     0,    0.5},
    {"attention.causal",                    "is_causal",                             0,                HPARAM_REFUSE,  false, 1,     1,    1},
    {NULL,                                  "hidden_act",                            0,                HPARAM_SILU,    false, 0,     0,    0},
    {0},
};

static const struct weight_row weight_rows[] = {
    /* gguf                      hf                                                  kind            layer  where             part  shape               optional tied */
    {"token_embd.weight",        "model.embed_tokens.weight",                        WEIGHT_TABLE,   false, NET(embed),       0, {DIM_VOCAB, DIM_EMBD}, false, false},
    {"output_norm.weight",       "model.norm.weight",                                WEIGHT_VECTOR,  false, NET(out_norm),    0, {DIM_EMBD},            false, false},
    {"output.weight",            "lm_head.weight",                                   WEIGHT_MATRIX,  false, NET(head),        0, {DIM_VOCAB, DIM_EMBD}, false, true},
    {"rope_freqs.weight",        "model.rope_freqs.weight",                          WEIGHT_FACTORS, false, 0,     FACTORS_ALL,   {DIM_ROPE_HALF},       true,  false},
    {"rope_factors_short.weight","model.rope_factors_short.weight",                  WEIGHT_FACTORS, false, 0,     FACTORS_SHORT, {DIM_ROPE_HALF},       true,  false},
    {"rope_factors_long.weight", "model.rope_factors_long.weight",                   WEIGHT_FACTORS, false, 0,     FACTORS_LONG,  {DIM_ROPE_HALF},       true,  false},
    {"blk.%d.attn_norm.weight",  "model.layers.%d.input_layernorm.weight",           WEIGHT_VECTOR,  true,  LAYER(attn_norm), 0, {DIM_EMBD},            false, false},
    {"blk.%d.attn_q.weight",     ATTN "q_proj.weight",                               WEIGHT_MATRIX,  true,  LAYER(qkv),       0, {DIM_Q, DIM_EMBD},     false, false},
    {"blk.%d.attn_k.weight",     ATTN "k_proj.weight",                               WEIGHT_MATRIX,  true,  LAYER(qkv),       1, {DIM_KV, DIM_EMBD},    false, false},
    {"blk.%d.attn_v.weight",     ATTN "v_proj.weight",                               WEIGHT_MATRIX,  true,  LAYER(qkv),       2, {DIM_KV, DIM_EMBD},    false, false},
    {"blk.%d.attn_q.bias",       ATTN "q_proj.bias",                                 WEIGHT_BIAS,    true,  LAYER(qkv),       0, {DIM_Q},               true,  false},
    {"blk.%d.attn_k.bias",       ATTN "k_proj.bias",                                 WEIGHT_BIAS,    true,  LAYER(qkv),       1, {DIM_KV},              true,  false},
    {"blk.%d.attn_v.bias",       ATTN "v_proj.bias",                                 WEIGHT_BIAS,    true,  LAYER(qkv),       2, {DIM_KV},              true,  false},
    {"blk.%d.attn_q_norm.weight",ATTN "q_norm.weight",                               WEIGHT_VECTOR,  true,  LAYER(q_norm),    0, {DIM_HEAD},            true,  false},
    {"blk.%d.attn_k_norm.weight",ATTN "k_norm.weight",                               WEIGHT_VECTOR,  true,  LAYER(k_norm),    0, {DIM_HEAD},            true,  false},
    {"blk.%d.attn_output.weight",ATTN "o_proj.weight",                               WEIGHT_MATRIX,  true,  LAYER(out),       0, {DIM_EMBD, DIM_Q},     false, false},
    {"blk.%d.attn_output.bias",  ATTN "o_proj.bias",                                 WEIGHT_BIAS,    true,  LAYER(out),       0, {DIM_EMBD},            true,  false},
    {"blk.%d.ffn_norm.weight",   "model.layers.%d.post_attention_layernorm.weight",  WEIGHT_VECTOR,  true,  LAYER(ffn_norm),  0, {DIM_EMBD},            false, false},
    {"blk.%d.ffn_gate.weight",   MLP "gate_proj.weight",                             WEIGHT_MATRIX,  true,  LAYER(gate_up),   0, {DIM_FF, DIM_EMBD},    false, false},
    {"blk.%d.ffn_up.weight",     MLP "up_proj.weight",                               WEIGHT_MATRIX,  true,  LAYER(gate_up),   1, {DIM_FF, DIM_EMBD},    false, false},
    {"blk.%d.ffn_gate.bias",     MLP "gate_proj.bias",                               WEIGHT_BIAS,    true,  LAYER(gate_up),   0, {DIM_FF},              true,  false},
    {"blk.%d.ffn_up.bias",       MLP "up_proj.bias",                                 WEIGHT_BIAS,    true,  LAYER(gate_up),   1, {DIM_FF},              true,  false},
    {"blk.%d.ffn_down.weight",   MLP "down_proj.weight",                             WEIGHT_MATRIX,  true,  LAYER(down),      0, {DIM_EMBD, DIM_FF},    false, false},
    {"blk.%d.ffn_down.bias",     MLP "down_proj.bias",                               WEIGHT_BIAS,    true,  LAYER(down),      0, {DIM_EMBD},            true,  false},
    {0},
};
/* clang-format on */

/* x [R, E]: one layer, in place. */
static void middle_layer(const struct net *net, struct pass *p, int l, struct tensor x)
{
    size_t mark = pass_mark(p);

    nn_linear_add(p, &net->layer[l].out, nn_attention(p, net, l, nn_qkv(p, net, l, x)), x);
    pass_release(p, mark);
    nn_ffn(p, net, l, ACT_SILU, x);
}

/* The same for the last layer, and the last norm: leaves its result in out->hidden, for wanted rows
 * alone. */
static void last_layer(const struct net *net, struct pass *p, struct tensor x, struct output *out)
{
    int l = net->hp.n_layer - 1;
    struct tensor qkv, y;
    size_t mark;

    out->hidden = pass_tensor(p, DT_F32, p->b->n_want, net->hp.n_embd); /* [W, E] */
    mark = pass_mark(p);
    qkv = nn_qkv(p, net, l, x); /* [R, (Hq + 2 Hkv) D] */
    if (p->b->n_want == 0)
        return; /* a chunk of a prompt: its keys and values are all that it was for */
    y = nn_gather(p, nn_attention(p, net, l, qkv)); /* [W, Hq D] */
    x = nn_gather(p, x);                            /* [W, E] */
    nn_want(p);
    nn_linear_add(p, &net->layer[l].out, y, x);
    nn_ffn(p, net, l, ACT_SILU, x);
    nn_rmsnorm(p, x, net->out_norm, net->hp.norm_eps, out->hidden);
    pass_release(p, mark);
}

static void forward(const struct net *net, struct pass *p, const struct input *in,
                    struct output *out)
{
    const struct hparams *hp = &net->hp;
    const struct batch *b = in->batch;
    struct tensor x;

    nn_begin(p, b);
    x = nn_embed(p, net, 1); /* [R, E] */
    for (int l = 0; l + 1 < hp->n_layer; l++) {
        nn_layer(p, l, &x);
        middle_layer(net, p, l, x);
    }
    nn_layer(p, hp->n_layer - 1, &x);
    last_layer(net, p, x, out);
    nn_layer(p, hp->n_layer, &out->hidden);
    out->logits = pass_tensor(p, DT_F32, b->n_want, hp->n_vocab); /* [W, V] */
    if (b->n_want > 0)
        nn_linear_into(p, &net->head, out->hidden, out->logits);
}

const struct arch arch_llama = {"llama", hparam_rows, weight_rows, forward};
