/* test_faults.c - what goes wrong with a GPU, and what is said and done then: none there, too old,
 * too small; one that breaks while it serves, in the worker and in the whole server. The emulator
 * has each fault to order. */
#include <cuda_runtime_api.h>
#include <dirent.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/tasks/tasks.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/cuda/cuda.h"
#include "server/cmd/cmd.h"
#include "tests/simt/cublaslt.h"
#include "tests/simt/gpu.h"
#include "tests/support/jobs.h"
#include "tests/support/test.h"

#define LLAMA "tests/data/models/llama.gguf"

static int all_well(void **state)
{
    (void)state;
    simt_faults(&(struct simt_faults){0});
    return 0;
}

static void refused(const struct simt_faults *f, enum status s, const char *why)
{
    struct device_options o = {.index = 0};
    struct device *dev;
    simt_faults(f);
    assert_int_equal(backend_cuda.open(&o, &dev), s);
    if (!strstr(fail_text(), why))
        fail_msg("\"%s\" does not say \"%s\"", fail_text(), why);
    simt_faults(&(struct simt_faults){0});
}

static void a_gpu_that_cannot_serve_says_why(void **state)
{
    (void)state;
    refused(&(struct simt_faults){.driver = -1}, ERR_NOT_FOUND, "no NVIDIA driver is installed");
    refused(&(struct simt_faults){.driver = 12040}, ERR_UNSUPPORTED,
            "the NVIDIA driver is for CUDA 12.4; this program needs 13.0, that is driver 580");
    refused(&(struct simt_faults){.devices = -1}, ERR_NOT_FOUND, "shows no GPU");
    refused(&(struct simt_faults){.cc = 70}, ERR_UNSUPPORTED,
            "SIMT CPU emulator has compute capability 7.0; CUDA 13 begins at 7.5");
    refused(&(struct simt_faults){.memory = 1 << 20}, ERR_NO_MEMORY, "has less than 64 MiB free");
}

static char logged[4096];
static void keep_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    strncat(logged, line, sizeof logged - strlen(logged) - 1);
}

/* `auto` takes the CPU and says why; `cuda` never does. */
static void auto_says_why_not(void **state)
{
    (void)state;
    const struct backend *b;
    int index;
    log_set_sink(keep_log, NULL, LOG_INFO);
    simt_faults(&(struct simt_faults){.driver = 12080});
    assert_int_equal(backend_find("auto", &b, &index), OK);
    assert_ptr_equal(b, &backend_cpu);
    assert_non_null(strstr(logged, "device auto: cpu (cuda: the NVIDIA driver is for CUDA 12.8"));
    assert_int_equal(backend_find("cuda", &b, &index), OK);
    assert_ptr_equal(b, &backend_cuda);
    logged[0] = '\0';
    simt_faults(&(struct simt_faults){0});
    assert_int_equal(backend_find(NULL, &b, &index), OK);
    assert_ptr_equal(b, &backend_cuda);
    assert_non_null(strstr(logged, "device auto: cuda"));
    log_set_sink(NULL, NULL, LOG_INFO);
}

/* The GPU breaks at its n-th kernel, while two steps may be in flight. */
static void a_broken_gpu_ends_every_request(void **state)
{
    (void)state;
    static const int after[] = {1, 40, 101};
    int32_t prompt[20];
    for (int i = 0; i < 20; i++)
        prompt[i] = 3 + i;
    for (int k = 0; k < 3; k++) {
        struct worker_options o = {.backend = &backend_cuda,
                                   .model_path = LLAMA,
                                   .device = {.gpu_cache = "build/simt/found"},
                                   .limits = {.max_seqs = 2, .kv_dtype = DT_F32}};
        struct engine_progress p;
        struct running r[4], late;
        struct job_spec s = greedy_spec(prompt, 20, 30);
        simt_mode(&(struct simt_mode){.lazy = k > 0});
        struct worker *w = worker_for_test(&o);
        simt_faults(&(struct simt_faults){.break_after = after[k]});
        for (int i = 0; i < 4; i++) { /* it may be broken before the last has come */
            enum status started = running_start(&r[i], w, &s);
            assert_true(started == OK || (i > 0 && started == ERR_LOADING));
        }
        for (int i = 0; i < 4; i++) {
            if (r[i].job) {
                running_wait(&r[i]);
                assert_int_equal(r[i].status, ERR_DEVICE);
                assert_non_null(strstr(r[i].message, "cudaErrorIllegalAddress"));
            }
            running_clear(&r[i]);
        }
        for (worker_progress(w, &p); p.state == ENGINE_READY; worker_progress(w, &p))
            usleep(1000);
        assert_int_equal(p.state, ENGINE_FAILED);
        assert_int_equal(p.error, ERR_DEVICE);
        assert_non_null(strstr(p.message, "SIMT CPU emulator has failed: cuda: "));
        assert_false(worker_ready(w));
        assert_int_equal(running_start(&late, w, &s), ERR_LOADING);
        running_clear(&late);
        worker_stop(w);
        simt_faults(&(struct simt_faults){0});
    }
    simt_mode(&(struct simt_mode){0});
}

