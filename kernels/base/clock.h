/* clock.h - time. */
#ifndef KERNELS_BASE_CLOCK_H
#define KERNELS_BASE_CLOCK_H

#include <stdint.h>

double clock_now(void);   /* seconds, monotonic */
int64_t clock_unix(void); /* seconds since 1970 */

#endif
