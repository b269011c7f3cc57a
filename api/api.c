/* api.c - the life of a call: identity, key, route, body, jobs, access line. Endpoints are in files
 * of their own; whatever one of them fails with becomes the error reply here, in one place. */
#include "api/api.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/call.h"
#include "api/errors.h"
#include "api/sse.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { ID_MAX = 128 };

/* ---- opening ---- */

static const char *const *copy_list(const char *const *list, int n)
{
    const char **copy = xcalloc((size_t)n + 1, sizeof *copy);

    for (int i = 0; i < n; i++)
        copy[i] = xstrdup(list[i]);
    return copy;
}

static void free_list(const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        xfree((void *)(uintptr_t)list[i]);
    xfree((void *)(uintptr_t)list);
}

struct api *api_open(struct engine *e, const struct api_options *o)
{
    struct api *a = xcalloc(1, sizeof *a);

    a->engine = e;
    a->o = *o;
    a->o.key = copy_list(o->key, o->n_keys);
    a->o.alias = copy_list(o->alias, o->n_aliases);
    a->o.version = xstrdup(o->version ? o->version : "");
    a->o.max_body = o->max_body ? o->max_body : (size_t)64 << 20;
    a->o.keepalive = o->keepalive > 0 ? o->keepalive : 10;
    a->started = clock_now();
    a->started_unix = clock_unix();
    return a;
}

void api_close(struct api *a)
{
    if (!a)
        return;
    free_list(a->o.key, a->o.n_keys);
    free_list(a->o.alias, a->o.n_aliases);
    xfree((void *)(uintptr_t)a->o.version);
    xfree(a);
}

size_t api_max_body(const struct api *a)
{
    return a->o.max_body;
}

/* ---- who asks for what ---- */

/* The client's id without what could break a header or a log line; a new one when nothing is left.
 */
