/* x_type.h - to what a product of matrices may round its rows of x (activations) before it
 * multiplies, and what that means.
 *
 * fp8: e4m3 with one scale a row, top / 448, so that the largest of the row becomes 448; or with
 * the scale that the weight comes with (struct quant), beyond whose range numbers end at 448.
 * fp4: e2m1 in blocks as the weight's are, NVFP4 or MXFP4 (kernels/quant/fp4_rows.h); by cuBLASLt
 * NVFP4 beside MXFP4 weights too, which is nearer to x. Who rounds, and for which products, is the
 * backend's choice; that it may is said by the weight. */
#ifndef KERNELS_X_TYPE_H
#define KERNELS_X_TYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "kernels/dtype.h"

enum x_type {
    X_EXACT,
    X_FP8,
    X_FP4,
    N_X_TYPE,
    X_DECLARED = N_X_TYPE /* as the checkpoint declares */
};

#define X_TYPES "auto, exact, fp8 and fp4" /* for messages */

enum status x_type_read(const char *name, enum x_type *out); /* ERR_INVALID lists the types */
const char *x_type_name(enum x_type t);
/* Whether products of weights w ever round x to t: tensor cores want both sides alike. */
bool x_type_goes_with(enum x_type t, enum dtype w);
/* To what they may round it; X_EXACT: to nothing. */
enum x_type x_type_of(enum dtype w);
/* A row of k numbers, rounded as t says for weights w. `scale`: the weight's, of fp8; 0: the row's
 * own. */
void x_type_round(enum x_type t, enum dtype w, float scale, const float *x, int64_t k, float *out);

#endif
