/* codes.c - weights of few values into panels of nibbles, and back.
 *
 * Packing goes through the integer view of quant.h, so it needs no code for a format but its
 * values: a value finds its code by a table of all 256. The scales are stored exactly: what the
 * view gives is an f16 times a power of 2 as f32, or an f16. */
#include "kernels/cpu/codes.h"

#include <string.h>

#include "kernels/half.h"

enum { LINE = 64, ROWS = PANEL_ROWS, ONE_BIT = 128, TWO_BITS = 256 /* a pair */ };

/* clang-format off */
const int8_t codes_iq1[16]     = {-9, -7, -1, 1, 7, 9};
const int8_t codes_iq2[16]     = {-43, -25, -8, 8, 25, 43};
const int8_t codes_iq3_xxs[16] = {-62, -52, -44, -36, -28, -20, -12, -4, 4, 12, 20, 28, 36, 44, 52, 62};
const int8_t codes_iq3_s[16]   = {-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15};
const int8_t codes_iq4[16]     = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t codes_fp4[16]     = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
const int8_t codes_ternary[16] = {-1, 0, 1, 2};
const int8_t codes_q2_k[16]    = {0, 1, 2, 3};
const int8_t codes_q3_k[16]    = {-4, -3, -2, -1, 0, 1, 2, 3};
/* clang-format on */

static uint16_t half_at(const uint8_t *p)
{
    uint16_t h;

    memcpy(&h, p, sizeof h);
    return h;
}

/* The scales of group b of a step: its f16, or integers that weigh the f32 of all. */
static void put_scales(const struct panel_format *f, const uint8_t *block,
                       const struct quant_ints *o, int b, int r, uint8_t *d)
{
    if (f->step == 64) {
        memcpy(d + b * 32 + 2 * r, block, 2);
        return;
    }
    memcpy(d + 4 * r, &o->d, sizeof o->d);
    int per = f->sum == QUANT_HALVES ? 2 : 1;
    for (int h = 0; f->head > LINE && h < per; h++)
        d[LINE + (b * per + h) * ROWS + r] = (uint8_t)o->sc[h];
}

/* A group of two values: a nibble of row r for each 4 k, those of even rows low. */
static void put_bits(const int8_t *q, int r, uint8_t *d)
{
    for (int g = 0; g < ACT_GROUP / 4; g++, q += 4) {
        int four = (q[0] > 0) | (q[1] > 0) << 1 | (q[2] > 0) << 2 | (q[3] > 0) << 3;
        uint8_t *at = d + 8 * g + r / 2;
        *at = (uint8_t)(r % 2 ? *at | four << 4 : four);
    }
}

void codes_pack(enum dtype t, const uint8_t *s, int64_t k, int n, int r, uint8_t *d)
{
    const struct panel_format *f = panel_format(t);
    const struct dtype_info *info = dtype_info(t);
    uint8_t code[256];
    struct quant_ints o;

    for (int i = 15; i >= 0; i--) /* of equal values the first */
        code[(uint8_t)f->values[i]] = (uint8_t)i;
    for (int b = 0; b < n / ACT_GROUP; b++, k += ACT_GROUP) {
        uint8_t *to = d + f->head + b / 2 * f->pair + 4 * r;
        const uint8_t *block = s + k / info->block * info->bytes;
        info->ints(block, (int)(k % info->block) / ACT_GROUP, &o);
        put_scales(f, block, &o, b, r, d);
        if (f->pair == ONE_BIT) {
            put_bits(o.q, r, d + f->head + b * LINE);
            continue;
        }
        for (int g = 0; g < ACT_GROUP / 4; g++) {
            bool two = f->pair == TWO_BITS;
            uint8_t *at = to + (two ? g % 4 : g) * LINE;
            int shift = b % 2 * 4 + (two ? g / 4 * 2 : 0);
            uint32_t four = 0, have = 0;
            for (int i = 3; i >= 0; i--)
                four = four << 8 | code[(uint8_t)o.q[4 * g + i]];
            if (shift > 0)
                memcpy(&have, at, sizeof have);
            have |= four << shift;
            memcpy(at, &have, sizeof have);
        }
    }
}

void codes_block(enum dtype t, const uint8_t *s, int b, int r, struct panel_block *out)
{
    const struct panel_format *f = panel_format(t);

    for (int i = 0; i < ACT_GROUP; i++)
        out->q[i] = (uint8_t)(f->values[out->q[i]] + f->zero);
    if (f->step == 64) {
        for (int h = 0; h < 2; h++) {
            uint16_t d = half_at(s + (f->sum == QUANT_APART ? 2 * b + h : b) * 32 + 2 * r);
            out->d[h] = t == DT_MXFP4 ? half_bf16(d) : half_f16(d);
        }
        return;
    }
    if (f->zero == 0) {
        out->d[0] = half_f16(half_at(s + 2 * r));
        out->m = -half_f16(half_at(s + 32 + 2 * r));
    } else {
        memcpy(&out->d[0], s + 4 * r, sizeof out->d[0]);
    }
    for (int h = 0; h < 2 && f->sum == QUANT_HALVES; h++) {
        uint8_t sc = s[LINE + (2 * b + h) * ROWS + r];
        out->sc[h] = (int8_t)(f->zero == 0 ? sc & 15 : sc);
        out->mn[h] = f->zero == 0 ? sc >> 4 : 1;
    }
    if (f->sum == QUANT_WHOLE && f->head > LINE)
        out->d[0] *= (float)(int8_t)s[LINE + b * ROWS + r];
    out->d[1] = out->d[0];
}
