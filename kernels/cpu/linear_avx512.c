/* linear_avx512.c - block formats with VNNI: vpdpbusd on panels, 16 outputs a register.
 *
 * vpdpbusd is u8 x s8: weights are the unsigned side (value + zero), activations the signed one,
 * broadcast 4 k at a time. sum (q + zero) a - zero * sum(a) = sum q a, and -zero * sum(a) is where
 * the sum STARTS: the zero point costs no instruction. A tile is MR rows x NR panels: MR * NR int32
 * and MR * NR f32 accumulators. For each (row, panel, 32 k): 8 vpdpbusd, then cvt, mul, fma. The
 * arithmetic of a row is the same in every tile, so its bits do not depend on M.
 * Roof: 8 of 10 issue slots of the two multiplier ports are vpdpbusd. */
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/end.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/linear_format.h"

#define INLINE static inline __attribute__((always_inline))

enum { MR_MAX = TILE_ROWS, NR_MAX = 2, LINE = 64, PLANES = 512 };

/* Constants of the formats as expressions the compiler folds; panel.c has them as a table. */
INLINE __m512 halves(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

INLINE __m512 bytes_u(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)));
}

INLINE __m512 bytes_s(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
}

/* v << left, or >> -left, in 16-bit lanes. */
INLINE __m512i shift(__m512i v, int left)
{
    return left > 0 ? _mm512_slli_epi16(v, (unsigned)left) : _mm512_srli_epi16(v, (unsigned)-left);
}

/* Value line g of block h of the pair at q: 16 rows x 4 k as unsigned bytes. `values`: of codes. */
INLINE __m512i line(enum dtype f, const uint8_t *q, int h, int g, __m512i values)
{
    if (is_q8(f))
        return _mm512_loadu_si512(q + (h * 8 + g) * LINE);
    if (is_one(f)) {
        uint64_t bits;
        memcpy(&bits, q + h * LINE + 8 * g, sizeof bits);
        return _mm512_maskz_mov_epi8(bits, _mm512_set1_epi8(2));
    }
    if (is_two(f)) {
        __m512i four = _mm512_loadu_si512(q + g % 4 * LINE);
        return _mm512_and_si512(shift(four, -2 * (2 * h + g / 4)), _mm512_set1_epi8(3));
    }
    __m512i v = _mm512_loadu_si512(q + g * LINE);
    v = _mm512_and_si512(h ? _mm512_srli_epi16(v, 4) : v, _mm512_set1_epi8(15));
    if (is_coded(f))
        return _mm512_shuffle_epi8(values, v);
    if (has_fifth(f)) { /* 0xf8: v | (high & mask) */
        __m512i high = shift(_mm512_loadu_si512(q + PLANES + h * LINE), 4 - g);
        v = _mm512_ternarylogic_epi64(v, high, _mm512_set1_epi8(16), 0xf8);
    }
    if (f == DT_Q6_K) {
        __m512i high = _mm512_loadu_si512(q + PLANES + (2 * h + g / 4) * LINE);
        v = _mm512_ternarylogic_epi64(v, shift(high, 4 - g % 4 * 2), _mm512_set1_epi8(48), 0xf8);
    }
    return v;
}

struct scales {
    __m512 d, m, sc[2]; /* sc: of each 16 k; of NVFP4 the same with d in it */
    __m512 mn[2];       /* of each 16 k (q2_k) */
};

/* Scale and minimum of q2_k, the nibbles of a byte. */
INLINE void two_scales(const uint8_t *p, __m512 *sc, __m512 *mn)
{
    __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));

    *sc = _mm512_cvtepi32_ps(_mm512_and_si512(v, _mm512_set1_epi32(15)));
    *mn = _mm512_cvtepi32_ps(_mm512_srli_epi32(v, 4));
}

/* Of block b of the step at t. */
INLINE struct scales scales(enum dtype f, const uint8_t *t, int b, bool bf16)
{
    struct scales s;

    if (f == DT_IQ4_NL && bf16) {
        __m256i d = _mm256_loadu_si256((const void *)(t + b * 32));
        s.d = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(d), 16));
    } else if (has_f32(f)) {
        s.d = _mm512_loadu_ps(t);
    } else if (f != DT_NVFP4) {
        s.d = halves(step_pairs(f) > 1 ? t : t + b * 32);
    }
    if (f == DT_NVFP4) {
        s.sc[0] = halves(t + b * 64);
        s.sc[1] = halves(t + b * 64 + 32);
    } else if (f == DT_Q2_K) {
        two_scales(t + 64 + 2 * b * 16, &s.sc[0], &s.mn[0]);
        two_scales(t + 64 + (2 * b + 1) * 16, &s.sc[1], &s.mn[1]);
        s.m = halves(t + 32);
    } else if (has_halves(f)) {
        s.sc[0] = bytes_s(t + 64 + 2 * b * 16);
        s.sc[1] = bytes_s(t + 64 + (2 * b + 1) * 16);
    }
    if (f == DT_IQ4_XS) {
        s.d = _mm512_mul_ps(s.d, bytes_s(t + 64 + b * 16));
    } else if (is_k(f) && has_min(f)) {
        s.d = _mm512_mul_ps(s.d, bytes_u(t + 64 + b * 16));
        s.m = _mm512_mul_ps(halves(t + 32), bytes_u(t + 192 + b * 16));
    } else if (has_min(f) && f != DT_Q2_K) {
        s.m = halves(t + 64 + b * 32);
    }
    return s;
}

