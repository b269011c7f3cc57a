/* health.c - live: the process answers. ready: a generation would be accepted. The HTTP status is
 * the contract; the bodies are for people. */
#include "api/health.h"

#include <string.h>

#include "kernels/base/json.h"

enum status health_live(struct api *a, struct call *c)
{
    (void)a;
    buf_puts(&c->out, "{\"object\":\"health.response\",\"message\":\"live\",\"status\":\"live\"}");
    call_reply_json(c, 200);
    return OK;
}

enum status health_ready(struct api *a, struct call *c)
{
    static const char *const name[] = {[ENGINE_LOADING] = "loading",
                                       [ENGINE_READY] = "ready",
                                       [ENGINE_DRAINING] = "draining",
                                       [ENGINE_FAILED] = "failed"};
    struct engine_progress p;
    const char *message;
    bool ready;

    engine_progress(a->engine, &p);
    ready = p.state == ENGINE_READY;
    message = p.state == ENGINE_FAILED ? p.message : name[p.state];
    buf_puts(&c->out, "{\"object\":\"health.response\",\"message\":");
    json_write_string(&c->out, message, strlen(message));
    buf_printf(&c->out, ",\"status\":\"%s\",\"ready\":%s", name[p.state], ready ? "true" : "false");
    if (p.state == ENGINE_LOADING) {
        buf_puts(&c->out, ",\"stage\":");
        json_write_string(&c->out, p.stage, strlen(p.stage));
        buf_puts(&c->out, ",\"progress\":");
        json_write_number(&c->out, p.done);
        call_add_header(c, "Retry-After", "2");
    }
    buf_putc(&c->out, '}');
    call_reply_json(c, ready ? 200 : 503);
    return OK;
}
