/* naive_attn.c - the definition of attention over paged keys and values.
 *
 * Positions are cut into pieces of 1024 and blocks of 64, both aligned to position 0, so a row's
 * bits depend on its own range alone. A piece starts with m = -1e30, l = 0, o = 0 and takes its
 * blocks in ascending order; for one query row and head:
 *     s[t] = chain of fma(q[d], k[t][d]) over ascending d, q scaled before (by log2 e too)
 *     m'   = max(m, s)      fix = 2^(m - m')      p[t] = 2^(s[t] - m')
 *     l    = l * fix + sum p      o[d] = o[d] * fix, then fma(p[t], v[t][d]) over ascending t
 * sum p: position t of the block goes to lane t % 16, then lanes fold in halves. The row's own sums
 * start with its sink (m = sink, l = 1, o = 0: a position without a value) or like a piece. They
 * take the pieces in ascending order, a = 2^(m - m'), b = 2^(m_piece - m'):
 *     l    = l * a + l_piece * b      o[d] = o[d] * a + o_piece[d] * b      at the end y = o / l
 * With bf16 and fp8 pages q and p are rounded to bf16 for the products (p not for its sum).
 * Positions that a row may not see count as s = -inf, p = 0; their contents are never used. */
#include "kernels/cpu/naive.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/exp2.h"
#include "kernels/cpu/page.h"
#include "kernels/half.h"
#include "kernels/kv_type.h"
#include "kernels/quant/f8_e4m3.h"

enum { BLOCK = 64, PIECE = 1024, DIM_MAX = 1024, LANES = 16 };

struct sums {
    float m, l, o[DIM_MAX];
};

/* One query row and head: what it sees, and its running sums. */
struct state {
    int slot, head, lo, hi; /* of the keys; positions [lo, hi] */
    float q[DIM_MAX];
    struct sums all, piece;
};

static float get(const struct kv_view *kv, const char *at, int index)
{
    if (kv->dtype == DT_F8_E4M3)
        return f8_e4m3_value((uint8_t)at[index]) *
               kv_fp8_power(*page_scale(kv, at, index / kv->head_dim));
    if (kv->dtype == DT_F32)
        return ((const float *)at)[index];
    return half_bf16(((const uint16_t *)at)[index]);
}

static float round_like(const struct kv_view *kv, float f)
{
    return kv->dtype == DT_F32 ? f : half_bf16(half_to_bf16(f));
}

/* c * tanh(s / c) as c - 2 c / (1 + 2^(2 s / c * log2 e)). */
static float cap(float s, float c)
{
    return c - 2 * c / (1 + cpu_exp2(s / c * (2 * EXP2_LOG2E)));
}

static void block(const struct op_attention *a, int t0, struct state *st)
{
    const struct kv_view *kv = &a->kv;
    int dim = kv->head_dim, lo = st->lo, hi = st->hi;
    float p[BLOCK], lane[LANES] = {0}, top = -INFINITY;
    for (int t = t0; t < t0 + BLOCK; t++) {
        float s = -INFINITY;
        if (t >= lo && t <= hi) {
            const char *k = page_head(kv, st->slot, t, st->head);
            s = 0;
            for (int d = 0; d < dim; d++)
                s = fmaf(st->q[d], get(kv, k, page_k(kv, t % kv->page_tokens, d)), s);
            if (a->softcap != 0)
                s = cap(s, a->softcap) * EXP2_LOG2E;
        }
        p[t - t0] = s;
        top = s > top ? s : top;
    }
    float m = top > st->piece.m ? top : st->piece.m, fix = cpu_exp2(st->piece.m - m);
    for (int i = 0; i < BLOCK; i++) {
        p[i] = cpu_exp2(p[i] - m);
        lane[i % LANES] += p[i];
        p[i] = round_like(kv, p[i]);
    }
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    st->piece.l = st->piece.l * fix + lane[0];
    st->piece.m = m;
    for (int d = 0; d < dim; d++)
        st->piece.o[d] *= fix;
    for (int t = t0 < lo ? lo : t0; t < t0 + BLOCK && t <= hi; t++) {
        const char *v = page_head(kv, st->slot, t, st->head) + page_half(kv);
        for (int d = 0; d < dim; d++)
            st->piece.o[d] =
                fmaf(p[t - t0], get(kv, v, page_v(kv, t % kv->page_tokens, d)), st->piece.o[d]);
    }
}

static void merge(struct sums *to, const struct sums *from, int dim)
{
    float m = from->m > to->m ? from->m : to->m;
    float a = cpu_exp2(to->m - m), b = cpu_exp2(from->m - m);
    to->m = m;
    to->l = to->l * a + from->l * b;
    for (int d = 0; d < dim; d++)
        to->o[d] = to->o[d] * a + from->o[d] * b;
}

static void begin(struct sums *s, const float *sink, int dim)
{
    s->m = sink ? *sink * EXP2_LOG2E : -1e30f;
    s->l = sink ? 1 : 0;
    memset(s->o, 0, (size_t)dim * sizeof *s->o);
}

/* Items are rows x query heads. */
int64_t naive_attention_items(const struct op_attention *a)
{
    int64_t rows = a->r.live && a->r.live[0] < a->r.rows ? a->r.live[0] : a->r.rows;
    return rows * a->q.shape[1];
}

void naive_attention(const struct op_attention *a, int64_t first, int64_t last)
{
    const struct kv_view *kv = &a->kv;
    int heads = (int)a->q.shape[1], group = heads / kv->n_head, dim = kv->head_dim;
    float scale = a->softcap != 0 ? a->scale : a->scale * EXP2_LOG2E;
    const float *sink = a->sinks.data;
    struct state st;
    for (int64_t item = first; item < last; item++) {
        int64_t r = item / heads;
        int h = (int)(item % heads), pos = a->r.pos[r];
        st.slot = a->r.seq_slot[a->r.row_seq[r]];
        st.head = h / group;
        st.lo = kv->window > 0 && pos >= kv->window ? pos - kv->window + 1 : 0;
        st.hi = a->r.span ? a->r.span[r] : pos;
        const float *q = (const float *)((char *)tensor_row(&a->q, r) + h * a->q.stride[1]);
        float *y = (float *)((char *)tensor_row(&a->y, r) + h * a->y.stride[1]);
        for (int d = 0; d < dim; d++)
            st.q[d] = round_like(kv, q[d] * scale);
        begin(&st.all, sink ? &sink[h] : NULL, dim);
        for (int p = st.lo / PIECE * PIECE; p <= st.hi; p += PIECE) {
            begin(&st.piece, NULL, dim);
            for (int t = p; t < p + PIECE && t <= st.hi; t += BLOCK)
                if (t + BLOCK > st.lo)
                    block(a, t, &st);
            merge(&st.all, &st.piece, dim);
        }
        for (int d = 0; d < dim; d++)
            y[d] = st.all.o[d] / st.all.l;
    }
}
