/* end.h - what becomes of sums at the end of a linear kernel, in vectors: times global, plus bias,
 * plus add, as linear_end (isa.h) has it for one. For files of these instructions alone. */
#ifndef KERNELS_CPU_END_H
#define KERNELS_CPU_END_H

#include <immintrin.h>

#include "kernels/cpu/isa.h"

#ifdef __AVX512F__
static inline __m512 linear_end_avx512(const struct linear_job *j, int64_t row, int64_t col,
                                       __mmask16 mask, __m512 f)
{
    if (j->global != 0)
        f = _mm512_mul_ps(f, _mm512_set1_ps(j->global));
    if (j->bias)
        f = _mm512_add_ps(f, _mm512_maskz_loadu_ps(mask, j->bias + col));
    if (j->add)
        f = _mm512_add_ps(f, _mm512_maskz_loadu_ps(mask, j->add + row * j->ldadd + col));
    return f;
}
#else
static inline __m256 linear_end_avx2(const struct linear_job *j, int64_t row, int64_t col, __m256 f)
{
    if (j->global != 0)
        f = _mm256_mul_ps(f, _mm256_set1_ps(j->global));
    if (j->bias)
        f = _mm256_add_ps(f, _mm256_loadu_ps(j->bias + col));
    if (j->add)
        f = _mm256_add_ps(f, _mm256_loadu_ps(j->add + row * j->ldadd + col));
    return f;
}
#endif

#endif