/* ---- any call may be refused ----------------------------------------------------------------- */

enum { SOME = 6 }; /* tokens of an answer */

static int64_t unused_memory(void)
{
    size_t unused, total;
    assert_int_equal(cudaMemGetInfo(&unused, &total), cudaSuccess);
    return (int64_t)unused;
}

static int32_t words[20];
static int32_t right[SOME]; /* what comes when nothing goes wrong */

static struct worker_options sound(const char *cache)
{
    return (struct worker_options){.backend = &backend_cuda,
                                   .lower = &backend_cpu,
                                   .model_path = LLAMA,
                                   .task = &task_generate,
                                   .device = {.gpu_cache = cache},
                                   .limits = {.max_seqs = 2, .kv_dtype = DT_F32},
                                   .queue_limit = 4};
}

static struct engine_progress wait_while(struct worker *w, enum engine_state state)
{
    struct engine_progress p;
    for (worker_progress(w, &p); p.state == state; worker_progress(w, &p))
        usleep(200);
    return p;
}

static void is_right(const struct running *r)
{
    assert_int_equal(r->status, OK);
    assert_int_equal(r->answer[0].n, SOME);
    assert_memory_equal(r->answer[0].token, right, sizeof right);
}

/* Two requests at once, one perhaps cancelled, perhaps while the worker drains. */
static void two_requests(struct worker *w, int n, bool lost)
{
    struct job_spec s = greedy_spec(words, 20, SOME);
    struct running r[2];
    for (int i = 0; i < 2; i++) {
        enum status started = running_start(&r[i], w, &s);
        assert_true(started == OK || (lost && started == ERR_LOADING));
    }
    if (n % 3 == 0 && r[1].job)
        job_cancel(r[1].job);
    if (n % 5 == 0)
        worker_drain(w);
    for (int i = 0; i < 2; i++) {
        if (r[i].job) {
            running_wait(&r[i]);
            if (r[i].status == OK)
                is_right(&r[i]);
            else
                assert_true(r[i].status == ERR_DEVICE || r[i].status == ERR_NO_MEMORY ||
                            (i == 1 && n % 3 == 0 && r[i].status == ERR_CANCELLED));
        }
        running_clear(&r[i]);
    }
}

/* The n-th call that may fail does, while a worker starts or serves: whether there were as many.
 * A call that was refused once costs what was under way, a lost device the whole worker; all
 * memory comes back. */
static bool with_failing_call(int n, bool lost, struct worker_options *o)
{
    struct job_spec s = greedy_spec(words, 20, SOME);
    struct worker *w;
    struct running after;
    const int64_t before = unused_memory();
    simt_mode(&(struct simt_mode){.random = n % 2, .lazy = n % 2, .seed = n});
    simt_faults(&(struct simt_faults){.fail_call = n, .lost = lost});
    assert_int_equal(worker_start(o, &w), OK);
    struct engine_progress p = wait_while(w, ENGINE_LOADING);
    bool failed = p.state == ENGINE_FAILED, reached;
    if (failed) {
        assert_true(p.error == ERR_DEVICE || p.error == ERR_NO_MEMORY);
        assert_true(strlen(p.message) > 10);
    } else {
        two_requests(w, n, lost);
    }
    reached = simt_counts().calls >= n;
    assert_true(reached || !failed);
    if (!failed && reached && lost) {
        p = wait_while(w, n % 5 ? ENGINE_READY : ENGINE_DRAINING);
        assert_int_equal(p.state, ENGINE_FAILED);
        assert_int_equal(running_start(&after, w, &s), ERR_LOADING);
        running_clear(&after);
    } else if (!failed && n % 5) {
        simt_faults(&(struct simt_faults){0}); /* or it would be this one that is hit */
        run_job(w, &s, &after);
        is_right(&after);
        running_clear(&after);
        wait_until_idle(w);
    }
    worker_stop(w);
    simt_faults(&(struct simt_faults){0});
    assert_int_equal(unused_memory(), before);
    return reached;
}

static void any_call_may_fail(void **state)
{
    (void)state;
    struct worker_options o = sound("build/simt/found");
    struct job_spec s = greedy_spec(words, 20, SOME);
    struct running r;
    for (int i = 0; i < 20; i++)
        words[i] = 3 + i;
    struct worker *w = worker_for_test(&o);
    run_job(w, &s, &r);
    memcpy(right, r.answer[0].token, sizeof right);
    running_clear(&r);
    worker_stop(w);
    for (int cut = 0; cut < 2; cut++) {
        const int step = simt_slow() ? 61 : 13;
        o.gpu_layers = (struct gpu_layers){cut ? GPU_LAYERS_LAST : GPU_LAYERS_ALL, 1};
        for (int n = 1 + cut; with_failing_call(n, cut, &o); n += n < 20 && !simt_slow() ? 1 : step)
            ;
    }
    o = sound(NULL); /* in the self-check */
    o.gpu_layers = (struct gpu_layers){GPU_LAYERS_ALL, 0};
    for (int n = 75; n < 300 && !simt_slow(); n += 75)
        assert_true(with_failing_call(n, n % 2, &o));
    simt_mode(&(struct simt_mode){0});
}

