/* test_faults.c - what goes wrong with a GPU, and what is said and done then: none there, too old,
 * too small; one that breaks or hangs while it serves, in the worker and in the whole server. The
 * emulator has each fault to order. test_check.c has kernels that compute wrongly. */
#include <cuda_runtime_api.h>
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
#include "kernels/gpu/select.h"
#include "server/cmd/cmd.h"
#include "tests/simt/gpu.h"
#include "tests/support/jobs.h"
#include "tests/support/logged.h"
#include "tests/support/test.h"

#define LLAMA "tests/data/models/llama.gguf"

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
    refused(&(struct simt_faults){.driver = -2}, ERR_NOT_FOUND, "is the toolkit's stub");
    refused(&(struct simt_faults){.driver = 12040}, ERR_UNSUPPORTED,
            "the NVIDIA driver is for CUDA 12.4; this program needs 13.0, that is driver 580");
    refused(&(struct simt_faults){.devices = -1}, ERR_NOT_FOUND, "shows no GPU");
    refused(&(struct simt_faults){.cc = 70}, ERR_UNSUPPORTED,
            "SIMT CPU emulator has compute capability 7.0; CUDA 13 begins at 7.5");
    refused(&(struct simt_faults){.memory = 1 << 20}, ERR_NO_MEMORY, "has less than 64 MiB free");
}

/* `auto` takes the CPU and says why; `cuda` never does. */
static void auto_says_why_not(void **state)
{
    (void)state;
    const struct backend *b;
    int index;
    log_hear(LOG_INFO);
    simt_faults(&(struct simt_faults){.driver = 12080});
    assert_int_equal(backend_find("auto", &b, &index), OK);
    assert_ptr_equal(b, &backend_cpu);
    assert_non_null(
        strstr(log_heard(), "device auto: cpu (cuda: the NVIDIA driver is for CUDA 12.8"));
    assert_int_equal(backend_find("cuda", &b, &index), OK);
    assert_ptr_equal(b, &backend_cuda);
    log_hear(LOG_INFO);
    simt_faults(&(struct simt_faults){0});
    assert_int_equal(backend_find(NULL, &b, &index), OK);
    assert_ptr_equal(b, &backend_cuda);
    assert_non_null(strstr(log_heard(), "device auto: cuda:0, SIMT CPU emulator (the first GPU)"));
    log_hear(LOG_INFO);
    simt_faults(&(struct simt_faults){.devices = 2, .cc = 70}); /* the second is a better one */
    assert_int_equal(backend_find("auto", &b, &index), OK);
    assert_ptr_equal(b, &backend_cuda);
    assert_int_equal(index, 1);
    assert_non_null(strstr(log_heard(), "device auto: cuda:1, SIMT CPU emulator (cuda:0: "));
    log_unhear();
    struct device *dev;
    assert_int_equal(backend_find("cuda:2", &b, &index), OK); /* by name: this one or none */
    assert_int_equal(b->open(&(struct device_options){.index = index}, &dev), ERR_NOT_FOUND);
    assert_non_null(strstr(fail_text(), "cuda:2: this process sees 2 GPUs, from cuda:0 on"));
    assert_int_equal(b->open(&(struct device_options){.index = 0}, &dev), ERR_UNSUPPORTED);
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
        struct engine_progress p = wait_while(w, ENGINE_READY);
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
    const int64_t before = gpu_unused();
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
    assert_int_equal(gpu_unused(), before);
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
        cmocka_unit_test_teardown(a_gpu_that_cannot_serve_says_why, gpu_well),
        cmocka_unit_test_teardown(auto_says_why_not, gpu_well),
        cmocka_unit_test_teardown(the_driver_is_asked, gpu_well),
        cmocka_unit_test_teardown(a_broken_gpu_ends_every_request, gpu_well),
        cmocka_unit_test_teardown(any_call_may_fail, gpu_well),
        cmocka_unit_test_teardown(a_gpu_that_hangs_is_left, gpu_well),
    };
    /* The race build leaves out what is long and finds no race that others do not; the last leaves
     * a GPU as it is, which the address sanitizer calls a leak. */
    const size_t n = sizeof tests / sizeof *tests - (simt_checks_races() ? 2 : simt_slow() ? 1 : 0);
    return _cmocka_run_group_tests("faults", tests, n, NULL, NULL);
}
