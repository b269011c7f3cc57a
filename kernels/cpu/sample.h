/* sample.h - the arithmetic that the definition of sampling and its fast version share: a few
 * numbers of a row. */
#ifndef KERNELS_CPU_SAMPLE_H
#define KERNELS_CPU_SAMPLE_H

#include "kernels/ops.h"

/* Below this temperature the likeliest is taken; only that has any mass long before. */
#define SAMPLE_COLD 1e-30f

float sample_scale(float temperature); /* of logits, to octaves; never 0 or infinite */
/* min_p: kept are logits from here on; -INFINITY without it. */
float sample_floor(const struct sample_row *row, float max);
double sample_log(uint64_t mass, float max); /* natural logarithm of a sum of masses, plus max */

#endif