/* A kernel that never ends: requests are told, and nobody waits for the GPU again. */
static void a_gpu_that_hangs_is_left(void **state)
{
    (void)state;
    for (int after = 5; after < 60; after += 50) { /* in a prompt, in a graph */
        struct worker_options o = sound("build/simt/found");
        struct job_spec s = greedy_spec(words, 20, 30);
        struct running r[3];
        o.device.patience = 0.2;
        simt_faults(&(struct simt_faults){0});
        struct worker *w = worker_for_test(&o);
        simt_faults(&(struct simt_faults){.hang_after = after});
        for (int i = 0; i < 3; i++) { /* it may be over before the last has come */
            enum status started = running_start(&r[i], w, &s);
            assert_true(started == OK || (i > 0 && started == ERR_LOADING));
        }
        worker_drain(w);
        for (int i = 0; i < 3; i++) {
            if (r[i].job) {
                running_wait(&r[i]);
                assert_int_equal(r[i].status, ERR_DEVICE);
                assert_non_null(strstr(r[i].message, "the GPU has ended nothing for 0.2 s"));
            }
            running_clear(&r[i]);
        }
        struct engine_progress p = wait_while(w, ENGINE_DRAINING);
        assert_int_equal(p.state, ENGINE_FAILED);
        worker_stop(w);
    }
}

/* The plan against what is free, in numbers: the model alone, then its context. */
static void what_does_not_fit_is_told(void **state)
{
    (void)state;
    static const struct random_model mini = {"mini", "bf16", 1};
    struct device_options o = {.index = 0};
    struct device_info info;
    struct device *dev;
    struct limits l = {.max_seqs = 4, .max_rows = 64, .kv_dtype = DT_F32, .context = 2048};
    struct need n;
    struct model *m;
    assert_int_equal(backend_cuda.open(&o, &dev), OK);
    backend_cuda.info(dev, &info);
    assert_int_equal(model_open(NULL, &mini, &m), OK);
    assert_int_equal(model_place(m, dev), OK);
    l.free_bytes = 100 << 10;
    assert_int_equal(task_generate.plan(m, &info, &l, &n), ERR_NO_MEMORY);
    assert_non_null(strstr(fail_text(), "1 MiB are to be had; its weights have 16."));
    assert_non_null(strstr(fail_text(), "bits each, a format of at most"));
    int64_t other =
        (int64_t)(n.bytes[REGION_WEIGHTS] + n.bytes[REGION_ROWS] + n.bytes[REGION_WORK]);
    l.free_bytes = (other + (17 << 16)) * 32 / 31; /* and a little more than 1 MiB */
    assert_int_equal(task_generate.plan(m, &info, &l, &n), ERR_NO_MEMORY);
    if (!strstr(fail_text(), "a context of 2048 tokens needs 2 MiB of KV cache, 1 MiB"))
        fail_msg("%s", fail_text());
    assert_non_null(strstr(fail_text(), "twice that with --kv-type bf16"));
    l.kv_dtype = DT_BF16;
    assert_int_equal(task_generate.plan(m, &info, &l, &n), OK);
    model_close(m);
    backend_cuda.close(dev);
}

static int64_t all_of(const struct need *n)
{
    int64_t sum = (int64_t)n->own;
    for (int r = 0; r < N_REGION; r++)
        sum += (int64_t)n->bytes[r];
    return sum;
}

/* Of the device is taken what the plan says, to the byte, and while it serves no more. */
static void the_plan_is_what_is_taken(void **state)
{
    (void)state;
    int32_t prompt[40];
    for (int i = 0; i < 40; i++)
        prompt[i] = 3 + i;
    const struct job_spec spec = greedy_spec(prompt, 40, 8);
    for (int cut = 0; cut < 2; cut++) {
        struct worker_options o = {.backend = &backend_cuda,
                                   .lower = &backend_cpu,
                                   .model_path = LLAMA,
                                   .device = {.gpu_cache = "build/simt/found"},
                                   .limits = {.max_seqs = 2, .kv_dtype = DT_F32}};
        struct running r;
        const int64_t before = unused_memory();
        o.gpu_layers = (struct gpu_layers){cut ? GPU_LAYERS_LAST : GPU_LAYERS_ALL, 1};
        struct worker *w = worker_for_test(&o);
        assert_int_equal(before - unused_memory(), all_of(&w->need));
        run_job(w, &spec, &r);
        assert_int_equal(r.status, OK);
        assert_int_equal(before - unused_memory(), all_of(&w->need));
        running_clear(&r);
        worker_stop(w);
        assert_int_equal(unused_memory(), before);
    }
}

