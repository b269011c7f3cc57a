/* status.c - the last failure of each thread.
 *
 * The message is formatted into a scratch buffer first: its arguments may point at the message that
 * stands there already (`fail(s, "...: %s", fail_text())`). Longer messages are cut, never refused.
 */
#include "kernels/base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 1024, FIELD_MAX = 160 };

static _Thread_local char last_text[TEXT_MAX];
static _Thread_local char last_field[FIELD_MAX]; /* "": none */

static void record(const char *fmt, va_list ap)
{
    char text[TEXT_MAX];

    vsnprintf(text, sizeof text, fmt, ap);
    memcpy(last_text, text, sizeof text);
}

enum status fail(enum status s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    record(fmt, ap);
    va_end(ap);
    last_field[0] = '\0';
    return s;
}

enum status fail_field(enum status s, const char *field, const char *fmt, ...)
{
    char name[FIELD_MAX];
    va_list ap;

    snprintf(name, sizeof name, "%s", field ? field : "");
    va_start(ap, fmt);
    record(fmt, ap);
    va_end(ap);
    memcpy(last_field, name, sizeof name);
    return s;
}

enum status fail_in(enum status s, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof text)
        snprintf(text + n, sizeof text - (size_t)n, ": %s", last_text);
    memcpy(last_text, text, sizeof text);
    return s;
}

const char *fail_text(void)
{
    return last_text;
}

const char *fail_field_name(void)
{
    return last_field[0] ? last_field : NULL;
}

const char *status_name(enum status s)
{
#define STATUS_NAME(code, name) [code] = name,
    static const char *const names[N_STATUS] = {STATUS_LIST(STATUS_NAME)};
#undef STATUS_NAME

    return (unsigned)s < N_STATUS ? names[s] : "unknown_status";
}
