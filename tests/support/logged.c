/* logged.c - what the log says while a test listens. The log calls its sink one line at a time. */
#include "tests/support/logged.h"

#include <string.h>

static char heard[4096];
static int lines;

static void hear(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    lines++;
    strncat(heard, line, sizeof heard - strlen(heard) - 1);
}

void log_hear(enum log_level level)
{
    heard[0] = '\0';
    lines = 0;
    log_set_sink(hear, NULL, level);
}

const char *log_heard(void)
{
    return heard;
}

int log_heard_lines(void)
{
    return lines;
}

void log_unhear(void)
{
    log_set_sink(NULL, NULL, LOG_INFO);
}
