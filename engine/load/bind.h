/* bind.h - weights as rows of a table: which tensor of a checkpoint becomes which weight of the
 * network, and the shape it must have in terms of the hyper-parameters.
 *
 * bind_weights decides what lies on the device: a list of `struct bound`, each made of one or
 * several tensors of the file (Q, K and V of one format become one matrix). No byte of a weight is
 * read for that. */
#ifndef ENGINE_LOAD_BIND_H
#define ENGINE_LOAD_BIND_H

#include <stddef.h>

#include "engine/load/checkpoint.h"
#include "engine/load/recipe.h"
#include "engine/nn/net.h"
#include "kernels/backend.h"

enum weight_kind {
    WEIGHT_TABLE,   /* struct tensor: rows looked up by op_embed */
    WEIGHT_VECTOR,  /* struct tensor: converted to f32 */
    WEIGHT_MATRIX,  /* part `part` of a struct weight */
    WEIGHT_BIAS,    /* part `part` of a struct weight's bias: all parts or none */
    WEIGHT_FACTORS, /* what the rotary frequencies are divided by; needs no field */
};

enum rope_factors { FACTORS_ALL, FACTORS_SHORT, FACTORS_LONG, N_FACTORS };

enum weight_dim { /* a dimension in terms of the hyper-parameters */
                  DIM_NONE,
                  DIM_VOCAB,
                  DIM_EMBD,
                  DIM_FF,
                  DIM_Q,         /* n_head * head_dim */
                  DIM_KV,        /* n_kv_head * head_dim */
                  DIM_HEAD,      /* head_dim */
                  DIM_ROPE_HALF, /* rope_dim / 2 */
};

struct weight_row {        /* the last row has gguf NULL; rows of one weight follow each other */
    const char *gguf, *hf; /* names, %d: the layer */
    enum weight_kind kind;
    bool layer;    /* one in every layer: `offset` is in struct layer, else in struct net */
    size_t offset; /* of the struct tensor or struct weight */
    int part;      /* of a fused weight: 0 is on top; of factors: enum rope_factors */
    enum weight_dim dim[2]; /* [rows, columns], a vector has only the first */
    bool optional;
    bool tied; /* absent: the embedding table is this weight too */
};

/* One tensor on the device. */
struct bound {
    struct tensor *dst;  /* in the net; NULL: another bound refers to it */
    struct tensor *also; /* a second view of the same bytes (tied head), or NULL */
    const struct ckpt_tensor *src[WEIGHT_PARTS];
    int n_src;
    const void *host; /* instead of src: numbers of 4 bytes made at load (rotary frequencies) */
    enum weight_kind kind;
    struct quant quant;   /* of a matrix: the file's companion scale; order is set with the view */
    int order;            /* of a matrix: which bound vector is its quant.order; 0: none */
    int layer;            /* that it belongs to; what comes behind all layers: n_layer */
    enum dtype dtype;     /* as it lies on the device */
    int64_t n, k;         /* vectors: n elements, k 1 */
    struct choice choice; /* matrices and tables */
    size_t offset, bytes; /* in its side's region of weights; of a vector: among the vectors */
};

struct placement { /* owner: struct model */
    struct bound *bound;
    int n, cap;
    float *inv_freq; /* [N_FACTORS, rope_dim / 2]: what is used; of LongRoPE also both sets */
    int cut;         /* layers below it lie on the lower side, with the table; 0: none */
    size_t vectors[N_SIDE]; /* where they begin; each side has all of them */
    size_t vector_bytes;
};

/* Binds every row of the recipe's network; net->hp and net->layer are ready. Reports missing,
 * surplus and mis-shaped tensors by name, several in one message. */
enum status bind_weights(const struct checkpoint *c, const struct recipe *recipe, struct net *net,
                         struct placement *p);
/* LongRoPE's factors that a directory's config.json has under `key`: n positive numbers. */
enum status bind_factors(const struct checkpoint *c, const char *key, int64_t n, float *out);
/* No sequence will be longer than this: LongRoPE has other frequencies for those above the context
 * that was trained first. Before the weights are loaded; until then the longest counts. */
void bind_context(const struct net *net, struct placement *p, int64_t tokens);
void bind_clear(struct placement *p);
/* Whether a head that is not there is the table: not where a directory's config.json says that the
 * two are apart, as those of embedding models do, which have no head. */
bool bind_may_tie(const struct checkpoint *c);
/* A tied head becomes a weight of its own, for a network whose table lies on another device. */
void bind_untie(struct placement *p, int n_layer);

int64_t bind_dim(const struct hparams *hp, enum weight_dim d);
/* Name of the row's tensor in layer l. */
void bind_name(const struct checkpoint *c, const struct weight_row *row, int l, char *out,
               size_t size);

#endif
