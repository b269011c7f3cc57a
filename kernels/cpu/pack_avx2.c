/* pack_avx2.c - whole steps of 16 rows into panels: the bytes of pack.c, eight rows at a time.
 *
 * What a panel wants is a transposition of 4-byte words: word g of each row, side by side. Sixteen
 * bytes of eight rows become four registers, each with one word of all rows (`load`); then the word
 * arithmetic of the scalar packers is done on registers. What is left to wait for is memory. Used
 * by every table with vectors: wider registers would wait longer, not pack faster. */
#include "kernels/cpu/pack_avx2.h"

#include "kernels/cpu/avx2.h"

/* --- the parts of steps */

INLINE void put_words(struct from s, uint8_t *d)
{
    words w[4];

    load(s, 0, w);
    for (int j = 0; j < 4; j++)
        put(d + j * LINE, w[j]);
}

INLINE void put_f16(struct from s, int side, uint8_t *d)
{
    words w[4];

    load(s, 0, w);
    for (int j = 0; j < 4; j++)
        put_halves(w[j], d + j * LINE + side * 16, d + j * LINE + HALF + side * 16);
}

/* `before`: bytes of a block before its 32 values. */
INLINE void put_q8(struct from s, size_t before, int side, uint8_t *d)
{
    words w[4];

    for (int h = 0; h < 2; h++, s.at += before + 32) {
        put_half(s, 0, d + h * HALF + side * 16);
        for (int piece = 0; piece < 2; piece++) {
            uint8_t *to = d + LINE + (h * 8 + piece * 4) * LINE + side * HALF;
            load(s, before + (size_t)piece * 16, w);
            for (int j = 0; j < 4; j++)
                put(to + j * LINE, _mm256_xor_si256(w[j], bytes_of(0x80)));
        }
    }
}

/* 32 bits, one a k, into a plane's word: byte k % 4, bit k / 4. */
INLINE words plane_of_bits(words bits)
{
    words v = _mm256_setzero_si256();

    for (int g = 0; g < 8; g++) {
        words four = _mm256_and_si256(_mm256_srli_epi32(bits, 4 * g), _mm256_set1_epi32(15));
        words one = _mm256_mullo_epi32(four, _mm256_set1_epi32(0x204081));
        v = _mm256_or_si256(v, _mm256_slli_epi32(_mm256_and_si256(one, bytes_of(1)), g));
    }
    return v;
}

/* Two blocks of 32 k with nibbles: f16 d (and m), maybe high bits, 16 bytes. */
INLINE void put_32(struct from s, bool min, bool high, int side, uint8_t *d)
{
    size_t bits = min ? 4 : 2, quants = bits + (high ? 4 : 0), bytes = quants + 16;
    uint8_t *values = d + (min ? 2 * LINE : LINE) + side * HALF;
    words a[4], c[4];

    for (int h = 0; h < 2; h++) {
        put_half(s, (size_t)h * bytes, d + h * HALF + side * 16);
        if (min)
            put_half(s, (size_t)h * bytes + 2, d + LINE + h * HALF + side * 16);
        if (high)
            put(values + PLANES + h * LINE, plane_of_bits(load_one(s, (size_t)h * bytes + bits)));
    }
    load(s, quants, a);
    load(s, bytes + quants, c);
    put_nibbles(a, c, values);
}

/* d, dmin, and 12 bytes of 6-bit scales and minima of 8 blocks, widened to bytes. */
INLINE void put_k_scales(struct from s, int side, uint8_t *d)
{
    words w[4], six = bytes_of(63), four = bytes_of(15), top = bytes_of(0x30);

    load(s, 0, w);
    put_halves(w[0], d + side * 16, d + HALF + side * 16);
    d += LINE + side * SIDE;
    put_bytes(_mm256_and_si256(w[1], six), PANEL_ROWS, d);
    put_bytes(_mm256_or_si256(_mm256_and_si256(w[3], four),
                              _mm256_and_si256(_mm256_srli_epi32(w[1], 2), top)),
              PANEL_ROWS, d + 64);
    put_bytes(_mm256_and_si256(w[2], six), PANEL_ROWS, d + 128);
    put_bytes(_mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(w[3], 4), four),
                              _mm256_and_si256(_mm256_srli_epi32(w[2], 2), top)),
              PANEL_ROWS, d + 192);
}

