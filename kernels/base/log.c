/* log.c - formats a line, then hands it to the sink under a lock. Control characters become spaces:
 * whatever a client sent can never begin a line of its own. */
#include "kernels/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };

static void to_stderr(void *ctx, enum log_level level, const char *line);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink_fn *sink = to_stderr; /* under lock, as the next two */
static void *sink_ctx;
static enum log_level least_level = LOG_INFO;

static void to_stderr(void *ctx, enum log_level level, const char *line)
{
    static const char *const name[] = {"debug", "info", "warning", "error"};
    char out[LINE_MAX_BYTES + 32];
    int n = snprintf(out, sizeof out, "%s: %s\n", name[level], line);

    (void)ctx;
    if (write(STDERR_FILENO, out, (size_t)n) < 0)
        return; /* nowhere left to say so */
}

void log_set_sink(log_sink_fn *fn, void *ctx, enum log_level least)
{
    pthread_mutex_lock(&lock);
    sink = fn ? fn : to_stderr;
    sink_ctx = ctx;
    least_level = least;
    pthread_mutex_unlock(&lock);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    for (char *p = line; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
    pthread_mutex_lock(&lock);
    if (level >= least_level)
        sink(sink_ctx, level, line);
    pthread_mutex_unlock(&lock);
}
