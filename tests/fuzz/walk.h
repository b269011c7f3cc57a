/* walk.h - reads all of a checkpoint whose bytes are foreign: every key, every tensor's bytes,
 * every weight by name. */
#ifndef TESTS_FUZZ_WALK_H
#define TESTS_FUZZ_WALK_H

#include "engine/load/checkpoint.h"

void walk_require(bool holds); /* ends the program otherwise */
void walk_checkpoint(const struct checkpoint *c);

#endif