/* Exactly as many layers as fit are on the GPU; a model that does not fit whole is told how
 * many. */
static void as_many_layers_as_fit(void **state)
{
    (void)state;
    static const struct random_model mini = {"mini", "bf16", 1};
    static const struct limits asked = {
        .max_seqs = 4, .max_rows = 64, .kv_dtype = DT_BF16, .context = 512, .free_bytes = 1 << 30};
    struct device_options o = {.index = 0};
    struct fit f = {.task = &task_generate, .lower = &backend_cpu, .lower_options = {.threads = 1}};
    struct need n;
    struct limits l = asked;
    int64_t takes[3]; /* by the number of layers on the GPU, with room for one sequence */
    assert_int_equal(backend_cuda.open(&o, &f.on.dev[SIDE_UPPER]), OK);
    assert_int_equal(model_open(NULL, &mini, &f.model), OK);
    for (int last = 0; last < 3; last++) {
        l = asked;
        l.kv_bytes = 512 * 2 * (2 * 64 * 2); /* one sequence: layers, K and V of one head */
        f.layers = (struct gpu_layers){GPU_LAYERS_LAST, last};
        assert_int_equal(model_place(f.model, f.on.dev[SIDE_UPPER]), OK);
        assert_int_equal(fit_plan(&f, &l, &n), OK);
        assert_int_equal(l.cut, 2 - last);
        assert_int_equal(n.n_pages, 512 / 16);
        takes[last] = all_of(&n) - (int64_t)n.own; /* it is not free any more */
        assert_true(last == 0 || takes[last] > takes[last - 1]);
        assert_true((n.lower[REGION_WEIGHTS] > 0) == (last < 2));
    }
    for (int last = 0; last < 3; last++)
        for (int less = 0; less < 2; less++) {
            l = asked;
            l.free_bytes = (takes[last] * 32 + 30) / 31 - (less ? 64 : 0);
            f.layers.how = GPU_LAYERS_AUTO;
            assert_int_equal(model_place(f.model, f.on.dev[SIDE_UPPER]), OK);
            enum status s = fit_plan(&f, &l, &n);
            assert_int_equal(s, last - less < 0 ? ERR_NO_MEMORY : OK);
            if (s == OK)
                assert_int_equal(2 - l.cut, last - less);
            if (s != OK || l.cut == 0)
                continue;
            l = asked;
            l.free_bytes = (takes[last] * 32 + 30) / 31 - (less ? 64 : 0);
            f.layers.how = GPU_LAYERS_ALL;
            assert_int_equal(model_place(f.model, f.on.dev[SIDE_UPPER]), OK);
            assert_int_equal(fit_plan(&f, &l, &n), ERR_NO_MEMORY);
            char fits[64];
            snprintf(fits, sizeof fits, "--gpu-layers %d would fit", last - less);
            if (!strstr(fail_text(), fits))
                fail_msg("\"%s\" does not say \"%s\"", fail_text(), fits);
        }
    model_close(f.model);
    for (int i = N_SIDE - 1; i >= 0; i--)
        f.on.dev[i]->backend->close(f.on.dev[i]);
}

/* ---- what the driver says -------------------------------------------------------------------- */

static bool nvml; /* there is NVIDIA's management library: this one */
static int nvml_open;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlSystemGetDriverVersion(char *out, unsigned n);
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **out);
int nvmlDeviceGetPciInfo_v3(void *handle, void *out);

int nvmlInit_v2(void)
{
    nvml_open += nvml;
    return nvml ? 0 : 9; /* the driver is not loaded */
}

int nvmlShutdown(void)
{
    nvml_open--;
    return 0;
}

int nvmlSystemGetDriverVersion(char *out, unsigned n)
{
    snprintf(out, n, "580.159.03");
    return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **out)
{
    *out = &nvml;
    return strcmp(bus, "0000:01:00.0");
}

int nvmlDeviceGetPciInfo_v3(void *handle, void *out)
{
    uint32_t v[17] = {[7] = 0x268410de}; /* an id, behind 16 bytes and three numbers */
    memcpy(out, v, sizeof v);
    return handle != &nvml;
}

/* A sandbox that hides /sys, whose runtime does not know the id: the management library does. */
static void the_driver_is_asked(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct device_options o = {.cublaslt = "none"};
        struct device_info info;
        struct device *dev;
        nvml = i;
        assert_int_equal(backend_cuda.open(&o, &dev), OK);
        backend_cuda.info(dev, &info);
        assert_int_equal(info.gpu->facts.pci, i ? 0x10de2684 : 0);
        if (access("/sys/module/nvidia/version", R_OK) != 0)
            assert_string_equal(info.gpu->facts.driver, i ? "580.159.03" : "unknown");
        backend_cuda.close(dev);
    }
    nvml = false;
    assert_int_equal(nvml_open, 0);
}

/* ---- kernels that compute wrongly ------------------------------------------------------------ */

