/* encode_avx2.c - the encoders with eight floats an instruction. */
#include "kernels/quant/encode_core.h"

encode_fn *const encode_avx2[N_DTYPE] = ENCODE_TABLE;
