/* worker.h - the one thread that drives a device: it loads the model, then turns jobs into steps.
 *
 * It keeps up to MAX_IN_FLIGHT steps on an asynchronous device (the next is launched before the
 * last one's tokens are read) and one on a synchronous one. It sleeps when there is nothing to do.
 */
#ifndef ENGINE_RUN_WORKER_H
#define ENGINE_RUN_WORKER_H

#include <pthread.h>

#include "engine/run/fit.h"
#include "engine/run/task.h"

struct worker_options {
    const struct backend *backend;
    struct device_options device;
    const char *model_path;
    const struct random_model *random;
    struct model *model; /* instead of both: opened, its weights in place; the worker owns it */
    const char *model_name;
    bool plain_sampling; /* see struct engine_options */
    const struct task *task;
    struct limits limits;
    struct gpu_layers gpu_layers;
    const struct backend *lower; /* for the layers that are not on the device; NULL: none */
    int queue_limit;
    void (*on_state)(void *);
    void *ctx;
};

struct worker {
    struct worker_options opt;
    struct device *dev;
    struct device_info info;
    struct queue *queue;
    struct model *model;
    struct limits limits; /* settled */
    struct need need;
    void *region[N_REGION];
    struct sides on; /* both devices, where two share the network */
    void *lower_region[N_REGION];
    struct task_state *state;
    struct engine_stats stats;

    struct step ring[RING]; /* worker thread, as what follows */
    int n_in_flight, oldest;
    enum status fault; /* the device is broken for good, and */
    char why[512];     /* the message of the last error of a step */

    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct job *first, *last; /* submitted, not yet taken by the worker */
    int n_waiting;            /* jobs submitted and not yet running */
    int n_jobs;               /* jobs submitted and not yet ended */
    bool notified, quit, draining;
    struct engine_progress progress;
};

enum status worker_start(const struct worker_options *o, struct worker **out);
void worker_stop(struct worker *w); /* cancels, joins, frees */
/* Takes the job (both references stay the caller's on failure). Any thread. */
enum status worker_submit(struct worker *w, struct job *j);
/* NULL is fine. */
void worker_notify(struct worker *w); /* something changed that the worker should look at */
void worker_drain(struct worker *w);
bool worker_idle(struct worker *w);
void worker_progress(struct worker *w, struct engine_progress *out);
bool worker_ready(struct worker *w);

/* For tasks: a job left the waiting line, a job ended (the worker's reference is dropped). */
void worker_job_started(struct worker *w);
void worker_job_ended(struct worker *w, struct job *j, bool was_waiting);

#endif
