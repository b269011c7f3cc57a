/* rng.h - counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011). The same key and
 * counter give the same bits on every device, in any order; nothing is carried from one call to the
 * next. */
#ifndef KERNELS_BASE_RNG_H
#define KERNELS_BASE_RNG_H

#include <stdint.h>

struct rng_block {
    uint32_t v[4];
};
struct rng_block rng_philox(uint64_t key, uint64_t counter_lo, uint64_t counter_hi);
/* Uniform in (0, 1), never 0 or 1, from one word: (w >> 8 + 0.5) / 2^24. */
float rng_uniform(uint32_t word);
uint64_t rng_seed(void); /* from the operating system; for requests without a seed, and ids */

#endif
