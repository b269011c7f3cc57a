/* nf4.h - 64 weights in 36 bytes: f32 d | 32 bytes of nibbles, the earlier element low;
 * w = d * value[nibble], rounded once
 *
 * Files have no such block: engine/load makes it of the weights of bitsandbytes. The values are
 * quantiles of a normal distribution (Dettmers et al. 2023), as that library has them. */
#ifndef KERNELS_QUANT_NF4_H
#define KERNELS_QUANT_NF4_H

enum { NF4_BLOCK = 64, NF4_BYTES = 36 };

extern const float nf4_value[16];

#endif
