/* codes.h - panels of the formats whose weights are codes: a nibble that stands for one of at most
 * 16 values (2 bits for one of 4, a bit for one of 2), whatever the file spends on it (IQ1_S 1.6
 * bits, IQ4_XS 4.3). Called by panel.c and pack.c only.
 *
 * 1.5 to 5.1 bits a weight, for kernels that need one table look-up in a register more than Q4_0,
 * or with 1 or 2 bits none. The values and scales are exactly those of the file. */
#ifndef KERNELS_CPU_CODES_H
#define KERNELS_CPU_CODES_H

#include "kernels/cpu/panel.h"

/* Value of each code, ascending from the least where the format has no order of its own. */
extern const int8_t codes_iq1[16], codes_iq2[16], codes_iq3_xxs[16], codes_iq3_s[16], codes_iq4[16],
    codes_fp4[16], codes_ternary[16], codes_q2_k[16], codes_q3_k[16];

/* n weights from the k-th on of the row at `s` into row r of the step at `d`; of formats that have
 * no packer in pack.c. */
void codes_pack(enum dtype t, const uint8_t *s, int64_t k, int n, int r, uint8_t *d);

/* Codes in out->q become values (plus zero), and the scales of group `b` of the step at `s` are
 * filled in. */
void codes_block(enum dtype t, const uint8_t *s, int b, int r, struct panel_block *out);

#endif