/* What a tile function is made for: constants after inlining. */
struct shape {
    enum dtype f;
    int mr, nr; /* rows, panels */
};

struct tile {
    const struct act_group *a[MR_MAX]; /* rows of x */
    const uint8_t *q[NR_MAX];          /* the pair of blocks in work, of each panel */
    struct scales w[NR_MAX];
    __m512 f[MR_MAX][NR_MAX];
    __m512i values; /* of codes, plus zero: all unsigned */
};

struct span {
    int64_t b;     /* group of x */
    int h, g0, g1; /* lines [g0, g1) of block h of the pair */
};

/* s = the exact sums over a span. */
INLINE void lines(struct shape z, const struct tile *t, struct span at, __m512i s[MR_MAX][NR_MAX])
{
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++) {
        __m512i start =
            has_min(z.f) ? _mm512_setzero_si512() : _mm512_set1_epi32(t->a[i][at.b].z[at.g0 / 4]);
#pragma GCC unroll 8
        for (int j = 0; j < z.nr; j++)
            s[i][j] = start;
    }
#pragma GCC unroll 8
    for (int g = at.g0; g < at.g1; g++) {
        __m512i v[NR_MAX];
#pragma GCC unroll 8
        for (int j = 0; j < z.nr; j++)
            v[j] = line(z.f, t->q[j], at.h, g, t->values);
#pragma GCC unroll 8
        for (int i = 0; i < z.mr; i++) {
            __m512i x = _mm512_set1_epi32(((const int32_t *)t->a[i][at.b].q)[g]);
#pragma GCC unroll 8
            for (int j = 0; j < z.nr; j++)
                s[i][j] = _mm512_dpbusd_epi32(s[i][j], v[j], x);
        }
    }
}

/* f += minima of block b: m is dmin of K-quants, which they are to be taken away by. */
INLINE __m512 add_min(enum dtype f, const struct scales *w, const struct act_group *a, __m512 y)
{
    if (f == DT_Q2_K) { /* mn0 * low + mn1 * high: whole numbers, exact */
        __m512 low = _mm512_set1_ps((float)a->z[0]), high = _mm512_set1_ps((float)a->z[1]);
        __m512 sum = _mm512_fmadd_ps(high, w->mn[1], _mm512_mul_ps(low, w->mn[0]));
        return _mm512_fnmadd_ps(w->m, _mm512_mul_ps(sum, _mm512_set1_ps(a->d)), y);
    }
    if (is_k(f))
        return _mm512_fnmadd_ps(w->m, _mm512_set1_ps(a->ds), y);
    return _mm512_fmadd_ps(w->m, _mm512_set1_ps(a->ds), y);
}

/* f += block h. Halves meet as floats: sc * sum16 and their sum are integers below 2^24, so this is
 * exact. Those of NVFP4 do not meet. */
INLINE void block(struct shape z, struct tile *t, int64_t b, int h)
{
    const bool halved = has_halves(z.f), apart = z.f == DT_NVFP4;
    __m512i s[MR_MAX][NR_MAX];
    __m512 sum[MR_MAX][NR_MAX];

    lines(z, t, (struct span){b, h, 0, halved || apart ? 4 : 8}, s);
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < z.nr; j++) {
            sum[i][j] = _mm512_cvtepi32_ps(s[i][j]);
            if (halved)
                sum[i][j] = _mm512_mul_ps(sum[i][j], t->w[j].sc[0]);
            if (apart)
                t->f[i][j] = _mm512_fmadd_ps(_mm512_mul_ps(sum[i][j], _mm512_set1_ps(t->a[i][b].d)),
                                             t->w[j].sc[0], t->f[i][j]);
        }
    }
    if (halved || apart)
        lines(z, t, (struct span){b, h, 4, 8}, s);
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++) {
        __m512 d = _mm512_set1_ps(t->a[i][b].d);
#pragma GCC unroll 8
        for (int j = 0; j < z.nr; j++) {
            if (halved)
                sum[i][j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[i][j]), t->w[j].sc[1], sum[i][j]);
            if (apart)
                sum[i][j] = _mm512_cvtepi32_ps(s[i][j]);
            t->f[i][j] = _mm512_fmadd_ps(_mm512_mul_ps(sum[i][j], d),
                                         apart ? t->w[j].sc[1] : t->w[j].d, t->f[i][j]);
            if (has_min(z.f))
                t->f[i][j] = add_min(z.f, &t->w[j], &t->a[i][b], t->f[i][j]);
        }
    }
}

