/* job.h - one unit of work between a caller and the worker: an immutable spec, an event queue, a
 * wake-up.
 *
 * The caller owns one reference and the worker another; whoever drops the last frees it. Events are
 * added by the worker and taken by the owner under the job's lock; `wake` runs under that lock
 * whenever an event comes to an empty queue, hence no wake-up is lost. Text of a choice that nobody
 * has taken yet is merged into one event. Lock order: job, then worker. */
#ifndef ENGINE_RUN_JOB_H
#define ENGINE_RUN_JOB_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"

struct task;
struct worker;

struct event_node {
    struct event_node *next;
    struct event ev;
    struct buf text;
    struct token_info *token;  /* [n_tokens] */
    struct token_logprob *top; /* [n_tokens, top_stride] */
    int n_tokens, cap, top_stride;
};

struct job {
    struct job_spec spec; /* deep copy, in `arena`; immutable */
    struct arena arena;
    const struct task *task;
    void *state; /* the task's, worker thread only */
    double submitted;
    _Atomic bool cancelled;
    _Atomic int refs;
    bool ended;       /* worker: the last event was emitted */
    struct job *next; /* in the submit queue, then in the task's list */

    pthread_mutex_t lock;  /* guards what follows */
    struct worker *worker; /* NULL once the worker is done with the job */
    void (*wake)(void *);
    void *wake_ctx;
    struct event_node *head, *tail, *taken;
    size_t backlog; /* bytes of text and tokens nobody has taken */
    bool throttled; /* the worker left this job out because of its backlog */
    bool orphan;    /* the owner has put it: events are dropped */
};

enum { JOB_BACKLOG_MAX = 1 << 20 };

/* Deep-copies the spec. Two references. */
struct job *job_new(const struct job_spec *spec, void (*wake)(void *), void *ctx);
void job_unref(struct job *j);
/* From here on `w` is told when the owner cancels or takes events; NULL: nobody is. */
void job_attach(struct job *j, struct worker *w);

/* Worker's side. The event's pointers are copied. Merges EVENT_TEXT into an untaken one of the same
 * choice. */
void job_emit(struct job *j, const struct event *ev);
/* Ends the job with the status and message (EVENT_ERROR), once. */
void job_fail(struct job *j, enum status s, const char *message);
/* True while the owner has less than JOB_BACKLOG_MAX bytes to take; remembers a refusal, so that
 * taking wakes the worker. */
bool job_has_room(struct job *j);

#endif