/* 128 nibble bytes, already in the order of a panel; `pair`: bytes of 64 k there. */
INLINE void put_k_nibbles(struct from s, size_t more, int pair, uint8_t *d)
{
    words w[4];

    for (int i = 0; i < 8; i++) {
        load(s, more + (size_t)i * 16, w);
        for (int j = 0; j < 4; j++)
            put(d + i / 2 * pair + (i % 2 * 4 + j) * LINE, w[j]);
    }
}

INLINE void put_q5_k(struct from s, int side, uint8_t *d)
{
    uint8_t *values = d + 320 + side * HALF;
    words high[8];

    put_k_scales(s, side, d);
    put_k_nibbles(s, 48, 640, values);
    load(s, 16, high); /* bit b of byte l: block b, element l */
    load(s, 32, high + 4);
    for (int b = 0; b < 8; b++) {
        words v = _mm256_setzero_si256();
        for (int g = 0; g < 8; g++)
            v = _mm256_or_si256(
                v,
                _mm256_slli_epi32(_mm256_and_si256(_mm256_srli_epi32(high[g], b), bytes_of(1)), g));
        put(values + b / 2 * 640 + PLANES + b % 2 * LINE, v);
    }
}

/* Half of pair q of a half of 128 k, from 16 of its low bytes (a, and c 32 behind) and of its high
 * ones; see pack_q6_k in pack.c. `at`: 0 or 1, which of the pair's halves. */
INLINE void put_q6_half(const words *a, const words *c, const words *h, int q, int at, uint8_t *t)
{
    words low = bytes_of(15), two = bytes_of(3);
    words first = _mm256_setzero_si256(), last = first;

    for (int j = 0; j < 4; j++) {
        words x = _mm256_and_si256(_mm256_srli_epi32(a[j], 4 * q), low);
        words y = _mm256_and_si256(_mm256_srli_epi32(c[j], 4 * q), low);
        words up = _mm256_srli_epi32(h[j], 4 * q);
        put(t + (at * 4 + j) * LINE, _mm256_or_si256(x, _mm256_slli_epi32(y, 4)));
        first = _mm256_or_si256(first, _mm256_slli_epi32(_mm256_and_si256(up, two), 2 * j));
        up = _mm256_srli_epi32(up, 2);
        last = _mm256_or_si256(last, _mm256_slli_epi32(_mm256_and_si256(up, two), 2 * j));
    }
    put(t + PLANES + at * LINE, first);
    put(t + PLANES + (2 + at) * LINE, last);
}

INLINE void put_q6_k(struct from s, int side, uint8_t *d)
{
    words a[4], c[4], h[4];

    put_half(s, 208, d + side * 16);
    _mm_storeu_si128((void *)(d + HALF + side * 16), _mm_setzero_si128());
    load(s, 192, a);
    for (int j = 0; j < 4; j++)
        put_bytes(a[j], PANEL_ROWS, d + LINE + j * LINE + side * SIDE);
    for (int i = 0; i < 4; i++) { /* i / 2: of 128 k; i % 2: of the pairs in there */
        size_t at = (size_t)(i % 2 * 16);
        uint8_t *t = d + 320 + i / 2 * 2 * 768 + side * HALF;
        load(s, (size_t)(i / 2 * 64) + at, a);
        load(s, (size_t)(i / 2 * 64 + 32) + at, c);
        load(s, (size_t)(128 + i / 2 * 32) + at, h);
        for (int q = 0; q < 2; q++)
            put_q6_half(a, c, h, q, i % 2, t + q * 768);
    }
}

