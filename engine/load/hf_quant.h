/* hf_quant.h - the weights of a quantised checkpoint under the names that plain ones have. */
#ifndef ENGINE_LOAD_HF_QUANT_H
#define ENGINE_LOAD_HF_QUANT_H

#include "engine/load/checkpoint.h"

/* Replaces the tensors of each packed weight by one that is made at load (made.h). What cannot be
 * read stays as it is, and c->refusal says why; only a lack of memory fails. */
enum status hf_quant(struct checkpoint *c);
/* "GPTQ": what a tensor is made from; NULL: it lies in the file as it is. */
const char *hf_quant_packing(const struct ckpt_tensor *t);

#endif
