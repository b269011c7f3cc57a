/* recurrent.h - a tiny network that no checkpoint has: a short convolution with a state for each
 * slot, then attention. It proves that layers of two kinds can stand side by side. */
#ifndef TESTS_SUPPORT_RECURRENT_H
#define TESTS_SUPPORT_RECURRENT_H

#include "engine/load/model.h"

/* Opened, with random weights in place; for worker_options.model. Freed by model_close. */
struct model *recurrent_model(void);

#endif
