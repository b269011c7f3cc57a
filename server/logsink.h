/* logsink.h - where log lines go: stderr, as text or as JSON, with the time. */
#ifndef SERVER_LOGSINK_H
#define SERVER_LOGSINK_H

#include <stdbool.h>
#include <time.h>

#include "kernels/base/buf.h"
#include "kernels/base/log.h"

/* Installs the sink. `level`: debug, info, warn or error. */
void logsink_open(bool json, const char *level);
/* One line, with its newline, as the sink writes it. */
void logsink_format(struct buf *b, bool json, enum log_level level, struct timespec at,
                    const char *line);

#endif