static int64_t replaced; /* kernels, as a service shows it */

static struct engine_progress load_as(const struct random_model *model,
                                      const struct simt_faults *faults,
                                      const struct device_options *device)
{
    struct worker_options o = {.backend = &backend_cuda,
                               .random = model,
                               .device = *device,
                               .task = &task_generate,
                               .limits = {.max_seqs = 2, .kv_dtype = DT_BF16},
                               .queue_limit = 4};
    struct engine_progress p;
    struct worker *w;
    simt_faults(faults);
    logged[0] = '\0';
    log_set_sink(keep_log, NULL, LOG_INFO);
    assert_int_equal(worker_start(&o, &w), OK);
    for (worker_progress(w, &p); p.state == ENGINE_LOADING; worker_progress(w, &p))
        usleep(1000);
    replaced = gauge_get(&w->stats.other_kernels);
    worker_stop(w);
    log_set_sink(NULL, NULL, LOG_INFO);
    return p;
}

static struct engine_progress load(const char *idle, const char *cache)
{
    static const struct random_model mini = {"mini", "q8_0", 1}; /* heads of 64 */
    return load_as(&mini, &(struct simt_faults){.idle = idle},
                   &(struct device_options){.gpu_cache = cache});
}

/* The whole start: a log line, or the reason why not. */
static void a_liar_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *idle, *says; /* a part of the kernel's name, what is said of it */
        bool replaced;
    } liars[] = {
        {"attn_split", "attention of head size 64", true},
        {"linear_skinny", "linear of q8_0", false},
    };
    for (size_t i = 0; i < sizeof liars / sizeof *liars; i++) {
        struct engine_progress p = load(liars[i].idle, NULL);
        const char *said = liars[i].replaced ? logged : p.message;
        assert_int_equal(p.state, liars[i].replaced ? ENGINE_READY : ENGINE_FAILED);
        if (!strstr(said, liars[i].says))
            fail_msg("%s: \"%s\" does not name %s", liars[i].idle, said, liars[i].says);
        if (liars[i].replaced)
            assert_non_null(strstr(said, "takes its place"));
        assert_int_equal(replaced, liars[i].replaced);
    }
}

struct liar {
    const char *idle; /* a part of the kernel's name */
    enum dtype w, kv; /* what the model has */
    int dim;
    const char *says; /* NULL: it is not asked */
    bool replaced;
};

static enum status check_one(const struct liar *l, bool strict)
{
    const struct op_case asked[] = {{OP_embed, DT_F32, l->w, 0, 512, 256},
                                    {OP_linear, DT_F32, l->w, 0, 512, 256},
                                    {OP_attention, DT_F32, l->kv, 0, 4, l->dim}};
    struct device_options o = {.index = 0};
    struct choice how;
    struct device *dev;
    assert_int_equal(backend_cuda.open(&o, &dev), OK);
    ((struct cuda_queue *)backend_cuda.queue(dev))->strict = strict;
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        assert_true(backend_cuda.can(dev, &asked[i], &how));
    logged[0] = '\0';
    log_set_sink(keep_log, NULL, LOG_INFO);
    simt_faults(&(struct simt_faults){.idle = l->idle});
    enum status s = backend_cuda.check(dev);
    log_set_sink(NULL, NULL, LOG_INFO);
    simt_faults(&(struct simt_faults){0});
    backend_cuda.close(dev);
    return s;
}

/* What is said of each kernel that computes wrongly: its replacement, or that there is none; with
 * --strict none is replaced. */
