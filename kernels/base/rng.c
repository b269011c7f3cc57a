/* rng.c - Philox4x32-10 as in Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC
 * 2011). */
#include "kernels/base/rng.h"

#include <stdlib.h>
#include <sys/random.h>

#include "kernels/base/log.h"

/* multipliers and Weyl increments of the paper, section 5.3 */
enum { ROUNDS = 10 };
#define MUL_0  0xd2511f53u
#define MUL_1  0xcd9e8d57u
#define WEYL_0 0x9e3779b9u
#define WEYL_1 0xbb67ae85u

struct rng_block rng_philox(uint64_t key, uint64_t counter_lo, uint64_t counter_hi)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = (uint32_t)counter_lo, c1 = (uint32_t)(counter_lo >> 32);
    uint32_t c2 = (uint32_t)counter_hi, c3 = (uint32_t)(counter_hi >> 32);

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t a = (uint64_t)MUL_0 * c0, b = (uint64_t)MUL_1 * c2;

        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    return (struct rng_block){{c0, c1, c2, c3}};
}

float rng_uniform(uint32_t word)
{
    /* 24 bits and a half: the sum needs 25 bits and is rounded to even, so the top must be kept
     * below 1 by computing in double and never rounding up to it. */
    double u = ((double)(word >> 8) + 0.5) / 16777216.0;
    float f = (float)u;

    return f < 1.0f ? f : 0x1.fffffep-1f;
}

uint64_t rng_seed(void)
{
    uint64_t v;

    if (getrandom(&v, sizeof v, 0) != (ssize_t)sizeof v) {
        log_error("the operating system gives no random numbers");
        abort(); /* ids and hash keys would be guessable */
    }
    return v;
}
