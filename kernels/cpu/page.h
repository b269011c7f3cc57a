/* page.h - where an element of K or V lies inside a KV page of the CPU backend.
 *
 * A page of 16 positions with a head size divisible by 16 is kept in panel form: one 64-byte line
 * holds what a vector of 16 lanes needs at once, so that attention is two matrix products.
 *     bf16  K: line d / 2 = 16 positions x 2 d       V: line (t / 2) * (D / 16) + d / 16 = 16 d x 2
 * t f32   K: line d     = 16 positions             V: line t * (D / 16) + d / 16       = 16 d Any
 * other shape (tiny models) is kept in plain order [t, d]. Both have the same size. fp8 is in plain
 * order always (kv_type.h); attn.c makes panels of bf16 of it. */
#ifndef KERNELS_CPU_PAGE_H
#define KERNELS_CPU_PAGE_H

#include "kernels/ops.h"

enum { PAGE_TOKENS = 16 };

static inline bool page_panels(const struct kv_view *kv)
{
    return kv->dtype != DT_F8_E4M3 && kv->page_tokens == PAGE_TOKENS && kv->head_dim % 16 == 0;
}

/* Index of K[t][d] among the elements of one head's K. */
static inline int page_k(const struct kv_view *kv, int t, int d)
{
    if (!page_panels(kv))
        return t * kv->head_dim + d;
    return kv->dtype == DT_F32 ? d * 16 + t : d / 2 * 32 + t * 2 + d % 2;
}

/* Index of V[t][d] among the elements of one head's V. */
static inline int page_v(const struct kv_view *kv, int t, int d)
{
    if (!page_panels(kv) || kv->dtype == DT_F32)
        return t * kv->head_dim + d;
    return (t / 2 * (kv->head_dim / 16) + d / 16) * 32 + d % 16 * 2 + t % 2;
}

/* The page of position `pos` of a slot, at head h: K there, V page_half bytes behind. */
static inline char *page_head(const struct kv_view *kv, int slot, int pos, int h)
{
    int64_t page = kv->table[(int64_t)slot * kv->table_stride + pos / kv->page_tokens];
    return (char *)kv->base + page * kv->page_bytes + h * (kv->page_bytes / kv->n_head);
}

static inline int64_t page_half(const struct kv_view *kv)
{
    return kv->page_bytes / kv->n_head / 2;
}

/* fp8: the scale of position t of a page, K's or V's, whose codes begin at `half`. */
static inline uint8_t *page_scale(const struct kv_view *kv, const char *half, int t)
{
    return (uint8_t *)(uintptr_t)half + kv->page_tokens * kv->head_dim + t;
}

#endif
