/* values.h - what the 16 codes of a 4-bit format mean, where they are not evenly spaced. */
#ifndef KERNELS_QUANT_VALUES_H
#define KERNELS_QUANT_VALUES_H

#include "kernels/quant/quant.h"

QUANT_FN int iq4_value(int code) /* IQ4_NL, IQ4_XS: fitted to normal weights */
{
    static const int8_t value[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
    return value[code];
}

QUANT_FN int fp4_value(int code) /* E2M1, twice its value; bit 3 is the sign */
{
    static const int8_t value[8] = {0, 1, 2, 3, 4, 6, 8, 12};
    return code & 8 ? -value[code & 7] : value[code & 7];
}

#endif
