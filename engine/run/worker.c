/* worker.c - see worker.h. */
#include "engine/run/worker.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/gpu/select.h"
#include "kernels/base/thread.h"

/* clang-format off */
static const double bounds_seconds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160};
static const double bounds_choices[] = {1, 2, 5, 10, 20};
static const double bounds_tokens[]  = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
/* clang-format on */

#define BOUNDS(b) b, (int)(sizeof b / sizeof b[0])

static void stats_init(struct engine_stats *s)
{
    struct histogram *seconds[] = {&s->ttft,      &s->itl,          &s->e2e,         &s->queue_time,
                                   &s->step_time, &s->prefill_time, &s->decode_time, &s->run_time};
    struct histogram *tokens[] = {&s->prompt_len, &s->output_len, &s->longest_len,
                                  &s->asked_tokens};
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++)
        histogram_init(seconds[i], BOUNDS(bounds_seconds));
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        histogram_init(tokens[i], BOUNDS(bounds_tokens));
    histogram_init(&s->asked_n, BOUNDS(bounds_choices));
}

/* ---- state and progress ---------------------------------------------------------------------- */

static void set_stage(struct worker *w, enum engine_state state, const char *stage, double done)
{
    pthread_mutex_lock(&w->lock);
    w->progress.state = w->draining && state == ENGINE_READY ? ENGINE_DRAINING : state;
    snprintf(w->progress.stage, sizeof w->progress.stage, "%s", stage);
    w->progress.done = done;
    pthread_mutex_unlock(&w->lock);
    if (w->opt.on_state)
        w->opt.on_state(w->opt.ctx);
}

static void set_failed(struct worker *w, enum status s)
{
    pthread_mutex_lock(&w->lock);
    w->progress.error = s;
    snprintf(w->progress.message, sizeof w->progress.message, "%s", fail_text());
    pthread_mutex_unlock(&w->lock);
    set_stage(w, ENGINE_FAILED, "failed", 0);
}

void worker_progress(struct worker *w, struct engine_progress *out)
{
    pthread_mutex_lock(&w->lock);
    *out = w->progress;
    pthread_mutex_unlock(&w->lock);
}

bool worker_ready(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    enum engine_state s = w->progress.state;
    pthread_mutex_unlock(&w->lock);
    return s == ENGINE_READY || s == ENGINE_DRAINING;
}

/* ---- loading --------------------------------------------------------------------------------- */

static void on_packed(void *ctx, double done)
{
    set_stage(ctx, ENGINE_LOADING, "packing weights", done);
}

static enum status take_regions(struct worker *w)
{
    struct device *lower = w->on.dev[SIDE_LOWER];
    w->need.bytes[REGION_WEIGHTS] = w->model->weight_bytes;
    for (int r = 0; r < N_REGION; r++) {
        if (w->need.bytes[r] > 0)
            TRY(w->opt.backend->region(w->dev, (enum region)r, w->need.bytes[r], &w->region[r]));
        if (lower && w->need.lower[r] > 0)
            TRY(lower->backend->region(lower, (enum region)r, w->need.lower[r],
                                       &w->lower_region[r]));
    }
    w->on.weights[SIDE_UPPER] = w->region[REGION_WEIGHTS];
    w->on.weights[SIDE_LOWER] = w->lower_region[REGION_WEIGHTS];
    return OK;
}

/* Those that will run: `can` was asked for the weights' formats, and is here for the heads. */
static enum status check_kernels(struct worker *w)
{
    const struct hparams *hp = &w->model->net.hp;
    const struct op_case attention = {OP_attention, DT_F32,      w->opt.limits.kv_dtype, 0,
                                      hp->n_head,   hp->head_dim};
    struct choice any;
    set_stage(w, ENGINE_LOADING, "checking kernels", 0);
    if (!w->opt.backend->can(w->dev, &attention, &any))
        return fail(ERR_UNSUPPORTED, "%s has no attention over pages of %s", w->opt.backend->name,
                    dtype_info(w->opt.limits.kv_dtype)->name);
    TRY(w->opt.backend->check(w->dev));
    w->opt.backend->info(w->dev, &w->info);
    return OK;
}