static const char *make_id(const char *given, struct arena *a)
{
    static const char fine[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:";
    char id[ID_MAX + 1];
    size_t n = 0;

    for (const char *p = given ? given : ""; *p && n < ID_MAX; p++) {
        if (strchr(fine, *p))
            id[n++] = *p;
    }
    if (n)
        return arena_strndup(a, id, n);
    return arena_printf(a, "%016llx%016llx", (unsigned long long)rng_seed(),
                        (unsigned long long)rng_seed());
}

/* The first thing done with a call, by whichever function sees it first. */
static void call_init(struct call *c)
{
    if (c->started > 0)
        return;
    arena_init(&c->arena, 0);
    c->started = clock_now();
    c->id = make_id(c->id, &c->arena);
    call_add_header(c, "x-request-id", c->id);
}

/* Takes as long for a wrong key as for a right one of its length. */
static bool key_equal(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned diff = n != m;

    for (size_t i = 0; i < n; i++)
        diff |= (unsigned char)(a[i] ^ b[m ? i % m : 0]);
    return diff == 0;
}

static bool key_known(const struct api *a, const char *key)
{
    bool known = false;

    for (int i = 0; key && i < a->o.n_keys; i++)
        known |= key_equal(key, a->o.key[i]);
    return known;
}

static enum status check_key(const struct api *a, const struct call *c)
{
    const char *bearer = call_header(c, "authorization"), *key = call_header(c, "x-api-key");

    if (a->o.n_keys == 0 || routes_open(c->path))
        return OK;
    if (bearer && strncasecmp(bearer, "bearer ", 7) == 0)
        bearer += 7 + strspn(bearer + 7, " ");
    else
        bearer = NULL;
    if (key_known(a, bearer) || key_known(a, key))
        return OK;
    return fail(ERR_AUTH, bearer || key ? "the API key is not known here"
                                        : "an API key is needed: Authorization: Bearer KEY");
}

static enum status find_route(struct call *c)
{
    char allow[64];
    const char *id;
    enum status s = routes_find(c->method, c->path, &c->route, &id, allow);

    if (s == ERR_METHOD)
        call_add_header(c, "Allow", arena_strndup(&c->arena, allow, strlen(allow)));
    c->rest = id;
    return s;
}

static enum status too_large(const struct api *a)
{
    return fail(ERR_TOO_LARGE, "the request body is larger than the %zu bytes allowed",
                a->o.max_body);
}

enum status api_head(struct api *a, struct call *c, int64_t content_length)
{
    enum status s;

    call_init(c);
    s = check_key(a, c);
    if (s == OK)
        s = find_route(c);
    if (s == OK && content_length > 0 && (uint64_t)content_length > a->o.max_body)
        s = too_large(a);
    if (s != OK) {
        errors_reply(c, s);
        c->sent = c->out.len;
    }
    return s;
}

void api_refuse(struct api *a, struct call *c, enum status s)
{
    call_init(c);
    if (s == ERR_TOO_LARGE)
        too_large(a);
    errors_reply(c, s);
    c->sent = c->out.len;
}

/* ---- work ---- */

void api_begin(struct api *a, struct call *c)
{
    enum status s;

    if (!c->route && api_head(a, c, (int64_t)c->body.n) != OK)
        return;
    if (c->body.n > a->o.max_body)
        s = too_large(a);
    else
        s = c->route->begin(a, c);
    if (s != OK)
        errors_reply(c, s);
    c->sent = c->out.len;
}

void api_resume(struct api *a, struct call *c)
{
    size_t before = c->out.len;
    enum status s;

    if (c->phase != PHASE_WAIT && c->phase != PHASE_STREAM)
        return;
    bell_still(c->bell); /* before the look: an event that comes now rings again */
    c->wake_at = 0;
    s = c->route->resume(a, c);
    if (s != OK && c->phase == PHASE_STREAM)
        sse_fail(c, s);
    else if (s != OK)
        errors_reply(c, s);
    c->sent += c->out.len - before;
}

bool api_suspend(struct api *a, struct call *c, void (*suspend)(void *), void *ctx)
{
    (void)a;
    if (c->phase != PHASE_WAIT && c->phase != PHASE_STREAM)
        return false;
    if (c->out.len || (c->wake_at > 0 && clock_now() >= c->wake_at))
        return false;
    return bell_suspend(c->bell, suspend, ctx);
}

/* ---- the end ---- */

static void count(struct api *a, const struct call *c, int status)
{
    int row = routes_count(), class = status / 100 - 1;

    for (int i = 0; i < routes_count(); i++) {
        if (c->route == routes_at(i))
            row = i;
    }
    if (class >= 0 && class < STATUS_CLASSES)
        counter_add(&a->requests[row][class], 1);
}

/* Probes come every few seconds for as long as a container lives: they would be most of the log. */
static enum log_level line_level(const struct call *c)
{
    return c->route && c->route->open ? LOG_DEBUG : LOG_INFO;
}

void api_end(struct api *a, struct call *c)
{
    bool complete = c->phase == PHASE_REPLY || c->phase == PHASE_END;
    int status = complete ? c->status : 499; /* nginx's number for a client that left */

    call_init(c);
    count(a, c, status);
    log_line(line_level(c), "%s %s %.16s %.200s %d %llu bytes %.1f ms tokens %lld+%lld cached %lld",
             c->id, c->peer ? c->peer : "-", c->method ? c->method : "-", c->path ? c->path : "-",
             status, (unsigned long long)c->sent, 1e3 * (clock_now() - c->started),
             (long long)c->usage.prompt, (long long)c->usage.completion,
             (long long)c->usage.cached);
    for (int i = 0; i < c->n_jobs; i++)
        job_put(c->job[i]);
    bell_free(c->bell); /* nobody is left who could ring it */
    if (c->route && c->route->end)
        c->route->end(c);
    buf_clear(&c->out);
    arena_clear(&c->arena);
}
