/* linear_avx2.c - the panels and the arithmetic of linear_avx512.c with 256-bit registers: equal
 * bits.
 *
 * A line is two registers, rows 0-7 and 8-15: a tile does one side after the other. vpmaddubsw adds
 * pairs of u8 x s8 products into SATURATED 16 bits, so what is added there must fit: a pair of
 * nibbles gives 2 * 15 * 127 = 3810, 8 lines of them fit; with a fifth bit 7874, 4 lines; with six
 * bits 16002, 2 lines. q + 128 would give 64770, wrong on real data; so q8_0 goes back to s8 and
 * uses |w| * sign(a, w), at most 2 * 128 * 127 = 32512, one line; so do the values of codes.
 * Activations never are -128.
 * Roof: about half of the port's peak for nibbles, a third for q8_0. */
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/end.h"
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/linear_format.h"

#define INLINE static inline __attribute__((always_inline))

enum { MR_MAX = 4, LINE = 64, SIDE = 32, PLANES = 512, LANES = 8 };

/* Constants of the formats as expressions the compiler folds; panel.c has them as a table. */
INLINE bool is_signed(enum dtype f)
{
    return is_q8(f) || is_coded(f);
}

/* Lines whose 16-bit sums are added before they are widened. */
INLINE int lines_in_16_bits(enum dtype f)
{
    return is_signed(f) ? 1 : f == DT_Q6_K ? 2 : has_fifth(f) || f == DT_Q2_K ? 4 : 8;
}

INLINE __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

INLINE __m256 halves(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

INLINE __m256 bytes_u(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p)));
}

INLINE __m256 bytes_s(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)));
}

INLINE __m256i shift(__m256i v, int left)
{
    return left > 0 ? _mm256_slli_epi16(v, left) : _mm256_srli_epi16(v, -left);
}

/* 2 where a bit is set. */
INLINE __m256i bytes_of_bits(int32_t bits)
{
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread), bit);

    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(2));
}

/* One side of value line g of block h of the pair at q: 8 rows x 4 k; unsigned, but q8_0 and
 * the values of codes signed. */
INLINE __m256i line(enum dtype f, const uint8_t *q, int h, int g, __m256i values)
{
    if (is_q8(f))
        return _mm256_xor_si256(load(q + (h * 8 + g) * LINE), _mm256_set1_epi8(-128));
    if (is_one(f)) {
        int32_t bits;
        memcpy(&bits, q + h * LINE + 8 * g, sizeof bits);
        return bytes_of_bits(bits);
    }
    if (is_two(f)) {
        __m256i four = load(q + g % 4 * LINE);
        return _mm256_and_si256(shift(four, -2 * (2 * h + g / 4)), _mm256_set1_epi8(3));
    }
    __m256i v = load(q + g * LINE);
    v = _mm256_and_si256(h ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
    if (is_coded(f))
        return _mm256_shuffle_epi8(values, v);
    if (has_fifth(f)) {
        __m256i high = shift(load(q + PLANES + h * LINE), 4 - g);
        v = _mm256_or_si256(v, _mm256_and_si256(high, _mm256_set1_epi8(16)));
    }
    if (f == DT_Q6_K) {
        __m256i high = shift(load(q + PLANES + (2 * h + g / 4) * LINE), 4 - g % 4 * 2);
        v = _mm256_or_si256(v, _mm256_and_si256(high, _mm256_set1_epi8(48)));
    }
    return v;
}

struct scales {
    __m256 d, m, sc[2]; /* sc: of each 16 k; of NVFP4 the same with d in it */
    __m256 mn[2];       /* of each 16 k (q2_k) */
};

/* Scale and minimum of q2_k, the nibbles of a byte. */
INLINE void two_scales(const uint8_t *p, __m256 *sc, __m256 *mn)
{
    __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));

    *sc = _mm256_cvtepi32_ps(_mm256_and_si256(v, _mm256_set1_epi32(15)));
    *mn = _mm256_cvtepi32_ps(_mm256_srli_epi32(v, 4));
}

