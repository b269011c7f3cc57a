/* x_type.c - see x_type.h. */
#include "kernels/x_type.h"

#include <math.h>
#include <string.h>

#include "kernels/quant/f8_e4m3.h"
#include "kernels/quant/fp4_rows.h"

static const char *const names[N_X_TYPE + 1] = {"exact", "fp8", "fp4", "auto"};
static const float FP8_MAX = 448, TOP_MIN = 0x1p-100f; /* 448 / top must not be infinite */

enum status x_type_read(const char *name, enum x_type *out)
{
    for (int i = 0; i <= N_X_TYPE; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum x_type)i;
            return OK;
        }
    return fail_field(ERR_INVALID, "activations", "activations '%s' are not known: " X_TYPES " are",
                      name);
}

const char *x_type_name(enum x_type t)
{
    return names[t];
}

bool x_type_goes_with(enum x_type t, enum dtype w)
{
    return t != X_EXACT && t == x_type_of(w);
}

enum x_type x_type_of(enum dtype w)
{
    if (w == DT_NVFP4 || w == DT_MXFP4)
        return X_FP4;
    return w == DT_F8_E4M3 ? X_FP8 : X_EXACT;
}

static void round_fp8(float scale, const float *x, int64_t k, float *out)
{
    float top = 0;
    for (int64_t i = 0; i < k; i++)
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    float inverse = top >= TOP_MIN ? FP8_MAX / top : 0, by = inverse > 0 ? top / FP8_MAX : 0;
    if (scale > 0) {
        inverse = 1 / scale;
        by = scale;
    }
    for (int64_t i = 0; i < k; i++) {
        float v = x[i] * inverse, most = fminf(fmaxf(v, -FP8_MAX), FP8_MAX);
        out[i] = isnan(v) ? v : f8_e4m3_value(f8_e4m3_code(most)) * by;
    }
}

void x_type_round(enum x_type t, enum dtype w, float scale, const float *x, int64_t k, float *out)
{
    switch (t) {
    case X_FP8:
        round_fp8(scale, x, k, out);
        return;
    case X_FP4:
        fp4_row_round(w == DT_NVFP4 ? FP4_NVFP4 : FP4_MXFP4, x, k, out);
        return;
    case X_EXACT:
    case N_X_TYPE:
        memmove(out, x, (size_t)k * sizeof *x);
    }
}