/* The memory of each device, and which layers it has. */
static enum status fit_model(struct worker *w)
{
    const struct worker_options *o = &w->opt;
    struct fit f = {.task = o->task,
                    .model = w->model,
                    .layers = o->gpu_layers,
                    .lower = o->model ? NULL : o->lower,
                    .lower_options = {.threads = o->device.threads, .isa = o->device.isa},
                    .on = {.dev = {w->dev}}};
    w->limits = o->limits;
    w->limits.free_bytes = w->info.free_bytes;
    enum status s = fit_plan(&f, &w->limits, &w->need);
    w->on = f.on;
    TRY(s);
    TRY(take_regions(w));
    return o->task->reserve ? o->task->reserve(w->model, &w->on, &w->limits, &w->need) : OK;
}

/* What computes, and which part of the network where there are two. */
static void describe_device(struct worker *w)
{
    struct arena *a = &w->model->arena;
    struct model_info *i = &w->model->info;
    struct device_info lower;
    i->gpu_layers = w->model->net.hp.n_layer - w->limits.cut;
    i->n_layers = w->model->net.hp.n_layer;
    i->device = arena_printf(a, "%s, %s", w->info.name, w->info.isa);
    if (w->info.synchronous) {
        i->device = arena_printf(a, "%s, %d threads", i->device, w->info.threads);
        i->gpu_layers = 0;
    }
    if (!w->on.dev[SIDE_LOWER])
        return;
    w->on.dev[SIDE_LOWER]->backend->info(w->on.dev[SIDE_LOWER], &lower);
    i->device = arena_printf(a, "%s, %s: the last %d of %d layers; %s, %s, %d threads: the others",
                             w->info.name, w->info.isa, i->gpu_layers, i->n_layers, lower.name,
                             lower.isa, lower.threads);
}

/* One line at start: which configuration chose the kernels, and where it comes from. */
static void describe_gpu(struct worker *w)
{
    struct arena *a = &w->model->arena;
    struct buf json = {0};
    if (!w->info.gpu)
        return;
    gpu_selected_json(&json, w->info.gpu, w->model->info.format);
    w->model->info.gpu = arena_strndup(a, json.data, json.len);
    log_info("GPU configuration: %s", gpu_selected_title(a, w->info.gpu));
    buf_clear(&json);
}

/* What the device counts by itself, for other threads to read. */
static void show_fallbacks(struct worker *w)
{
    const struct fallbacks *f = w->info.fallbacks;
    if (!f)
        return;
    gauge_set(&w->stats.other_kernels, f->kernels);
    gauge_set(&w->stats.other_algorithms, f->algorithms);
    gauge_set(&w->stats.other_products, f->products);
}

