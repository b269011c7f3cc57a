/* dtype.c - the table of number formats, and the encoders of those that have one.
 *
 * Decoding goes through the integer view of quant.h: products and one sum, each rounded, which is
 * what the format's definition does. */
#include "kernels/dtype.h"

#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/quant/q4_0.h"
#include "kernels/quant/q4_1.h"
#include "kernels/quant/q4_k.h"
#include "kernels/quant/q5_0.h"
#include "kernels/quant/q5_1.h"
#include "kernels/quant/q5_k.h"
#include "kernels/quant/q6_k.h"
#include "kernels/quant/q8_0.h"

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

typedef void ints_fn(const void *block, int group, struct quant_ints *out);

static void decode_groups(ints_fn *ints, const void *b, int n, float *out)
{
    struct quant_ints o;
    for (int g = 0; g < n / QUANT_GROUP; g++, out += QUANT_GROUP) {
        ints(b, g, &o);
        for (int i = 0; i < QUANT_GROUP; i++)
            out[i] = o.d * (float)o.sc[i / 16] * (float)o.q[i] + o.m;
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
    /*             name    block bytes gguf  decode       encode       ints */
    [DT_F32]  = {"f32",      1,    4,    0, decode_f32,  encode_f32,  NULL},
    [DT_F16]  = {"f16",      1,    2,    1, decode_f16,  encode_f16,  NULL},
    [DT_BF16] = {"bf16",     1,    2,   30, decode_bf16, encode_bf16, NULL},
    [DT_I32]  = {"i32",      1,    4,   26, NULL,        NULL,        NULL},
    [DT_U8]   = {"u8",       1,    1,   -1, NULL,        NULL,        NULL},
    [DT_Q8_0] = {"q8_0",    32,   34,    8, decode_q8_0, encode_q8_0, ints_q8_0},
    [DT_Q4_0] = {"q4_0",    32,   18,    2, decode_q4_0, encode_q4_0, ints_q4_0},
    [DT_Q4_1] = {"q4_1",    32,   20,    3, decode_q4_1, encode_q4_1, ints_q4_1},
    [DT_Q5_0] = {"q5_0",    32,   22,    6, decode_q5_0, encode_q5_0, ints_q5_0},
    [DT_Q5_1] = {"q5_1",    32,   24,    7, decode_q5_1, encode_q5_1, ints_q5_1},
    [DT_Q4_K] = {"q4_k",   256,  144,   12, decode_q4_k, NULL,        ints_q4_k},
    [DT_Q5_K] = {"q5_k",   256,  176,   13, decode_q5_k, NULL,        ints_q5_k},
    [DT_Q6_K] = {"q6_k",   256,  210,   14, decode_q6_k, NULL,        ints_q6_k},
};

/* All type numbers a GGUF file can have (ggml.h, enum ggml_type); the gaps were withdrawn. */
static const char *const gguf_names[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",     [3] = "Q4_1",    [6] = "Q5_0",
    [7] = "Q5_1",     [8] = "Q8_0",     [9] = "Q8_1",     [10] = "Q2_K",   [11] = "Q3_K",
    [12] = "Q4_K",    [13] = "Q5_K",    [14] = "Q6_K",    [15] = "Q8_K",   [16] = "IQ2_XXS",
    [17] = "IQ2_XS",  [18] = "IQ3_XXS", [19] = "IQ1_S",   [20] = "IQ4_NL", [21] = "IQ3_S",
    [22] = "IQ2_S",   [23] = "IQ4_XS",  [24] = "I8",      [25] = "I16",    [26] = "I32",
    [27] = "I64",     [28] = "F64",     [29] = "IQ1_M",   [30] = "BF16",   [34] = "TQ1_0",
    [35] = "TQ2_0",   [39] = "MXFP4",   [40] = "NVFP4",   [41] = "Q1_0",
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
    return "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q5_k q6_k";
}
