/* jobs.c - see jobs.h. */
#include "tests/support/jobs.h"

#include <string.h>
#include <unistd.h>

#include "engine/tasks/tasks.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/thread.h"
#include "tests/support/test.h"

struct worker *worker_for_test(struct worker_options *o)
{
    static const struct random_model tiny = {"tiny", "f32", 1};
    struct worker *w;
    if (!o->backend)
        o->backend = &backend_cpu;
    if (!o->random && !o->model_path && !o->model)
        o->random = &tiny;
    if (!o->limits.max_seqs)
        o->limits.max_seqs = 4;
    if (!o->limits.step_seconds)
        o->limits.step_seconds = 0.05;
    if (!o->queue_limit)
        o->queue_limit = 100;
    if (!o->task)
        o->task = &task_generate;
    assert_int_equal(worker_start(o, &w), OK);
    struct engine_progress p = wait_while(w, ENGINE_LOADING);
    if (p.state != ENGINE_READY)
        fail_msg("%s", p.message);
    return w;
}

struct engine_progress wait_while(struct worker *w, enum engine_state state)
{
    struct engine_progress p;
    for (worker_progress(w, &p); p.state == state; worker_progress(w, &p))
        usleep(200);
    return p;
}

struct job_spec greedy_spec(const int32_t *prompt, int n, int max)
{
    struct job_spec s = {.prompt = {(int32_t *)prompt, n},
                         .n = 1,
                         .max_tokens = max,
                         .max_tokens_given = true,
                         .ignore_eos = true,
                         .top_logprobs = 0};
    sampling_default(&s.sampling);
    s.sampling.temperature = 0;
    return s;
}

static void on_wake(void *ctx)
{
    struct running *r = ctx;
    pthread_mutex_lock(&r->lock);
    r->wake = true;
    pthread_cond_signal(&r->woken);
    pthread_mutex_unlock(&r->lock);
}

enum status running_start(struct running *r, struct worker *w, const struct job_spec *spec)
{
    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    cond_init(&r->woken);
    r->n = spec->n;
    r->answer = xcalloc((size_t)spec->n, sizeof *r->answer);
    TRY(w->opt.task->check(w->model, &w->limits, spec));
    struct job *j = job_new(spec, on_wake, r);
    enum status s = worker_submit(w, j);
    if (s != OK) {
        job_unref(j);
        job_unref(j);
        return s;
    }
    r->job = j;
    return OK;
}

static void take(struct running *r, const struct event *e)
{
    struct answer *a = &r->answer[e->choice];
    switch (e->kind) {
    case EVENT_PROGRESS:
        r->n_progress++;
        break;
    case EVENT_PROMPT:
        r->scored = xcalloc((size_t)e->n_tokens, sizeof *r->scored);
        r->n_scored = e->n_tokens;
        for (int i = 0; i < e->n_tokens; i++)
            r->scored[i] = e->token[i].logprob;
        break;
    case EVENT_TEXT:
        buf_append(&a->text, e->text.p, e->text.n);
        for (int i = 0; i < e->n_tokens && a->n < JOBS_MAX_TOKENS; i++) {
            a->logprob[a->n] = e->token[i].logprob;
            a->token[a->n++] = e->token[i].token;
        }
        break;
    case EVENT_FINISH:
        a->reason = e->reason;
        r->n_finished++;
        break;
    case EVENT_DONE:
        r->usage = e->usage;
        r->done = true;
        break;
    case EVENT_ERROR:
        r->status = e->status;
        strncpy(r->message, e->message, sizeof r->message - 1);
        r->done = true;
        break;
    }
}

bool running_poll(struct running *r)
{
    struct event e;
    while (!r->done && job_next(r->job, &e))
        take(r, &e);
    return r->done;
}

void running_wait(struct running *r)
{
    double end = clock_now() + 30;
    while (!running_poll(r)) {
        pthread_mutex_lock(&r->lock);
        while (!r->wake && clock_now() < end)
            cond_wait_for(&r->woken, &r->lock, 1);
        r->wake = false;
        pthread_mutex_unlock(&r->lock);
        if (clock_now() >= end)
            fail_msg("the job did not end within 30 s");
    }
}

void running_clear(struct running *r)
{
    job_put(r->job);
    for (int i = 0; i < r->n; i++)
        buf_clear(&r->answer[i].text);
    xfree(r->answer);
    xfree(r->scored);
    pthread_cond_destroy(&r->woken);
    pthread_mutex_destroy(&r->lock);
}

void run_job(struct worker *w, const struct job_spec *spec, struct running *r)
{
    assert_int_equal(running_start(r, w, spec), OK);
    running_wait(r);
}

void wait_until_idle(struct worker *w)
{
    double end = clock_now() + 10;
    while (!worker_idle(w) || gauge_get(&w->stats.kv_pages_used) > 0) {
        if (clock_now() > end)
            fail_msg("the worker still has jobs or %lld pages",
                     (long long)gauge_get(&w->stats.kv_pages_used));
        usleep(1000);
    }
}
