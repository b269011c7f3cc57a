/* linear_format.h - what the kernels of block formats branch on, known when each is compiled: which
 * kind of scales a format's panels have, and where they and the values lie (panel.h). */
#ifndef KERNELS_CPU_LINEAR_FORMAT_H
#define KERNELS_CPU_LINEAR_FORMAT_H

#include <stdbool.h>

#include "kernels/dtype.h"

static inline bool is_k(enum dtype f)
{
    return f == DT_Q4_K || f == DT_Q5_K || f == DT_Q6_K;
}

/* Formats of codes have four kinds of scales, those of 2 bits three; each kernel is named after one
 * format and serves all that have its kind. */
static inline bool is_coded(enum dtype f)
{
    return f == DT_IQ4_NL || f == DT_NVFP4 || f == DT_IQ4_XS || f == DT_Q3_K;
}

static inline bool is_two(enum dtype f) /* 2 bits, which are the values */
{
    return f == DT_Q2_0 || f == DT_TQ2_0 || f == DT_Q2_K;
}

static inline bool is_one(enum dtype f) /* a bit, of the value 2 */
{
    return f == DT_Q1_0;
}

static inline bool is_q8(enum dtype f)
{
    return f == DT_Q8_0 || f == DT_Q8_K;
}

static inline bool has_f32(enum dtype f) /* one scale of a step */
{
    return f == DT_IQ4_XS || f == DT_Q3_K || f == DT_TQ2_0 || f == DT_Q8_K;
}

static inline bool has_min(enum dtype f)
{
    return f == DT_Q4_1 || f == DT_Q5_1 || f == DT_Q4_K || f == DT_Q5_K || f == DT_Q2_K;
}

static inline bool has_fifth(enum dtype f)
{
    return f == DT_Q5_0 || f == DT_Q5_1 || f == DT_Q5_K;
}

static inline bool has_halves(enum dtype f) /* integer scales of 16 k */
{
    return f == DT_Q6_K || f == DT_Q3_K || f == DT_Q2_K;
}

static inline int step_pairs(enum dtype f)
{
    return is_k(f) || has_f32(f) || f == DT_Q2_K ? 4 : 1;
}

static inline int head_bytes(enum dtype f)
{
    return f == DT_TQ2_0 || f == DT_Q8_K ? 64
           : is_k(f) || has_halves(f)    ? 320
           : f == DT_IQ4_XS              ? 192
           : has_min(f) || f == DT_NVFP4 ? 128
                                         : 64;
}

static inline int pair_bytes(enum dtype f)
{
    return is_q8(f)       ? 1024
           : f == DT_Q6_K ? 768
           : has_fifth(f) ? 640
           : is_two(f)    ? 256
           : is_one(f)    ? 128
                          : 512;
}

#endif