/* f32 d, then 256 bytes. */
INLINE void put_q8_k(struct from s, int side, uint8_t *d)
{
    words w[4];

    put(d + side * HALF, load_one(s, 0));
    for (int i = 0; i < 16; i++) {
        load(s, 4 + 16 * (size_t)i, w);
        for (int j = 0; j < 4; j++)
            put(d + LINE + (4 * i + j) * LINE + side * HALF,
                _mm256_xor_si256(w[j], bytes_of(0x80)));
    }
}

/* f32 d, then codes of floats, of which two columns lie side by side: f8_e4m3 with its sign in the
 * lowest bit; nf4, of four columns the first two in the low nibbles. */
INLINE void put_floats(enum dtype t, struct from s, int side, uint8_t *d)
{
    words w[4];

    put(d + side * HALF, load_one(s, 0));
    d += LINE + side * 16;
    for (int i = 0; i < (t == DT_NF4 ? 2 : 4); i++) {
        load(s, 4 + 16 * (size_t)i, w);
        for (int j = 0; j < 4; j++, d += LINE) {
            words v = w[j], first = _mm256_slli_epi32(v, 4), last = _mm256_srli_epi32(v, 4);
            if (t == DT_NF4)
                v = _mm256_or_si256(
                    _mm256_and_si256(v, _mm256_set1_epi16((short)0xf00f)),
                    _mm256_or_si256(_mm256_and_si256(first, _mm256_set1_epi16(0x0f00)),
                                    _mm256_and_si256(last, _mm256_set1_epi16(0x00f0))));
            else
                v = _mm256_or_si256(_mm256_add_epi8(v, v),
                                    _mm256_and_si256(_mm256_srli_epi32(v, 7), bytes_of(1)));
            put_halves(v, d, d + HALF);
        }
    }
}

/* --- one function a format */

INLINE void put_step(enum dtype t, struct from s, int side, uint8_t *d)
{
    switch (t) {
    case DT_F16:
        put_f16(s, side, d);
        break;
    case DT_Q8_0:
        put_q8(s, 2, side, d);
        break;
    case DT_Q8_1:
        put_q8(s, 4, side, d);
        break;
    case DT_Q4_0:
    case DT_Q4_1:
    case DT_Q5_0:
    case DT_Q5_1:
        put_32(s, t == DT_Q4_1 || t == DT_Q5_1, t == DT_Q5_0 || t == DT_Q5_1, side, d);
        break;
    case DT_Q4_K:
        put_k_scales(s, side, d);
        put_k_nibbles(s, 16, 512, d + 320 + side * HALF);
        break;
    case DT_Q5_K:
        put_q5_k(s, side, d);
        break;
    case DT_Q6_K:
        put_q6_k(s, side, d);
        break;
    case DT_Q8_K:
        put_q8_k(s, side, d);
        break;
    case DT_F8_E4M3:
    case DT_NF4:
        put_floats(t, s, side, d);
        break;
    default: /* F32, BF16 */
        put_words(s, d + side * HALF);
    }
}

/* `source`: bytes of a step in a row of the file; `bytes`: in the panel. */
#define PACK(format, source, bytes)                                                                \
    void pack_avx2_##format(const uint8_t *const row[PANEL_ROWS], int64_t steps, uint8_t *dst)     \
    {                                                                                              \
        for (int64_t i = 0; i < steps; i++, dst += bytes)                                          \
            for (int side = 0; side < 2; side++)                                                   \
                put_step(DT_##format, (struct from){row + side * SIDE, (size_t)i * source}, side,  \
                         dst);                                                                     \
    }
PACK(F32, 16, 256)
PACK(F16, 16, 256)
PACK(BF16, 16, 256)
PACK(Q8_0, 68, 1088)
PACK(Q8_1, 72, 1088)
PACK(Q4_0, 36, 576)
PACK(Q4_1, 40, 640)
PACK(Q5_0, 44, 704)
PACK(Q5_1, 48, 768)
PACK(Q4_K, 144, 2368)
PACK(Q5_K, 176, 2880)
PACK(Q6_K, 210, 3392)
PACK(Q8_K, 292, 4160)
PACK(F8_E4M3, 68, 1088)
PACK(NF4, 36, 576)
