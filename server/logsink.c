/* logsink.c - one write(2) a line, so that lines of several threads never mix.
 *
 *   2026-11-21T11:14:18.123Z INFO  message
 *   {"time":"2026-11-21T11:14:18.123Z","level":"INFO","message":"message"} */
#include "server/logsink.h"

#include <string.h>
#include <unistd.h>

#include "kernels/base/json.h"

static const char *const level_name[] = {"DEBUG", "INFO", "WARN", "ERROR"};

void logsink_format(struct buf *b, bool json, enum log_level level, struct timespec at,
                    const char *line)
{
    struct tm t;
    char when[40];
    gmtime_r(&at.tv_sec, &t);
    size_t n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &t);
    when[n] = '\0';
    if (json) {
        buf_printf(b, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"message\":", when,
                   at.tv_nsec / 1000000, level_name[level]);
        json_write_string(b, line, strlen(line));
        buf_puts(b, "}\n");
    } else {
        buf_printf(b, "%s.%03ldZ %-5s %s\n", when, at.tv_nsec / 1000000, level_name[level], line);
    }
}

static void sink(void *ctx, enum log_level level, const char *line)
{
    struct buf b = {0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    logsink_format(&b, ctx != NULL, level, now, line);
    for (size_t at = 0; at < b.len;) {
        ssize_t n = write(STDERR_FILENO, b.data + at, b.len - at);
        if (n <= 0)
            break; /* nobody reads the log: there is nowhere to say so */
        at += (size_t)n;
    }
    buf_clear(&b);
}

void logsink_open(bool json, const char *level)
{
    static const char *const word[] = {"debug", "info", "warn", "error"};
    static char is_json;
    enum log_level least = LOG_INFO;
    for (int i = 0; i < 4; i++)
        if (!strcmp(level, word[i]))
            least = (enum log_level)i;
    log_set_sink(sink, json ? &is_json : NULL, least);
}
