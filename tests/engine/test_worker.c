/* The worker beside text generation: a task without slots, pages or network steps, and a network
 * whose layers remember in two ways. What both need is all that the worker may know. */
#include "engine/run/worker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/support/jobs.h"
#include "tests/support/late.h"
#include "tests/support/recurrent.h"
#include "tests/support/test.h"

/* ---- a task without slots: counts to max_tokens, one number a step, jobs in turn ------------- */

struct counting {
    struct job *job;
    int64_t done;
};
struct task_state {
    struct worker *w;
    struct counting at[64];
    int n, turn, steps;
};

static enum status count_plan(struct model *m, const struct device_info *dev, struct limits *l,
                              struct need *n)
{
    (void)m;
    (void)dev;
    l->context = 1;
    memset(n, 0, sizeof *n);
    n->bytes[REGION_ROWS] = 4096;
    return OK;
}

static enum status count_open(struct worker *w, struct task_state **out)
{
    *out = xcalloc(1, sizeof **out);
    (*out)->w = w;
    return OK;
}

static void count_close(struct task_state *s)
{
    xfree(s);
}

static enum status count_check(const struct model *m, const struct limits *l,
                               const struct job_spec *spec)
{
    (void)m;
    (void)l;
    return spec->max_tokens > 0 ? OK : fail_field(ERR_INVALID, "max_tokens", "must be above 0");
}

static void count_submit(struct task_state *s, struct job *j)
{
    s->at[s->n++] = (struct counting){j, 0};
    worker_job_started(s->w);
}

static void count_leave(struct task_state *s, int i)
{
    struct job *j = s->at[i].job;
    s->at[i] = s->at[--s->n];
    worker_job_ended(s->w, j, false);
}

static bool count_pick(struct task_state *s, struct step *step)
{
    for (int i = s->n - 1; i >= 0; i--)
        if (atomic_load(&s->at[i].job->cancelled)) {
            job_fail(s->at[i].job, ERR_CANCELLED, "cancelled");
            count_leave(s, i);
        }
    if (s->n == 0)
        return false;
    s->turn = (s->turn + 1) % s->n;
    *step = (struct step){.task = s->w->opt.task, .state = s, .rows = 1};
    return true;
}

static enum status count_launch(struct task_state *s, struct step *step)
{
    (void)step;
    s->steps++;
    return OK;
}

static enum status count_finish(struct task_state *s, struct step *step)
{
    (void)step;
    if (s->n == 0)
        return OK;
    int i = s->turn % s->n;
    struct counting *c = &s->at[i];
    char text[24];
    snprintf(text, sizeof text, "%lld ", (long long)++c->done);
    job_emit(c->job, &(struct event){.kind = EVENT_TEXT, .text = bytes_of(text)});
    if (c->done < c->job->spec.max_tokens)
        return OK;
    job_emit(c->job, &(struct event){.kind = EVENT_FINISH, .reason = FINISH_LENGTH});
    job_emit(c->job, &(struct event){.kind = EVENT_DONE});
    count_leave(s, i);
    return OK;
}

static void count_abort(struct task_state *s, enum status why, const char *message)
{
    while (s->n > 0) {
        job_fail(s->at[0].job, why, message);
        count_leave(s, 0);
    }
}

static const struct task task_count = {.name = "count",
                                       .plan = count_plan,
                                       .open = count_open,
                                       .close = count_close,
                                       .check = count_check,
                                       .submit = count_submit,
                                       .pick = count_pick,
                                       .launch = count_launch,
                                       .finish = count_finish,
                                       .abort = count_abort};

static struct worker *counting_worker(const struct backend *b)
{
    struct worker_options o = {.backend = b, .task = &task_count};
    return worker_for_test(&o);
}

static void a_task_needs_no_slots(void **state)
{
    struct worker *w = counting_worker(*state);
    struct running r[10];
    int32_t any = 1;
    for (int i = 0; i < 10; i++) {
        struct job_spec s = greedy_spec(&any, 1, 5 + i);
        assert_int_equal(running_start(&r[i], w, &s), OK);
    }
    for (int i = 0; i < 10; i++) {
        running_wait(&r[i]);
        assert_int_equal(r[i].status, OK);
        assert_memory_equal(r[i].answer[0].text.data, "1 2 3 4 5 ", 10);
        assert_int_equal(r[i].n_finished, 1);
        running_clear(&r[i]);
    }
    struct job_spec bad = greedy_spec(&any, 1, 0);
    assert_int_equal(running_start(&r[0], w, &bad), ERR_INVALID);
    running_clear(&r[0]);
    wait_until_idle(w);
    worker_stop(w);
}