static void every_kernel_is_checked(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct liar liars[] = {
        {"glu_kernel",     DT_BF16, DT_BF16, 64,  "kernel glu computes",                    false},
        {"gather_kernel",  DT_BF16, DT_BF16, 64,  "kernel gather",                          false},
        {"add_kernel",     DT_BF16, DT_BF16, 64,  "kernel add computes",                    false},
        {"columns_kernel", DT_BF16, DT_BF16, 64,  "kernel columns",                         false},
        {"conv1d_kernel",  DT_BF16, DT_BF16, 64,  "kernel conv1d",                          false},
        {"sample_kernel",  DT_BF16, DT_BF16, 64,  "kernel sample",                          false},
        {"count_kernel",   DT_BF16, DT_BF16, 64,  "kernel sample",                          false},
        {"embed_kernel",   DT_BF16, DT_BF16, 64,  "kernel embed of bf16",                   false},
        {"linear_plain",   DT_F32,  DT_BF16, 64,  "kernel linear of f32",                   false},
        {"linear_skinny",  DT_Q4_K, DT_BF16, 64,  "kernel linear of q4_k",                  false},
        {"lt_unpack",      DT_Q4_K, DT_BF16, 64,  "kernel linear by cuBLASLt of q4_k",      true},
        {"rope_kv_kernel", DT_BF16, DT_BF16, 64,  "kernel rope_kv of head size 64 over bf16", true},
        {"attn_tile<80, false>", DT_BF16, DT_BF16, 80,  "kernel attention of head size 80 over bf16", true},
        {"attn_plain",     DT_BF16, DT_BF16, 72,  "kernel attention of head size 72 over bf16", false},
        {"attn_plain",     DT_BF16, DT_BF16, 576, "kernel attention of head size 576 over bf16", false},
        {"attn_plain",     DT_BF16, DT_F32,  64,  "kernel attention of head size 64 over f32", false},
        {"attn_split<128, true>", DT_BF16, DT_F8_E4M3, 128, "kernel attention of head size 128 over fp8", true},
        {"kv_write_kernel", DT_BF16, DT_F8_E4M3, 72, "kernel attention of head size 72 over fp8", false},
        {"attn_plain",     DT_BF16, DT_BF16, 64,  NULL,                                     true},
        {NULL,             DT_Q6_K, DT_F32,  192, NULL,                                     true},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof liars / sizeof *liars; i++) {
        const struct liar *l = &liars[i];
        enum status s = check_one(l, false);
        const char *said = l->replaced ? logged : fail_text();
        if (s != (l->replaced ? OK : ERR_DEVICE) || (l->says && !strstr(said, l->says)))
            fail_msg("%s: %s, \"%s\" does not name %s", l->idle, status_name(s), said,
                     l->says ? l->says : "");
        assert_int_equal(l->replaced && l->says, strstr(logged, "takes its place") != NULL);
        if (l->replaced && l->says) {
            assert_int_equal(check_one(l, true), ERR_DEVICE);
            assert_non_null(strstr(fail_text(), "--strict: kernel "));
        }
    }
}

struct rounding {
    const char *idle;
    int cc;
    enum dtype w;
    bool rows, declared; /* its rows have one scale each; its checkpoint rounds activations */
    const char *says, *instead; /* NULL: nothing is said */
};

/* A model of one weight, whose products of a prompt take `after` when it was checked. */
static enum status check_rounding(const struct rounding *r, bool strict, struct choice *after)
{
    const struct op_case prompt = {OP_linear, DT_F32, r->w, 2048, 4096, 4096};
    const struct quant says = {.x = r->declared ? x_type_of(r->w) : X_EXACT, .row_scale = r->rows};
    struct device_options o = {.round_x = X_DECLARED};
    struct device *dev;
    simt_faults(&(struct simt_faults){.cc = r->cc});
    assert_int_equal(backend_cuda.open(&o, &dev), OK);
    ((struct cuda_queue *)backend_cuda.queue(dev))->strict = strict;
    assert_true(backend_cuda.can(dev, &prompt, after));
    backend_cuda.many(dev, &prompt, &says, after);
    logged[0] = '\0';
    log_set_sink(keep_log, NULL, LOG_INFO);
    simt_faults(&(struct simt_faults){.cc = r->cc, .idle = r->idle});
    enum status s = backend_cuda.check(dev);
    log_set_sink(NULL, NULL, LOG_INFO);
    simt_faults(&(struct simt_faults){0});
    backend_cuda.many(dev, &prompt, &says, after);
    backend_cuda.close(dev);
    return s;
}

/* Products that round activations: one that is wrong is not taken any more, and the path that is
 * taken then is named. Where no weight declares it, none is looked at. */
static void what_rounds_is_checked(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct rounding liars[] = {
        {"w8a8",        89,  DT_F8_E4M3, false, true,  "kernel w8a8 of f8_e4m3",   "dequant_lt"},
        {"fp8_weights", 90,  DT_F8_E4M3, true,  true,  "kernel lt_fp8 of f8_e4m3", "dequant_lt"},
        {"lt_finish",   89,  DT_F8_E4M3, true,  true,  "kernel lt_fp8 of f8_e4m3", "w8a8"},
        {"w4a4",        120, DT_NVFP4,   false, true,  "kernel w4a4 of nvfp4",     "lt_fp4"},
        {"w4a4",        120, DT_MXFP4,   false, true,  "kernel w4a4 of mxfp4",     "lt_fp4"},
        {"fp4_weights", 100, DT_NVFP4,   false, true,  "kernel lt_fp4 of nvfp4",   "dequant_lt"},
        {"fp4_tops",    100, DT_MXFP4,   false, true,  "kernel lt_fp4 of mxfp4",   "dequant_lt"},
        {NULL,          120, DT_F8_E4M3, true,  true,  NULL, NULL},
        {NULL,          120, DT_NVFP4,   false, true,  NULL, NULL},
        {NULL,          100, DT_MXFP4,   false, true,  NULL, NULL},
        {"w8a8",        89,  DT_F8_E4M3, true,  false, NULL, NULL},
        {"fp8_weights", 86,  DT_F8_E4M3, true,  true,  NULL, NULL},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof liars / sizeof *liars; i += simt_slow() ? 3 : 1) {
        const struct rounding *r = &liars[i];
        struct choice after;
        char says[96];
        assert_int_equal(check_rounding(r, false, &after), OK);
        if (!r->says) {
            assert_null(strstr(logged, "takes its place"));
            continue;
        }
        snprintf(says, sizeof says, ": %s takes its place", r->instead);
        if (!strstr(logged, r->says) || !strstr(logged, says))
            fail_msg("\"%s\" does not say %s%s", logged, r->says, says);
        assert_string_equal(after.kernel, r->instead);
        if (i % 2 == 0) {
            assert_int_equal(check_rounding(r, true, &after), ERR_DEVICE);
            assert_non_null(strstr(fail_text(), "--strict: kernel "));
        }
    }
}

