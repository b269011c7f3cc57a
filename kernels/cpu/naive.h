/* naive.h - the definition of every primitive op, in plain C.
 *
 * Each works on a range of independent items (rows, row-heads, tiles of 16 outputs), so a caller
 * may split an op over threads in any way without changing a bit. Fast kernels must agree: exactly
 * for f32 and block formats, within rounding where the head of the fast file says so. */
#ifndef KERNELS_CPU_NAIVE_H
#define KERNELS_CPU_NAIVE_H

#include "kernels/ops.h"

enum { NAIVE_TILE = 16 }; /* outputs of one item of linear */

#define NAIVE_DECLARE(name, args)                                                                  \
    int64_t naive_##name##_items(const args *a);                                                   \
    void naive_##name(const args *a, int64_t first, int64_t last);
NAIVE_DECLARE(embed, struct op_embed)
NAIVE_DECLARE(rmsnorm, struct op_rmsnorm)
NAIVE_DECLARE(linear, struct op_linear)
NAIVE_DECLARE(rope, struct op_rope)
NAIVE_DECLARE(kv_write, struct op_kv_write)
NAIVE_DECLARE(attention, struct op_attention)
NAIVE_DECLARE(glu, struct op_glu)
NAIVE_DECLARE(add, struct op_add)
NAIVE_DECLARE(conv1d, struct op_conv1d)
NAIVE_DECLARE(gather, struct op_gather)
NAIVE_DECLARE(columns, struct op_columns)
NAIVE_DECLARE(sample, struct op_sample)
NAIVE_DECLARE(count, struct op_count)
#undef NAIVE_DECLARE

/* Stores a head's K or V at position t of its page, as fp8. */
void naive_put_fp8(const struct kv_view *kv, char *half, int t, const float *x);

#endif
