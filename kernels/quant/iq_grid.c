/* iq_grid.c - the codebooks of the IQ formats, for host code. */
#include "kernels/quant/iq.h"

#define IQ_TABLE(name, n) const uint16_t name[n]
#include "kernels/quant/iq_tables.h"
