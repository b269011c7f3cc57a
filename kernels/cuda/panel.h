/* panel.h - how the CUDA backend keeps the weights of a matrix product: block formats in panels
 * (LAYOUT_PANEL), bf16 and f16 in rows of whole 16-byte pieces, which cuBLASLt can read too.
 *
 * A weight [N, K] is cut into tiles of 16 rows x 64 columns, each a run of `tile_bytes` whole
 * 16-byte pieces; the tiles of 16 rows follow each other along K, so a warp reads one stream. K and
 * N are padded with zeros. In a tile the numbers lie in the order in which mma.sync wants its left
 * operand in registers (PTX ISA, "Matrix fragments"): lane 4 g + t holds rows g and g + 8, and a
 * 16-byte load is one m16n8k32 fragment of int8.
 *
 *     q8_0       for each group of 32 columns 32 lanes x 16 | d
 *     4 bits     for each group 32 lanes x 8: register i in half i % 2 of byte i / 2 * 4 + b | ...
 *     5, 6 bits  the same | upper bits: one bit plane (lane's word: bit 4 group + i of byte b), or
 *                for each group one word a lane, bits 2 i, 2 i + 1 of byte b | ...
 *
 *     fp4        for each group 32 lanes x {row g: columns 4 t ..., 16 + 4 t ...; row g + 8: the
 *                same}: four codes in 16 bits, the first lowest, so that one byte permutation looks
 *                four up. Eight codes of a row are one word, as block-scaled mma takes MXFP4
 *
 * and then what scales them, pairs for rows g, g + 8 side by side:
 *     PANEL_D    f16 d [2 groups][8 g][2]
 *     PANEL_DM   f16 [2 groups][8 g]{d, d, m, m}
 *     PANEL_K    u8  [2 groups][8 g]{scale, scale, min, min} | f16 [8 g]{d, d, dmin, dmin}
 *     PANEL_6    i8  [2 groups][8 g]{sc0, sc1, sc0, sc1} | f16 d [8 g][2]
 *     PANEL_E8   e8m0 [8 g][2 rows][2 groups]         fp4 only; a row's scales side by side,
 *     PANEL_E4   e4m3 [8 g][2 rows][4 of 16 columns]  as block-scaled mma wants them
 *     PANEL_ANY  [2 groups][8 g][2] struct panel_any: every other block format, as int8
 *     PANEL_F32  f32 d [8 g][2]: formats whose codes are floats, scaled by 64 columns
 *
 * Codes that are floats (f8_e4m3, nf4) are multiplied as f16, so they lie as m16n8k16 wants them,
 * lane 4 g + t with columns 16 t ... 16 t + 15, as words of four columns:
 *     f8_e4m3    for each half of those columns 32 lanes x {row g: 2 words, row g + 8: 2 words}; a
 *                word has columns 0, 1 in bits 15, 13 ... 7 of its halves; 2, 3 in 14, 6 ... 0
 *     nf4        32 lanes x {row g: 8 columns, 8 more; row g + 8: the same}, the first lowest
 *
 * Integers with a sign (q4_0 q5_0 q6_K) are kept in two's complement of so few bits: moved to the
 * top of a byte they are the integer times 2^(8 - bits), at the price of one mask and no
 * subtraction. */
#ifndef KERNELS_CUDA_PANEL_H
#define KERNELS_CUDA_PANEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/quant/quant.h"
#include "kernels/tensor.h"

enum { PANEL_ROWS = 16, PANEL_COLS = 64 };
enum panel_scales { PANEL_D, PANEL_DM, PANEL_K, PANEL_6, PANEL_E8, PANEL_E4, PANEL_ANY, PANEL_F32 };

/* A group of 32 weights of any format (struct quant_ints), low and high its halves of 16:
 *     f = fma((float)(sc0 low + sc1 high) d_x, d0, f)
 *     f = fma((float)high d_x, d1, f)                   d1 is 0 but where scales are kept apart
 *     f = fma(m, d_x (float)(mn0 sum0 + mn1 sum1), f)   m is -0 where there is none */
struct panel_any {
    float d0, d1, m;
    int8_t sc0, sc1, mn0, mn1;
};

struct panel_format {
    enum dtype dtype; /* PANEL_ANY: of no meaning */
    int bits;         /* of a number: 8, 6, 5, 4 */
    bool sign;        /* two's complement; else 0, 1, 2 ... */
    enum panel_scales scales;
    int tile_bytes;
};

/* Codes of e2m1: 0 1 2 3 4 6 8 12 and their negatives, all halved. */
QUANT_FN bool cuda_panel_fp4(enum panel_scales s)
{
    return s == PANEL_E8 || s == PANEL_E4;
}

/* NULL: this type has no panels (f32, f16, bf16, integers). */
const struct panel_format *cuda_panel_format(enum dtype t);
/* Bytes of a packed [n, k]; 0: cannot be packed. */
size_t cuda_panel_bytes(enum dtype t, int64_t n, int64_t k);

/* Embedding from a table in panels (kernels/cuda/embed_panel.cu). */
struct cuda_queue;
struct op_embed;
enum status cuda_panel_embed(struct cuda_queue *q, const struct op_embed *a);

/* Bytes of a row of bf16 or f16. */
static inline int64_t cuda_half_stride(int64_t k)
{
    return (k + 7) / 8 * 16;
}

/* Columns with their padding, in tiles. */
static inline int64_t cuda_panel_chunks(int64_t k)
{
    return (k + PANEL_COLS - 1) / PANEL_COLS;
}

#endif