/* Of one side of block b of the step at t. */
INLINE struct scales scales(enum dtype f, const uint8_t *t, int b, int side, bool bf16)
{
    struct scales s;

    if (f == DT_IQ4_NL && bf16) {
        __m128i d = _mm_loadu_si128((const void *)(t + b * 32 + side * 16));
        s.d = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(d), 16));
    } else if (has_f32(f)) {
        s.d = _mm256_loadu_ps((const void *)(t + side * 32));
    } else if (f != DT_NVFP4) {
        s.d = halves((step_pairs(f) > 1 ? t : t + b * 32) + side * 16);
    }
    if (f == DT_NVFP4) {
        s.sc[0] = halves(t + b * 64 + side * 16);
        s.sc[1] = halves(t + b * 64 + 32 + side * 16);
    } else if (f == DT_Q2_K) {
        two_scales(t + 64 + 2 * b * 16 + side * 8, &s.sc[0], &s.mn[0]);
        two_scales(t + 64 + (2 * b + 1) * 16 + side * 8, &s.sc[1], &s.mn[1]);
        s.m = halves(t + 32 + side * 16);
    } else if (has_halves(f)) {
        s.sc[0] = bytes_s(t + 64 + 2 * b * 16 + side * 8);
        s.sc[1] = bytes_s(t + 64 + (2 * b + 1) * 16 + side * 8);
    }
    if (f == DT_IQ4_XS) {
        s.d = _mm256_mul_ps(s.d, bytes_s(t + 64 + b * 16 + side * 8));
    } else if (is_k(f) && has_min(f)) {
        s.d = _mm256_mul_ps(s.d, bytes_u(t + 64 + b * 16 + side * 8));
        s.m = _mm256_mul_ps(halves(t + 32 + side * 16), bytes_u(t + 192 + b * 16 + side * 8));
    } else if (has_min(f) && f != DT_Q2_K) {
        s.m = halves(t + 64 + b * 32 + side * 16);
    }
    return s;
}

/* What a tile function is made for: constants after inlining. */
struct shape {
    enum dtype f;
    int mr; /* rows */
};

struct tile {
    const struct act_group *a[MR_MAX];
    const uint8_t *q; /* this side of the pair of blocks in work */
    struct scales w;
    __m256 f[MR_MAX];
    __m256i values; /* of codes */
};

struct span {
    int64_t b;     /* group of x */
    int h, g0, g1; /* lines [g0, g1) of block h of the pair */
};

/* s = the exact sums over a span. */
INLINE void lines(struct shape z, const struct tile *t, struct span at, __m256i s[MR_MAX])
{
    const __m256i one = _mm256_set1_epi16(1);
    const int run = lines_in_16_bits(z.f);
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++) /* what is signed needs no start */
        s[i] = has_min(z.f) || is_signed(z.f) ? _mm256_setzero_si256()
                                              : _mm256_set1_epi32(t->a[i][at.b].z[at.g0 / 4]);
#pragma GCC unroll 8
    for (int g0 = at.g0; g0 < at.g1; g0 += run) {
        __m256i s16[MR_MAX];
#pragma GCC unroll 8
        for (int g = g0; g < g0 + run; g++) {
            __m256i w = line(z.f, t->q, at.h, g, t->values);
            __m256i u = is_signed(z.f) ? _mm256_abs_epi8(w) : w;
#pragma GCC unroll 8
            for (int i = 0; i < z.mr; i++) {
                __m256i x = _mm256_set1_epi32(((const int32_t *)t->a[i][at.b].q)[g]);
                x = _mm256_maddubs_epi16(u, is_signed(z.f) ? _mm256_sign_epi8(x, w) : x);
                s16[i] = g == g0 ? x : _mm256_add_epi16(s16[i], x);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < z.mr; i++)
            s[i] = _mm256_add_epi32(s[i], _mm256_madd_epi16(s16[i], one));
    }
}

/* f += minima; as in linear_avx512.c. */
INLINE __m256 add_min(enum dtype f, const struct scales *w, const struct act_group *a, __m256 y)
{
    if (f == DT_Q2_K) {
        __m256 low = _mm256_set1_ps((float)a->z[0]), high = _mm256_set1_ps((float)a->z[1]);
        __m256 sum = _mm256_fmadd_ps(high, w->mn[1], _mm256_mul_ps(low, w->mn[0]));
        return _mm256_fnmadd_ps(w->m, _mm256_mul_ps(sum, _mm256_set1_ps(a->d)), y);
    }
    if (is_k(f))
        return _mm256_fnmadd_ps(w->m, _mm256_set1_ps(a->ds), y);
    return _mm256_fmadd_ps(w->m, _mm256_set1_ps(a->ds), y);
}

