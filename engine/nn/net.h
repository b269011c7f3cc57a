/* net.h - a network: an architecture (two tables and one function), its hyper-parameters, its bound
 * weights. */
#ifndef ENGINE_NN_NET_H
#define ENGINE_NN_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/nn/batch.h"
#include "engine/nn/pass.h"
#include "kernels/tensor.h"

enum { NET_MAX_LAYERS = 256, WEIGHT_PARTS = 3 };

enum rope_scaling { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_LONG };

struct hparams {
    int32_t n_layer, n_embd, n_vocab, n_ff, n_head, n_kv_head, head_dim,
        n_ctx; /* n_ctx: trained context */
    int32_t rope_dim;
    int32_t window[NET_MAX_LAYERS]; /* of attention, of each layer; 0: all that came before */
    float norm_eps, rope_base, attn_scale; /* attn_scale 0: 1 / sqrt(head_dim) */
    bool rope_neox;
    enum rope_scaling rope_scaling;
    float rope_factor, rope_low, rope_high;
    float rope_attn;               /* further factor on sine and cosine */
    int32_t rope_ctx;              /* context before scaling */
    int32_t rope_whole;            /* YaRN: its ramp is between whole dimensions */
    uint8_t kind[NET_MAX_LAYERS];  /* enum memory_kind of each layer */
    int16_t index[NET_MAX_LAYERS]; /* its index among the layers of its kind */
    int32_t n_kind[N_MEMORY_KIND]; /* layers of each kind */
    int64_t state_bytes;           /* of one slot and layer of kind STATE */
};

/* A matrix as one or several tensors stacked along N (fused Q, K, V; gate and up), with an optional
 * bias [N]. Parts of one format are packed as one tensor; several parts remain where formats
 * differ. */
struct weight {
    struct tensor part[WEIGHT_PARTS];
    int n_parts;
    struct tensor bias;
};

struct layer {
    struct tensor attn_norm, q_norm, k_norm, ffn_norm;
    struct weight qkv, out, gate_up, down;
};

struct net;
struct input { /* rows: a batch; further members for networks without tokens come with them */
    const struct batch *batch;
};
struct output {
    struct tensor logits; /* [n_want, V] f32 in the pass's workspace */
    struct tensor hidden; /* [n_want, n_embd] after the last norm */
};

struct hparam_row; /* engine/load/hparams.h */
struct weight_row; /* engine/load/bind.h */
struct arch {
    const char *name;
    const struct hparam_row *hparams;
    const struct weight_row *weights;
    void (*forward)(const struct net *, struct pass *, const struct input *, struct output *);
};

struct net {
    const struct arch *arch;
    struct hparams hp;
    struct tensor embed; /* [V, n_embd] */
    struct tensor out_norm;
    struct weight head;     /* may share embed's data (tied) */
    struct layer *layer;    /* [n_layer] */
    struct tensor inv_freq; /* device [rope_dim / 2] f32 */
    float rope_attn_factor; /* factor on sine and cosine */
};

#endif
