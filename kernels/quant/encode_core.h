/* encode_core.h - the encoder of each block format: a fit, then the bits where the decoder of
 * kernels/quant/<format>.h looks for them. Compiled once for each instruction set; the bits are the
 * same. */
#ifndef KERNELS_QUANT_ENCODE_CORE_H
#define KERNELS_QUANT_ENCODE_CORE_H

#include "kernels/quant/encode.h"
#include "kernels/quant/fit.h"
#include "kernels/quant/nvfp4.h"

/* Bounds and steps of the two tables of values.h, in ascending order of the value. */
static const float iq4_bound[15] = {-115.5f, -93.5f, -74,   -57,   -42, -28.5f, -16, -4.5f,
                                    7,       19,     31.5f, 45.5f, 61,  79,     101};
static const float iq4_step[15] = {23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24};
static const float fp4_bound[14] = {-10,  -7,   -5,   -3.5f, -2.5f, -1.5f, -0.5f,
                                    0.5f, 1.5f, 2.5f, 3.5f,  5,     7,     10};
static const float fp4_step[14] = {4, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 4};

#define WHOLE(lo, hi)                                                                              \
    {                                                                                              \
        lo, hi, NULL, NULL, 0                                                                      \
    }
#define IQ4_CODES                                                                                  \
    {                                                                                              \
        -127, 113, iq4_bound, iq4_step, 16                                                         \
    }

struct block { /* up to 256 numbers as vectors */
    fit_v x[ENCODE_BLOCK_MOST / FIT_LANES], w[ENCODE_BLOCK_MOST / FIT_LANES];
};

FIT_FN void load(struct block *b, const float *x, const float *weight, int n)
{
    memcpy(b->x, x, (size_t)n * sizeof *x);
    memcpy(b->w, weight, (size_t)n * sizeof *weight);
}

static void put_f16(uint8_t *p, float f)
{
    uint16_t h = half_to_f16(f);

    memcpy(p, &h, sizeof h);
}