INLINE void fetch(struct ahead *a)
{
    for (int o = 0; o < a->step; o += LINE)
        _mm_prefetch(a->p + o, _MM_HINT_T1);
    a->p += a->step;
}

INLINE void store(struct shape z, const struct linear_job *j, int64_t panel, int64_t row,
                  const struct tile *t)
{
#pragma GCC unroll 8
    for (int p = 0; p < z.nr; p++) {
        int64_t col = (panel + p) * PANEL_ROWS, left = j->n - col;
        __mmask16 mask = left < PANEL_ROWS ? (__mmask16)((1 << left) - 1) : 0xffff;
#pragma GCC unroll 8
        for (int i = 0; i < z.mr; i++) {
            __m512 v = linear_end_avx512(j, row + i, col, mask, t->f[i][p]);
            _mm512_mask_storeu_ps(j->y + (row + i) * j->ldy + col, mask, v);
        }
    }
}

INLINE void tile(struct shape z, const struct linear_job *j, int64_t panel, int64_t row,
                 struct ahead pre)
{
    const enum dtype f = z.f;
    const int pairs = step_pairs(f), head = head_bytes(f), bytes = head + pairs * pair_bytes(f);
    const bool bf16 = j->type == DT_MXFP4;
    const uint8_t *p = j->w + (size_t)panel * j->panel;
    struct tile t;

    if (is_coded(f)) {
        const struct panel_format *format = panel_format(j->type);
        __m128i values = _mm_loadu_si128((const void *)format->values);
        values = _mm_add_epi8(values, _mm_set1_epi8((char)format->zero));
        t.values = _mm512_broadcast_i32x4(values);
    }
#pragma GCC unroll 8
    for (int i = 0; i < z.mr; i++) {
        t.a[i] = (const void *)((const char *)j->x + (size_t)(row + i) * j->xs);
#pragma GCC unroll 8
        for (int n = 0; n < z.nr; n++)
            t.f[i][n] = _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < j->steps; k++, p += bytes) {
        fetch(&pre);
        for (int s = 0; s < pairs; s++) {
#pragma GCC unroll 8
            for (int h = 0; h < 2; h++) {
#pragma GCC unroll 8
                for (int n = 0; n < z.nr; n++) {
                    const uint8_t *step = p + (size_t)n * j->panel;
                    t.q[n] = step + head + s * pair_bytes(f);
                    t.w[n] = scales(f, step, 2 * s + h, bf16);
                }
                block(z, &t, 2 * (k * pairs + s) + h, h);
            }
        }
    }
    store(z, j, panel, row, &t);
}

/* clang-format off */
#define TILE(f, mr, nr)                                                                            \
    static void f##_##mr##_##nr(const struct linear_job *j, int64_t p, int64_t r, struct ahead a)  \
    {                                                                                              \
        tile((struct shape){DT_##f, mr, nr}, j, p, r, a);                                                         \
    }
#define NAMES(f, nr) {NULL, f##_1_##nr, f##_2_##nr, f##_3_##nr, f##_4_##nr, f##_5_##nr, f##_6_##nr}
#define TILES(f, nr) TILE(f, 1, nr) TILE(f, 2, nr) TILE(f, 3, nr) TILE(f, 4, nr) TILE(f, 5, nr) TILE(f, 6, nr)
#define KERNEL(f, is_light)                                                                        \
    TILES(f, 1) TILES(f, 2)                                                                        \
    void linear_avx512_##f(const struct linear_job *j, int64_t first, int64_t last)                \
    {                                                                                              \
        static const struct tile_set set = {.tile = {{NULL}, NAMES(f, 1), NAMES(f, 2)},            \
            .rows = 6, .few = 1, .many = {0, 2, 2, 2, 2, 2, 2}, .light = is_light};                \
        linear_tiles(j, first, last, &set);                                                        \
    }
KERNEL(Q8_0, true) KERNEL(Q4_0, false) KERNEL(Q4_1, false) KERNEL(Q5_0, false) KERNEL(Q5_1, false)
KERNEL(Q4_K, false) KERNEL(Q5_K, false) KERNEL(Q6_K, false)
KERNEL(IQ4_NL, false) KERNEL(NVFP4, false) KERNEL(IQ4_XS, false) KERNEL(Q3_K, false) KERNEL(Q2_K, false)
KERNEL(Q1_0, false) KERNEL(Q2_0, false) KERNEL(TQ2_0, false) KERNEL(Q8_K, true)
    /* clang-format on */
