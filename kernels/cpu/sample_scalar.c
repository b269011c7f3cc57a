/* sample_scalar.c - the passes of sampling over a row with what every x86-64 has, and the
 * arithmetic of a row.
 *
 * What each pass has to give is said in isa.h; vector versions give equal bits. */
#include <emmintrin.h>
#include <float.h>
#include <math.h>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/mass.h"
#include "kernels/cpu/sample.h"

float sample_scale(float temperature)
{
    static const float least = 1e-30f; /* hotter than that all are equal anyway */
    float scale = EXP2_LOG2E / temperature;
    return scale > least ? scale : least;
}

float sample_floor(const struct sample_row *row, float max)
{
    if (!(row->min_p > 0))
        return -INFINITY;
    float floor = (float)((double)max + (double)row->temperature * log((double)row->min_p));
    return floor < max ? floor : max;
}

double sample_log(uint64_t mass, float max)
{
    return (double)max + log((double)mass * 0x1p-40);
}

int64_t settle_scalar(float *logit, int64_t n)
{
    int64_t at = -1;
    float best = -INFINITY;

    for (int64_t i = 0; i < n; i++) {
        float l = logit[i];
        if (l != l)
            logit[i] = l = -INFINITY;
        else if (l > FLT_MAX)
            logit[i] = l = FLT_MAX;
        else if (fabsf(l) < FLT_MIN)
            logit[i] = l = 0;
        if (l > best) {
            best = l;
            at = i;
        }
    }
    return at;
}

enum { LANES = 4 };

/* One step of the polynomial for two of the lanes of p, in the low half of what it returns. A sum
 * half way between two floats leaves its sign in *half. */
static __m128 step(__m128 p, __m128d f, float c, __m128d *half)
{
    const __m128i low = _mm_set1_epi64x(0x1fffffff), middle = _mm_set1_epi64x(0x10000000);
    __m128d sum = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(p), f), _mm_set1_pd((double)c));
    __m128i rest = _mm_xor_si128(_mm_and_si128(_mm_castpd_si128(sum), low), middle);

    rest = _mm_sub_epi64(rest, _mm_set1_epi64x(1));
    *half = _mm_or_pd(*half, _mm_castsi128_pd(rest));
    return _mm_cvtpd_ps(sum);
}

/* LANES masses, by the arithmetic of cpu_exp2 without its branches; one by one where a sum was half
 * way (see exp2_fma). */
static void mass_lanes(const float *logit, float max, float scale, uint64_t *mass)
{
    static const float c[] = EXP2_POLY;
    const __m128 round = _mm_set1_ps(EXP2_ROUND);
    __m128 x = _mm_mul_ps(_mm_sub_ps(_mm_loadu_ps(logit), _mm_set1_ps(max)), _mm_set1_ps(scale));
    __m128 lost = _mm_cmplt_ps(x, _mm_set1_ps(EXP2_LOW)), t = _mm_add_ps(x, round);
    __m128 f = _mm_sub_ps(x, _mm_sub_ps(t, round)), a = _mm_set1_ps(c[0]), b = a;
    __m128d fa = _mm_cvtps_pd(f), fb = _mm_cvtps_pd(_mm_movehl_ps(f, f)), half = _mm_setzero_pd();
    const __m128d magic = _mm_set1_pd(MASS_MAGIC);

    for (int j = 1; j < 7; j++) {
        a = step(a, fa, c[j], &half);
        b = step(b, fb, c[j], &half);
    }
    __m128i power =
        _mm_add_epi32(_mm_slli_epi32(_mm_castps_si128(t), 23), _mm_set1_epi32(127 << 23));
    __m128 p = _mm_mul_ps(_mm_movelh_ps(a, b), _mm_andnot_ps(lost, _mm_castsi128_ps(power)));
    p = _mm_andnot_ps(lost, p);
    _mm_storeu_pd((double *)(void *)mass, _mm_add_pd(_mm_cvtps_pd(p), magic));
    _mm_storeu_pd((double *)(void *)(mass + 2),
                  _mm_add_pd(_mm_cvtps_pd(_mm_movehl_ps(p, p)), magic));
    for (int i = 0; i < LANES; i++)
        mass[i] = _mm_movemask_pd(half) ? cpu_mass(logit[i], max, scale) : mass[i] - MASS_BITS;
}

/* How many floors lie above each of LANES logits; LEVELS for those that no level has. */
static __m128i levels_of(const struct levels *l, const float *logit)
{
    __m128 v = _mm_loadu_ps(logit), over = _mm_cmpge_ps(v, _mm_set1_ps(l->ceil));
    __m128i n = _mm_and_si128(_mm_castps_si128(over), _mm_set1_epi32(LEVELS));

    for (int j = 0; j < LEVELS; j++)
        n = _mm_sub_epi32(n, _mm_castps_si128(_mm_cmplt_ps(v, _mm_set1_ps(l->floor[j]))));
    return n;
}

void masses_scalar(const float *logit, int64_t n, float max, float scale, struct levels *l)
{
    uint64_t band[LANES][LEVELS + 1] = {{0}}, mass[LANES], sum = 0; /* the last: in no level */
    float last[LANES] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    int32_t at[LANES];

    for (int64_t i = 0; i < n; i += LANES) {
        const float *v = logit + i;
        if (n - i < LANES)
            v = memcpy(last, v, (size_t)(n - i) * sizeof *v);
        __m128i level = levels_of(l, v);
        if (_mm_movemask_epi8(_mm_cmpeq_epi32(level, _mm_set1_epi32(LEVELS))) == 0xffff)
            continue;
        _mm_storeu_si128((void *)at, level);
        mass_lanes(v, max, scale, mass);
        for (int k = 0; k < LANES; k++)
            band[k][at[k]] += mass[k];
    }
    for (int j = 0; j < LEVELS; j++)
        l->above[j] = sum += band[0][j] + band[1][j] + band[2][j] + band[3][j];
}

int64_t band_scalar(const struct band *b, float *out, int32_t *id)
{
    int64_t k = 0;

    for (int64_t i = 0; i < b->n && k < b->room; i++) {
        float l = b->logit[i];
        if (!(l >= b->floor && l < b->ceil))
            continue;
        id[k] = b->id ? b->id[i] : (int32_t)i;
        out[k++] = l;
    }
    return k;
}
