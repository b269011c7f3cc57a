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
    uint8_t *to = out;

    for (int64_t i = 0; i < n; i += d->block, to += d->bytes) {
        if (is_plain(t))
            d->encode(x + i, to);
        else
            fn(x + i, importance ? importance + i : ones, to);
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
