/* call.c - see call.h. */
#include "api/call.h"

#include <string.h>
#include <strings.h>

#include "kernels/base/log.h"

struct bell *bell_new(struct arena *a, void (*wake)(void *), void *ctx)
{
    struct bell *b = arena_calloc(a, sizeof *b);

    pthread_mutex_init(&b->lock, NULL);
    b->wake = wake;
    b->ctx = ctx;
    return b;
}

void bell_ring(void *bell)
{
    struct bell *b = bell;

    pthread_mutex_lock(&b->lock);
    b->rung = true;
    b->wake(b->ctx);
    pthread_mutex_unlock(&b->lock);
}

void bell_still(struct bell *b)
{
    pthread_mutex_lock(&b->lock);
    b->rung = false;
    pthread_mutex_unlock(&b->lock);
}

bool bell_suspend(struct bell *b, void (*suspend)(void *), void *ctx)
{
    bool quiet;

    pthread_mutex_lock(&b->lock);
    quiet = !b->rung;
    if (quiet)
        suspend(ctx);
    pthread_mutex_unlock(&b->lock);
    return quiet;
}

void bell_free(struct bell *b)
{
    if (b)
        pthread_mutex_destroy(&b->lock);
}

const char *call_header(const struct call *c, const char *name)
{
    for (int i = 0; i < c->n_head; i++) {
        if (strcasecmp(c->head[i].name, name) == 0)
            return c->head[i].value;
    }
    return NULL;
}

void call_add_header(struct call *c, const char *name, const char *value)
{
    if (c->n_reply == CALL_MAX_REPLY_HEADERS) { /* the largest set in use has five */
        log_error("reply header %s left out: no room", name);
        return;
    }
    c->reply[c->n_reply++] = (struct header){name, value};
}

void call_reply_json(struct call *c, int http_status)
{
    c->status = http_status;
    c->type = "application/json";
    c->phase = PHASE_REPLY;
}

enum status call_model(struct api *a, const struct model **out)
{
    struct engine_progress p;

    *out = engine_model(a->engine);
    if (*out)
        return OK;
    engine_progress(a->engine, &p);
    if (p.state == ENGINE_FAILED)
        return fail(ERR_LOADING, "the model is not available: %s", p.message);
    return fail(ERR_LOADING, "the model is still loading (%s, %.0f %%)", p.stage, 100 * p.done);
}

enum status call_check_model(const struct api *a, const struct model *m, struct bytes id)
{
    return a->o.strict_model ? call_find_model(a, m, id) : OK;
}

enum status call_find_model(const struct api *a, const struct model *m, struct bytes id)
{
    const char *real = model_info(m)->id;

    if (bytes_equal(id, real))
        return OK;
    for (int i = 0; i < a->o.n_aliases; i++) {
        if (bytes_equal(id, a->o.alias[i]))
            return OK;
    }
    return fail_field(ERR_NOT_FOUND, "model",
                      "the model `%.*s` does not exist here; the one being served is `%s`",
                      (int)(id.n < 128 ? id.n : 128), id.p, real);
}

struct bytes call_spell(const struct model *m, const struct token_list *list, struct arena *a)
{
    struct bytes out = {NULL, 0};
    struct buf b = {0};

    for (int i = 0; i < list->n; i++) {
        struct bytes piece = model_piece(m, list->id[i]);

        buf_append(&b, piece.p, piece.n);
    }
    out.n = b.len;
    out.p = arena_strndup(a, b.data, b.len);
    buf_clear(&b);
    return out;
}
