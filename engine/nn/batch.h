/* batch.h - the rows of one step, as a forward sees them. The arrays lie in device memory at
 * addresses fixed for a bucket; run/pack.c fills them in one upload. */
#ifndef ENGINE_NN_BATCH_H
#define ENGINE_NN_BATCH_H

#include "kernels/ops.h"

enum memory_kind { MEMORY_KV, MEMORY_STATE, N_MEMORY_KIND };

/* What the layers of one kind remember of every sequence. KV: pages, see struct kv_view, one pool a
 * layer. STATE: a fixed block a slot and layer (recurrent layers); a sequence's state is zero
 * before position 0. */
struct memory {
    enum memory_kind kind;
    char *base;
    int first;           /* index of the first layer of this kind that lies here */
    int64_t layer_bytes; /* layer i of this kind begins at base + (i - first) * layer_bytes */
    uint8_t dtype;
    int page_tokens;      /* KV */
    int64_t page_bytes;   /* KV: of one layer */
    const int32_t *table; /* KV: device [slots, table_stride] */
    int table_stride;
    int64_t slot_bytes; /* STATE: of one layer */
};

struct batch {
    struct ragged r;
    const int32_t *token;     /* [rows] id | ~i: row i of `embed` | TOKEN_FROM_SLOT */
    const int32_t *last;      /* [slots] what the sampler chose last */
    struct tensor embed;      /* rows from an encoder, optional */
    const struct memory *mem; /* [N_MEMORY_KIND], absent kinds have base NULL */
    const int32_t *want;      /* [n_want] rows whose logits are wanted */
    int n_want;               /* bucket size */
    const int32_t *want_live; /* [1] really wanted */
};

#endif
