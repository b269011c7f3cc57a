/* linear_scalar.c - linear over panels in plain C: what the vector kernels must equal, and what a
 * CPU without AVX2 runs.
 *
 * Row by row of the weight: a block is unpacked once and used by a tile of activation rows. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/linear.h"
#include "kernels/half.h"

enum { TILE = 32 };

static int32_t dot16(const uint8_t *q, const int8_t *a, int zero)
{
    int32_t sum = 0;

    for (int j = 0; j < 16; j++)
        sum += (q[j] - zero) * a[j];
    return sum;
}

static int32_t sum16(const int8_t *a)
{
    int32_t sum = 0;

    for (int j = 0; j < 16; j++)
        sum += a[j];
    return sum;
}

static float block_step(const struct panel_format *t, const struct panel_block *w,
                        const struct act_group *a, float f)
{
    int32_t low = dot16(w->q, a->q, t->zero), high = dot16(w->q + 16, a->q + 16, t->zero);

    if (t->sum == QUANT_APART) {
        f = fmaf((float)low * a->d, w->d[0], f);
        f = fmaf((float)high * a->d, w->d[1], f);
    } else {
        f = fmaf((float)(w->sc[0] * low + w->sc[1] * high) * a->d, w->d[0], f);
    }
    if (t->zero != 0)
        return f;
    return fmaf(w->m, a->d * (float)(w->mn[0] * sum16(a->q) + w->mn[1] * sum16(a->q + 16)), f);
}

static void blocks(const struct linear_job *j, const uint8_t *panel, int r, int64_t i0, int rows,
                   float *f)
{
    const struct panel_format *t = panel_format(j->type);
    int64_t n = j->steps * t->step / ACT_GROUP;
    struct panel_block w = {.m = 0};

    for (int64_t b = 0; b < n; b++) {
        panel_block(j->type, panel, b, r, &w);
        for (int i = 0; i < rows; i++) {
            const struct act_group *a =
                (const struct act_group *)((const char *)j->x + (size_t)(i0 + i) * j->xs) + b;
            f[i] = block_step(t, &w, a, f[i]);
        }
    }
}

static float float_at(const void *p, int64_t i)
{
    float f;

    memcpy(&f, (const char *)p + 4 * i, sizeof f);
    return f;
}

static float half_of(const void *p, int64_t i, bool bf16)
{
    uint16_t h;

    memcpy(&h, (const char *)p + 2 * i, sizeof h);
    return bf16 ? half_bf16(h) : half_f16(h);
}

static void plain(const struct linear_job *j, const uint8_t *panel, int r, int64_t i0, int rows,
                  float *f)
{
    int64_t k = j->steps * panel_format(j->type)->step;

    for (int i = 0; i < rows; i++) {
        const char *x = (const char *)j->x + (size_t)(i0 + i) * j->xs;
        for (int64_t c = 0; c < k; c++) {
            float xv = j->type == DT_BF16 ? half_of(x, c, true) : float_at(x, c);
            f[i] = fmaf(xv, panel_plain(j->type, panel, c, r), f[i]);
        }
    }
}

static void floats(const struct linear_job *j, const uint8_t *panel, int r, int64_t i0, int rows,
                   float *f)
{
    enum { BLOCK = 64 };
    float w[BLOCK], d;

    for (int64_t b = 0; b < j->steps; b++) {
        for (int k = 0; k < BLOCK; k++)
            w[k] = panel_float(j->type, panel, b * BLOCK + k, r, &d);
        for (int i = 0; i < rows; i++) {
            const char *x = (const char *)j->x + (size_t)(i0 + i) * j->xs;
            float s = 0;
            for (int k = 0; k < BLOCK; k++)
                s = fmaf(float_at(x, b * BLOCK + k), w[k], s);
            f[i] = fmaf(s, d, f[i]);
        }
    }
}

void linear_scalar(const struct linear_job *j, int64_t first, int64_t last)
{
    bool block = panel_format(j->type)->pair != 0;

    for (int64_t n = first * PANEL_ROWS; n < last * PANEL_ROWS && n < j->n; n++) {
        const uint8_t *panel = j->w + (size_t)(n / PANEL_ROWS) * j->panel;
        int r = (int)(n % PANEL_ROWS);
        for (int64_t i0 = 0; i0 < j->m; i0 += TILE) {
            int rows = (int)(j->m - i0 < TILE ? j->m - i0 : TILE);
            float f[TILE] = {0};
            (block ? blocks : panel_has_floats(j->type) ? floats : plain)(j, panel, r, i0, rows, f);
            for (int i = 0; i < rows; i++)
                j->y[(i0 + i) * j->ldy + n] = linear_end(j, i0 + i, n, f[i]);
        }
    }
}
