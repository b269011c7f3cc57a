/* codes_avx2.c - whole steps of 16 rows of the formats of few values into panels: the bytes of
 * codes.c, eight rows at a time.
 *
 * Four or eight weights are one point of a grid (iq.h): one gather looks up a point of each of
 * eight rows, whose fields become the bytes of one or two words. Codes ascend with the values, so a
 * negative weight's code is the complement of its field: (field ^ ~0) + zero, the code of the least
 * positive value. What bounds these is the gathers, one for 64 weights. */
#include "kernels/cpu/pack_avx2.h"

#include "kernels/cpu/avx2.h"
#include "kernels/half.h"
#include "kernels/quant/iq.h"

enum { PAIR = 512, PAIR_OF_TWO = 256 };

INLINE words all(uint32_t v)
{
    return _mm256_set1_epi32((int)v);
}

INLINE words both(words a, words b)
{
    return _mm256_or_si256(a, b);
}

INLINE words only(words a, uint32_t mask)
{
    return _mm256_and_si256(a, all(mask));
}

/* f32 scale: the f16 of each row times `factor`, at `more`. */
INLINE void put_f32(struct from s, size_t more, float factor, int side, uint8_t *d)
{
    for (int r = 0; r < SIDE; r++) {
        const uint8_t *p = s.row[r] + s.at + more;
        float f = half_f16((uint16_t)(p[0] | p[1] << 8)) * factor;
        memcpy(d + (side * SIDE + r) * 4, &f, sizeof f);
    }
}

/* Two groups of 32 codes to the eight lines of a pair. */
INLINE void put_pair(const words *a, const words *c, uint8_t *d)
{
    for (int g = 0; g < 8; g++)
        put(d + g * LINE, both(a[g], _mm256_slli_epi32(c[g], 4)));
}

/* The same of 2 bits, to four lines. */
INLINE void put_pair_of_two(const words *a, const words *c, uint8_t *d)
{
    for (int g = 0; g < 4; g++) {
        words low = both(a[g], _mm256_slli_epi32(a[g + 4], 2));
        words high = both(c[g], _mm256_slli_epi32(c[g + 4], 2));
        put(d + g * LINE, both(low, _mm256_slli_epi32(high, 4)));
    }
}

/* --- fields to bytes: four of 2 bits from the lowest 8, of 3 bits from 12; those above 16 are 0 */

INLINE words bytes_of_two(words x)
{
    x = only(both(x, _mm256_slli_epi32(x, 12)), 0x000f000f);
    return only(both(x, _mm256_slli_epi32(x, 6)), 0x03030303);
}

INLINE words bytes_of_three(words x)
{
    x = only(both(x, _mm256_slli_epi32(x, 10)), 0x003f003f);
    return only(both(x, _mm256_slli_epi32(x, 5)), 0x07070707);
}

/* Entries of a grid; they are 16 bits, of which a gather takes two. */
INLINE words points(const uint16_t *grid, words index)
{
    words two = _mm256_i32gather_epi32((const void *)grid, _mm256_srli_epi32(index, 1), 4);

    return only(_mm256_srlv_epi32(two, _mm256_slli_epi32(only(index, 1), 4)), 0xffff);
}

/* All ones in each byte whose bit, 4 `half` on in byte `at` of its word, is set. */
INLINE words mask_of(words bits, int at, int half)
{
    const words spread = _mm256_add_epi8(_mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0,
                                                           0x04040404, 0x08080808, 0x0c0c0c0c),
                                         bytes_of(at));
    const words bit = all(half ? 0x80402010u : 0x08040201u);

    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, spread), bit), bit);
}

/* Seven signs a byte become eight: their number is even. */
INLINE words even_signs(words seven)
{
    const words odd = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
    words four = only(_mm256_xor_si256(seven, _mm256_srli_epi32(seven, 4)), 0x0f0f0f0f);

    return both(seven, _mm256_shuffle_epi8(odd, four));
}

/* Four times seven bits from the lowest on, a byte each. */
INLINE words four_sevens(words x)
{
    x = both(only(x, 0x3fff), only(_mm256_slli_epi32(x, 2), 0x3fff0000));
    return both(only(x, 0x007f007f), only(_mm256_slli_epi32(x, 1), 0x7f007f00));
}

INLINE words signed_code(words field, words negative, int zero)
{
    return _mm256_add_epi8(_mm256_xor_si256(field, negative), bytes_of(zero));
}

