/* sample_scalar.c - the passes of sampling over a row, in plain C, and the arithmetic of a row.
 *
 * What each pass has to give is said in isa.h; vector versions give equal bits. */
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

void masses_scalar(const float *logit, int64_t n, float max, float scale, struct levels *l)
{
    uint64_t band[LEVELS] = {0}, sum = 0;

    for (int64_t i = 0; i < n; i++) {
        int j = LEVELS - 1;
        if (!(logit[i] >= l->floor[j] && logit[i] < l->ceil))
            continue;
        while (j > 0 && logit[i] >= l->floor[j - 1])
            j--;
        band[j] += cpu_mass(logit[i], max, scale);
    }
    for (int j = 0; j < LEVELS; j++)
        l->above[j] = sum += band[j];
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