/* 32 codes as 16 bytes: i in the low and i + 16 in the high nibble. */
static void put_nibbles(uint8_t *out, const uint8_t *q)
{
    for (int i = 0; i < 16; i++)
        out[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

/* Codes of a group, `offset` added to make them unsigned. */
FIT_FN void codes(const struct fit_group *g, const struct fit_codes *c, struct fit_line l,
                  float offset, uint8_t *out)
{
    float q[ENCODE_BLOCK_MOST];

    fit_codes_of(g, c, l.d, l.m, q);
    for (int i = 0; i < g->n * FIT_LANES; i++)
        out[i] = (uint8_t)(int)(q[i] + offset);
}

/* The place of each value in a table; `order` says which code stands there. */
FIT_FN void table_codes(const struct fit_group *g, const struct fit_codes *c, float d,
                        const uint8_t *order, uint8_t *out)
{
    float q[ENCODE_BLOCK_MOST];

    fit_codes_of(g, c, d, 0, q);
    for (int i = 0; i < g->n * FIT_LANES; i++) {
        int k = 0;

        for (int j = 0; j < c->n - 1; j++)
            k += q[i] > c->bound[j];
        out[i] = order ? order[k] : (uint8_t)k;
    }
}

/* ---- 32 weights, one scale ------------------------------------------------------------------- */

static void put_q8_0(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_codes c = WHOLE(-127, 127);
    struct block b;
    uint8_t q[32];
    enum { TRIES = 8 };

    load(&b, x, weight, 32);
    struct fit_group g = {b.x, b.w, 4};
    float top = fit_top(&g), least = INFINITY, d = 0;
    for (int i = 0; i < TRIES; i++) { /* 127 of 127 steps, and a little more and less */
        float to = 127.45f - 0.15f * (float)(i == 0 ? 3 : i), xq, qq;
        fit_probe(&g, &c, to * fit_inverse(top), &xq, &qq);
        float try = fit_f16(i == 0 || qq <= 0 ? top / 127 : xq / qq);
        float e = fit_error(&g, &c, try, 0);
        if (e < least) {
            least = e;
            d = try;
        }
    }
    put_f16(out, d);
    codes(&g, &c, (struct fit_line){d, 0}, 256, q);
    memcpy(out + 2, q, sizeof q);
}

static void put_q4_0(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_codes c = WHOLE(-8, 7);
    static const struct fit_grid grid = {6.25f, 0.25f, 13};
    struct block b;
    uint8_t q[32];

    load(&b, x, weight, 32);
    struct fit_group g = {b.x, b.w, 4};
    float d = fit_f16(fit_scale(&g, &c, &grid));
    put_f16(out, d);
    codes(&g, &c, (struct fit_line){d, 0}, 8, q);
    put_nibbles(out + 2, q);
}

/* The fifth bits of 32 codes. */
static void put_fifth(uint8_t *out, const uint8_t *q)
{
    memset(out, 0, 4);
    for (int i = 0; i < 32; i++)
        out[i / 8] |= (uint8_t)((q[i] >> 4 & 1) << i % 8);
}

static void put_q5_0(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_codes c = WHOLE(-16, 15);
    static const struct fit_grid grid = {14, 0.25f, 13};
    struct block b;
    uint8_t q[32];

    load(&b, x, weight, 32);
    struct fit_group g = {b.x, b.w, 4};
    float d = fit_f16(fit_scale(&g, &c, &grid));
    put_f16(out, d);
    codes(&g, &c, (struct fit_line){d, 0}, 16, q);
    put_fifth(out + 2, q);
    put_nibbles(out + 6, q);
}

/* d and m as f16 holds them: the least squared d for the m that is stored. */
FIT_FN struct fit_line settle(const struct fit_group *g, const struct fit_codes *c,
                              struct fit_line l)
{
    struct fit_moments s = {0};
    float lo, hi;

    l.m = fit_f16(l.m);
    fit_range(g, &s, &lo, &hi);
    fit_count(g, c, l, &s);
    if (s.qq > 0)
        l.d = (s.qx - l.m * s.q) / s.qq;
    l.d = fit_f16(l.d);
    return l;
}

static void put_q4_1(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_codes c = WHOLE(0, 15);
    static const struct fit_grid grid = {-0.35f, 0.35f, 5};
    struct block b;
    uint8_t q[32];

    load(&b, x, weight, 32);
    struct fit_group g = {b.x, b.w, 4};
    struct fit_line l = settle(&g, &c, fit_line(&g, &c, 0, &grid));
    put_f16(out, l.d);
    put_f16(out + 2, l.m);
    codes(&g, &c, l, 0, q);
    put_nibbles(out + 4, q);
}

static void put_q5_1(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_codes c = WHOLE(0, 31);
    static const struct fit_grid grid = {-0.35f, 0.35f, 5};
    struct block b;
    uint8_t q[32];

    load(&b, x, weight, 32);
    struct fit_group g = {b.x, b.w, 4};
    struct fit_line l = settle(&g, &c, fit_line(&g, &c, 0, &grid));
    put_f16(out, l.d);
    put_f16(out + 2, l.m);
    codes(&g, &c, l, 0, q);
    put_fifth(out + 4, q);
    put_nibbles(out + 8, q);
}

static void put_iq4_nl(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_codes c = IQ4_CODES;
    static const struct fit_grid grid = {90, 4, 13};
    struct block b;
    uint8_t q[32];

    load(&b, x, weight, 32);
    struct fit_group g = {b.x, b.w, 4};
    float d = fit_f16(fit_scale(&g, &c, &grid));
    put_f16(out, d);
    table_codes(&g, &c, d, NULL, q);
    put_nibbles(out + 2, q);
}

/* ---- four-bit floating point ----------------------------------------------------------------- */

static const struct fit_codes fp4_codes = {-12, 12, fp4_bound, fp4_step, 15};
static const uint8_t fp4_order[15] = {15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7};

static void put_mxfp4(const float *x, const float *weight, uint8_t *out)
{
    struct block b;
    uint8_t q[32];
    float least = INFINITY, d = 0;
    int exponent;

    load(&b, x, weight, 32);
    struct fit_group g = {b.x, b.w, 4};
    frexpf(fit_top(&g) / 12, &exponent); /* top <= 12 * 2^exponent */
    out[0] = 0;
    for (int e = exponent + 128 - 2; e <= exponent + 128; e++) {
        if (e < 2 || e > 254)
            continue;
        float try = ldexpf(1, e - 128), error = fit_error(&g, &fp4_codes, try, 0);
        if (error < least) {
            least = error;
            d = try;
            out[0] = (uint8_t)e;
        }
    }
    table_codes(&g, &fp4_codes, d, fp4_order, q);
    put_nibbles(out + 1, q);
}

/* 16 weights of NVFP4: the scale of the eight largest steps below and above what top asks for. */
FIT_FN int nvfp4_fit(const struct fit_group *g)
{
    float top = fit_top(g), least = INFINITY;
    int first = 0, best = 0;

    while (first < 126 && (float)nvfp4_scale(first) * 0x1p-10f * 12 < top)
        first++;
    for (int s = first > 8 ? first - 8 : 1; s <= first + 1 && s < 127; s++) {
        float e = fit_error(g, &fp4_codes, (float)nvfp4_scale(s) * 0x1p-10f, 0);
        if (e < least) {
            least = e;
            best = s;
        }
    }
    return best;
}

static void put_nvfp4(const float *x, const float *weight, uint8_t *out)
{
    struct block b;
    uint8_t q[16];

    load(&b, x, weight, 64);
    for (int j = 0; j < 4; j++) {
        struct fit_group g = {b.x + 2 * j, b.w + 2 * j, 2};
        int s = nvfp4_fit(&g);

        out[j] = (uint8_t)s;
        table_codes(&g, &fp4_codes, (float)nvfp4_scale(s) * 0x1p-10f, fp4_order, q);
        for (int i = 0; i < 8; i++)
            out[4 + 8 * j + i] = (uint8_t)(q[i] | q[8 + i] << 4);
    }
}

/* ---- super-blocks ---------------------------------------------------------------------------- */

/* Fits a super-block and gives its codes, `offset` added. */
FIT_FN void super(const struct fit_format *f, const float *x, const float *weight, float offset,
                  struct fit_super *s, uint8_t *q)
{
    struct block b;

    load(&b, x, weight, 256);
    fit_super(f, b.x, b.w, s);
    for (int j = 0; j < f->groups; j++) {
        struct fit_group g = fit_part(f, b.x, b.w, j);
        float d = s->d * (float)s->sc[j];
        uint8_t *to = q + j * f->vectors * FIT_LANES;

        if (f->codes.bound)
            table_codes(&g, &f->codes, d, NULL, to);
        else
            codes(&g, &f->codes, (struct fit_line){d, -(s->dmin * (float)s->mn[j])}, offset, to);
    }
}

/* The 12 bytes of 6-bit scales and minima, see quant_k_scale. */
static void put_k_scales(uint8_t *out, const int *sc, const int *mn)
{
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(sc[j] | sc[j + 4] >> 4 << 6);
        out[j + 4] = (uint8_t)(mn[j] | mn[j + 4] >> 4 << 6);
        out[j + 8] = (uint8_t)((sc[j + 4] & 15) | (mn[j + 4] & 15) << 4);
    }
}

/* Nibbles of Q4_K and Q5_K: two groups of 32 each 32 bytes. */
static void put_k_nibbles(uint8_t *out, const uint8_t *q)
{
    for (int i = 0; i < 128; i++)
        out[i] =
            (uint8_t)((q[i / 32 * 64 + i % 32] & 15) | (q[i / 32 * 64 + 32 + i % 32] & 15) << 4);
}

static void put_q4_k(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_format f = {WHOLE(0, 15), 8, 4, 0, 63, 63, {-0.35f, 0.35f, 5}, 1, 3, 1};
    struct fit_super s;
    uint8_t q[256];

    super(&f, x, weight, 0, &s, q);
    put_f16(out, s.d);
    put_f16(out + 2, s.dmin);
    put_k_scales(out + 4, s.sc, s.mn);
    put_k_nibbles(out + 16, q);
}

static void put_q5_k(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_format f = {WHOLE(0, 31), 8, 4, 0, 63, 63, {-0.35f, 0.35f, 5}, 1, 3, 1};
    struct fit_super s;
    uint8_t q[256];

    super(&f, x, weight, 0, &s, q);
    put_f16(out, s.d);
    put_f16(out + 2, s.dmin);
    put_k_scales(out + 4, s.sc, s.mn);
    memset(out + 16, 0, 32);
    for (int i = 0; i < 256; i++)
        out[16 + i % 32] |= (uint8_t)(q[i] >> 4 << i / 32);
    put_k_nibbles(out + 48, q);
}

/* Two bits of each of 256 codes, see quant_two. */
static void put_twos(uint8_t *out, const uint8_t *q)
{
    memset(out, 0, 64);
    for (int i = 0; i < 256; i++)
        out[i / 128 * 32 + i % 32] |= (uint8_t)((q[i] & 3) << i / 32 % 4 * 2);
}

static void put_q2_k(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_format f = {WHOLE(0, 3), 16, 2, 0, 15, 15, {-0.1f, 0.15f, 6}, 3, 4, 1};
    struct fit_super s;
    uint8_t q[256];

    super(&f, x, weight, 0, &s, q);
    for (int j = 0; j < 16; j++)
        out[j] = (uint8_t)(s.sc[j] | s.mn[j] << 4);
    put_twos(out + 16, q);
    put_f16(out + 80, s.d);
    put_f16(out + 82, s.dmin);
}

static void put_q3_k(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_format f = {WHOLE(-4, 3), 16, 2, -32, 31, 0, {2.2f, 0.2f, 13}, 2, 4, 1};
    struct fit_super s;
    uint8_t q[256];

    super(&f, x, weight, 4, &s, q);
    memset(out, 0, 32);
    for (int i = 0; i < 256; i++)
        out[i % 32] |= (uint8_t)(q[i] >> 2 << i / 32);
    put_twos(out + 32, q);
    memset(out + 96, 0, 12);
    for (int j = 0; j < 16; j++) {
        int v = s.sc[j] + 32;

        out[96 + j % 8] |= (uint8_t)((v & 15) << j / 8 * 4);
        out[104 + j % 4] |= (uint8_t)(v >> 4 << j / 4 * 2);
    }
    put_f16(out + 108, s.d);
}

static void put_q6_k(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_format f = {WHOLE(-32, 31),  16, 2, -128, 127, 0,
                                        {30, 0.25f, 13}, 1,  2, 1};
    struct fit_super s;
    uint8_t q[256];

    super(&f, x, weight, 32, &s, q);
    memset(out, 0, 192);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, part = i / 32 % 4, k = i % 32;

        out[half * 64 + part % 2 * 32 + k] |= (uint8_t)((q[i] & 15) << part / 2 * 4);
        out[128 + half * 32 + k] |= (uint8_t)(q[i] >> 4 << 2 * part);
    }
    for (int j = 0; j < 16; j++)
        out[192 + j] = (uint8_t)(int8_t)s.sc[j];
    put_f16(out + 208, s.d);
}