/* --- groups of 32 */

/* Of IQ2: four points of eight, a byte of signs each. */
INLINE void group_iq2(const uint16_t *grid, const words *index, words signs, words *out)
{
    for (int i = 0; i < 4; i++) {
        words e = points(grid, index[i]);
        out[2 * i] = signed_code(bytes_of_two(e), mask_of(signs, i, 0), 3);
        out[2 * i + 1] =
            signed_code(bytes_of_two(_mm256_srli_epi32(e, 8)), mask_of(signs, i, 1), 3);
    }
}

/* Of IQ3: eight points of four. */
INLINE void group_iq3(const uint16_t *grid, const words *index, words signs, words *out)
{
    for (int i = 0; i < 8; i++)
        out[i] =
            signed_code(bytes_of_three(points(grid, index[i])), mask_of(signs, i / 2, i % 2), 8);
}

/* Of IQ1: four points of eight; `up`: 1 in the bytes of words whose delta is positive. */
INLINE void group_iq1(const words *index, const words *up, words *out)
{
    for (int i = 0; i < 4; i++) {
        words e = points(iq1_grid, index[i]);
        out[2 * i] = _mm256_add_epi8(_mm256_slli_epi32(bytes_of_two(e), 1), up[i]);
        e = bytes_of_two(_mm256_srli_epi32(e, 8));
        out[2 * i + 1] = _mm256_add_epi8(_mm256_slli_epi32(e, 1), up[i]);
    }
}

/* 1 in each byte of the words whose bit is clear. */
INLINE words unless(words w, uint32_t bit)
{
    return _mm256_andnot_si256(_mm256_cmpeq_epi32(only(w, bit), all(bit)), bytes_of(1));
}

/* Byte i of the words, and bits [at, at + n) of `more` above it. */
INLINE words index_of(words low, int i, words more, int at, int n)
{
    words high = only(_mm256_srli_epi32(more, at), (1u << n) - 1);

    return both(only(_mm256_srli_epi32(low, 8 * i), 0xff), _mm256_slli_epi32(high, 8));
}

/* --- steps of 256 */

/* 2 x + 1 for nibbles x: scales of 16 k, two a byte, of groups 4 i to 4 i + 3. */
INLINE void put_nibble_scales(words w, int i, uint8_t *d)
{
    words low = _mm256_slli_epi32(only(w, 0x0f0f0f0f), 1);
    words high = only(_mm256_srli_epi32(w, 3), 0x1e1e1e1e);

    put_bytes(both(low, bytes_of(1)), 2 * PANEL_ROWS, d + i * 8 * PANEL_ROWS);
    put_bytes(both(high, bytes_of(1)), 2 * PANEL_ROWS, d + (i * 8 + 1) * PANEL_ROWS);
}

/* A u32 for each group: 4 x 7 signs, scale. IQ2_XXS has it behind 4 indices, IQ3_XXS apart. */
INLINE void put_xxs(bool three, struct from s, int side, uint8_t *d)
{
    uint8_t *values = d + 192 + side * HALF;
    words sc[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, out[2][8], rest[8];

    put_f32(s, 0, three ? 0.25f : 0.125f, side, d);
    if (three) {
        load(s, 66, rest);
        load(s, 82, rest + 4);
    }
    for (int p = 0; p < 4; p++) {
        words w[4], index[8];
        load(s, 2 + 16 * (size_t)p, w);
        for (int h = 0; h < 2; h++) {
            words more = three ? rest[2 * p + h] : w[2 * h + 1];
            words signs = even_signs(four_sevens(more));
            for (int i = 0; i < (three ? 8 : 4); i++)
                index[i] = only(_mm256_srli_epi32(w[2 * h + i / 4], i % 4 * 8), 0xff);
            if (three)
                group_iq3(iq3_xxs_grid, index, signs, out[h]);
            else
                group_iq2(iq2_xxs_grid, index, signs, out[h]);
            more = both(only(_mm256_srli_epi32(more, 27), 0x1e), all(1));
            sc[p / 2] = both(sc[p / 2], _mm256_slli_epi32(more, p % 2 * 16 + h * 8));
        }
        put_pair(out[0], out[1], values + p * PAIR);
    }
    for (int i = 0; i < 2; i++)
        put_bytes(sc[i], PANEL_ROWS, d + LINE + i * LINE + side * SIDE);
}

INLINE void put_iq2_xs(struct from s, int side, uint8_t *d)
{
    words out[2][8];

    put_f32(s, 0, 0.125f, side, d);
    for (int p = 0; p < 4; p++) {
        words w[4], index[4];
        load(s, 2 + 16 * (size_t)p, w);
        for (int h = 0; h < 2; h++) {
            const words *at = w + 2 * h; /* two entries a word: 9 bits of index, 7 of signs */
            words a = only(_mm256_srli_epi32(at[0], 9), 0x007f007f);
            words c = only(_mm256_srli_epi32(at[1], 9), 0x007f007f);
            for (int i = 0; i < 4; i++)
                index[i] = only(_mm256_srli_epi32(at[i / 2], i % 2 * 16), 0x1ff);
            /* signs of entries 0 2 1 3 */
            words signs = even_signs(both(a, _mm256_slli_epi32(c, 8)));
            signs = _mm256_shuffle_epi8(
                signs, _mm256_broadcastsi128_si256(
                           _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15)));
            group_iq2(iq2_xs_grid, index, signs, out[h]);
        }
        put_pair(out[0], out[1], d + 320 + side * HALF + p * PAIR);
    }
    for (int i = 0; i < 2; i++)
        put_nibble_scales(load_one(s, 66 + 4 * (size_t)i), i, d + LINE + side * SIDE);
}