static enum status load(struct worker *w)
{
    const struct worker_options *o = &w->opt;
    w->model = o->model; /* the worker's, whatever happens */
    set_stage(w, ENGINE_LOADING, "opening device", 0);
    TRY(o->backend->open(&o->device, &w->dev));
    o->backend->info(w->dev, &w->info);
    w->queue = o->backend->queue(w->dev);
    set_stage(w, ENGINE_LOADING, "reading header", 0);
    if (!o->model)
        TRY(model_begin(o->model_path, o->random, &w->model));
    if (o->plain_sampling) {
        sampling_default(&w->model->info.sampling);
        w->model->info.max_tokens = 0;
    }
    if (o->model_name)
        w->model->info.id = arena_strndup(&w->model->arena, o->model_name, strlen(o->model_name));
    if (!o->model)
        TRY(model_place(w->model, w->dev));
    if (o->backend->check)
        TRY(check_kernels(w));
    set_stage(w, ENGINE_LOADING, "planning memory", 0);
    TRY(fit_model(w));
    on_packed(w, 0);
    model_context(w->model, w->limits.context);
    if (!o->model)
        TRY(model_load_sides(w->model, &w->on, on_packed, w));
    describe_gpu(w);
    w->model->info.context = w->limits.context;
    describe_device(w);
    show_fallbacks(w);
    return o->task->open(w, &w->state);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* A device that reports errors without end will never compute again. It is said before the requests
 * end: whoever finds the worker idle then knows whether that is all. */
static void abort_all(struct worker *w, enum status s)
{
    struct device_info now;
    snprintf(w->why, sizeof w->why, "%s", fail_text());
    log_error("%s: every running request ends: %s", status_name(s), w->why);
    w->opt.backend->info(w->dev, &now);
    if (now.fault != OK) {
        w->fault = fail(ERR_DEVICE, "%s has failed: %s", now.name, w->why);
        set_failed(w, w->fault);
    }
    w->opt.task->abort(w->state, s, w->why);
}

/* Finishes the oldest step, waiting for its fence. */
static enum status finish_oldest(struct worker *w)
{
    struct step *s = &w->ring[w->oldest];
    TRY(w->opt.backend->wait(w->queue, &s->fence));
    w->oldest = (w->oldest + 1) % RING;
    w->n_in_flight--;
    enum status st = s->task->finish(s->state, s);
    double took = clock_now() - s->launched;
    histogram_add(&w->stats.step_time, took);
    counter_add(&w->stats.steps, 1);
    counter_add(&w->stats.step_rows, (uint64_t)s->rows);
    if (took > 2 * w->limits.step_seconds)
        counter_add(&w->stats.over_budget_steps, 1);
    show_fallbacks(w);
    return st;
}

/* A step begins, or ends, on every device. */
static void begin_step(struct worker *w, bool begin)
{
    struct device *lower = w->on.dev[SIDE_LOWER];
    if (w->opt.backend->step)
        w->opt.backend->step(w->queue, begin);
    if (lower && lower->backend->step)
        lower->backend->step(lower->backend->queue(lower), begin);
}

static enum status launch(struct worker *w, struct step *s)
{
    s->launched = clock_now();
    begin_step(w, true);
    enum status st = s->task->launch(s->state, s);
    if (st == OK)
        st = w->opt.backend->record(w->queue, &s->fence);
    begin_step(w, false);
    if (st == OK)
        w->n_in_flight++;
    return st;
}

/* One round: launches a step if there is one, finishes what is done or must be. False: nothing was
 * there to do. */
static bool round_trip(struct worker *w)
{
    /* A synchronous device needs to know its tokens. */
    int depth = w->info.synchronous || w->on.dev[SIDE_LOWER] ? 1 : MAX_IN_FLIGHT;
    struct step *s = &w->ring[(w->oldest + w->n_in_flight) % RING];
    bool picked = w->n_in_flight < depth && w->opt.task->pick(w->state, s);
    enum status st = picked ? launch(w, s) : OK;
    bool finish = w->n_in_flight > 0 && (!picked || w->n_in_flight == depth);
    if (st == OK && finish)
        st = finish_oldest(w);
    if (st != OK) {
        for (; w->n_in_flight > 0; w->n_in_flight--, w->oldest = (w->oldest + 1) % RING)
            w->opt.backend->wait(w->queue, &w->ring[w->oldest].fence);
        abort_all(w, st);
    }
    return picked || finish;
}

static void take_submitted(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    struct job *j = w->first;
    w->first = w->last = NULL;
    w->notified = false;
    pthread_mutex_unlock(&w->lock);
    for (struct job *next; j; j = next) {
        next = j->next;
        j->next = NULL;
        w->opt.task->submit(w->state, j);
    }
}

static bool wait_for_work(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->notified && !w->first && !w->quit)
        pthread_cond_wait(&w->changed, &w->lock);
    bool go_on = !w->quit;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

/* Nothing more can be computed: whoever comes is told so, until somebody ends the worker. */
static void stay_failed(struct worker *w)
{
    do {
        take_submitted(w);
        w->opt.task->abort(w->state, w->fault, w->why);
    } while (wait_for_work(w));
}

static bool must_quit(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool quit = w->quit;
    pthread_mutex_unlock(&w->lock);
    return quit;
}

static void unload(struct worker *w)
{
    if (w->state) {
        while (w->n_in_flight > 0 && finish_oldest(w) == OK)
            ;
        take_submitted(w);
        w->opt.task->abort(w->state, ERR_DRAINING, "the server is shutting down");
        w->opt.task->close(w->state);
    }
    model_close(w->model);
    if (w->on.dev[SIDE_LOWER])
        w->on.dev[SIDE_LOWER]->backend->close(w->on.dev[SIDE_LOWER]);
    if (w->dev)
        w->opt.backend->close(w->dev);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    enum status s = load(w);
    if (s != OK) {
        set_failed(w, s);
    } else {
        set_stage(w, ENGINE_READY, "ready", 1);
        while (!must_quit(w) && w->fault == OK) {
            take_submitted(w);
            if (!round_trip(w) && !wait_for_work(w))
                break;
        }
        if (w->fault != OK)
            stay_failed(w);
    }
    unload(w);
    return NULL;
}

/* ---- other threads --------------------------------------------------------------------------- */

enum status worker_start(const struct worker_options *o, struct worker **out)
{
    struct worker *w = xcalloc(1, sizeof *w);
    w->opt = *o;
    stats_init(&w->stats);
    pthread_mutex_init(&w->lock, NULL);
    cond_init(&w->changed);
    enum status s = thread_start(&w->thread, "worker", worker_main, w);
    if (s != OK) {
        xfree(w);
        return s;
    }
    *out = w;
    return OK;
}

void worker_stop(struct worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    for (struct job *j = w->first, *next; j;
         j = next) { /* submitted to a worker that never got ready */
        next = j->next;
        job_attach(j, NULL);
        job_fail(j, ERR_DRAINING, "the server is shutting down");
        job_unref(j);
    }
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    xfree(w);
}

static enum status refusal(const struct worker *w)
{
    switch (w->progress.state) {
    case ENGINE_LOADING:
        return fail(ERR_LOADING, "the model is still loading (%s)", w->progress.stage);
    case ENGINE_FAILED:
        return fail(ERR_LOADING, "the model is not available: %s", w->progress.message);
    case ENGINE_DRAINING:
        return fail(ERR_DRAINING, "the server is shutting down");
    case ENGINE_READY:
        break;
    }
    if (w->n_waiting >= w->opt.queue_limit)
        return fail(ERR_QUEUE_FULL, "%d requests are waiting already; try again later",
                    w->n_waiting);
    return OK;
}

enum status worker_submit(struct worker *w, struct job *j)
{
    j->task = w->opt.task;
    job_attach(j, w);
    pthread_mutex_lock(&w->lock);
    enum status s = refusal(w);
    if (s == OK) {
        if (w->last)
            w->last->next = j;
        else
            w->first = j;
        w->last = j;
        w->n_waiting++;
        w->n_jobs++;
        gauge_set(&w->stats.waiting, w->n_waiting);
        pthread_cond_signal(&w->changed);
    } else {
        counter_add(&w->stats.jobs_rejected, 1);
    }
    pthread_mutex_unlock(&w->lock);
    return s;
}

void worker_notify(struct worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->notified = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void worker_drain(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->draining = true;
    if (w->progress.state == ENGINE_READY)
        w->progress.state = ENGINE_DRAINING;
    pthread_mutex_unlock(&w->lock);
}

bool worker_idle(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool idle = w->n_jobs == 0;
    pthread_mutex_unlock(&w->lock);
    return idle;
}

void worker_job_started(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    gauge_set(&w->stats.waiting, --w->n_waiting);
    gauge_set(&w->stats.running, w->n_jobs - w->n_waiting);
    pthread_mutex_unlock(&w->lock);
}

void worker_job_ended(struct worker *w, struct job *j, bool was_waiting)
{
    job_attach(j, NULL);
    pthread_mutex_lock(&w->lock);
    w->n_jobs--;
    w->n_waiting -= was_waiting;
    gauge_set(&w->stats.waiting, w->n_waiting);
    gauge_set(&w->stats.running, w->n_jobs - w->n_waiting);
    pthread_mutex_unlock(&w->lock);
    job_unref(j);
}