static void a_step_in_flight_survives_its_job(void **state)
{
    struct worker *w = counting_worker(*state);
    int32_t any = 1;
    for (int i = 0; i < 20; i++) {
        struct running r;
        struct job_spec s = greedy_spec(&any, 1, 1000000);
        assert_int_equal(running_start(&r, w, &s), OK);
        usleep((useconds_t)(i * 50));
        job_cancel(r.job);
        running_wait(&r);
        assert_int_equal(r.status, ERR_CANCELLED);
        running_clear(&r);
    }
    wait_until_idle(w);
    worker_stop(w);
}

/* ---- a network with a state beside its pages ------------------------------------------------- */

static void run_recurrent(const struct backend *b, int seqs, int rows, struct running *r, int n)
{
    struct worker_options o = {
        .backend = b,
        .model = recurrent_model(),
        .limits = {.max_seqs = seqs, .max_rows = rows, .prefix_cache = true, .kv_dtype = DT_F32}};
    struct worker *w = worker_for_test(&o);
    int32_t prompt[64];
    for (int k = 0; k < 64; k++)
        prompt[k] = (int32_t)(rng_philox(5, (uint64_t)k, 0).v[0] % 256);
    for (int i = 0; i < n; i++) {
        struct job_spec s = greedy_spec(
            prompt, 20 + 4 * i, 30); /* beginnings of one text: pages alone would be found again */
        s.n = i == 1 ? 3 : 1;
        assert_int_equal(running_start(&r[i], w, &s), OK);
        if (seqs == 1)
            running_wait(&r[i]);
    }
    for (int i = 0; i < n; i++) {
        running_wait(&r[i]);
        assert_int_equal(r[i].status, OK);
        assert_int_equal(r[i].usage.cached, 0);
    }
    wait_until_idle(w);
    for (int i = 0; i < n; i++) {
        job_put(r[i].job);
        r[i].job = NULL;
    }
    worker_stop(w);
}

static void state_and_pages_side_by_side(void **state)
{
    enum { N = 8 };
    struct running alone[N], company[N];
    run_recurrent(&backend_cpu, 1, 0, alone, N);
    assert_memory_not_equal(alone[0].answer[0].token, alone[7].answer[0].token,
                            30 * sizeof(int32_t));
    run_recurrent(*state, 3, 16, company, N);
    for (int i = 0; i < N; i++) {
        for (int c = 0; c < alone[i].n; c++) {
            assert_int_equal(company[i].answer[c].n, 30);
            assert_memory_equal(company[i].answer[c].token, alone[i].answer[c].token,
                                30 * sizeof(int32_t));
            assert_memory_equal(company[i].answer[c].logprob, alone[i].answer[c].logprob,
                                30 * sizeof(float));
        }
        running_clear(&alone[i]);
        running_clear(&company[i]);
    }
}

/* ---- loading that fails ---------------------------------------------------------------------- */

static int states_seen;
static void on_state(void *ctx)
{
    (void)ctx;
    states_seen++;
}

static void a_failed_load_is_told(void **state)
{
    (void)state;
    struct worker_options o = {.backend = &backend_cpu,
                               .model_path = "tests/no-such-file.gguf",
                               .task = &task_count,
                               .on_state = on_state,
                               .queue_limit = 1};
    struct worker *w;
    struct engine_progress p;
    states_seen = 0;
    assert_int_equal(worker_start(&o, &w), OK);
    do {
        usleep(1000);
        worker_progress(w, &p);
    } while (p.state == ENGINE_LOADING);
    assert_int_equal(p.state, ENGINE_FAILED);
    assert_non_null(strstr(p.message, "no-such-file.gguf"));
    assert_int_equal(p.error, ERR_NOT_FOUND);
    int32_t any = 1;
    struct job_spec s = greedy_spec(&any, 1, 1);
    struct job *j = job_new(&s, NULL, NULL);
    assert_int_equal(worker_submit(w, j), ERR_LOADING);
    job_unref(j);
    job_unref(j);
    worker_stop(w);
    assert_true(states_seen >= 2);
}

#define ON(test, backend)                                                                          \
    {                                                                                              \
#test " on " #backend, test, setup_##backend, NULL, NULL                                   \
    }

static int setup_cpu(void **state)
{
    *state = (void *)&backend_cpu;
    return 0;
}

static int setup_late(void **state)
{
    *state = (void *)&backend_late;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(a_task_needs_no_slots, cpu),
        ON(a_task_needs_no_slots, late),
        ON(a_step_in_flight_survives_its_job, cpu),
        ON(a_step_in_flight_survives_its_job, late),
        ON(state_and_pages_side_by_side, cpu),
        ON(state_and_pages_side_by_side, late),
        cmocka_unit_test(a_failed_load_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