INLINE void put_iq2_s(struct from s, int side, uint8_t *d)
{
    words low[8], signs[8], rest[4], out[2][8];

    put_f32(s, 0, 0.125f, side, d);
    for (int i = 0; i < 2; i++) {
        load(s, 2 + 16 * (size_t)i, low + 4 * i);
        load(s, 34 + 16 * (size_t)i, signs + 4 * i);
    }
    load(s, 66, rest); /* 8 bytes of high bits, 8 of scales */
    for (int b = 0; b < 8; b++) {
        words index[4];
        for (int i = 0; i < 4; i++)
            index[i] = index_of(low[b], i, rest[b / 4], b % 4 * 8 + 2 * i, 2);
        group_iq2(iq2_s_grid, index, signs[b], out[b % 2]);
        if (b % 2)
            put_pair(out[0], out[1], d + 320 + side * HALF + b / 2 * PAIR);
    }
    for (int i = 0; i < 2; i++)
        put_nibble_scales(rest[2 + i], i, d + LINE + side * SIDE);
}

INLINE void put_iq3_s(struct from s, int side, uint8_t *d)
{
    words ninth[2] = {load_one(s, 66), load_one(s, 70)}, sc = load_one(s, 106), signs[8], out[2][8];

    put_f32(s, 0, 1, side, d);
    load(s, 74, signs);
    load(s, 90, signs + 4);
    for (int p = 0; p < 4; p++) {
        words w[4], index[8];
        load(s, 2 + 16 * (size_t)p, w);
        for (int h = 0; h < 2; h++) {
            for (int i = 0; i < 8; i++)
                index[i] =
                    index_of(w[2 * h + i / 4], i % 4, ninth[p / 2], (p % 2 * 2 + h) * 8 + i, 1);
            group_iq3(iq3_s_grid, index, signs[2 * p + h], out[h]);
        }
        put_pair(out[0], out[1], d + 192 + side * HALF + p * PAIR);
    }
    put_nibble_scales(sc, 0, d + LINE + side * SIDE);
}

INLINE void put_iq1_s(struct from s, int side, uint8_t *d)
{
    words low[8], high[4], sc[2], out[2][8];

    put_f32(s, 0, 0.125f, side, d);
    load(s, 2, low);
    load(s, 18, low + 4);
    load(s, 34, high); /* two groups a word: 4 x 3 bits, scale (3), sign of delta */
    for (int b = 0; b < 8; b++) {
        words h = only(_mm256_srli_epi32(high[b / 2], b % 2 * 16), 0xffff), index[4], up[4];
        for (int i = 0; i < 4; i++) {
            index[i] = index_of(low[b], i, h, 3 * i, 3);
            up[i] = unless(h, 0x8000);
        }
        group_iq1(index, up, out[b % 2]);
        words scale = both(only(_mm256_srli_epi32(h, 11), 0xe), all(1));
        sc[b / 4] = b % 4 ? both(sc[b / 4], _mm256_slli_epi32(scale, b % 4 * 8)) : scale;
        if (b % 2)
            put_pair(out[0], out[1], d + 192 + side * HALF + b / 2 * PAIR);
    }
    for (int i = 0; i < 2; i++)
        put_bytes(sc[i], PANEL_ROWS, d + LINE + i * LINE + side * SIDE);
}

