/* bench_activations.c - what it costs to round the activations of a product, by format: the error
 * of y = x W^T against the product of the same weights with x as it is, |y' - y| / |y| over all y.
 * Prints the table of docs/measurements; needs no GPU, for it is about numbers alone. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/half.h"
#include "kernels/quant/f8_e4m3.h"
#include "kernels/quant/fp4_rows.h"

enum { M = 64, N = 64, K = 4096, HEAVY = 20 }; /* HEAVY: columns of outliers */

static float gauss(uint64_t i)
{
    struct rng_block b = rng_philox(7, i, 0);
    double u = ((double)b.v[0] + 0.5) * 0x1p-32, v = (double)b.v[1] * 0x1p-32;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static float e4m3(float x)
{
    float best = 0, off = fabsf(x);
    for (int code = 1; code < 127; code++) {
        float v = f8_e4m3_value(code), d = fabsf(fabsf(x) - v);
        if (d < off || (d == off && code % 2 == 0)) {
            best = v;
            off = d;
        }
    }
    return copysignf(best, x);
}

static float top_of(const float *x, int n)
{
    float top = 0;
    for (int i = 0; i < n; i++)
        top = fmaxf(top, fabsf(x[i]));
    return top;
}

static void as_is(float *x, int n)
{
    (void)x;
    (void)n;
}

static void as_bf16(float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = half_bf16(half_to_bf16(x[i]));
}

/* As kernels/cpu/naive_linear.c defines it. */
static void as_ints(float *x, int n)
{
    for (int at = 0; at < n; at += 32) {
        float top = top_of(x + at, 32);
        for (int i = at; i < at + 32; i++)
            x[i] = top > 0 ? rintf(x[i] * (127 / top)) * (top / 127) : 0;
    }
}

static void scaled_e4m3(float *x, int n, int block, bool power)
{
    for (int at = 0; at < n; at += block) {
        float top = top_of(x + at, block), d = top / 448;
        if (power)
            d = exp2f(ceilf(log2f(d)));
        for (int i = at; i < at + block; i++)
            x[i] = top > 0 ? e4m3(x[i] / d) * d : 0;
    }
}

static void as_e4m3(float *x, int n)
{
    scaled_e4m3(x, n, n, false);
}

static void as_groups(float *x, int n)
{
    scaled_e4m3(x, n, 128, false);
}

static void as_mxfp8(float *x, int n)
{
    scaled_e4m3(x, n, 32, true);
}

static void as_nvfp4(float *x, int n)
{
    fp4_row_round(FP4_NVFP4, x, n, x);
}

static void as_mxfp4(float *x, int n)
{
    fp4_row_round(FP4_MXFP4, x, n, x);
}

static void product(const float *x, const float *w, double *y)
{
    for (int r = 0; r < M; r++)
        for (int c = 0; c < N; c++) {
            double s = 0;
            for (int k = 0; k < K; k++)
                s += (double)x[r * K + k] * (double)w[c * K + k];
            y[r * N + c] = s;
        }
}

int main(void)
{
    static const struct {
        const char *name;
        void (*round)(float *x, int n);
    } ways[] = {{"f32", as_is},
                {"bf16", as_bf16},
                {"int8, a scale for 32 (block formats)", as_ints},
                {"e4m3, a scale a row (w8a8)", as_e4m3},
                {"e4m3, a scale for 128 (DeepSeek)", as_groups},
                {"e4m3, a power of two for 32 (MXFP8)", as_mxfp8},
                {"e2m1, e4m3 for 16 (NVFP4)", as_nvfp4},
                {"e2m1, a power of two for 32 (MXFP4)", as_mxfp4}};
    float *w = xmalloc(sizeof *w * N * K), *x = xmalloc(sizeof *x * M * K);
    double *want = xmalloc(sizeof *want * M * N), *got = xmalloc(sizeof *got * M * N);
    for (int i = 0; i < N * K; i++)
        w[i] = gauss((uint64_t)i);
    printf("| activations | Gaussian | outliers |\n|---|---|---|\n");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        printf("| %s |", ways[i].name);
        for (int heavy = 0; heavy < 2; heavy++) {
            double off = 0, all = 0;
            for (int j = 0; j < M * K; j++)
                x[j] = gauss((uint64_t)(N * K + j)) * (heavy && j % K % (K / HEAVY) == 7 ? 30 : 1);
            product(x, w, want);
            for (int r = 0; r < M; r++)
                ways[i].round(x + r * K, K);
            product(x, w, got);
            for (int j = 0; j < M * N; j++) {
                off += (got[j] - want[j]) * (got[j] - want[j]);
                all += want[j] * want[j];
            }
            printf(" %.3f %% |", 100 * sqrt(off / all));
        }
        printf("\n");
    }
    xfree(w);
    xfree(x);
    xfree(want);
    xfree(got);
    return 0;
}
