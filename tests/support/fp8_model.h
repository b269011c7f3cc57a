/* fp8_model.h - checkpoints whose activations are rounded to e4m3, against PyTorch with the same
 * roundings (tests/tools/make_fp8_x.py): what the CPU and the CUDA backend are held to. The CPU
 * without vectors: kernels that round x to bf16 besides move one code in twenty. */
#ifndef TESTS_SUPPORT_FP8_MODEL_H
#define TESTS_SUPPORT_FP8_MODEL_H

#include "tests/support/step.h"

enum { FP8_MODELS = 3, FP8_TOKENS = 72 };
extern const char *const fp8_models[FP8_MODELS]; /* with a scale for all rows, a scale a row, both
                                                    with rows of W of one scale; with squares */

/* One prefill of model i. *exact and *rounded: max|ours - reference| over max|reference|, of the
 * logits of products as they are, and of those that round. `prepare` (or NULL) may change the
 * device, once the model is loaded. */
void fp8_model_run(int i, const struct backend *b, enum x_type round_x,
                   void (*prepare)(struct stepper *), double *exact, double *rounded);

#endif
