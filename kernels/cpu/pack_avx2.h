/* pack_avx2.h - words of eight rows in a register: what packers with vectors are made of. For files
 * *_avx2.c only. */
#ifndef KERNELS_CPU_PACK_AVX2_H
#define KERNELS_CPU_PACK_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/pack.h"

#define INLINE static inline __attribute__((always_inline))

enum { LINE = 64, SIDE = 8 /* rows */, HALF = LINE / 2, PLANES = 512 };

typedef __m256i words; /* one word of each of 8 rows */

/* Where a side of a panel is read: its rows, and how far into them. */
struct from {
    const uint8_t *const *row; /* [SIDE] */
    size_t at;
};

INLINE words bytes_of(int b)
{
    return _mm256_set1_epi8((char)b);
}

/* The 16 bytes at `more` of each row: w[j] is their word j. */
INLINE void load(struct from s, size_t more, words w[4])
{
    words v[4], a[4];

    for (int i = 0; i < 4; i++) {
        const void *low = s.row[i] + s.at + more, *high = s.row[i + 4] + s.at + more;
        v[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)),
                                       _mm_loadu_si128(high), 1);
    }
    a[0] = _mm256_unpacklo_epi32(v[0], v[1]);
    a[1] = _mm256_unpackhi_epi32(v[0], v[1]);
    a[2] = _mm256_unpacklo_epi32(v[2], v[3]);
    a[3] = _mm256_unpackhi_epi32(v[2], v[3]);
    w[0] = _mm256_unpacklo_epi64(a[0], a[2]);
    w[1] = _mm256_unpackhi_epi64(a[0], a[2]);
    w[2] = _mm256_unpacklo_epi64(a[1], a[3]);
    w[3] = _mm256_unpackhi_epi64(a[1], a[3]);
}

/* One word at `more` of each row, where 16 bytes would be too many. */
INLINE words load_one(struct from s, size_t more)
{
    int32_t w[SIDE];

    for (int r = 0; r < SIDE; r++)
        memcpy(&w[r], s.row[r] + s.at + more, sizeof w[r]);
    return _mm256_loadu_si256((const void *)w);
}

INLINE void put(uint8_t *d, words w)
{
    _mm256_storeu_si256((void *)d, w);
}

/* The f16 at `more` of each row, side by side. */
INLINE void put_half(struct from s, size_t more, uint8_t *d)
{
    for (int r = 0; r < SIDE; r++)
        memcpy(d + 2 * r, s.row[r] + s.at + more, 2);
}

/* The low halves of the words to `low`, the high ones to `high`. */
INLINE void put_halves(words w, uint8_t *low, uint8_t *high)
{
    const words apart = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));

    w = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(w, apart), 0xd8);
    _mm_storeu_si128((void *)low, _mm256_castsi256_si128(w));
    _mm_storeu_si128((void *)high, _mm256_extracti128_si256(w, 1));
}

/* Byte b of the words to d + b * stride. */
INLINE void put_bytes(words w, int stride, uint8_t *d)
{
    const words apart = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const words order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    uint64_t b[4];

    _mm256_storeu_si256((void *)b,
                        _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(w, apart), order));
    for (int i = 0; i < 4; i++)
        memcpy(d + i * stride, &b[i], sizeof b[i]);
}

/* The nibbles of two blocks of 32 k, of 16 bytes each, to the lines of a pair. */
INLINE void put_nibbles(const words *a, const words *c, uint8_t *values)
{
    const words low = bytes_of(15), up = bytes_of(0xf0);

    for (int j = 0; j < 4; j++) {
        words first = _mm256_and_si256(a[j], low);
        words last = _mm256_and_si256(_mm256_srli_epi32(a[j], 4), low);
        put(values + j * LINE,
            _mm256_or_si256(first, _mm256_slli_epi32(_mm256_and_si256(c[j], low), 4)));
        put(values + (4 + j) * LINE, _mm256_or_si256(last, _mm256_and_si256(c[j], up)));
    }
}

#endif
