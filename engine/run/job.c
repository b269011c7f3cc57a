/* job.c - see job.h. */
#include "engine/run/job.h"

#include <string.h>

#include "engine/run/worker.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

static void *copy_array(struct arena *a, const void *src, size_t bytes)
{
    if (!src || bytes == 0)
        return NULL;
    void *p = arena_alloc(a, bytes);
    memcpy(p, src, bytes);
    return p;
}

struct job *job_new(const struct job_spec *spec, void (*wake)(void *), void *ctx)
{
    struct job *j = xcalloc(1, sizeof *j);
    arena_init(&j->arena, 0);
    struct job_spec *s = &j->spec;
    *s = *spec;
    s->prompt.id = copy_array(&j->arena, spec->prompt.id, sizeof(int32_t) * (size_t)spec->prompt.n);
    s->sampling.bias = copy_array(&j->arena, spec->sampling.bias,
                                  sizeof(struct logit_bias) * (size_t)spec->sampling.n_bias);
    s->stop_token =
        copy_array(&j->arena, spec->stop_token, sizeof(int32_t) * (size_t)spec->n_stop_token);
    struct bytes *stop =
        copy_array(&j->arena, spec->stop, sizeof(struct bytes) * (size_t)spec->n_stop);
    for (int i = 0; i < spec->n_stop; i++)
        stop[i].p = arena_strndup(&j->arena, spec->stop[i].p, spec->stop[i].n);
    s->stop = stop;
    if (spec->request_id)
        s->request_id = arena_strndup(&j->arena, spec->request_id, strlen(spec->request_id));
    pthread_mutex_init(&j->lock, NULL);
    j->wake = wake;
    j->wake_ctx = ctx;
    j->submitted = clock_now();
    atomic_init(&j->refs, 2);
    return j;
}

static void node_free(struct event_node *n)
{
    if (!n)
        return;
    buf_clear(&n->text);
    xfree(n->token);
    xfree(n->top);
    xfree(n);
}

void job_unref(struct job *j)
{
    if (atomic_fetch_sub(&j->refs, 1) != 1)
        return;
    for (struct event_node *n = j->head, *next; n; n = next) {
        next = n->next;
        node_free(n);
    }
    node_free(j->taken);
    pthread_mutex_destroy(&j->lock);
    arena_clear(&j->arena);
    xfree(j);
}

void job_attach(struct job *j, struct worker *w)
{
    pthread_mutex_lock(&j->lock);
    j->worker = w;
    pthread_mutex_unlock(&j->lock);
}

/* Appends the event's text and tokens to the node. */
static void node_add(struct event_node *n, const struct event *ev)
{
    buf_append(&n->text, ev->text.p, ev->text.n);
    size_t stride = (size_t)n->top_stride;
    if (n->n_tokens + ev->n_tokens > n->cap) {
        n->cap = (n->n_tokens + ev->n_tokens) * 2;
        n->token = xrealloc(n->token, sizeof *n->token * (size_t)n->cap);
        n->top = xrealloc(n->top, sizeof *n->top * (size_t)n->cap * stride);
    }
    for (int i = 0; i < ev->n_tokens; i++, n->n_tokens++) {
        const struct token_info *t = &ev->token[i];
        n->token[n->n_tokens] = *t;
        if (t->n_top > 0)
            memcpy(n->top + (size_t)n->n_tokens * stride, t->top,
                   sizeof *t->top * (size_t)t->n_top);
    }
}

static size_t node_bytes(const struct event_node *n)
{
    return n->text.len + (size_t)n->n_tokens * sizeof(struct token_info);
}

static struct event_node *node_append(struct job *j, const struct event *ev)
{
    struct event_node *n = xcalloc(1, sizeof *n);
    n->ev = *ev;
    n->top_stride = j->spec.top_logprobs > 0 ? j->spec.top_logprobs : 1;
    if (ev->message)
        n->ev.message = arena_strndup(&j->arena, ev->message, strlen(ev->message));
    if (j->tail)
        j->tail->next = n;
    else
        j->head = n;
    j->tail = n;
    return n;
}

void job_emit(struct job *j, const struct event *ev)
{
    pthread_mutex_lock(&j->lock);
    if (!j->orphan) {
        bool was_empty = !j->head;
        struct event_node *n = j->tail;
        if (!n || ev->kind != EVENT_TEXT || n->ev.kind != EVENT_TEXT || n->ev.choice != ev->choice)
            n = node_append(j, ev);
        size_t before = node_bytes(n);
        node_add(n, ev);
        j->backlog += node_bytes(n) - before;
        if (was_empty && j->wake)
            j->wake(j->wake_ctx);
    }
    pthread_mutex_unlock(&j->lock);
}

void job_fail(struct job *j, enum status s, const char *message)
{
    if (j->ended)
        return;
    j->ended = true;
    struct event ev = {.kind = EVENT_ERROR, .status = s, .message = message};
    job_emit(j, &ev);
}

bool job_has_room(struct job *j)
{
    pthread_mutex_lock(&j->lock);
    bool room = j->backlog < JOB_BACKLOG_MAX;
    j->throttled = !room;
    pthread_mutex_unlock(&j->lock);
    return room;
}

/* Makes the first event the taken one, its pointers valid. Under the lock; head is not NULL. */
static void take(struct job *j, struct event *out)
{
    struct event_node *n = j->head;
    node_free(j->taken);
    j->taken = n;
    j->head = n->next;
    if (!j->head)
        j->tail = NULL;
    j->backlog -= node_bytes(n);
    for (int i = 0; i < n->n_tokens; i++)
        n->token[i].top = n->top + (size_t)i * (size_t)n->top_stride;
    n->ev.text = (struct bytes){n->text.data, n->text.len};
    n->ev.token = n->token;
    n->ev.n_tokens = n->n_tokens;
    *out = n->ev;
}

bool job_next(struct job *j, struct event *out)
{
    pthread_mutex_lock(&j->lock);
    bool any = j->head != NULL;
    if (any) {
        take(j, out);
        if (j->throttled && j->backlog < JOB_BACKLOG_MAX / 2) {
            j->throttled = false;
            worker_notify(j->worker);
        }
    }
    pthread_mutex_unlock(&j->lock);
    return any;
}

void job_cancel(struct job *j)
{
    if (atomic_exchange(&j->cancelled, true))
        return;
    pthread_mutex_lock(&j->lock);
    worker_notify(j->worker);
    pthread_mutex_unlock(&j->lock);
}

void job_put(struct job *j)
{
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->orphan = true;
    j->wake = NULL;
    pthread_mutex_unlock(&j->lock);
    job_cancel(j);
    job_unref(j);
}

void sampling_default(struct sampling *s)
{
    *s = (struct sampling){.temperature = 1, .top_p = 1, .repetition = 1};
}