INLINE void put_iq1_m(struct from s, int side, uint8_t *d)
{
    words low[8], high[4], tail[4], out[2][8];

    for (int r = 0; r < SIDE; r++) { /* 4 bits of the f16 in each u16 */
        const uint8_t *p = s.row[r] + s.at + 48;
        int bits = p[1] >> 4 | (p[3] >> 4) << 4 | (p[5] >> 4) << 8 | (p[7] >> 4) << 12;
        float f = half_f16((uint16_t)bits) * 0.125f;
        memcpy(d + (side * SIDE + r) * 4, &f, sizeof f);
    }
    load(s, 0, low);
    load(s, 16, low + 4);
    load(s, 32, high); /* nibbles: 3 bits of an index, sign of delta */
    load(s, 40, tail);
    for (int b = 0; b < 8; b++) {
        words h = only(_mm256_srli_epi32(high[b / 2], b % 2 * 16), 0xffff), index[4], up[4];
        for (int i = 0; i < 4; i++) {
            index[i] = index_of(low[b], i, h, 4 * i, 3);
            up[i] = unless(h, 8u << 4 * i);
        }
        group_iq1(index, up, out[b % 2]);
        if (b % 2)
            put_pair(out[0], out[1], d + 320 + side * HALF + b / 2 * PAIR);
    }
    for (int i = 0; i < 4; i++) { /* a u16: four scales of 3 bits */
        words sc = only(_mm256_srli_epi32(tail[2 + i / 2], i % 2 * 16), 0xfff);
        sc = both(_mm256_slli_epi32(bytes_of_three(sc), 1), bytes_of(1));
        put_bytes(sc, PANEL_ROWS, d + LINE + i * LINE + side * SIDE);
    }
}

/* Digit n of base 3 is what stands before the point: bytes from 86 on have 1, from 171 on 2. */
INLINE words digit(words v)
{
    words one = _mm256_cmpeq_epi8(_mm256_max_epu8(v, bytes_of(86)), v);
    words two = _mm256_cmpeq_epi8(_mm256_max_epu8(v, bytes_of(171)), v);

    return _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(one, two));
}

INLINE words next_digits(words v)
{
    return _mm256_add_epi8(v, _mm256_add_epi8(v, v));
}

INLINE void put_tq1_0(struct from s, int side, uint8_t *d)
{
    words v[13], out[8][8];

    put_f32(s, 52, 1, side, d);
    for (int i = 0; i < 3; i++)
        load(s, 16 * (size_t)i, v + 4 * i);
    v[12] = load_one(s, 48);
    for (int n = 0; n < 5; n++) {
        for (int j = 0; j < 13; j++) {
            if (j < 8)
                out[n][j] = digit(v[j]);
            else if (j < 12)
                out[5 + n / 2][n % 2 * 4 + j - 8] = digit(v[j]);
            else if (n < 4)
                out[7][4 + n] = digit(v[j]);
            v[j] = next_digits(v[j]);
        }
    }
    for (int p = 0; p < 4; p++)
        put_pair_of_two(out[2 * p], out[2 * p + 1], d + LINE + side * HALF + p * PAIR_OF_TWO);
}

/* 64 bytes of 2-bit fields at `more`: of 128 k, bits 2 j of byte l are k = 32 j + l. */
INLINE void put_fields(struct from s, size_t more, uint8_t *d)
{
    for (int half = 0; half < 2; half++) {
        words v[8], out[4][8];
        load(s, more + 32 * (size_t)half, v);
        load(s, more + 32 * (size_t)half + 16, v + 4);
        for (int j = 0; j < 4; j++)
            for (int g = 0; g < 8; g++)
                out[j][g] = only(_mm256_srli_epi32(v[g], 2 * j), 0x03030303);
        for (int p = 0; p < 2; p++)
            put_pair_of_two(out[2 * p], out[2 * p + 1], d + (2 * half + p) * PAIR_OF_TWO);
    }
}

