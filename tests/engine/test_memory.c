/* test_memory.c - between READY and the end a device takes no memory: whatever steps come, the
 * worker's thread and those of the CPU allocate nothing that is larger than a job's own lists. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/isa.h"
#include "tests/support/jobs.h"
#include "tests/support/test.h"

enum { LONG = 1100, MANY = 5, ROWS = 96 };

static atomic_size_t times, most;

/* Of the device's threads only: tests and clients take what they like. */
static void count(size_t bytes)
{
    char name[16] = "";

    pthread_getname_np(pthread_self(), name, sizeof name);
    if (strcmp(name, "worker") != 0 && strncmp(name, "cpu ", 4) != 0)
        return;
    atomic_fetch_add(&times, 1);
    if (bytes > atomic_load(&most))
        atomic_store(&most, bytes);
}

static void fill(int32_t *prompt, int n, int seed)
{
    for (int i = 0; i < n; i++)
        prompt[i] = (i * 7 + seed * 13 + i * i) % 250;
}

/* A step full of rows; `at_length`: then many at once whose prompts fill whole steps and stay long;
 * then one alone, with pieces of its context shared out; choices, and everything a sampler has. */
static void work(struct worker *w, bool at_length)
{
    static int32_t prompt[MANY][LONG];
    static const struct logit_bias bias[] = {{3, 1}};
    struct running r[MANY];
    struct job_spec s;

    for (int i = 0; i < MANY; i++)
        fill(prompt[i], LONG, i);
    s = greedy_spec(prompt[0], ROWS, 3);
    run_job(w, &s, &r[0]);
    running_clear(&r[0]);
    if (!at_length)
        return;
    for (int i = 0; i < MANY; i++) {
        s = greedy_spec(prompt[i], i == 0 ? LONG : 200 * i, 4);
        assert_int_equal(running_start(&r[i], w, &s), OK);
    }
    for (int i = 0; i < MANY; i++) {
        running_wait(&r[i]);
        running_clear(&r[i]);
    }
    s = greedy_spec(prompt[0], LONG, 8);
    run_job(w, &s, &r[0]);
    running_clear(&r[0]);
    s = greedy_spec(prompt[1], 40, 6);
    s.n = 4;
    s.top_logprobs = 20;
    s.prompt_logprobs = true;
    s.sampling = (struct sampling){.temperature = 1,
                                   .top_p = 0.9f,
                                   .top_k = 40,
                                   .min_p = 0.01f,
                                   .presence = 0.5f,
                                   .frequency = 0.5f,
                                   .repetition = 1.1f,
                                   .has_seed = true,
                                   .bias = bias,
                                   .n_bias = 1};
    run_job(w, &s, &r[0]);
    assert_int_equal(r[0].status, OK);
    running_clear(&r[0]);
    wait_until_idle(w);
}

static void serve(const char *isa, int threads, const char *shape, const char *format)
{
    bool at_length = strcmp(shape, "mini") == 0;
    struct random_model model = {shape, format, 1};
    struct worker_options o = {.device = {.isa = isa, .threads = threads},
                               .random = &model,
                               .limits = {.max_rows = ROWS,
                                          .kv_dtype = threads == 3 ? DT_F32 : DT_BF16,
                                          .prefix_cache = true}};
    struct worker *w;

    atomic_store(&times, 0);
    mem_watch(count);
    w = worker_for_test(&o);
    assert_true(atomic_load(&times) > 0); /* the regions, and what the CPU's ops need beside them */
    atomic_store(&times, 0);
    atomic_store(&most, 0);
    work(w, at_length);
    if (atomic_load(&times) > 0)
        fail_msg("%s, %d threads, %s: %zu allocations after READY, the largest of %zu bytes",
                 isa ? isa : "best", threads, format, atomic_load(&times), atomic_load(&most));
    mem_watch(NULL);
    worker_stop(w);
}

static void nothing_is_taken_after_ready(void **state)
{
    (void)state;
    serve(NULL, 2, "mini", "q8_0");
    serve(NULL, 3, "mini", "f32");
    if (RACES_ONLY)
        return;
    serve(NULL, 1, "tiny", "q4_k");
    if (isa_select("avx2"))
        serve("avx2", 2, "mini", "bf16");
    serve("scalar", 2, "mini", "q4_0");
    serve("scalar", 1, "tiny", "f32"); /* what linear needs is more than the others do */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_taken_after_ready)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