static void put_iq4_xs(const float *x, const float *weight, uint8_t *out)
{
    static const struct fit_format f = {IQ4_CODES, 8, 4, -32, 31, 0, {90, 4, 13}, 2, 3, 1};
    struct fit_super s;
    uint8_t q[256];

    super(&f, x, weight, 0, &s, q);
    put_f16(out, s.d);
    memset(out + 2, 0, 6);
    for (int j = 0; j < 8; j++) {
        int v = s.sc[j] + 32;

        out[2 + j / 4] |= (uint8_t)(v >> 4 << j % 4 * 2);
        out[4 + j / 2] |= (uint8_t)((v & 15) << j % 2 * 4);
        put_nibbles(out + 8 + 16 * j, q + 32 * j);
    }
}

/* clang-format off */
#define ENCODE_TABLE {                                                              \
    [DT_Q8_0] = put_q8_0,     [DT_Q4_0] = put_q4_0,     [DT_Q4_1] = put_q4_1,       \
    [DT_Q5_0] = put_q5_0,     [DT_Q5_1] = put_q5_1,     [DT_IQ4_NL] = put_iq4_nl,   \
    [DT_MXFP4] = put_mxfp4,   [DT_NVFP4] = put_nvfp4,   [DT_Q2_K] = put_q2_k,       \
    [DT_Q3_K] = put_q3_k,     [DT_Q4_K] = put_q4_k,     [DT_Q5_K] = put_q5_k,       \
    [DT_Q6_K] = put_q6_k,     [DT_IQ4_XS] = put_iq4_xs,                             \
}
/* clang-format on */

#endif
