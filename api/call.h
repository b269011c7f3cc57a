/* call.h - what endpoints share: the api's own state, and how they read and answer a call. */
#ifndef API_CALL_H
#define API_CALL_H

#include <pthread.h>

#include "api/api.h"
#include "api/routes.h"

enum { STATUS_CLASSES = 5 }; /* 1xx .. 5xx */

struct api {
    struct engine *engine;
    struct api_options o; /* its strings and lists are copies */
    double started;       /* clock_now() */
    int64_t started_unix;
    /* any thread: */
    struct counter requests[MAX_ROUTES + 1][STATUS_CLASSES]; /* by route; the last: no route */
    struct counter finished[FINISH_LENGTH + 1];              /* choices, by enum finish */
};

/* Rings when a job has an event: remembers it, and wakes the call. Its lock makes "no event came
 * since the last look, so suspend" one step for a call with any number of jobs. Lock order: job,
 * bell, then whatever the server's wake and suspend take. */
struct bell {
    pthread_mutex_t lock;
    bool rung; /* an event came since bell_still */
    void (*wake)(void *);
    void *ctx;
};
struct bell *bell_new(struct arena *a, void (*wake)(void *), void *ctx);
void bell_ring(void *bell); /* the engine's `wake` */
void bell_still(struct bell *b);
bool bell_suspend(struct bell *b, void (*suspend)(void *), void *ctx); /* unless it rang */
void bell_free(struct bell *b); /* after the last job was put; the memory is the arena's */

/* The value of a request header (name in any case), or NULL. */
const char *call_header(const struct call *c, const char *name);
/* Adds a reply header; both strings must live as long as the call. */
void call_add_header(struct call *c, const char *name, const char *value);
/* `out` is the whole answer: PHASE_REPLY with this HTTP status. */
void call_reply_json(struct call *c, int http_status);
/* The loaded model; ERR_LOADING with the progress, or with the reason why loading failed. */
enum status call_model(struct api *a, const struct model **out);
/* ERR_NOT_FOUND for an id that is neither the model's nor an alias. */
enum status call_find_model(const struct api *a, const struct model *m, struct bytes id);
/* The same for a request's `model`: without --strict-model, any id will do. */
enum status call_check_model(const struct api *a, const struct model *m, struct bytes id);
/* The bytes that token ids stand for, one behind the other; arena memory. */
struct bytes call_spell(const struct model *m, const struct token_list *list, struct arena *a);

#endif
