/* avx2.h - the functions that the AVX2 table gathers. Call them only through the table that
 * isa_select gave. */
#ifndef KERNELS_CPU_AVX2_H
#define KERNELS_CPU_AVX2_H

#include "kernels/cpu/isa.h"

linear_fn linear_avx2_Q8_0, linear_avx2_Q4_0, linear_avx2_Q4_1, linear_avx2_Q5_0, linear_avx2_Q5_1,
    linear_avx2_Q4_K, linear_avx2_Q5_K, linear_avx2_Q6_K, linear_avx2_IQ4_NL, linear_avx2_NVFP4,
    linear_avx2_IQ4_XS, linear_avx2_Q3_K, linear_avx2_Q2_K, linear_avx2_Q1_0, linear_avx2_Q2_0,
    linear_avx2_TQ2_0, linear_avx2_Q8_K;
linear_fn linear_avx2_F32, linear_avx2_F16, linear_avx2_BF16, linear_avx2_F8_E4M3, linear_avx2_NF4;
void act_avx2(enum dtype t, const float *x, int64_t k, void *out);

attn_fn attn_scores_avx2_f32, attn_scores_avx2_bf16, attn_values_avx2_f32, attn_values_avx2_bf16,
    attn_softmax_avx2;
void rmsnorm_avx2(const float *x, const float *w, int64_t n, float eps, float *y);
void glu_avx2(const float *gate, const float *up, int64_t n, enum act act, float *y);
void add_avx2(const float *a, const float *b, int64_t n, float *y);
void rope_avx2(float *x, const float *cos, const float *sin, int n, bool neox);

pack_fn pack_avx2_F32, pack_avx2_F16, pack_avx2_BF16, pack_avx2_Q8_0, pack_avx2_Q8_1,
    pack_avx2_Q4_0, pack_avx2_Q4_1, pack_avx2_Q5_0, pack_avx2_Q5_1, pack_avx2_Q4_K, pack_avx2_Q5_K,
    pack_avx2_Q6_K, pack_avx2_IQ1_S, pack_avx2_IQ1_M, pack_avx2_IQ2_XXS, pack_avx2_IQ2_XS,
    pack_avx2_IQ2_S, pack_avx2_IQ3_XXS, pack_avx2_IQ3_S, pack_avx2_TQ1_0, pack_avx2_TQ2_0,
    pack_avx2_Q2_K, pack_avx2_Q2_0, pack_avx2_Q1_0, pack_avx2_Q3_K, pack_avx2_IQ4_XS,
    pack_avx2_MXFP4, pack_avx2_NVFP4, pack_avx2_Q8_K, pack_avx2_F8_E4M3, pack_avx2_NF4;

settle_fn settle_avx2;
masses_fn masses_avx2;
band_fn band_avx2;

#endif
