/* encode.c - rows to blocks: the plain formats here, the others by the table that suits this
 * processor. */
#include "kernels/quant/encode.h"

#include <math.h>
#include <stddef.h>

static const float ones[ENCODE_BLOCK_MOST] = {
#define ONE4  1, 1, 1, 1
#define ONE16 ONE4, ONE4, ONE4, ONE4
#define ONE64 ONE16, ONE16, ONE16, ONE16
    ONE64,
    ONE64,
    ONE64,
    ONE64,
};

enum { NEIGHBOURS = 32 };

/* Formats whose numbers count by their size where nothing was measured. Least squares makes the
 * largest number of each group smaller, by 1 % in five bits, 2 to 3 % in four, because the others
 * gain from finer steps; but what every group does alike adds up in a network, and errors that
 * differ from group to group do not. In two and three bits there are too few steps to give any
 * away; six, eight and five with a minimum lose too little to matter. Those and four-bit floating
 * point count alike. */
static const bool by_size[N_DTYPE] = {
    [DT_Q4_0] = true, [DT_Q4_1] = true,   [DT_Q5_0] = true,
    [DT_Q4_K] = true, [DT_IQ4_NL] = true, [DT_IQ4_XS] = true,
};

/* 1 and a number's square over the mean square of its neighbours: about 6 for the largest, which
 * takes three quarters of what it lost for 3 to 5 % more squared error. */
static void weigh(const float *x, int n, float *weight)
{
    for (int i = 0; i < n; i += NEIGHBOURS) {
        float sum = 0;

        for (int k = i; k < i + NEIGHBOURS; k++)
            sum += x[k] * x[k];
        for (int k = i; k < i + NEIGHBOURS; k++)
            weight[k] = sum > 0 && sum < INFINITY ? x[k] * x[k] / sum * NEIGHBOURS + 1 : 1;
    }
}

static bool is_plain(enum dtype t)
{
    return t == DT_F32 || t == DT_F16 || t == DT_BF16;
}

bool encode_has(enum dtype t)
{
    return is_plain(t) || encode_plain[t];
}

void encode_row(enum dtype t, const float *x, const float *importance, int64_t n, void *out)
{
    const struct dtype_info *d = dtype_info(t);
    encode_fn *fn = __builtin_cpu_supports("avx2") ? encode_avx2[t] : encode_plain[t];
    float own[ENCODE_BLOCK_MOST];
    bool size = !importance && by_size[t];
    uint8_t *to = out;

    for (int64_t i = 0; i < n; i += d->block, to += d->bytes) {
        if (is_plain(t)) {
            d->encode(x + i, to);
            continue;
        }
        if (size)
            weigh(x + i, d->block, own);
        fn(x + i, size ? own : importance ? importance + i : ones, to);
    }
}

float encode_global(enum dtype t, float top)
{
    const float most = 6.0f * 448.0f; /* the largest E2M1 times the largest E4M3 */
    int exponent;

    if (t != DT_NVFP4 || !(top > 0))
        return 0;
    return frexpf(top / most, &exponent) == 0.5f ? ldexpf(1, exponent - 1) : ldexpf(1, exponent);
}
