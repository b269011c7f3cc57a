/* random.h - a checkpoint that is in no file: the shape of a known model, weights from a seed. For
 * benchmarks and tests. It has no vocabulary. */
#ifndef ENGINE_LOAD_RANDOM_H
#define ENGINE_LOAD_RANDOM_H

#include "engine/load/checkpoint.h"

struct random_model; /* engine/engine.h */
/* ERR_UNSUPPORTED lists the shapes, or the formats. */
enum status random_open(const struct random_model *r, struct checkpoint **out);

#endif