static void find_file(const char *folder, char *path, size_t size)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            snprintf(path, size, "%s/%s", folder, e->d_name);
    closedir(d);
}

/* The whole start of a model in fp8: what its weights may round is found while it is placed, and
 * remembered apart from what was found for one that rounds nothing. */
static void a_model_that_rounds_is_checked(void **state)
{
    (void)state;
    char folder[] = "build/test_faults-XXXXXX", path[512] = "";
    assert_non_null(mkdtemp(folder));
    static const struct random_model mini = {"mini", "f8_e4m3", 1};
    for (int i = 0; i < 2; i++) {
        const struct simt_faults lies = {.cc = 89, .idle = "w8a8"};
        const struct device_options how = {.round_x = i ? X_FP8 : X_EXACT, .gpu_cache = folder};
        struct engine_progress p = load_as(&mini, &lies, &how);
        assert_int_equal(p.state, ENGINE_READY);
        assert_int_equal(strstr(logged, "kernel w8a8 of f8_e4m3 computes") != NULL, i);
        assert_int_equal(replaced, i);
        if (i == 1) {
            load_as(&mini, &(struct simt_faults){.cc = 89}, &how);
            assert_null(strstr(logged, "kernels checked"));
            assert_non_null(strstr(logged, "kernel w8a8 was found to compute wrongly here: "));
            assert_null(strstr(logged, "here: w8a8"));
            assert_int_equal(replaced, 1);
        }
    }
    for (int i = 0; i < 2; i++) {
        find_file(folder, path, sizeof path);
        assert_int_equal(remove(path), 0);
    }
    rmdir(folder);
}

/* A library that computes wrongly costs speed, not the start. */
static void a_wrong_cublaslt_is_replaced(void **state)
{
    (void)state;
    static const struct liar honest = {NULL, DT_BF16, DT_BF16, 64, NULL, true};
    simt_cublaslt.lies = true;
    assert_int_equal(check_one(&honest, false), OK);
    assert_non_null(strstr(logged, "kernel linear by cuBLASLt of bf16 computes wrongly here"));
    assert_non_null(strstr(logged, "linear of our own takes its place"));
    assert_int_equal(check_one(&honest, true), ERR_DEVICE);
    assert_non_null(strstr(fail_text(), "--strict: kernel linear by cuBLASLt"));
    long before = simt_cublaslt.products;
    struct engine_progress p = load(NULL, NULL);
    assert_int_equal(p.state, ENGINE_READY);
    assert_true(simt_cublaslt.products > before);
    assert_non_null(strstr(logged, "linear of our own takes its place"));
    assert_non_null(strstr(logged, "GPU configuration: like-rtx4060ti (derived from rtx4060ti), "));
    simt_cublaslt.lies = false;
}

/* Found once for a GPU, a driver, a program and the formats; anew from a file that is damaged. */
static void what_was_found_is_remembered(void **state)
{
    (void)state;
    char folder[] = "build/test_faults-XXXXXX", path[512] = "";
    assert_non_null(mkdtemp(folder));
    load("attn_split", folder);
    assert_non_null(strstr(logged, "kernels checked"));
    load(NULL, folder); /* the finding stands, and is said again */
    assert_null(strstr(logged, "kernels checked"));
    assert_non_null(strstr(logged, "kernel attention was found to compute wrongly"));
    assert_int_equal(replaced, 1);
    find_file(folder, path, sizeof path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, -20, SEEK_END);
    fputc('!', f);
    fclose(f);
    load(NULL, folder);
    assert_non_null(strstr(logged, "kernels checked"));
    assert_null(strstr(logged, "takes its place"));
    load(NULL, folder);
    assert_null(strstr(logged, "kernels checked"));
    remove(path);
    rmdir(folder);
}

/* ---- the server, as a child ------------------------------------------------------------------ */

struct child {
    pid_t pid;
    int log;
    char text[1 << 14];
    size_t n;
    char port[8];
};

static void read_until(struct child *c, const char *what)
{
    double end = clock_now() + 30;
    while (!strstr(c->text, what) && clock_now() < end) {
        struct pollfd p = {c->log, POLLIN, 0};
        ssize_t n =
            poll(&p, 1, 100) > 0 ? read(c->log, c->text + c->n, sizeof c->text - 1 - c->n) : 0;
        c->n += n > 0 ? (size_t)n : 0;
    }
    if (!strstr(c->text, what))
        fail_msg("the server's log lacks \"%s\":\n%s", what, c->text);
}

