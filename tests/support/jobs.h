/* jobs.h - runs jobs on a worker in tests and collects what they emit. */
#ifndef TESTS_SUPPORT_JOBS_H
#define TESTS_SUPPORT_JOBS_H

#include "engine/run/worker.h"

enum { JOBS_MAX_TOKENS = 4096 };

struct answer { /* of one choice */
    int32_t token[JOBS_MAX_TOKENS];
    float logprob[JOBS_MAX_TOKENS];
    int n;
    struct buf text;
    enum finish reason;
};

struct running { /* a submitted job and what came of it */
    struct job *job;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool wake, done;
    struct answer *answer; /* [n] */
    int n, n_finished;
    struct usage usage;
    enum status status;
    char message[512];
    float *scored;
    int n_scored, n_progress;
};

/* A worker with random "tiny" weights, ready. Zero fields of `o` get defaults; o->limits.max_seqs
 * 0: 4. */
struct worker *worker_for_test(struct worker_options *o);
/* What it says of itself once it is in that state no more. */
struct engine_progress wait_while(struct worker *w, enum engine_state state);
/* A spec with greedy sampling, no end token, `max` tokens. Arrays are borrowed. */
struct job_spec greedy_spec(const int32_t *prompt, int n, int max);

enum status running_start(struct running *r, struct worker *w, const struct job_spec *spec);
bool running_poll(struct running *r);  /* takes what is there; true when the job is over */
void running_wait(struct running *r);  /* until it is over; fails the test after 30 s */
void running_clear(struct running *r); /* puts the job */
/* All of it. */
void run_job(struct worker *w, const struct job_spec *spec, struct running *r);
void wait_until_idle(struct worker *w); /* no job, no page in use; fails the test after 10 s */

#endif
