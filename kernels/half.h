/* half.h - f16 and bf16 <-> f32, round to nearest even, all values incl. subnormals, infinities,
 * NaN. The scalar definition; vector code must agree with it. */
#ifndef KERNELS_HALF_H
#define KERNELS_HALF_H

#include <stdint.h>

float half_f16(uint16_t h); /* f16 -> f32, exact */
uint16_t half_to_f16(float f);
float half_bf16(uint16_t h);    /* bf16 -> f32, exact */
uint16_t half_to_bf16(float f); /* NaN stays NaN */

#endif
