/* signals.h - SIGINT and SIGTERM as something to poll for. */
#ifndef SERVER_SIGNALS_H
#define SERVER_SIGNALS_H

#include "kernels/base/status.h"

/* Call before the first thread starts: all threads inherit the blocked signals. `fd` becomes
 * readable when SIGINT or SIGTERM came. SIGPIPE is ignored; SIGHUP too when `daemon`. */
enum status signals_open(int daemon, int *fd);
/* Waits up to `seconds` (< 0: for ever) for a signal and takes it; 0 when none came. */
int signals_take(int fd, double seconds);

#endif
