/* hf_parts.h - one input as the files of a Hugging Face directory: for each of ten names a u32
 * length (0: no such file), then the bytes of each. tests/tools/gen_hf.py writes such inputs. */
#ifndef TESTS_FUZZ_HF_PARTS_H
#define TESTS_FUZZ_HF_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/load/checkpoint.h"

enum { N_HF_PARTS = 10 };

/* Views of `data`, N_HF_PARTS at most; a length that is too great is cut. Returns how many. */
int hf_parts(const uint8_t *data, size_t n, struct ckpt_lent *lent);

#endif
