/* dtype.c - the table of number formats, and the encoders of those that have one.
 *
 * Decoding goes through the integer view of quant.h: products and one sum, each rounded, which is
 * what the format's definition does. */
#include "kernels/dtype.h"

#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/quant/f8_e4m3.h"
#include "kernels/quant/iq1_m.h"
#include "kernels/quant/iq1_s.h"
#include "kernels/quant/iq2_s.h"
#include "kernels/quant/iq2_xs.h"
#include "kernels/quant/iq2_xxs.h"
#include "kernels/quant/iq3_s.h"
#include "kernels/quant/iq3_xxs.h"
#include "kernels/quant/iq4_nl.h"
#include "kernels/quant/iq4_xs.h"
#include "kernels/quant/mxfp4.h"
#include "kernels/quant/nf4.h"
#include "kernels/quant/nvfp4.h"
#include "kernels/quant/q1_0.h"
#include "kernels/quant/q2_0.h"
#include "kernels/quant/q2_k.h"
#include "kernels/quant/q3_k.h"
#include "kernels/quant/q4_0.h"
#include "kernels/quant/q4_1.h"
#include "kernels/quant/q4_k.h"
#include "kernels/quant/q5_0.h"
#include "kernels/quant/q5_1.h"
#include "kernels/quant/q5_k.h"
#include "kernels/quant/q6_k.h"
#include "kernels/quant/q8_0.h"
#include "kernels/quant/q8_1.h"
#include "kernels/quant/q8_k.h"
#include "kernels/quant/tq1_0.h"
#include "kernels/quant/tq2_0.h"

/* --- decoders: one block to floats */

static void decode_f32(const void *b, float *out)
{
    memcpy(out, b, 4);
}

static void decode_f16(const void *b, float *out)
{
    uint16_t h;
    memcpy(&h, b, 2);
    *out = half_f16(h);
}

static void decode_bf16(const void *b, float *out)
{
    uint16_t h;
    memcpy(&h, b, 2);
    *out = half_bf16(h);
}

/* Whole numbers and doubles round to the nearest float. */
#define PLAIN_FORMAT(name, type)                                                                   \
    static void decode_##name(const void *b, float *out)                                           \
    {                                                                                              \
        type v;                                                                                    \
        memcpy(&v, b, sizeof v);                                                                   \
        *out = (float)v;                                                                           \
    }
PLAIN_FORMAT(f64, double)
PLAIN_FORMAT(i8, int8_t)
PLAIN_FORMAT(i16, int16_t)
PLAIN_FORMAT(i32, int32_t)
PLAIN_FORMAT(i64, int64_t)
#undef PLAIN_FORMAT

const float nf4_value[16] = {NF4_VALUES};
const float nf4_short[16] = {
    -1.0f,          -0.6953125f, -0.5234375f,    -0.39453125f,  -0.28515625f, -0.1845703125f,
    -0.0908203125f, 0.0f,        0.07958984375f, 0.1611328125f, 0.24609375f,  0.337890625f,
    0.44140625f,    0.5625f,     0.72265625f,    1.0f,
};

static void decode_f8_e4m3(const void *block, float *out)
{
    const uint8_t *b = block;
    float d;

    memcpy(&d, b, sizeof d);
    for (int i = 0; i < F8_E4M3_BLOCK; i++)
        out[i] = d * f8_e4m3_value(b[4 + i]);
}

static void decode_nf4(const void *block, float *out)
{
    const uint8_t *b = block;
    float d;

    memcpy(&d, b, sizeof d);
    for (int i = 0; i < NF4_BLOCK; i++)
        out[i] = d * nf4_value[b[4 + i / 2] >> i % 2 * 4 & 15];
}

typedef void ints_fn(const void *block, int group, struct quant_ints *out);

static void decode_groups(ints_fn *ints, const void *b, int n, float *out)
{
    struct quant_ints o;
    for (int g = 0; g < n / QUANT_GROUP; g++, out += QUANT_GROUP) {
        ints(b, g, &o);
        for (int i = 0; i < QUANT_GROUP; i++)
            out[i] = o.d * (float)o.sc[i / 16] * (float)o.q[i] + o.m * (float)o.mn[i / 16];
    }
}

