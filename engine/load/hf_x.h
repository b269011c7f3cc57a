/* hf_x.h - what a quantised checkpoint says of the activations of its weights. */
#ifndef ENGINE_LOAD_HF_X_H
#define ENGINE_LOAD_HF_X_H

#include "engine/load/checkpoint.h"

/* Fills t->x and t->x_scale of the weight `t` (as f8_e4m3), whose parts' names begin with
 * name[0 .. n). ERR_FORMAT: the scale is no positive number. */
enum status hf_x_declared(const struct checkpoint *c, const char *name, size_t n,
                          struct ckpt_tensor *t);
/* Of the weights in NVFP4 or MXFP4: X_FP4, or X_EXACT. */
enum x_type hf_x_declared_fp4(const struct checkpoint *c);

#endif
