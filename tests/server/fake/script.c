/* script.c - the api_* functions here stand in for those of api/. An event added to an empty queue
 * wakes, under the queue's lock, as a job does. */
#include "tests/server/fake/script.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "tests/support/test.h"

struct talk { /* a queue of events that are only numbers */
    pthread_mutex_t lock;
    int made, taken, total; /* total < 0: nothing ever comes */
    bool stream;
    void (*wake)(void *);
    void *ctx;
    struct talk *next;
};

struct api {
    int unused;
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t list_changed = PTHREAD_COND_INITIALIZER;
static struct talk *list;
static bool producing;
atomic_int heads, ends, unfinished;
static pthread_t producer;

size_t api_max_body(const struct api *a)
{
    (void)a;
    return MAX_BODY;
}

static void reply(struct call *c, int status)
{
    c->status = status;
    c->type = "text/plain";
    c->phase = PHASE_REPLY;
}

static void count_call(struct call *c)
{
    c->started = clock_now();
    atomic_fetch_add(&heads, 1);
}

void api_refuse(struct api *a, struct call *c, enum status s)
{
    (void)a;
    if (!c->started) /* refused before api_head: a broken path */
        count_call(c);
    buf_reset(&c->out);
    buf_puts(&c->out, fail_text());
    reply(c, s == ERR_TOO_LARGE ? 413 : 400);
}

enum status api_head(struct api *a, struct call *c, int64_t length)
{
    count_call(c);
    if (length > MAX_BODY) {
        fail(ERR_TOO_LARGE, "announced");
        api_refuse(a, c, ERR_TOO_LARGE);
        return ERR_TOO_LARGE;
    }
    if (!strcmp(c->path, "/secret")) {
        buf_puts(&c->out, "no key");
        c->reply[c->n_reply++] = (struct header){"WWW-Authenticate", "Bearer"};
        reply(c, 401);
        return ERR_AUTH;
    }
    return OK;
}

static int number(const char *query)
{
    const char *n = strstr(query, "n=");
    return n ? (int)strtol(n + 2, NULL, 10) : 1;
}

void api_begin(struct api *a, struct call *c)
{
    (void)a;
    if (!strcmp(c->path, "/timer")) {
        c->wake_at = clock_now() + 0.05;
        c->phase = PHASE_WAIT;
        return;
    }
    if (strcmp(c->path, "/wait") && strcmp(c->path, "/stream") && strcmp(c->path, "/hang")) {
        uint64_t sum = 0;
        for (size_t i = 0; i < c->body.n; i++)
            sum = sum * 31 + (unsigned char)c->body.p[i];
        buf_printf(&c->out, "%s %s?%s %zu %llx %s %s", c->method, c->path, c->query, c->body.n,
                   (unsigned long long)sum, c->id ? c->id : "-", c->peer);
        reply(c, 200);
        return;
    }
    struct talk *t = xcalloc(1, sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    t->total = strcmp(c->path, "/hang") ? number(c->query) : -1;
    t->stream = strcmp(c->path, "/wait") != 0 && !strstr(c->query, "quiet");
    t->wake = c->wake;
    t->ctx = c->wake_ctx;
    c->state = t;
    c->phase = PHASE_WAIT;
    if (t->total < 0 && t->stream) { /* hangs in the middle of a stream */
        c->status = 200;
        c->type = "text/event-stream";
        c->phase = PHASE_STREAM;
        buf_puts(&c->out, "hello\n");
    }
    pthread_mutex_lock(&list_lock);
    t->next = list;
    list = t;
    pthread_cond_broadcast(&list_changed);
    pthread_mutex_unlock(&list_lock);
}

void api_resume(struct api *a, struct call *c)
{
    struct talk *t = c->state;
    (void)a;
    if (!t) {
        if (clock_now() >= c->wake_at)
            reply(c, 200);
        return;
    }
    pthread_mutex_lock(&t->lock);
    for (; t->taken < t->made; t->taken++)
        buf_printf(&c->out, "%d\n", t->taken);
    bool all = t->taken == t->total;
    pthread_mutex_unlock(&t->lock);
    if (!c->out.len)
        return;
    if (!t->stream && all) {
        reply(c, 200);
    } else if (t->stream) {
        c->status = 200;
        c->type = "text/event-stream";
        c->phase = all ? PHASE_END : PHASE_STREAM;
    }
}

bool api_suspend(struct api *a, struct call *c, void (*suspend)(void *), void *ctx)
{
    struct talk *t = c->state;
    (void)a;
    if (!t) {
        suspend(ctx);
        return true;
    }
    pthread_mutex_lock(&t->lock);
    bool empty = t->taken == t->made;
    if (empty)
        suspend(ctx);
    pthread_mutex_unlock(&t->lock);
    return empty;
}

void api_end(struct api *a, struct call *c)
{
    struct talk *t = c->state;
    (void)a;
    atomic_fetch_add(&ends, 1);
    if (t) {
        pthread_mutex_lock(&list_lock);
        for (struct talk **p = &list; *p; p = &(*p)->next) {
            if (*p == t) {
                *p = t->next;
                break;
            }
        }
        pthread_mutex_unlock(&list_lock);
        if (t->taken != t->total)
            atomic_fetch_add(&unfinished, 1);
        pthread_mutex_destroy(&t->lock);
        xfree(t);
    }
    buf_clear(&c->out);
    arena_clear(&c->arena);
}

/* One event for every talk, again and again, as fast as it can while there is something to do. */
static void *produce(void *arg)
{
    pthread_mutex_lock(&list_lock);
    while (producing) {
        int added = 0;
        for (struct talk *t = list; t; t = t->next) {
            pthread_mutex_lock(&t->lock);
            if (t->made < t->total) {
                added++;
                if (t->made++ == t->taken)
                    t->wake(t->ctx);
            }
            pthread_mutex_unlock(&t->lock);
        }
        if (!added)
            pthread_cond_wait(&list_changed, &list_lock);
        pthread_mutex_unlock(&list_lock); /* let api_end and api_begin in */
        pthread_mutex_lock(&list_lock);
    }
    pthread_mutex_unlock(&list_lock);
    return arg;
}

struct api *script_begin(void)
{
    static struct api one;
    heads = ends = unfinished = 0;
    producing = true;
    assert_int_equal(pthread_create(&producer, NULL, produce, NULL), 0);
    return &one;
}

void script_end(void)
{
    pthread_mutex_lock(&list_lock);
    producing = false;
    pthread_cond_broadcast(&list_changed);
    pthread_mutex_unlock(&list_lock);
    pthread_join(producer, NULL);
    assert_int_equal(heads, ends);
    assert_null(list);
}
