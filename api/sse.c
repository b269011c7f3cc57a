/* sse.c - see sse.h. */
#include "api/sse.h"

#include "api/call.h"
#include "api/errors.h"
#include "kernels/base/log.h"

void sse_open(struct call *c)
{
    c->status = 200;
    c->type = "text/event-stream; charset=utf-8";
    call_add_header(c, "Cache-Control", "no-cache");
    call_add_header(c, "X-Accel-Buffering", "no"); /* nginx would hold frames back */
    c->phase = PHASE_STREAM;
}

void sse_begin(struct buf *out)
{
    buf_puts(out, "data: ");
}

void sse_end(struct buf *out)
{
    buf_puts(out, "\n\n");
}

void sse_done(struct call *c)
{
    buf_puts(&c->out, "data: [DONE]\n\n");
    c->phase = PHASE_END;
}

void sse_fail(struct call *c, enum status s)
{
    log_error("request %s: failed in its stream: %s: %s", c->id, status_name(s), fail_text());
    sse_begin(&c->out);
    errors_write(s, &c->out);
    sse_end(&c->out);
    c->phase = PHASE_END;
}

void sse_comment(struct buf *out, const char *text)
{
    buf_printf(out, ": %s\n\n", text);
}