INLINE void put_tq2_0(struct from s, int side, uint8_t *d)
{
    put_f32(s, 64, 1, side, d);
    put_fields(s, 0, d + LINE + side * HALF);
}

INLINE void put_q2_k(struct from s, int side, uint8_t *d)
{
    words sc[4];

    put_half(s, 80, d + side * 16);
    put_half(s, 82, d + HALF + side * 16);
    load(s, 0, sc);
    for (int j = 0; j < 4; j++)
        put_bytes(sc[j], PANEL_ROWS, d + LINE + j * LINE + side * SIDE);
    put_fields(s, 16, d + 320 + side * HALF);
}

/* Scales of q3_K, 12 bytes: 4 bits of each, then 2; see q3_k.h. */
INLINE void put_q3_k(struct from s, int side, uint8_t *d)
{
    words w[4], third[8], two[16];

    put_f32(s, 108, 1, side, d);
    load(s, 92, w);
    for (int j = 0; j < 4; j++) {
        words low = only(_mm256_srli_epi32(w[1 + j % 2], j / 2 * 4), 0x0f0f0f0f);
        words high = only(_mm256_srli_epi32(w[3], 2 * j), 0x03030303);
        words sc = both(low, _mm256_slli_epi32(high, 4));
        put_bytes(_mm256_sub_epi8(sc, bytes_of(32)), PANEL_ROWS, d + LINE + j * LINE + side * SIDE);
    }
    for (int i = 0; i < 2; i++)
        load(s, 16 * (size_t)i, third + 4 * i);
    for (int i = 0; i < 4; i++)
        load(s, 32 + 16 * (size_t)i, two + 4 * i);
    for (int b = 0; b < 8; b += 2) {
        words out[2][8];
        for (int g = 0; g < 8; g++)
            for (int h = 0; h < 2; h++) {
                words low = _mm256_srli_epi32(two[b / 4 * 8 + g], b % 4 * 2 + 2 * h);
                words high = only(_mm256_srli_epi32(third[g], b + h), 0x01010101);
                out[h][g] = both(only(low, 0x03030303), _mm256_slli_epi32(high, 2));
            }
        put_pair(out[0], out[1], d + 320 + side * HALF + b / 2 * PAIR);
    }
}

INLINE void put_iq4_xs(struct from s, int side, uint8_t *d)
{
    words head[4], a[4], c[4];

    put_f32(s, 0, 1, side, d);
    load(s, 0, head); /* d, 8 x 2 high bits of the scales, 8 x 4 low ones */
    for (int i = 0; i < 2; i++) {
        words low = only(_mm256_srli_epi32(head[1], 16 * i), 0xffff);
        words high = bytes_of_two(only(_mm256_srli_epi32(head[0], 16 + 8 * i), 0xff));
        low = only(both(low, _mm256_slli_epi32(low, 8)), 0x00ff00ff);
        low = only(both(low, _mm256_slli_epi32(low, 4)), 0x0f0f0f0f);
        words sc = both(low, _mm256_slli_epi32(high, 4));
        put_bytes(_mm256_sub_epi8(sc, bytes_of(32)), PANEL_ROWS, d + LINE + i * LINE + side * SIDE);
    }
    for (size_t p = 0; p < 4; p++) {
        load(s, 8 + 32 * p, a);
        load(s, 24 + 32 * p, c);
        put_nibbles(a, c, d + 192 + side * HALF + p * PAIR);
    }
}

/* --- steps of 64 */

/* 2^(e - 128) as bf16, the least are subnormal. */
INLINE void put_mxfp4(struct from s, int side, uint8_t *d)
{
    words a[4], c[4];

    for (int i = 0; i < 2 * SIDE; i++) {
        const int r = i % SIDE, e = s.row[r][s.at + 17 * (size_t)(i / SIDE)];
        const uint16_t scale = (uint16_t)(e < 2 ? 0x20 << e : (e - 1) << 7);
        memcpy(d + i / SIDE * HALF + side * 16 + 2 * r, &scale, sizeof scale);
    }
    load(s, 1, a);
    load(s, 18, c);
    put_nibbles(a, c, d + LINE + side * HALF);
}

