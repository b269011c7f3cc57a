/* kv_type.h - the number formats that pages of keys and values may have, and what fp8 means.
 *
 * fp8: each position of a head has its own scale, a power of two, for K and for V; a number is an
 * e4m3 times it, rounded once when it is stored. Half a head of a page is [page_tokens, head_dim]
 * codes in plain order, on every backend, and then page_tokens scales, a byte each: 2^(byte - 127).
 * Such numbers are exact in bf16, so attention over fp8 pages is attention over bf16 pages that
 * hold them. A scale for all (1, as others have it) loses small values: e4m3 ends at 2^-9. */
#ifndef KERNELS_KV_TYPE_H
#define KERNELS_KV_TYPE_H

#include "kernels/base/status.h"
#include "kernels/dtype.h"
#include "kernels/quant/quant.h"

#define KV_TYPES "f32, bf16 and fp8" /* for messages */

enum status kv_type_read(const char *name, enum dtype *out); /* ERR_INVALID lists the types */
const char *kv_type_name(enum dtype t); /* as users write it; NULL: not for pages */
int64_t kv_page_bytes(enum dtype t, int n_head, int page_tokens, int head_dim);

/* The scale byte of numbers of which `top` is the largest: it brings top into (224, 448]. Bounded,
 * so that all that can be stored is a normal number of bf16. */
QUANT_FN int kv_fp8_scale(float top)
{
    union {
        float f;
        uint32_t u;
    } v = {top};
    int e = (int)(v.u >> 23 & 255) - 8 + ((v.u & 0x7fffff) > 0x600000);
    return e < 17 ? 17 : e;
}

/* 2^(byte - 127), of a byte above 0. */
QUANT_FN float kv_fp8_power(int byte)
{
    return quant_f32((uint32_t)byte << 23);
}

/* What numbers are multiplied by before they are rounded. */
QUANT_FN float kv_fp8_inverse(int byte)
{
    return quant_f32((uint32_t)(254 - byte) << 23);
}

#endif
