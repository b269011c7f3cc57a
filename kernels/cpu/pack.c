/* pack.c - weights from rows of GGUF blocks into panels.
 *
 * A packer handles one row and one step: it reads the row's next bytes once and writes 4-byte words
 * into lines of the step, which stay in L1 for all 16 rows. These are the definition; those with
 * vectors (pack_avx2.c, codes_avx2.c) make the same bytes of whole steps. */
#include "kernels/cpu/pack.h"

#include <string.h>

#include "kernels/cpu/codes.h"
#include "kernels/half.h"
#include "kernels/quant/nvfp4.h"
#include "kernels/quant/q3_k.h"

enum { LINE = 64, PLANES = 512 /* of a pair: behind its 8 nibble lines */ };
static const uint32_t LOW = 0x0f0f0f0fu, ONES = 0x01010101u;

static uint32_t word(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static void put(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

static uint16_t half_at(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* Packs `n` units (blocks, or single k of plain formats, at most a step) at `s` into row r of the
 * step at `d`, which was zeroed if anything of it will be missing. */
typedef void row_fn(const uint8_t *s, int n, int r, uint8_t *d);

/* `before`: bytes of a block before its values, f16 d first. */
static inline void pack_bytes(const uint8_t *s, int n, int r, uint8_t *d, int before)
{
    for (int h = 0; h < n; h++, s += before + 32) {
        memcpy(d + h * 32 + 2 * r, s, 2);
        for (int g = 0; g < 8; g++)
            put(d + 64 + (h * 8 + g) * LINE + 4 * r, word(s + before + 4 * g) ^ 0x80808080u);
    }
}

static void pack_q8_0(const uint8_t *s, int n, int r, uint8_t *d)
{
    pack_bytes(s, n, r, d, 2);
}

static void pack_q8_1(const uint8_t *s, int n, int r, uint8_t *d)
{
    pack_bytes(s, n, r, d, 4);
}

/* The nibbles of two blocks of 16 bytes: byte j of a block holds k = j (low) and k = j + 16. */
static void pack_nibbles(const uint8_t *s0, const uint8_t *s1, uint8_t *d)
{
    for (int j = 0; j < 4; j++) {
        uint32_t a = word(s0 + 4 * j), c = s1 ? word(s1 + 4 * j) : 0;
        put(d + j * LINE, (a & LOW) | (c & LOW) << 4);
        put(d + (4 + j) * LINE, (a >> 4 & LOW) | (c & ~LOW));
    }
}

/* 32 bits, one a k, into a plane's word: byte k % 4, bit k / 4. */
static uint32_t plane_of_bits(uint32_t bits)
{
    uint32_t v = 0;

    for (int g = 0; g < 8; g++)
        v |= ((bits >> 4 * g & 15) * 0x204081u & ONES) << g;
    return v;
}

/* The four formats of 32 k with nibbles: `bytes` a block, its f16 d (and m), maybe high bits. */
static inline void pack_32(const uint8_t *s, int n, int r, uint8_t *d, bool min, bool high)
{
    int bits = min ? 4 : 2, quants = bits + (high ? 4 : 0), bytes = quants + 16;
    uint8_t *values = d + (min ? 128 : 64);

    for (int h = 0; h < n; h++) {
        memcpy(d + h * 32 + 2 * r, s + h * bytes, 2);
        if (min)
            memcpy(d + 64 + h * 32 + 2 * r, s + h * bytes + 2, 2);
        if (high)
            put(values + PLANES + h * LINE + 4 * r, plane_of_bits(word(s + h * bytes + bits)));
    }
    pack_nibbles(s + quants, n > 1 ? s + bytes + quants : NULL, values + 4 * r);
}

static void pack_q4_0(const uint8_t *s, int n, int r, uint8_t *d)
{
    pack_32(s, n, r, d, false, false);
}

static void pack_q4_1(const uint8_t *s, int n, int r, uint8_t *d)
{
    pack_32(s, n, r, d, true, false);
}

static void pack_q5_0(const uint8_t *s, int n, int r, uint8_t *d)
{
    pack_32(s, n, r, d, false, true);
}

static void pack_q5_1(const uint8_t *s, int n, int r, uint8_t *d)
{
    pack_32(s, n, r, d, true, true);
}

/* d, dmin, and the 6-bit scales and minima of 8 blocks (12 bytes) widened to bytes. */
static void pack_k_scales(const uint8_t *s, int r, uint8_t *d)
{
    const uint8_t *q = s + 4;

    memcpy(d + 2 * r, s, 2);
    memcpy(d + 32 + 2 * r, s + 2, 2);
    for (int b = 0; b < 4; b++) {
        d[64 + b * 16 + r] = q[b] & 63;
        d[192 + b * 16 + r] = q[b + 4] & 63;
        d[64 + (b + 4) * 16 + r] = (uint8_t)((q[b + 8] & 15) | q[b] >> 6 << 4);
        d[192 + (b + 4) * 16 + r] = (uint8_t)(q[b + 8] >> 4 | q[b + 4] >> 6 << 4);
    }
}

static void pack_q4_k(const uint8_t *s, int n, int r, uint8_t *d)
{
    (void)n; /* always a whole step */
    pack_k_scales(s, r, d);
    for (int p = 0; p < 4; p++)
        for (int g = 0; g < 8; g++)
            put(d + 320 + p * 512 + g * LINE + 4 * r, word(s + 16 + p * 32 + 4 * g));
}

static void pack_q5_k(const uint8_t *s, int n, int r, uint8_t *d)
{
    const uint8_t *high = s + 16, *low = s + 48; /* bit b of high[l]: block b, element l */

    (void)n;
    pack_k_scales(s, r, d);
    for (int p = 0; p < 4; p++) {
        uint8_t *t = d + 320 + p * 640 + 4 * r;
        uint32_t v[2] = {0, 0};
        for (int g = 0; g < 8; g++) {
            put(t + g * LINE, word(low + p * 32 + 4 * g));
            v[0] |= (word(high + 4 * g) >> 2 * p & ONES) << g;
            v[1] |= (word(high + 4 * g) >> (2 * p + 1) & ONES) << g;
        }
        put(t + PLANES, v[0]);
        put(t + PLANES + LINE, v[1]);
    }
}

/* q6_K: 128 low-nibble bytes, 64 bytes of 2 high bits, 16 scales, d. Each half of 128 k holds four
 * blocks j: nibble j / 2 of bytes 32 (j % 2) + l, bits 2 j of high byte l. */
static void pack_q6_k(const uint8_t *s, int n, int r, uint8_t *d)
{
    (void)n;
    memcpy(d + 2 * r, s + 208, 2);
    memset(d + 32 + 2 * r, 0, 2);
    for (int i = 0; i < 16; i++)
        d[64 + i * 16 + r] = s[192 + i];
    for (int p = 0; p < 4; p++) {
        const uint8_t *low = s + p / 2 * 64, *high = s + 128 + p / 2 * 32;
        uint8_t *t = d + 320 + p * 768 + 4 * r;
        int nibble = p % 2 * 4, two = p % 2 * 4;
        uint32_t v[4] = {0, 0, 0, 0};
        for (int g = 0; g < 8; g++) {
            uint32_t a = word(low + 4 * g) >> nibble & LOW, h = word(high + 4 * g) >> two;
            uint32_t c = word(low + 32 + 4 * g) >> nibble & LOW;
            put(t + g * LINE, a | c << 4);
            v[g / 4] |= (h & 3 * ONES) << 2 * (g % 4);
            v[2 + g / 4] |= (h >> 2 & 3 * ONES) << 2 * (g % 4);
        }
        for (int i = 0; i < 4; i++)
            put(t + PLANES + i * LINE, v[i]);
    }
}

static void pack_q8_k(const uint8_t *s, int n, int r, uint8_t *d)
{
    (void)n;
    memcpy(d + 4 * r, s, 4);
    for (int g = 0; g < 64; g++)
        put(d + LINE + g * LINE + 4 * r, word(s + 4 + 4 * g) ^ 0x80808080u);
}

/* 64 bytes of 2-bit fields: of 128 k, bits 2 j of byte l are k = 32 j + l. */
static void pack_fields(const uint8_t *s, uint8_t *d)
{
    for (int p = 0; p < 4; p++, d += 4 * LINE) {
        for (int l = 0; l < 4; l++) {
            uint32_t v = 0;
            for (int i = 0; i < 4; i++) { /* block i / 2 of the pair, line l or l + 4 of it */
                uint32_t four = word(s + p / 2 * 32 + 4 * (l + i % 2 * 4));
                v |= (four >> 2 * (p % 2 * 2 + i / 2) & 3 * ONES) << 2 * i;
            }
            put(d + l * LINE, v);
        }
    }
}

static void pack_tq2_0(const uint8_t *s, int n, int r, uint8_t *d)
{
    float scale = half_f16(half_at(s + 64));

    (void)n;
    memcpy(d + 4 * r, &scale, sizeof scale);
    pack_fields(s, d + LINE + 4 * r);
}

/* The value lines of a block of 32 k as words, bits 2 i of the 4 lines that hold them. */
static void put_two(uint8_t *d, int h, int g, uint32_t codes)
{
    uint8_t *at = d + g % 4 * LINE;
    int shift = 2 * (2 * h + g / 4);

    put(at, shift == 0 ? codes : word(at) | codes << shift);
}

/* A byte is 4 k, which a panel wants in 4 bytes. */
static void pack_q2_0(const uint8_t *s, int n, int r, uint8_t *d)
{
    (void)n;
    for (int h = 0; h < 2; h++) {
        memcpy(d + h * 32 + 2 * r, s, 2);
        for (int g = 0; g < 8; g++) {
            uint32_t four = s[2 + 8 * h + g];
            four = (four | four << 12) & 0x000f000f;
            put_two(d + LINE + 4 * r, h, g, (four | four << 6) & 3 * ONES);
        }
    }
}

static void pack_q2_k(const uint8_t *s, int n, int r, uint8_t *d)
{
    (void)n;
    memcpy(d + 2 * r, s + 80, 2);
    memcpy(d + 32 + 2 * r, s + 82, 2);
    for (int i = 0; i < 16; i++)
        d[LINE + i * 16 + r] = s[i];
    pack_fields(s + 16, d + 320 + 4 * r);
}

/* The codes of the next four formats are their nibbles or fields, so whole words move. */
static void pack_mxfp4(const uint8_t *s, int n, int r, uint8_t *d)
{
    for (int h = 0; h < n; h++) { /* 2^(e - 128) as bf16, the least are subnormal */
        const int e = s[17 * h];
        uint16_t scale = (uint16_t)(e < 2 ? 0x20 << e : (e - 1) << 7);
        memcpy(d + h * 32 + 2 * r, &scale, sizeof scale);
    }
    pack_nibbles(s + 1, n > 1 ? s + 18 : NULL, d + LINE + 4 * r);
}

static void pack_nvfp4(const uint8_t *s, int n, int r, uint8_t *d)
{
    uint8_t *to = d + 128 + 4 * r;

    (void)n;
    for (int i = 0; i < 4; i++) {
        uint16_t scale = half_to_f16((float)nvfp4_scale(s[i]) * 0x1p-10f);
        memcpy(d + i * 32 + 2 * r, &scale, sizeof scale);
    }
    for (int i = 0; i < 4; i++) { /* half i / 2 of both blocks, words i % 2 */
        uint32_t a = word(s + 4 + 4 * i), c = word(s + 20 + 4 * i);
        uint8_t *line = to + (i / 2 * 4 + i % 2) * LINE;
        put(line, (a & LOW) | (c & LOW) << 4);
        put(line + 2 * LINE, (a >> 4 & LOW) | (c & ~LOW));
    }
}

static void pack_iq4_xs(const uint8_t *s, int n, int r, uint8_t *d)
{
    float scale = half_f16(half_at(s));

    (void)n;
    memcpy(d + 4 * r, &scale, sizeof scale);
    for (int b = 0; b < 8; b++) {
        int low = s[4 + b / 2] >> b % 2 * 4 & 15, high = half_at(s + 2) >> 2 * b & 3;
        d[LINE + b * 16 + r] = (uint8_t)((low | high << 4) - 32);
    }
    for (int p = 0; p < 4; p++)
        pack_nibbles(s + 8 + 32 * p, s + 24 + 32 * p, d + 192 + p * 512 + 4 * r);
}

static void pack_q3_k(const uint8_t *s, int n, int r, uint8_t *d)
{
    float scale = half_f16(half_at(s + 108));

    (void)n;
    memcpy(d + 4 * r, &scale, sizeof scale);
    for (int i = 0; i < 16; i++)
        d[LINE + i * 16 + r] = (uint8_t)q3_k_scale(s + 96, i);
    for (int p = 0; p < 4; p++) { /* fields of groups 2 p and 2 p + 1, the third bits */
        for (int g = 0; g < 8; g++) {
            uint32_t two = word(s + 32 + p / 2 * 32 + 4 * g) >> p % 2 * 4;
            uint32_t third = word(s + 4 * g) >> 2 * p;
            uint32_t a = (two & 3 * ONES) | (third & ONES) << 2;
            uint32_t c = (two >> 2 & 3 * ONES) | (third >> 1 & ONES) << 2;
            put(d + 320 + p * 512 + g * LINE + 4 * r, a | c << 4);
        }
    }
}

static void pack_bf16(const uint8_t *s, int n, int r, uint8_t *d)
{
    for (int k = 0; k < n; k++)
        memcpy(d + k / 2 * LINE + 4 * r + k % 2 * 2, s + 2 * k, 2);
}

static void pack_f16(const uint8_t *s, int n, int r, uint8_t *d)
{
    for (int k = 0; k < n; k++)
        memcpy(d + k * 32 + 2 * r, s + 2 * k, 2);
}

static void pack_f32(const uint8_t *s, int n, int r, uint8_t *d)
{
    for (int k = 0; k < n; k++)
        memcpy(d + k * LINE + 4 * r, s + 4 * k, 4);
}

/* The sign of a code goes to its lowest bit, and 2 k lie side by side. */
static void pack_f8_e4m3(const uint8_t *s, int n, int r, uint8_t *d)
{
    (void)n;
    memcpy(d + 4 * r, s, 4);
    for (int k = 0; k < 64; k++)
        d[LINE + k / 2 * 32 + 2 * r + k % 2] = (uint8_t)(s[4 + k] << 1 | s[4 + k] >> 7);
}

/* Of 4 k, two bytes of a row: k and k + 1 in the low nibbles. */
static void pack_nf4(const uint8_t *s, int n, int r, uint8_t *d)
{
    (void)n;
    memcpy(d + 4 * r, s, 4);
    for (int q = 0; q < 16; q++) {
        int a = s[4 + 2 * q], c = s[5 + 2 * q];
        d[LINE + q * 32 + 2 * r] = (uint8_t)((a & 15) | (c & 15) << 4);
        d[LINE + q * 32 + 2 * r + 1] = (uint8_t)(a >> 4 | (c & 0xf0));
    }
}

/* clang-format off */
static row_fn *const packers[N_DTYPE] = {
    [DT_F32]  = pack_f32,  [DT_F16]  = pack_f16,  [DT_BF16] = pack_bf16, [DT_Q8_0] = pack_q8_0,
    [DT_Q4_0] = pack_q4_0, [DT_Q4_1] = pack_q4_1, [DT_Q5_0] = pack_q5_0, [DT_Q5_1] = pack_q5_1,
    [DT_Q4_K] = pack_q4_k, [DT_Q5_K] = pack_q5_k, [DT_Q6_K] = pack_q6_k, [DT_Q8_1] = pack_q8_1,
    [DT_IQ4_NL] = pack_q4_0, /* its nibbles are the codes */
    [DT_MXFP4] = pack_mxfp4, [DT_NVFP4] = pack_nvfp4, [DT_IQ4_XS] = pack_iq4_xs,
    [DT_Q3_K] = pack_q3_k,
    [DT_Q8_K] = pack_q8_k, [DT_TQ2_0] = pack_tq2_0, [DT_Q2_K] = pack_q2_k,
    [DT_Q2_0] = pack_q2_0,
    [DT_F8_E4M3] = pack_f8_e4m3, [DT_NF4] = pack_nf4,
};
/* clang-format on */

/* Row r of step `at`, from the row at `s` of the source. */
static void pack_step(const struct tensor *src, const uint8_t *s, int64_t at, int r, uint8_t *d)
{
    enum dtype t = (enum dtype)src->dtype;
    const struct dtype_info *info = dtype_info(t);
    const struct panel_format *f = panel_format(t);
    int64_t first = at * f->step, left = src->shape[1] - first;
    int n = left < f->step ? (int)left : f->step;
    float plain[4];

    if (packers[t]) {
        packers[t](s + first / info->block * info->bytes, n / info->block, r, d);
        return;
    }
    if (f->values) {
        codes_pack(t, s, first, n, r, d);
        return;
    }
    s += first / info->block * info->bytes;
    dtype_decode(t, s, plain, n); /* f64 and integers: steps of f32, of 4 */
    pack_f32((const uint8_t *)plain, n, r, d);
}

void pack_panels(const struct pack_work *w, int64_t first, int64_t last)
{
    const struct tensor *src = w->src;
    enum dtype t = (enum dtype)src->dtype;
    const struct panel_format *f = panel_format(t);
    int64_t k = src->shape[1], steps = panel_steps(t, k), part = 0, part_row = first * PANEL_ROWS;
    uint8_t *dst = w->dst + (size_t)first * panel_bytes(t, k);

    while (part < w->n && part_row >= src[part].shape[0])
        part_row -= src[part++].shape[0];
    for (int64_t p = first; p < last; p++) {
        const uint8_t *row[PANEL_ROWS];
        int64_t rows = 0, s = 0;
        for (; rows < PANEL_ROWS && part < w->n; rows++) {
            row[rows] = tensor_row(&src[part], part_row);
            if (++part_row == src[part].shape[0])
                part_row = 0, part++;
        }
        if (w->fast && rows == PANEL_ROWS) {
            s = k / f->step;
            w->fast(row, s, dst);
            dst += s * f->bytes;
        }
        for (; s < steps; s++, dst += f->bytes) {
            if (rows < PANEL_ROWS || k - s * f->step < f->step)
                memset(dst, 0, (size_t)f->bytes);
            for (int r = 0; r < rows; r++)
                pack_step(src, row[r], s, r, dst);
        }
    }
}
