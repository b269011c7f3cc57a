/* encode_plain.c - the encoders for any processor. */
#include "kernels/quant/encode_core.h"

encode_fn *const encode_plain[N_DTYPE] = ENCODE_TABLE;
