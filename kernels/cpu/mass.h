/* mass.h - the probability mass of a candidate token, as an integer.
 *
 * A mass is 2^((logit - max) * scale) by cpu_exp2, in units of 2^-40 of the likeliest's. Integers
 * add up to the same sum in any order, so threads, lanes and whoever walks through the candidates
 * agree on every bit, and a prefix of candidates is known by its mass alone. What is lost is below
 * 1e-7 of the whole for 200k candidates; sums have room for 8 million.
 *
 * With scale 0 every candidate has mass MASS_ONE: counting. Only for logits that `settle` cleaned
 * and (logit - max) that is finite. */
#ifndef KERNELS_CPU_MASS_H
#define KERNELS_CPU_MASS_H

#include "kernels/cpu/exp2.h"

#define MASS_ONE   ((uint64_t)1 << 40)
#define MASS_MAGIC 4096.0 /* a double just above it counts in steps of 2^-40 */
#define MASS_BITS  ((uint64_t)0x40b0 << 48)
#define MASS_DEPTH 43.0 /* octaves below the likeliest from where on every mass is 0 */

static inline uint64_t cpu_mass(float logit, float max, float scale)
{
    double d = MASS_MAGIC + (double)cpu_exp2((logit - max) * scale);
    uint64_t u;
    memcpy(&u, &d, 8);
    return u - MASS_BITS;
}

/* The part of a mass that a draw or top_p asks for: at least one unit, so that a candidate without
 * mass is never its last. */
static inline uint64_t mass_part(double share, uint64_t whole)
{
    double part = share * (double)whole;
    if (!(part >= 1))
        return 1;
    return part < (double)whole ? (uint64_t)part : whole;
}

#endif