/* Of E4M3 scales halves, as f16: an f16 with these bits in its middle is 2^-7 of that. */
INLINE void put_nvfp4(struct from s, int side, uint8_t *d)
{
    words a[4], c[4], scales = load_one(s, 0);

    for (int i = 0; i < 4; i++) {
        words x = only(_mm256_srli_epi32(scales, 8 * i), 0xff),
              none = _mm256_cmpeq_epi32(x, all(0x7f));
        x = _mm256_slli_epi32(only(_mm256_andnot_si256(none, x), 0x7f), 7);
        __m128i h = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
        h = _mm256_cvtps_ph(_mm256_mul_ps(_mm256_cvtph_ps(h), _mm256_set1_ps(0x1p7f)), 0);
        _mm_storeu_si128((void *)(d + i * HALF + side * 16), h);
    }
    load(s, 4, a);
    load(s, 20, c);
    for (int i = 0; i < 4; i++) { /* half i / 2 of both groups, words i % 2 */
        uint8_t *line = d + 2 * LINE + side * HALF + (i / 2 * 4 + i % 2) * LINE;
        words low = only(c[i], 0x0f0f0f0f), high = only(_mm256_srli_epi32(a[i], 4), 0x0f0f0f0f);
        put(line, both(only(a[i], 0x0f0f0f0f), _mm256_slli_epi32(low, 4)));
        put(line + 2 * LINE, both(high, only(c[i], 0xf0f0f0f0)));
    }
}

/* Step i of a row: a half of its block of 128. A byte for each weight, then a bit for each byte. */
INLINE void put_q1_0(struct from s, int part, int side, uint8_t *d)
{
    words w[4];

    load(s, 2, w);
    for (int h = 0; h < 2; h++) {
        put_half(s, 0, d + h * HALF + side * 16);
        for (int g = 0; g < 8; g++) {
            int bits = _mm256_movemask_epi8(mask_of(w[2 * part + h], g / 2, g % 2));
            memcpy(d + LINE + h * LINE + 8 * g + 4 * side, &bits, sizeof bits);
        }
    }
}

/* A byte is four neighbours. */
INLINE void put_q2_0(struct from s, int side, uint8_t *d)
{
    words w[4], out[2][8];

    load(s, 2, w);
    for (int h = 0; h < 2; h++) {
        put_half(s, 0, d + h * HALF + side * 16);
        for (int g = 0; g < 8; g++) {
            words four = _mm256_srli_epi32(w[2 * h + g / 4], g % 4 * 8);
            out[h][g] = bytes_of_two(only(four, 0xff));
        }
    }
    put_pair_of_two(out[0], out[1], d + LINE + side * HALF);
}

/* --- one function a format. `at`: where step i begins in a row; `bytes`: of a step in the panel */
#define PACK(format, at, bytes, call)                                                              \
    void pack_avx2_##format(const uint8_t *const row[PANEL_ROWS], int64_t steps, uint8_t *d)       \
    {                                                                                              \
        for (int64_t i = 0; i < steps; i++, d += bytes)                                            \
            for (int side = 0; side < 2; side++) {                                                 \
                const struct from s = {row + side * SIDE, (size_t)(at)};                           \
                call;                                                                              \
            }                                                                                      \
    }
PACK(IQ1_S, i * 50, 2240, put_iq1_s(s, side, d))
PACK(IQ1_M, i * 56, 2368, put_iq1_m(s, side, d))
PACK(IQ2_XXS, i * 66, 2240, put_xxs(false, s, side, d))
PACK(IQ2_XS, i * 74, 2368, put_iq2_xs(s, side, d))
PACK(IQ2_S, i * 82, 2368, put_iq2_s(s, side, d))
PACK(IQ3_XXS, i * 98, 2240, put_xxs(true, s, side, d))
PACK(IQ3_S, i * 110, 2240, put_iq3_s(s, side, d))
PACK(TQ1_0, i * 54, 1088, put_tq1_0(s, side, d))
PACK(TQ2_0, i * 66, 1088, put_tq2_0(s, side, d))
PACK(Q2_K, i * 84, 1344, put_q2_k(s, side, d))
PACK(Q2_0, i * 18, 320, put_q2_0(s, side, d))
PACK(Q1_0, i / 2 * 18, 192, put_q1_0(s, (int)(i % 2), side, d))
PACK(Q3_K, i * 110, 2368, put_q3_k(s, side, d))
PACK(IQ4_XS, i * 136, 2240, put_iq4_xs(s, side, d))
PACK(MXFP4, i * 34, 576, put_mxfp4(s, side, d))
PACK(NVFP4, i * 36, 640, put_nvfp4(s, side, d))
