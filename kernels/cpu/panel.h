/* panel.h - the one weight layout of the CPU: panels of 16 output rows, lines of 64 bytes.
 *
 * A panel is 16 rows (outputs) over all of K. Along K it is cut into steps; a step carries its
 * scales, then its values, and is a multiple of 64 bytes, so that a thread reads one ascending
 * stream of whole cache lines. The same bytes feed every number of activation rows and every ISA.
 *
 * Block formats (step of 64 k, K-quants 256). A value line holds 4 consecutive k of each row: byte
 * 4 * r + k % 4 belongs to row r; 8 lines are a block of 32 k. Every 64 k ("pair" of blocks h = 0,
 * 1) take 8 nibble lines, low nibble block 0 and high nibble block 1, then bit planes:
 *
 *   q8_0       f16 d[2][16]                                   | 16 lines, byte = q + 128
 *
 *   q4_0       f16 d[2][16]                                   | 8 lines
 *
 *   q4_1       f16 d[2][16], m[2][16]                         | 8 lines
 *
 *   q5_0, q5_1 as q4_0, q4_1                                  | 8 lines, 2 planes of 1 bit
 *
 *   q4_k       f16 d[16], dmin[16], u8 sc[8][16], mn[8][16]   | 4 x 8 lines
 *
 *   q5_k       the same                                       | 4 x (8 lines, 2 planes of 1 bit)
 *
 *   q6_k       f16 d[16], 32 bytes 0, s8 sc[16][16]           | 4 x (8 lines, 4 planes of 2 bits)
 *
 *   q8_1       as q8_0, its sum dropped
 *
 *   q8_k       f32 d[16]                                      | 4 x 16 lines
 *
 * All other block formats have at most 16 different values: a nibble is a code, its value stands in
 * a table of the format (codes.h). 8 lines a pair, no planes; what differs is the head:
 *
 *   iq4_nl, mxfp4                           f16 d[2][16], mxfp4 bf16
 *
 *   nvfp4                                   f16 d[2][2][16]: of 16 k
 *
 *   iq1_s iq2_xxs iq3_xxs iq3_s iq4_xs      step 256: f32 d[16], s8 sc[8][16]
 *
 *   q3_k iq1_m iq2_xs iq2_s                 step 256: f32 d[16], s8 sc[16][16]
 *
 * Four values, or three, take 2 bits, 4 lines a pair: value line g of block h are bits 2 (2 h + g /
 * 4) and the next of line g % 4.
 *
 *   q2_0            f16 d[2][16]
 *
 *   tq1_0, tq2_0    step 256: f32 d[16]
 *
 *   q2_k            step 256: f16 d[16], dmin[16], u8 sc[16][16] with mn in the upper nibble
 *
 * Two values take a bit, 2 lines a pair: bit 4 r + k % 4 of the 8 bytes from 8 g on of line h; set,
 * it is code 2.
 *
 *   q1_0            f16 d[2][16]
 *
 * Plane of 1 bit: line h, bit g of a byte is the fifth bit of that byte's value in line g of block
 * h. Plane of 2 bits: line 2 h + g / 4, bits 2 (g % 4) and the next. Plain formats: bf16 a line =
 * 16 rows x 2 k, byte 4 r + 2 (k % 2); f16 a line = 16 rows of k, then 16 rows of k + 1; f32 a line
 * = 16 rows of one k; f64 and integers are packed as f32. Blocks of floats, step of 64, f32 d[16],
 * then f8_e4m3: for each 2 k a byte 2 r + k % 2, its sign in the lowest bit; nf4: for each 4 k a
 * byte 2 r + k % 2, whose low nibble is k 0 or 1, the high one 2 or 3. N is padded to 16 with rows
 * of zero bytes, K to a step with zero scales and values.
 *
 * The arithmetic is that of naive_linear.c, bit for bit on every ISA: per output f = 0, then for
 * groups of 32 k ascending, with a the group of x, all sums exact in int32:
 *
 *   q8_0, q4_0, q5_0   f = fma((float)sum(q a) * a.d, d, f)                    q signed
 *
 *   q4_1, q5_1         the same, q unsigned; then f = fma(m, a.ds, f)
 *
 *   q4_k, q5_k         the same with d = d * sc, m = -(dmin * mn)
 *
 *   q6_k               sc0 * sum16(q a) + sc1 * sum16'(q a), below 2^24, in place of sum(q a)
 *
 *   codes              as one of these by enum quant_sum; nvfp4 has a step for each 16
 *
 * f32, f16: f = fma(x, w, f) over k ascending; bf16: the same with x rounded to bf16; f8_e4m3, nf4:
 * s = fma(x, value, s) from 0 over 64 k, then f = fma(s, d, f). On AVX512_BF16 the chains of the
 * last three are of pairs, by vdpbf16ps: there x is rounded to bf16 for f8_e4m3 and nf4 as well, as
 * are nf4's values. Then y = f * global + bias + add, each where there is one. */
