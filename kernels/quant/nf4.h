/* nf4.h - 64 weights in 36 bytes: f32 d | 32 bytes of nibbles, the earlier element low;
 * w = d * value[nibble], rounded once
 *
 * Files have no such block: engine/load makes it of the weights of bitsandbytes. The values are
 * quantiles of a normal distribution (Dettmers et al. 2023), as that library has them. */
#ifndef KERNELS_QUANT_NF4_H
#define KERNELS_QUANT_NF4_H

enum { NF4_BLOCK = 64, NF4_BYTES = 36 };

/* clang-format off */
#define NF4_VALUES                                                                                 \
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,                      \
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,                     \
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,        \
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f
/* Rounded to f16, of which tensor cores multiply them. */
#define NF4_F16                                                                                    \
    0xbc00, 0xb992, 0xb833, 0xb652, 0xb48d, 0xb1ea, 0xadd4, 0x0000,                                \
    0x2d18, 0x3126, 0x33e0, 0x3568, 0x370d, 0x3880, 0x39c9, 0x3c00
/* clang-format on */

extern const float nf4_value[16]; /* of host code */
extern const float nf4_short[16]; /* rounded to bf16 */

#endif
