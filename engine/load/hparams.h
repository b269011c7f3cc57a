/* hparams.h - hyper-parameters as rows of a table: where a number stands in the checkpoint, where
 * it goes in struct hparams, and what is allowed. */
#ifndef ENGINE_LOAD_HPARAMS_H
#define ENGINE_LOAD_HPARAMS_H

#include <stddef.h>

#include "engine/load/checkpoint.h"
#include "engine/nn/net.h"

enum hparam_kind {
    HPARAM_INT,     /* int32_t */
    HPARAM_EACH,    /* int32_t [NET_MAX_LAYERS]: one number, or one a layer; behind n_layer's row */
    HPARAM_FLOAT,   /* float */
    HPARAM_SCALING, /* enum rope_scaling, written as its name */
    HPARAM_REFUSE,  /* no field: a value outside least .. most is a network that is not built */
    HPARAM_SILU,    /* no field: the name of an activation, which must be silu */
};

struct hparam_row {   /* the last row has neither name */
    const char *gguf; /* the key behind "<architecture>."; NULL: such files do not say */
    const char *hf;   /* the key in config.json; NULL likewise */
    size_t offset;    /* in struct hparams */
    enum hparam_kind kind;
    bool required;
    double fallback;    /* when absent; 0 leaves what an earlier row or hparams_derive says */
    double least, most; /* allowed range; both 0: any finite number */
};

/* Reads the rows, then derives what is absent (head_dim, n_kv_head ...) and checks that the numbers
 * fit together. `architecture` is the prefix of the keys. Errors name the key. */
enum status hparams_read(const struct checkpoint *c, const char *architecture,
                         const struct hparam_row *rows, struct hparams *hp);

/* The rotary frequencies [rope_dim / 2] and the factor on sine and cosine. `factors` (may be NULL):
 * frequencies are divided by them (rope_freqs.weight, and of LongRoPE the set that counts). */
void hparams_rope(const struct hparams *hp, const float *factors, float *inv_freq,
                  float *attn_factor);
const char *hparams_scaling_name(enum rope_scaling s);

#endif