static void start(struct child *c)
{
    static char *argv[] = {
        "inferd",     "serve", LLAMA,       "--device", "cuda",        "--port",          "0",
        "--max-seqs", "2",     "--kv-type", "f32",      "--gpu-cache", "build/simt/found"};
    int fd[2];
    memset(c, 0, sizeof *c);
    assert_int_equal(pipe(fd), 0);
    c->pid = fork();
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd[1], STDERR_FILENO);
        simt_faults(&(struct simt_faults){.break_after = 1500});
        _exit(cmd_run(sizeof argv / sizeof argv[0], argv) & 255);
    }
    close(fd[1]);
    c->log = fd[0];
    read_until(c, "2 sequences"); /* behind the port in the line that says ready */
    const char *at = strstr(strstr(c->text, "ready: http://") + 14, ":");
    for (size_t i = 0; at[i + 1] >= '0' && at[i + 1] <= '9' && i < sizeof c->port - 1; i++)
        c->port[i] = at[i + 1];
}

/* One request; the whole answer. `signal` not 0: to the server, once the answer has begun. */
static void ask(const struct child *c, const char *request, int signal, char *answer, size_t size)
{
    struct addrinfo hint = {.ai_socktype = SOCK_STREAM}, *a;
    size_t n = 0;
    assert_int_equal(getaddrinfo("127.0.0.1", c->port, &hint, &a), 0);
    int fd = socket(a->ai_family, a->ai_socktype, 0);
    assert_int_equal(connect(fd, a->ai_addr, a->ai_addrlen), 0);
    freeaddrinfo(a);
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    for (ssize_t got; n < size - 1 && (got = read(fd, answer + n, size - 1 - n)) > 0; signal = 0) {
        n += (size_t)got;
        if (signal)
            assert_int_equal(kill(c->pid, signal), 0);
    }
    answer[n] = '\0';
    close(fd);
}

/* Whether it serves or drains, the answer says what happened, and so does the exit code. */
static void a_server_on_a_broken_gpu_exits_70(bool draining)
{
    char request[512], body[256], answer[1 << 16];
    struct child c;
    int code;
    start(&c);
    snprintf(body, sizeof body,
             "{\"model\":\"llama\",\"prompt\":\"hello\",\"max_tokens\":200,\"ignore_eos\":true%s}",
             draining ? ",\"stream\":true" : "");
    snprintf(request, sizeof request,
             "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    ask(&c, request, draining ? SIGTERM : 0, answer, sizeof answer);
    if (strncmp(answer, draining ? "HTTP/1.1 200" : "HTTP/1.1 500", 12) != 0 ||
        !strstr(answer, "cudaErrorIllegalAddress"))
        fail_msg("the answer is:\n%s", answer);
    read_until(&c, "has failed");
    assert_int_equal(waitpid(c.pid, &code, 0), c.pid);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), EXIT_FAULT);
    close(c.log);
}

static void while_it_serves(void **state)
{
    (void)state;
    a_server_on_a_broken_gpu_exits_70(false);
}

static void while_it_drains(void **state)
{
    (void)state;
    a_server_on_a_broken_gpu_exits_70(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_it_serves), /* first: they fork */
        cmocka_unit_test(while_it_drains),
        cmocka_unit_test_teardown(a_gpu_that_cannot_serve_says_why, all_well),
        cmocka_unit_test_teardown(auto_says_why_not, all_well),
        cmocka_unit_test_teardown(what_does_not_fit_is_told, all_well),
        cmocka_unit_test_teardown(the_plan_is_what_is_taken, all_well),
        cmocka_unit_test_teardown(as_many_layers_as_fit, all_well),
        cmocka_unit_test_teardown(the_driver_is_asked, all_well),
        cmocka_unit_test_teardown(a_liar_is_refused, all_well),
        cmocka_unit_test_teardown(a_model_that_rounds_is_checked, all_well),
        cmocka_unit_test_teardown(a_wrong_cublaslt_is_replaced, all_well),
        cmocka_unit_test_teardown(what_was_found_is_remembered, all_well),
        cmocka_unit_test_teardown(a_broken_gpu_ends_every_request, all_well),
        cmocka_unit_test_teardown(every_kernel_is_checked, all_well),
        cmocka_unit_test_teardown(what_rounds_is_checked, all_well),
        cmocka_unit_test_teardown(any_call_may_fail, all_well),
        cmocka_unit_test_teardown(a_gpu_that_hangs_is_left, all_well),
    };
    /* The race build leaves out what is long and finds no race that others do not; the last leaves
     * a GPU as it is, which the address sanitizer calls a leak. */
    const size_t n = sizeof tests / sizeof *tests - (simt_checks_races() ? 4 : simt_slow() ? 1 : 0);
    return _cmocka_run_group_tests("faults", tests, n, NULL, NULL);
}