#define BLOCK_FORMAT(x, X)                                                                         \
    static void ints_##x(const void *b, int group, struct quant_ints *o)                           \
    {                                                                                              \
        x##_ints(b, group, o);                                                                     \
    }                                                                                              \
    static void decode_##x(const void *b, float *out)                                              \
    {                                                                                              \
        decode_groups(ints_##x, b, X##_BLOCK, out);                                                \
    }
BLOCK_FORMAT(q8_0, Q8_0)
BLOCK_FORMAT(q4_0, Q4_0)
BLOCK_FORMAT(q4_1, Q4_1)
BLOCK_FORMAT(q5_0, Q5_0)
BLOCK_FORMAT(q5_1, Q5_1)
BLOCK_FORMAT(q4_k, Q4_K)
BLOCK_FORMAT(q5_k, Q5_K)
BLOCK_FORMAT(q6_k, Q6_K)
BLOCK_FORMAT(q1_0, Q1_0)
BLOCK_FORMAT(q2_0, Q2_0)
BLOCK_FORMAT(q8_1, Q8_1)
BLOCK_FORMAT(q2_k, Q2_K)
BLOCK_FORMAT(q3_k, Q3_K)
BLOCK_FORMAT(q8_k, Q8_K)
BLOCK_FORMAT(iq1_s, IQ1_S)
BLOCK_FORMAT(iq1_m, IQ1_M)
BLOCK_FORMAT(iq2_xxs, IQ2_XXS)
BLOCK_FORMAT(iq2_xs, IQ2_XS)
BLOCK_FORMAT(iq2_s, IQ2_S)
BLOCK_FORMAT(iq3_xxs, IQ3_XXS)
BLOCK_FORMAT(iq3_s, IQ3_S)
BLOCK_FORMAT(iq4_nl, IQ4_NL)
BLOCK_FORMAT(iq4_xs, IQ4_XS)
BLOCK_FORMAT(tq1_0, TQ1_0)
BLOCK_FORMAT(tq2_0, TQ2_0)
BLOCK_FORMAT(mxfp4, MXFP4)
BLOCK_FORMAT(nvfp4, NVFP4)
#undef BLOCK_FORMAT

/* --- encoders: the rounding of ggml's reference quantizers (and of the gguf package) */

static void put_f16(uint8_t *p, float f)
{
    uint16_t h = half_to_f16(f);
    memcpy(p, &h, 2);
}

static void encode_f32(const float *in, void *b)
{
    memcpy(b, in, 4);
}

static void encode_f16(const float *in, void *b)
{
    put_f16(b, *in);
}

static void encode_bf16(const float *in, void *b)
{
    uint16_t h = half_to_bf16(*in);
    memcpy(b, &h, 2);
}

static void encode_q8_0(const float *in, void *block)
{
    uint8_t *b = block;
    float top = 0;
    for (int i = 0; i < 32; i++)
        top = fmaxf(top, fabsf(in[i]));
    float d = top / 127, inv = d != 0 ? 1 / d : 0;
    put_f16(b, d);
    for (int i = 0; i < 32; i++)
        b[2 + i] = (uint8_t)(int8_t)roundf(in[i] * inv);
}

/* q = x / d + offset, rounded and cut to [0, top]: nibbles in 16 bytes, fifth bits (when top is 31)
 * in the 4 bytes before them. */
static void put_fields(uint8_t *qs, const float *in, float inv, float offset, int top)
{
    int q[32];
    for (int i = 0; i < 32; i++) {
        int v = (int)(in[i] * inv + offset);
        q[i] = v < 0 ? 0 : v > top ? top : v;
    }
    for (int i = 0; i < 16; i++)
        qs[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
    if (top < 16)
        return;
    memset(qs - 4, 0, 4);
    for (int i = 0; i < 32; i++)
        qs[-4 + i / 8] |= (uint8_t)(q[i] >> 4 << i % 8);
}

/* Q4_0, Q5_0: the value of largest magnitude becomes -half exactly, so its sign is used fully. */
static void encode_signed(const float *in, uint8_t *d_at, uint8_t *qs, int half)
{
    float top = 0;
    for (int i = 0; i < 32; i++)
        if (fabsf(in[i]) > fabsf(top))
            top = in[i];
    float d = top / (float)-half, inv = d != 0 ? 1 / d : 0;
    put_f16(d_at, d);
    put_fields(qs, in, inv, (float)half + 0.5f, 2 * half - 1);
}

/* Q4_1, Q5_1: the range from least to greatest in `top` steps. */
static void encode_ranged(const float *in, uint8_t *d_at, uint8_t *qs, int top)
{
    float lo = in[0], hi = in[0], shifted[32];
    for (int i = 1; i < 32; i++) {
        lo = fminf(lo, in[i]);
        hi = fmaxf(hi, in[i]);
    }
    float d = (hi - lo) / (float)top, inv = d != 0 ? 1 / d : 0;
    put_f16(d_at, d);
    put_f16(d_at + 2, lo);
    for (int i = 0; i < 32; i++)
        shifted[i] = in[i] - lo;
    put_fields(qs, shifted, inv, 0.5f, top);
}

static void encode_q4_0(const float *in, void *b)
{
    encode_signed(in, b, (uint8_t *)b + 2, 8);
}

static void encode_q5_0(const float *in, void *b)
{
    encode_signed(in, b, (uint8_t *)b + 6, 16);
}

static void encode_q4_1(const float *in, void *b)
{
    encode_ranged(in, b, (uint8_t *)b + 4, 15);
}

static void encode_q5_1(const float *in, void *b)
{
    encode_ranged(in, b, (uint8_t *)b + 8, 31);
}

/* --- the table */

/* clang-format off */
static const struct dtype_info table[N_DTYPE] = {
    /*               name      block bytes gguf  decode          encode       ints */
    [DT_F32]     = {"f32",        1,    4,    0, decode_f32,     encode_f32,  NULL},
    [DT_F16]     = {"f16",        1,    2,    1, decode_f16,     encode_f16,  NULL},
    [DT_BF16]    = {"bf16",       1,    2,   30, decode_bf16,    encode_bf16, NULL},
    [DT_I32]     = {"i32",        1,    4,   26, decode_i32,     NULL,        NULL},
    [DT_U8]      = {"u8",         1,    1,   -1, NULL,           NULL,        NULL},
    [DT_F64]     = {"f64",        1,    8,   28, decode_f64,     NULL,        NULL},
    [DT_I8]      = {"i8",         1,    1,   24, decode_i8,      NULL,        NULL},
    [DT_I16]     = {"i16",        1,    2,   25, decode_i16,     NULL,        NULL},
    [DT_I64]     = {"i64",        1,    8,   27, decode_i64,     NULL,        NULL},
    [DT_Q8_0]    = {"q8_0",      32,   34,    8, decode_q8_0,    encode_q8_0, ints_q8_0},
    [DT_Q4_0]    = {"q4_0",      32,   18,    2, decode_q4_0,    encode_q4_0, ints_q4_0},
    [DT_Q4_1]    = {"q4_1",      32,   20,    3, decode_q4_1,    encode_q4_1, ints_q4_1},
    [DT_Q5_0]    = {"q5_0",      32,   22,    6, decode_q5_0,    encode_q5_0, ints_q5_0},
    [DT_Q5_1]    = {"q5_1",      32,   24,    7, decode_q5_1,    encode_q5_1, ints_q5_1},
    [DT_Q4_K]    = {"q4_k",     256,  144,   12, decode_q4_k,    NULL,        ints_q4_k},
    [DT_Q5_K]    = {"q5_k",     256,  176,   13, decode_q5_k,    NULL,        ints_q5_k},
    [DT_Q6_K]    = {"q6_k",     256,  210,   14, decode_q6_k,    NULL,        ints_q6_k},
    [DT_Q1_0]    = {"q1_0",     128,   18,   41, decode_q1_0,    NULL,        ints_q1_0},
    [DT_Q2_0]    = {"q2_0",      64,   18,   42, decode_q2_0,    NULL,        ints_q2_0},
    [DT_Q8_1]    = {"q8_1",      32,   36,    9, decode_q8_1,    NULL,        ints_q8_1},
    [DT_Q2_K]    = {"q2_k",     256,   84,   10, decode_q2_k,    NULL,        ints_q2_k},
    [DT_Q3_K]    = {"q3_k",     256,  110,   11, decode_q3_k,    NULL,        ints_q3_k},
    [DT_Q8_K]    = {"q8_k",     256,  292,   15, decode_q8_k,    NULL,        ints_q8_k},
    [DT_IQ1_S]   = {"iq1_s",    256,   50,   19, decode_iq1_s,   NULL,        ints_iq1_s},
    [DT_IQ1_M]   = {"iq1_m",    256,   56,   29, decode_iq1_m,   NULL,        ints_iq1_m},
    [DT_IQ2_XXS] = {"iq2_xxs",  256,   66,   16, decode_iq2_xxs, NULL,        ints_iq2_xxs},
    [DT_IQ2_XS]  = {"iq2_xs",   256,   74,   17, decode_iq2_xs,  NULL,        ints_iq2_xs},
    [DT_IQ2_S]   = {"iq2_s",    256,   82,   22, decode_iq2_s,   NULL,        ints_iq2_s},
    [DT_IQ3_XXS] = {"iq3_xxs",  256,   98,   18, decode_iq3_xxs, NULL,        ints_iq3_xxs},
    [DT_IQ3_S]   = {"iq3_s",    256,  110,   21, decode_iq3_s,   NULL,        ints_iq3_s},
    [DT_IQ4_NL]  = {"iq4_nl",    32,   18,   20, decode_iq4_nl,  NULL,        ints_iq4_nl},
    [DT_IQ4_XS]  = {"iq4_xs",   256,  136,   23, decode_iq4_xs,  NULL,        ints_iq4_xs},
    [DT_TQ1_0]   = {"tq1_0",    256,   54,   34, decode_tq1_0,   NULL,        ints_tq1_0},
    [DT_TQ2_0]   = {"tq2_0",    256,   66,   35, decode_tq2_0,   NULL,        ints_tq2_0},
    [DT_MXFP4]   = {"mxfp4",     32,   17,   39, decode_mxfp4,   NULL,        ints_mxfp4},
    [DT_NVFP4]   = {"nvfp4",     64,   36,   40, decode_nvfp4,   NULL,        ints_nvfp4},
    [DT_F8_E4M3] = {"f8_e4m3",   64,   68,   -1, decode_f8_e4m3, NULL,        NULL},
    [DT_NF4]     = {"nf4",       64,   36,   -1, decode_nf4,     NULL,        NULL},
};

/* All type numbers a GGUF file can have (ggml.h, enum ggml_type), also the withdrawn ones, which
 * only old files have: 4, 5, 31 to 33, 36 to 38. */
static const char *const gguf_names[] = {
    [0] = "F32",       [1] = "F16",       [2] = "Q4_0",      [3] = "Q4_1",       [4] = "Q4_2",
    [5] = "Q4_3",      [6] = "Q5_0",      [7] = "Q5_1",      [8] = "Q8_0",       [9] = "Q8_1",
    [10] = "Q2_K",     [11] = "Q3_K",     [12] = "Q4_K",     [13] = "Q5_K",      [14] = "Q6_K",
    [15] = "Q8_K",     [16] = "IQ2_XXS",  [17] = "IQ2_XS",   [18] = "IQ3_XXS",   [19] = "IQ1_S",
    [20] = "IQ4_NL",   [21] = "IQ3_S",    [22] = "IQ2_S",    [23] = "IQ4_XS",    [24] = "I8",
    [25] = "I16",      [26] = "I32",      [27] = "I64",      [28] = "F64",       [29] = "IQ1_M",
    [30] = "BF16",     [31] = "Q4_0_4_4", [32] = "Q4_0_4_8", [33] = "Q4_0_8_8",  [34] = "TQ1_0",
    [35] = "TQ2_0",    [36] = "IQ4_NL_4_4", [37] = "IQ4_NL_4_8", [38] = "IQ4_NL_8_8",
    [39] = "MXFP4",    [40] = "NVFP4",    [41] = "Q1_0",     [42] = "Q2_0",
};
/* clang-format on */

const struct dtype_info *dtype_info(enum dtype t)
{
    return &table[t];
}

int dtype_find(const char *name)
{
    for (int i = 0; i < N_DTYPE; i++)
        if (strcmp(table[i].name, name) == 0)
            return i;
    return -1;
}

int dtype_from_gguf(uint32_t type)
{
    for (int i = 0; i < N_DTYPE; i++)
        if (table[i].gguf >= 0 && (uint32_t)table[i].gguf == type)
            return i;
    return -1;
}

const char *dtype_gguf_name(uint32_t type)
{
    return type < sizeof gguf_names / sizeof gguf_names[0] ? gguf_names[type] : NULL;
}

size_t dtype_row_bytes(enum dtype t, int64_t n)
{
    return (size_t)(n / table[t].block) * (size_t)table[t].bytes;
}

void dtype_decode(enum dtype t, const void *src, float *out, int64_t n)
{
    const struct dtype_info *d = &table[t];
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += d->block, p += d->bytes)
        d->decode(p, out + i);
}

const char *dtype_list(void)
{
    return "f32 f16 bf16 f64 i8 i16 i32 i64 q1_0 q2_0 q4_0 q4_1 q5_0 q5_1 q8_0 q8_1 q2_k q3_k q4_k "
           "q5_k q6_k q8_k iq1_s iq1_m iq2_xxs iq2_xs iq2_s iq3_xxs iq3_s iq4_nl iq4_xs tq1_0 "
           "tq2_0 mxfp4 nvfp4 f8_e4m3 nf4";
}
