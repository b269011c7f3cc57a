/* refuse.h - the CPU without some of its fused ops: a seeded half of those that ops.c can compose
 * is missing, so that the compositions run and must give the same numbers; and without the number
 * formats that no GGUF file has. */
#ifndef TESTS_SUPPORT_REFUSE_H
#define TESTS_SUPPORT_REFUSE_H

#include "kernels/backend.h"

/* One table at a time; open devices keep it. Bit i of the seed refuses the i-th composable op. */
const struct backend *refuse_backend(unsigned seed);
bool refuse_lacks(enum op op); /* of the last table */

#endif
