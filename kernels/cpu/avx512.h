/* avx512.h - the functions that the AVX-512 tables share across files. Call them only through a
 * table that isa_select gave. */
#ifndef KERNELS_CPU_AVX512_H
#define KERNELS_CPU_AVX512_H

#include "kernels/cpu/isa.h"

linear_fn linear_avx512_Q8_0, linear_avx512_Q4_0, linear_avx512_Q4_1, linear_avx512_Q5_0,
    linear_avx512_Q5_1, linear_avx512_Q4_K, linear_avx512_Q5_K, linear_avx512_Q6_K,
    linear_avx512_IQ4_NL, linear_avx512_NVFP4, linear_avx512_IQ4_XS, linear_avx512_Q3_K,
    linear_avx512_Q2_K, linear_avx512_Q1_0, linear_avx512_Q2_0, linear_avx512_TQ2_0,
    linear_avx512_Q8_K;
linear_fn linear_avx512_F32, linear_avx512_F16, linear_avx512_BF16, linear_avx512_F8_E4M3,
    linear_avx512_NF4;
linear_fn linear_avx512bf16_BF16, linear_avx512bf16_F8_E4M3, linear_avx512bf16_NF4;
void act_avx512(enum dtype t, const float *x, int64_t k, void *out);
void act_avx512bf16(enum dtype t, const float *x, int64_t k, void *out);

attn_fn attn_scores_avx512_f32, attn_scores_avx512_bf16, attn_values_avx512_f32,
    attn_values_avx512_bf16, attn_softmax_avx512;
attn_fn attn_scores_avx512bf16, attn_values_avx512bf16;
void rmsnorm_avx512(const float *x, const float *w, int64_t n, float eps, float *y);
void glu_avx512(const float *gate, const float *up, int64_t n, enum act act, float *y);

settle_fn settle_avx512;
masses_fn masses_avx512;
band_fn band_avx512;

#endif