#ifndef KERNELS_CPU_PANEL_H
#define KERNELS_CPU_PANEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/quant/quant.h"
#include "kernels/tensor.h"

enum { PANEL_ROWS = 16, ACT_GROUP = 32 };

/* 32 activations: x = q * d about. top = max |x|, q = rint(x * (127 / top)), d = top / 127, ds = d
 * * (float)sum(q); all zero when top < 2^-100. z: -zero * the sums of the first and the last 16 q
 * (where scales are of 16), or -zero * sum(q) in z[0]; where sums of unsigned weights start. q2_k
 * has no zero point, and needs the sums themselves. */
struct act_group {
    int8_t q[ACT_GROUP];
    float d, ds;
    int32_t z[2];
};

struct panel_format {
    int step;  /* k in a step */
    int bytes; /* of a step, 16 rows */
    int head;  /* bytes of scales at its start */
    int pair;  /* bytes of values of 64 k; 0: a plain format */
    int zero;  /* zero point of the unsigned values; 0: the format has minima */
    enum quant_sum sum;
    const int8_t *values; /* [16] of the codes; NULL: nibbles and planes are the numbers */
};

const struct panel_format *panel_format(enum dtype t); /* NULL: not packed */
int64_t panel_count(int64_t n);                        /* panels of n rows */
int64_t panel_steps(enum dtype t, int64_t k);
size_t panel_bytes(enum dtype t, int64_t k); /* of one panel */

/* One row of a packed weight as f32: the same bits as dtype_decode of the row it was made of. */
void panel_row(const struct tensor *w, int64_t row, float *out);

/* Weight k of row r of a panel of floats. */
float panel_plain(enum dtype t, const uint8_t *panel, int64_t k, int r);

bool panel_has_floats(enum dtype t); /* blocks of 64 floats with a scale */
/* The same without its scale, *d. */
float panel_float(enum dtype t, const uint8_t *panel, int64_t k, int r, float *d);

/* 32 k of one row as numbers, for the scalar kernel and panel_row. Block formats only. */
struct panel_block {
    uint8_t q[ACT_GROUP]; /* unsigned: the format's zero is not yet subtracted */
    int8_t sc[2];         /* of the first and the last 16, where they weigh whole sums; else 1 */
    uint8_t mn[2];        /* likewise of m */
    float d[2], m;        /* d of the first and the last 16; m is added: minima are negative */
};
void panel_block(enum dtype t, const uint8_t *panel, int64_t b, int r, struct panel_block *out);

/* What the sums of q in act_group.z are multiplied by, negated. */
static inline int act_zero(const struct panel_format *f)
{
    return f->zero == 0 && f->sum == QUANT_HALVES ? -1 : f->zero;
}

/* A row of activations as a kernel for weights of type t wants it: act_group[], bf16[] or f32[],
 * zeros behind K up to whole steps. act_stride has room against cache set aliasing. */
size_t act_stride(enum dtype t, int64_t k);
void act_pack(enum dtype t, const float *x, int64_t k, void *out); /* the definition */

#endif
