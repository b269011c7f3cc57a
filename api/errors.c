/* errors.c - one table from enum status to what HTTP and OpenAI's clients expect. The official
 * clients retry 408, 409, 429 and 5xx, and obey Retry-After: so a status says whether trying again
 * can help. */
#include "api/errors.h"

#include <string.h>

#include "api/call.h"
#include "kernels/base/json.h"
#include "kernels/base/log.h"

struct row {
    enum status status;
    const char *param; /* NULL: any field, or none */
    int http;
    const char *type, *code;
    const char *retry_after; /* seconds */
};

static const char bad[] = "invalid_request_error", busy[] = "service_unavailable_error",
                  broken[] = "server_error";

/* The first row that fits counts; the last one fits what no row names. */
/* clang-format off */
static const struct row row[] = {
    {ERR_INVALID,     NULL,    400, bad,                "invalid_value",           NULL},
    {ERR_JSON,        NULL,    400, bad,                "invalid_json",            NULL},
    {ERR_UNSUPPORTED, NULL,    400, bad,                "unsupported_value",       NULL},
    {ERR_NOT_FOUND,   "model", 404, bad,                "model_not_found",         NULL},
    {ERR_NOT_FOUND,   NULL,    404, bad,                "not_found",               NULL},
    {ERR_METHOD,      NULL,    405, bad,                "method_not_allowed",      NULL},
    {ERR_AUTH,        NULL,    401, bad,                "invalid_api_key",         NULL},
    {ERR_TOO_LARGE,   NULL,    413, bad,                "request_too_large",       NULL},
    {ERR_CONTEXT,     NULL,    400, bad,                "context_length_exceeded", NULL},
    {ERR_TEMPLATE,    NULL,    400, bad,                "template_error",          NULL},
    {ERR_QUEUE_FULL,  NULL,    429, "rate_limit_error", "queue_full",              "1"},
    {ERR_LOADING,     NULL,    503, busy,               "model_loading",           "2"},
    {ERR_DRAINING,    NULL,    503, busy,               "shutting_down",           "5"},
    {ERR_CANCELLED,   NULL,    503, busy,               "cancelled",               "5"},
    {ERR_NO_MEMORY,   NULL,    503, busy,               "out_of_memory",           "5"},
    {ERR_DEADLINE,    NULL,    504, "timeout_error",    "deadline_exceeded",       NULL},
    {ERR_INTERNAL,    NULL,    500, broken,             "internal_error",          NULL},
};
/* clang-format on */

static const struct row *find_row(enum status s, const char *param)
{
    const struct row *r = row, *last = row + sizeof row / sizeof *row - 1;

    while (r < last && !(r->status == s && (!r->param || (param && !strcmp(param, r->param)))))
        r++;
    return r;
}

static void write_string(struct buf *out, const char *s)
{
    json_write_string(out, s, strlen(s));
}

void errors_write(enum status s, struct buf *out)
{
    const char *param = fail_field_name();
    const struct row *r = find_row(s, param);

    buf_puts(out, "{\"error\":{\"message\":");
    write_string(out, fail_text());
    buf_puts(out, ",\"type\":");
    write_string(out, r->type);
    buf_puts(out, ",\"param\":");
    if (param)
        write_string(out, param);
    else
        buf_puts(out, "null");
    buf_puts(out, ",\"code\":");
    write_string(out, r->code);
    buf_puts(out, "}}");
}

void errors_reply(struct call *c, enum status s)
{
    const struct row *r = find_row(s, fail_field_name());

    if (r->http >= 500 && !r->retry_after)
        log_error("request %s: %s: %s", c->id, status_name(s), fail_text());
    buf_reset(&c->out);
    errors_write(s, &c->out);
    if (r->retry_after)
        call_add_header(c, "Retry-After", r->retry_after);
    if (s == ERR_AUTH)
        call_add_header(c, "WWW-Authenticate", "Bearer");
    call_reply_json(c, r->http);
}
