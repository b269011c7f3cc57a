/* panel.c - what a panel holds: sizes, weights read back, and the activations that meet them.
 *
 * Nothing is lost on the way into one (pack.c): panel_row gives the bits that decoding the source
 * row gives. */
#include "kernels/cpu/panel.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/codes.h"
#include "kernels/half.h"
#include "kernels/quant/f8_e4m3.h"
#include "kernels/quant/nf4.h"

enum { LINE = 64, PLANES = 512 /* of a pair: behind its 8 nibble lines */ };

/* clang-format off */
static const struct panel_format formats[N_DTYPE] = {
    /*           step bytes head pair zero sum          values */
    [DT_F32]     = {  4,  256,   0,    0,   0, QUANT_WHOLE, NULL},
    [DT_F64]     = {  4,  256,   0,    0,   0, QUANT_WHOLE, NULL},
    [DT_I8]      = {  4,  256,   0,    0,   0, QUANT_WHOLE, NULL},
    [DT_I16]     = {  4,  256,   0,    0,   0, QUANT_WHOLE, NULL},
    [DT_I32]     = {  4,  256,   0,    0,   0, QUANT_WHOLE, NULL},
    [DT_I64]     = {  4,  256,   0,    0,   0, QUANT_WHOLE, NULL},
    [DT_F16]     = {  8,  256,   0,    0,   0, QUANT_WHOLE, NULL},
    [DT_BF16]    = {  8,  256,   0,    0,   0, QUANT_WHOLE, NULL},
    [DT_Q8_0]    = { 64, 1088,  64, 1024, 128, QUANT_WHOLE, NULL},
    [DT_Q8_1]    = { 64, 1088,  64, 1024, 128, QUANT_WHOLE, NULL},
    [DT_Q4_0]    = { 64,  576,  64,  512,   8, QUANT_WHOLE, NULL},
    [DT_Q4_1]    = { 64,  640, 128,  512,   0, QUANT_WHOLE, NULL},
    [DT_Q5_0]    = { 64,  704,  64,  640,  16, QUANT_WHOLE, NULL},
    [DT_Q5_1]    = { 64,  768, 128,  640,   0, QUANT_WHOLE, NULL},
    [DT_Q4_K]    = {256, 2368, 320,  512,   0, QUANT_WHOLE, NULL},
    [DT_Q5_K]    = {256, 2880, 320,  640,   0, QUANT_WHOLE, NULL},
    [DT_Q6_K]    = {256, 3392, 320,  768,  32, QUANT_HALVES, NULL},
    [DT_IQ4_NL]  = { 64,  576,  64,  512, 127, QUANT_WHOLE, codes_iq4},
    [DT_MXFP4]   = { 64,  576,  64,  512,  12, QUANT_WHOLE, codes_fp4},
    [DT_Q8_K]    = {256, 4160,  64, 1024, 128, QUANT_WHOLE, NULL},
    [DT_Q1_0]    = { 64,  192,  64,  128,   1, QUANT_WHOLE, codes_ternary},
    [DT_Q2_0]    = { 64,  320,  64,  256,   1, QUANT_WHOLE, codes_ternary},
    [DT_NVFP4]   = { 64,  640, 128,  512,  12, QUANT_APART, codes_fp4},
    [DT_F8_E4M3] = { 64, 1088,  64,    0,   0, QUANT_WHOLE, NULL},
    [DT_NF4]     = { 64,  576,  64,    0,   0, QUANT_WHOLE, NULL},
    [DT_IQ1_S]   = {256, 2240, 192,  512,   9, QUANT_WHOLE, codes_iq1},
    [DT_IQ2_XXS] = {256, 2240, 192,  512,  43, QUANT_WHOLE, codes_iq2},
    [DT_IQ3_XXS] = {256, 2240, 192,  512,  62, QUANT_WHOLE, codes_iq3_xxs},
    [DT_IQ3_S]   = {256, 2240, 192,  512,  15, QUANT_WHOLE, codes_iq3_s},
    [DT_IQ4_XS]  = {256, 2240, 192,  512, 127, QUANT_WHOLE, codes_iq4},
    [DT_TQ1_0]   = {256, 1088,  64,  256,   1, QUANT_WHOLE, codes_ternary},
    [DT_TQ2_0]   = {256, 1088,  64,  256,   1, QUANT_WHOLE, codes_ternary},
    [DT_Q3_K]    = {256, 2368, 320,  512,   4, QUANT_HALVES, codes_q3_k},
    [DT_IQ1_M]   = {256, 2368, 320,  512,   9, QUANT_HALVES, codes_iq1},
    [DT_IQ2_XS]  = {256, 2368, 320,  512,  43, QUANT_HALVES, codes_iq2},
    [DT_IQ2_S]   = {256, 2368, 320,  512,  43, QUANT_HALVES, codes_iq2},
    [DT_Q2_K]    = {256, 1344, 320,  256,   0, QUANT_HALVES, codes_q2_k},
};
/* clang-format on */