/* f += block h; likewise. */
INLINE void block(struct shape z, struct tile *t, int64_t b, int h)
{
    const bool halved = has_halves(z.f), apart = z.f == DT_NVFP4;
    __m256i s[MR_MAX];
    __m256 sum[MR_MAX];

    lines(z, t, (struct span){b, h, 0, halved || apart ? 4 : 8}, s);
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++) {
        sum[i] = _mm256_cvtepi32_ps(s[i]);
        if (halved)
            sum[i] = _mm256_mul_ps(sum[i], t->w.sc[0]);
        if (apart)
            t->f[i] = _mm256_fmadd_ps(_mm256_mul_ps(sum[i], _mm256_set1_ps(t->a[i][b].d)),
                                      t->w.sc[0], t->f[i]);
    }
    if (halved || apart)
        lines(z, t, (struct span){b, h, 4, 8}, s);
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++) {
        __m256 d = _mm256_set1_ps(t->a[i][b].d);
        if (halved)
            sum[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[i]), t->w.sc[1], sum[i]);
        if (apart)
            sum[i] = _mm256_cvtepi32_ps(s[i]);
        t->f[i] = _mm256_fmadd_ps(_mm256_mul_ps(sum[i], d), apart ? t->w.sc[1] : t->w.d, t->f[i]);
        if (has_min(z.f))
            t->f[i] = add_min(z.f, &t->w, &t->a[i][b], t->f[i]);
    }
}

/* 8 outputs from `col` on, fewer where N ends. */
INLINE void store(const struct linear_job *j, int64_t row, int64_t col, __m256 f)
{
    float y[LANES], *to = j->y + row * j->ldy + col;
    int64_t n = j->n - col < LANES ? j->n - col : LANES;

    if (n == LANES) {
        _mm256_storeu_ps(to, linear_end_avx2(j, row, col, f));
        return;
    }
    _mm256_storeu_ps(y, f);
    for (int64_t i = 0; i < n; i++)
        to[i] = linear_end(j, row, col + i, y[i]);
}

INLINE void tile_side(struct shape z, const struct linear_job *j, int64_t panel, int64_t row,
                      int side)
{
    const enum dtype f = z.f;
    const int pairs = step_pairs(f), head = head_bytes(f), bytes = head + pairs * pair_bytes(f);
    const bool bf16 = j->type == DT_MXFP4;
    const uint8_t *p = j->w + (size_t)panel * j->panel;
    struct tile t;

    if (is_coded(f)) {
        const void *values = panel_format(j->type)->values;
        t.values = _mm256_broadcastsi128_si256(_mm_loadu_si128(values));
    }
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++) {
        t.a[i] = (const void *)((const char *)j->x + (size_t)(row + i) * j->xs);
        t.f[i] = _mm256_setzero_ps();
    }
    for (int64_t k = 0; k < j->steps; k++, p += bytes)
        for (int s = 0; s < pairs; s++) {
#pragma GCC unroll 8
            for (int h = 0; h < 2; h++) {
                t.q = p + head + s * pair_bytes(f) + side * (is_one(f) ? 4 : SIDE);
                t.w = scales(f, p, 2 * s + h, side, bf16);
                block(z, &t, 2 * (k * pairs + s) + h, h);
            }
        }
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++)
        store(j, row + i, panel * PANEL_ROWS + side * LANES, t.f[i]);
}

INLINE void tile(struct shape z, const struct linear_job *j, int64_t panel, int64_t row)
{
    for (int side = 0; side < 2; side++)
        if (panel * PANEL_ROWS + side * LANES < j->n)
            tile_side(z, j, panel, row, side);
}

/* clang-format off */
#define TILE(f, mr)                                                                                \
    static void f##_##mr(const struct linear_job *j, int64_t p, int64_t r, struct ahead a)         \
    {                                                                                              \
        (void)a;                                                                                   \
        tile((struct shape){DT_##f, mr}, j, p, r);                                                 \
    }
#define KERNEL(f)                                                                                  \
    TILE(f, 1) TILE(f, 2) TILE(f, 3) TILE(f, 4)                                                    \
    void linear_avx2_##f(const struct linear_job *j, int64_t first, int64_t last)                  \
    {                                                                                              \
        static const struct tile_set set = {.tile = {{NULL}, {NULL, f##_1, f##_2, f##_3, f##_4}},  \
            .rows = MR_MAX, .few = 1, .many = {0, 1, 1, 1, 1}, .light = true};                     \
        linear_tiles(j, first, last, &set);                                                        \
    }
KERNEL(Q8_0) KERNEL(Q4_0) KERNEL(Q4_1) KERNEL(Q5_0) KERNEL(Q5_1) KERNEL(Q4_K) KERNEL(Q5_K)
KERNEL(Q6_K) KERNEL(IQ4_NL) KERNEL(NVFP4) KERNEL(IQ4_XS) KERNEL(Q3_K) KERNEL(Q2_K)
KERNEL(Q1_0) KERNEL(Q2_0) KERNEL(TQ2_0) KERNEL(Q8_K)
    /* clang-format on */
