/* api.h - REST without sockets: server/http.c hands over whole requests as bytes, api/ hands back
 * bytes.
 *
 * One call = one request. Its life:
 *   api_begin(call)  body complete (or refused early). Sets `phase`.
 *   PHASE_REPLY      status, type, reply headers and `out` are the whole answer.
 *   PHASE_WAIT       nothing to send yet: suspend the connection; after `wake` api_resume.
 *   PHASE_STREAM     status and headers are final; send `out` (then empty it) and call
 *                    api_resume for more. When that leaves `out` empty in this phase, the
 *                    connection is to be suspended until `wake`.
 *   PHASE_END        send what is left in `out`, then the answer is complete.
 *   api_end(call)    exactly once for each begun call, however it ended: cancels jobs, frees,
 *                    writes the access line.
 * A call belongs to one thread at a time (its connection's); `wake` may be called from any
 * thread. */
#ifndef API_API_H
#define API_API_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "kernels/base/arena.h"
#include "kernels/base/buf.h"

struct api;
struct route;
struct bell;

struct api_options {
    const char *const *key; /* accepted API keys; none: open to all */
    int n_keys;
    bool strict_model; /* an unknown model id is 404 */
    size_t max_body;   /* bytes; 0: 64 MiB */
    double keepalive;  /* seconds between SSE comments while nothing else is sent; 0: 10 */
    const char *version;
    const char *const *alias; /* further names of the model */
    int n_aliases;
};

enum phase { PHASE_NEW, PHASE_REPLY, PHASE_WAIT, PHASE_STREAM, PHASE_END };
struct header {
    const char *name, *value;
};
enum { CALL_MAX_REPLY_HEADERS = 8 };

struct call {
    /* request, filled by the server; borrowed until api_end */
    const char *method, *path, *query; /* path percent-decoded; query without '?', may be "" */
    const char *id; /* x-request-id given by the client, or NULL: api makes one */
    const struct header *head;
    int n_head;
    const char *peer; /* client address, for the access line */
    struct bytes body;
    void (*wake)(void *); /* set by the server: schedules api_resume */
    void *wake_ctx;
    /* work */
    const struct route *route;
    void *state; /* the endpoint's own, arena memory */
    struct job **job;
    int n_jobs;
    enum phase phase;
    double started;
    struct arena arena;
    /* reply */
    int status;
    const char *type; /* Content-Type */
    struct header reply[CALL_MAX_REPLY_HEADERS];
    int n_reply;
    struct buf out;
    double
        wake_at; /* clock_now() time at which api_resume is wanted even without an event; 0: none */
    /* api's own */
    const char *rest;   /* what "{id}" of the route's path stands for */
    struct bell *bell;  /* once jobs were submitted: rings when one has an event */
    struct usage usage; /* for the access line */
    uint64_t sent;      /* bytes of `out` in all */
};

struct api *api_open(struct engine *e, const struct api_options *o);
void api_close(struct api *a);

/* Before the body is read: checks path, method, key, and the announced length (-1: unknown). OK, or
 * a status for which the complete error reply is already in the call (phase PHASE_REPLY). */
enum status api_head(struct api *a, struct call *c, int64_t content_length);
void api_begin(struct api *a, struct call *c);
void api_resume(struct api *a, struct call *c);
/* Suspends through `suspend(ctx)` if and only if the call has nothing to send now; true when it
 * did. */
bool api_suspend(struct api *a, struct call *c, void (*suspend)(void *), void *ctx);
void api_end(struct api *a, struct call *c);
size_t api_max_body(const struct api *a);
/* The reply for a request that never became a call (malformed HTTP, body over the limit while
 * streaming): what the caller has just recorded by fail(). */
void api_refuse(struct api *a, struct call *c, enum status s);

#endif
