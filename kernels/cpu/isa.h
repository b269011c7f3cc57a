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

#include "kernels/cpu/panel.h"
#include "kernels/ops.h"

/* y[i][0, n) = rows i < m of x times W^T, plus bias; for some of the panels. */
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
};
typedef void linear_fn(const struct linear_job *j, int64_t first, int64_t last);

/* Up to ATTN_ROWS query rows that share one KV head, against positions [t0, t1) of its pages. */
enum { ATTN_ROWS = 64, ATTN_DIM_MAX = 256, ATTN_BLOCK = 64, ATTN_PIECE = 1024 };
struct attn_state {
    float top, sum; /* running maximum (base 2) and sum of 2^(s - top) */
};
struct attn_job {
    const char *kv; /* page p of this head: K at kv + p * page_bytes, then V */
    int64_t page_bytes;
    const int32_t *table; /* page of each 16 positions */
    int dim, rows;
    float softcap;              /* 0: none; q then is scaled for the natural logarithm */
    const int32_t *first, *len; /* [rows] sees positions [first, len) */
    const void *q;              /* [rows][dim] f32 scaled, or bf16 where the table says so */
    struct attn_state *state;   /* [rows] in and out */
    float *out;                 /* [rows][dim] in and out, not normalised */
};
typedef void attn_fn(const struct attn_job *j, int t0, int t1);

struct cpu_isa {
    const char *name;
    void (*act)(enum dtype t, const float *x, int64_t k, void *out); /* act_pack, equal bits */
    linear_fn *linear[N_DTYPE];
    attn_fn *attn_f32, *attn_bf16; /* by type of the KV pages */
    bool attn_q_bf16;              /* attn_bf16 wants q rounded to bf16 */
    void (*rmsnorm)(const float *x, const float *w, int64_t n, float eps, float *y);
    void (*glu)(const float *gate, const float *up, int64_t n, enum act act, float *y);
    void (*add)(const float *a, const float *b, int64_t n, float *y);
    int64_t (*argmax)(const float *x, int64_t n); /* the first of the largest; NaN never */
    double (*sum_exp)(const float *x, int64_t n, float top); /* sum of e^(x - top) */
};

extern const struct cpu_isa isa_scalar, isa_avx2, isa_avx512, isa_avx512bf16;

/* The best table this CPU and its kernel allow, or the one named; NULL when that cannot run here
 * (or is unknown). Names: scalar avx2 avx512 avx512bf16. */
const struct cpu_isa *isa_select(const char *forced);

void isa_cpu_name(char *out, size_t size); /* what the processor calls itself */

#endif
