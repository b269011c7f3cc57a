/* isa.h - the kernels of each instruction set, as one table each; chosen once by cpuid and xgetbv.
 *
 * Only files *_avx2.c, *_avx512.c and *_avx512bf16.c are compiled for those instructions, and they
 * are entered through these tables only. A NULL entry means: this case has no vector code, take the
 * naive op. Linear kernels give equal bits in all tables (bf16: see panel.h). */
#ifndef KERNELS_CPU_ISA_H
#define KERNELS_CPU_ISA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/pack.h"
#include "kernels/ops.h"

/* y[i][0, n) = rows i < m of x times W^T, times global, plus bias, plus add; for some of the
 * panels. */
struct linear_job {
    enum dtype type;
    const uint8_t *w; /* panel 0 */
    size_t panel;     /* bytes of one */
    int64_t n, steps;
    const void *x; /* rows as act_pack makes them */
    size_t xs;     /* bytes from row to row */
    int64_t m;
    float *y;
    int64_t ldy;       /* floats from row to row */
    const float *bias; /* or NULL */
    float global;      /* 0: none */
    const float *add;  /* as y, or NULL */
    int64_t ldadd;
};
/* What becomes of a sum: the end of every kernel, where it has no vectors. */
static inline float linear_end(const struct linear_job *j, int64_t row, int64_t col, float f)
{
    f = j->global != 0 ? f * j->global : f;
    f = j->bias ? f + j->bias[col] : f;
    return j->add ? f + j->add[row * j->ldadd + col] : f;
}
typedef void linear_fn(const struct linear_job *j, int64_t first, int64_t last);

/* Up to 4 query rows that share one KV head against 64 positions, 4 pages. `scores` makes s from q
 * and K; `softmax` masks s, moves the state and leaves p and fix; `values` does out = out * fix + p
 * V. Contents of positions outside [first, last) are never used, and no row sees them. */
enum { ATTN_TILE = 4, ATTN_BLOCK = 64, ATTN_PAGES = 4, ATTN_DIM_MAX = 256 };
struct attn_state {
    float top, sum; /* running maximum (base 2) and sum of 2^(s - top) */
};
struct attn_tile {
    const char *page[ATTN_PAGES]; /* K of the pages; V lies v_at bytes behind */
    int64_t v_at;
    int dim, rows;
    int first, last;                  /* positions of the block that some row sees */
    int lo[ATTN_TILE], hi[ATTN_TILE]; /* that each row sees: [lo, hi) */
    float softcap;                    /* 0: none; else s is not yet times log2 e */
    bool round_p;                     /* p to bf16, as the definition has it for bf16 pages */
    const void *q;                    /* [rows, dim] f32, or bf16 where the table says so */
    struct attn_state *state;         /* [rows] */
    float *out;                       /* [rows, dim], not yet divided by sum */
    _Alignas(64) float s[ATTN_TILE][ATTN_BLOCK]; /* scores, then p */
    float fix[ATTN_TILE];
};
typedef void attn_fn(struct attn_tile *t);

/* Sampling (sample.c). Floors descend, not strictly; above[j]: mass of floor[j] <= l < ceil. */
enum { LEVELS = 8, LEVELS_HIGH = 5, BAND_SLACK = 16 };
struct levels {
    float ceil, floor[LEVELS];
    uint64_t above[LEVELS];
};
/* The first `room` logits with floor <= l < ceil. id NULL: the index. */
struct band {
    const float *logit;
    const int32_t *id;
    int64_t n, room;
    float floor, ceil;
};
/* Cleans a row: no NaN, -0, +inf, subnormals. First of the greatest, -1 when all are -INFINITY. */
typedef int64_t settle_fn(float *logit, int64_t n);
/* Fills l->above with sums of cpu_mass (mass.h). */
typedef void masses_fn(const float *logit, int64_t n, float max, float scale, struct levels *l);
/* Copies a band in its order, into out and id, which have BAND_SLACK more and may be the band's own
 * arrays; how many. */
typedef int64_t band_fn(const struct band *b, float *out, int32_t *id);
settle_fn settle_scalar;
masses_fn masses_scalar;
band_fn band_scalar;

struct cpu_isa {
    const char *name;
    void (*act)(enum dtype t, const float *x, int64_t k, void *out); /* act_pack, equal bits */
    pack_fn *pack[N_DTYPE]; /* NULL: pack.c packs this type alone */
    linear_fn *linear[N_DTYPE];
    attn_fn *scores[N_DTYPE], *values[N_DTYPE], *softmax; /* by type of the KV pages */
    bool q_bf16; /* with bf16 pages, q is bf16 and p need not be rounded before */
    void (*rmsnorm)(const float *x, const float *w, int64_t n, float eps, float *y);
    /* any activation but ACT_GELU_ERF */
    void (*glu)(const float *gate, const float *up, int64_t n, enum act act, float *y);
    void (*add)(const float *a, const float *b, int64_t n, float *y);
    void (*rope)(float *x, const float *cos, const float *sin, int n, bool neox);
    settle_fn *settle;
    masses_fn *masses;
    band_fn *band;
};

extern const struct cpu_isa isa_scalar, isa_avx2, isa_avx512, isa_avx512bf16;

/* The best table this CPU and its kernel allow, or the one named; NULL when that cannot run here
 * (or is unknown). Names: scalar avx2 avx512 avx512bf16. */
const struct cpu_isa *isa_select(const char *forced);

void isa_cpu_name(char *out, size_t size); /* what the processor calls itself */

#endif