const struct panel_format *panel_format(enum dtype t)
{
    return t < N_DTYPE && formats[t].step ? &formats[t] : NULL;
}

int64_t panel_count(int64_t n)
{
    return (n + PANEL_ROWS - 1) / PANEL_ROWS;
}

int64_t panel_steps(enum dtype t, int64_t k)
{
    return (k + formats[t].step - 1) / formats[t].step;
}

size_t panel_bytes(enum dtype t, int64_t k)
{
    return (size_t)panel_steps(t, k) * (size_t)formats[t].bytes;
}

static uint16_t half_at(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* The quants of block h of the pair at `v`, row r, as unsigned numbers. */
static void block_values(enum dtype t, const uint8_t *v, int h, int r, uint8_t *q)
{
    for (int k = 0; k < ACT_GROUP; k++) {
        int g = k / 4, byte = 4 * r + k % 4;
        int low = v[(formats[t].pair <= 256 ? 0 : g) * LINE + byte] >> 4 * h & 15;
        switch (formats[t].pair) {
        case 1024:
            q[k] = v[(h * 8 + g) * LINE + byte];
            break;
        case 128:
            q[k] = (uint8_t)((v[h * LINE + 8 * g + r / 2] >> (r % 2 * 4 + k % 4) & 1) << 1);
            break;
        case 256:
            q[k] = v[g % 4 * LINE + byte] >> 2 * (2 * h + g / 4) & 3;
            break;
        case 640:
            q[k] = (uint8_t)(low | (v[PLANES + h * LINE + byte] >> g & 1) << 4);
            break;
        case 768:
            q[k] =
                (uint8_t)(low | (v[PLANES + (2 * h + g / 4) * LINE + byte] >> g % 4 * 2 & 3) << 4);
            break;
        default:
            q[k] = (uint8_t)low;
        }
    }
}

void panel_block(enum dtype t, const uint8_t *panel, int64_t b, int r, struct panel_block *out)
{
    const struct panel_format *f = &formats[t];
    int in_step = (int)(b % (f->step / ACT_GROUP)), h = in_step % 2;
    const uint8_t *s = panel + b / (f->step / ACT_GROUP) * f->bytes;

    block_values(t, s + f->head + in_step / 2 * f->pair, h, r, out->q);
    out->m = 0;
    out->sc[0] = out->sc[1] = 1;
    out->mn[0] = out->mn[1] = 1;
    if (f->values) {
        codes_block(t, s, in_step, r, out);
        return;
    }
    if (f->step == 64) {
        out->d[0] = out->d[1] = half_f16(half_at(s + h * 32 + 2 * r));
        if (f->head == 128)
            out->m = half_f16(half_at(s + 64 + h * 32 + 2 * r));
        return;
    }
    if (t == DT_Q8_K) {
        memcpy(&out->d[0], s + 4 * r, sizeof out->d[0]);
        out->d[1] = out->d[0];
        return;
    }
    out->d[0] = out->d[1] = half_f16(half_at(s + 2 * r));
    if (t == DT_Q6_K) {
        out->sc[0] = (int8_t)s[64 + 2 * in_step * 16 + r];
        out->sc[1] = (int8_t)s[64 + (2 * in_step + 1) * 16 + r];
        return;
    }
    out->d[0] *= (float)s[64 + in_step * 16 + r];
    out->d[1] = out->d[0];
    out->m = -(half_f16(half_at(s + 32 + 2 * r)) * (float)s[192 + in_step * 16 + r]);
}

/* The code of k `at` of row r of the step at s. */
static int float_code(enum dtype t, const uint8_t *s, int at, int r)
{
    if (t == DT_NF4)
        return s[LINE + at / 4 * 32 + 2 * r + at % 2] >> at % 4 / 2 * 4 & 15;
    int v = s[LINE + at / 2 * 32 + 2 * r + at % 2];
    return v >> 1 | (v & 1) << 7;
}

bool panel_has_floats(enum dtype t)
{
    return t == DT_F8_E4M3 || t == DT_NF4;
}

float panel_float(enum dtype t, const uint8_t *panel, int64_t k, int r, float *d)
{
    const uint8_t *s = panel + k / 64 * formats[t].bytes;
    int code = float_code(t, s, (int)(k % 64), r);

    memcpy(d, s + 4 * r, sizeof *d);
    return t == DT_NF4 ? nf4_value[code] : f8_e4m3_value(code);
}

float panel_plain(enum dtype t, const uint8_t *panel, int64_t k, int r)
{
    const uint8_t *s = panel + k / formats[t].step * formats[t].bytes;
    int in_step = (int)(k % formats[t].step);
    float f;

    if (t == DT_BF16)
        return half_bf16(half_at(s + in_step / 2 * LINE + 4 * r + in_step % 2 * 2));
    if (t == DT_F16)
        return half_f16(half_at(s + in_step * 32 + 2 * r));
    if (panel_has_floats(t)) {
        int code = float_code(t, s, in_step, r);
        memcpy(&f, s + 4 * r, sizeof f);
        return f * (t == DT_NF4 ? nf4_value[code] : f8_e4m3_value(code));
    }
    memcpy(&f, s + in_step * LINE + 4 * r, sizeof f);
    return f;
}

void panel_row(const struct tensor *w, int64_t row, float *out)
{
    enum dtype t = (enum dtype)w->dtype;
    const struct panel_format *f = &formats[t];
    int64_t k = w->shape[1];
    int r = (int)(row % PANEL_ROWS);
    const uint8_t *panel =
        (const uint8_t *)w->data + (size_t)(row / PANEL_ROWS) * panel_bytes(t, k);
    struct panel_block b;

    if (!f->pair)
        for (int64_t i = 0; i < k; i++)
            out[i] = panel_plain(t, panel, i, r);
    for (int64_t i = 0; f->pair && i < k; i += ACT_GROUP) {
        panel_block(t, panel, i / ACT_GROUP, r, &b);
        for (int j = 0; j < ACT_GROUP; j++) {
            float v = b.d[j / 16] * (float)b.sc[j / 16] * (float)(b.q[j] - f->zero);
            out[i + j] = f->zero ? v : v + b.m * (float)b.mn[j / 16]; /* -0 + 0 loses the sign */
        }
    }
}

size_t act_stride(enum dtype t, int64_t k)
{
    size_t padded = (size_t)panel_steps(t, k) * (size_t)formats[t].step;

    if (formats[t].pair)
        return padded / ACT_GROUP * sizeof(struct act_group) + LINE;
    return padded * (t == DT_BF16 ? 2 : 4) + LINE;
}

static void quantize(const float *x, int zero, bool halves, struct act_group *b)
{
    float top = 0;
    int sum[2] = {0, 0};

    for (int j = 0; j < ACT_GROUP; j++)
        top = fabsf(x[j]) > top ? fabsf(x[j]) : top;
    float scale = top >= 0x1p-100f ? 127 / top : 0;
    for (int j = 0; j < ACT_GROUP; j++) {
        b->q[j] = (int8_t)lrintf(x[j] * scale);
        sum[j / 16] += b->q[j];
    }
    b->d = scale > 0 ? top / 127 : 0;
    b->ds = b->d * (float)(sum[0] + sum[1]);
    b->z[0] = -zero * (halves ? sum[0] : sum[0] + sum[1]);
    b->z[1] = halves ? -zero * sum[1] : 0;
}

void act_pack(enum dtype t, const float *x, int64_t k, void *out)
{
    const struct panel_format *f = &formats[t];
    int64_t padded = panel_steps(t, k) * f->step;

    if (f->pair) {
        struct act_group *b = out;
        for (int64_t i = 0; i < k; i += ACT_GROUP)
            quantize(x + i, act_zero(f), f->sum != QUANT_WHOLE, b++);
        memset(b, 0, (size_t)(padded - k) / ACT_GROUP * sizeof *b);
    } else if (t == DT_BF16) {
        uint16_t *h = out;
        for (int64_t i = 0; i < padded; i++)
            h[i] = i < k ? half_to_bf16(x[i]) : 0;
    } else {
        memcpy(out, x, (size_t)k * 4);
        memset((float *)out + k, 0, (size_t)(padded - k) * 4);
    }
}
