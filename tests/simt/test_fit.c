/* test_fit.c - what a model needs of a GPU's memory against what there is: the plan is what is
 * taken, to the byte; as many layers as fit; what does not fit is told in numbers. */
#include <string.h>

#include "engine/run/fit.h"
#include "engine/tasks/tasks.h"
#include "kernels/cuda/cuda.h"
#include "tests/simt/gpu.h"
#include "tests/support/jobs.h"
#include "tests/support/test.h"

#define LLAMA "tests/data/models/llama.gguf"

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
    assert_non_null(strstr(fail_text(), "0 MiB are to be had; its weights have 16."));
    int64_t other =
        (int64_t)(n.bytes[REGION_WEIGHTS] + n.bytes[REGION_ROWS] + n.bytes[REGION_WORK]);
    l.free_bytes = (other + (17 << 16)) * 32 / 31; /* and a little more than 1 MiB */
    assert_int_equal(task_generate.plan(m, &info, &l, &n), ERR_NO_MEMORY);
    if (!strstr(fail_text(), "a context of 2048 tokens needs 2 MiB of KV cache, 1 MiB"))
        fail_msg("%s", fail_text());
    assert_non_null(strstr(fail_text(), "would fit: --ctx 1088, --ctx 2048 with --kv-type bf16"));
    l.kv_dtype = DT_BF16;
    assert_int_equal(task_generate.plan(m, &info, &l, &n), OK);
    model_close(m);
    backend_cuda.close(dev);
}

/* ---- advice is followed ---------------------------------------------------------------------- */

enum { N_FORMATS = 5 };
static struct model *formats[N_FORMATS]; /* the same shape, the largest first */
static struct fit on;                    /* formats[0], on the emulated GPU */
static int followed[5];

static enum status plan(struct model *m, struct gpu_layers layers, const struct limits *asked)
{
    struct limits l = *asked;
    struct need n;
    on.model = m;
    on.layers = layers;
    assert_int_equal(model_place(m, on.on.dev[SIDE_UPPER]), OK);
    return fit_plan(&on, &l, &n);
}

static void must_fit(struct model *m, struct gpu_layers layers, const struct limits *l, int kind,
                     const char *advice)
{
    followed[kind]++;
    if (plan(m, layers, l) != OK)
        fail_msg("of \"%s\" what is advised does not fit: %s", advice, fail_text());
}

/* "--ctx N" or "--ctx N with --kv-type T", each; much more does not fit. */
static void follow_contexts(const char *advice, const struct limits *asked)
{
    const struct gpu_layers all = {GPU_LAYERS_ALL, 0};
    for (const char *at = strstr(advice, "--ctx "); at; at = strstr(at + 1, "--ctx ")) {
        struct limits l = *asked;
        char type[8] = "";
        long long context = 0;
        assert_true(sscanf(at, "--ctx %lld with --kv-type %7[a-z0-9]", &context, type) >= 1);
        l.context = context;
        l.kv_dtype = strcmp(type, "bf16") == 0  ? DT_BF16
                     : strcmp(type, "fp8") == 0 ? DT_F8_E4M3
                                                : l.kv_dtype;
        must_fit(formats[0], all, &l, *type ? 1 : 0, advice);
        l.context += l.context / 4 + 2 * CUDA_PAGE_TOKENS; /* a longer one takes other memory too */
        if (l.context <= asked->context)
            assert_int_equal(plan(formats[0], all, &l), ERR_NO_MEMORY);
    }
}

static void follow_formats(const char *advice, const struct limits *asked)
{
    const char *at = strstr(advice, "a format of at most ");
    double bits;
    long long context;
    if (!at)
        return;
    assert_int_equal(
        sscanf(at, "a format of at most %lf would fit with a context of %lld", &bits, &context), 2);
    for (int i = 0; i < N_FORMATS; i++) {
        struct model *m = formats[i];
        struct limits l = *asked;
        l.context = context;
        assert_int_equal(model_place(m, on.on.dev[SIDE_UPPER]), OK);
        if (8 * (double)m->weight_bytes <= bits * (double)m->info.n_params)
            must_fit(m, (struct gpu_layers){GPU_LAYERS_ALL, 0}, &l, 2, advice);
    }
}

static void follow(const struct limits *asked)
{
    char advice[1024];
    struct gpu_layers layers = {GPU_LAYERS_LAST, 0};
    long long mib;
    snprintf(advice, sizeof advice, "%s", fail_text());
    follow_contexts(advice, asked);
    follow_formats(advice, asked);
    const char *at = strstr(advice, "--gpu-layers ");
    if (at && sscanf(at, "--gpu-layers %d", &layers.last) == 1)
        must_fit(formats[0], layers, asked, 3, advice);
    at = strstr(advice, "beside all else ");
    if (at && sscanf(at, "beside all else %lld", &mib) == 1 && mib > 0) {
        struct limits l = *asked;
        l.kv_bytes = mib << 20;
        l.context = CUDA_PAGE_TOKENS; /* the one that was asked for may need more */
        must_fit(formats[0], (struct gpu_layers){GPU_LAYERS_ALL, 0}, &l, 4, advice);
    }
}

/* From a GPU that has nothing free to one that has it all: whatever a message names does fit. */
static void what_is_advised_fits(void **state)
{
    (void)state;
    static const char *const names[N_FORMATS] = {"bf16", "q8_0", "q6_k", "q5_0", "q4_0"};
    static const enum dtype kv[] = {DT_F32, DT_BF16, DT_F8_E4M3};
    static const int64_t contexts[] = {0, 272, 2048}, bytes[] = {0, 0, 4 << 20};
    const struct device_options o = {.cublaslt = "none"};
    int worked = 0;
    on = (struct fit){
        .task = &task_generate, .lower = &backend_cpu, .lower_options = {.threads = 1}};
    assert_int_equal(backend_cuda.open(&o, &on.on.dev[SIDE_UPPER]), OK);
    for (int i = 0; i < N_FORMATS; i++) {
        const struct random_model tiny = {"tiny", names[i], 1};
        assert_int_equal(model_open(NULL, &tiny, &formats[i]), OK);
    }
    for (int i = 0; i < 90; i++) {
        const struct limits l = {.max_seqs = 4,
                                 .max_rows = 64,
                                 .kv_dtype = kv[i % 3],
                                 .context = contexts[i / 3 % 3],
                                 .kv_bytes = bytes[i / 9 % 3],
                                 .free_bytes = (int64_t)(i + 1) * 97000};
        if (plan(formats[0], (struct gpu_layers){GPU_LAYERS_ALL, 0}, &l) == OK)
            worked++;
        else
            follow(&l);
    }
    assert_true(worked > 0);
    for (int i = 0; i < 5; i++)
        if (followed[i] == 0)
            fail_msg("advice %d was never given", i);
    for (int i = 0; i < N_FORMATS; i++)
        model_close(formats[i]);
    for (int i = N_SIDE - 1; i >= 0; i--)
        if (on.on.dev[i])
            on.on.dev[i]->backend->close(on.on.dev[i]);
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
        const int64_t before = gpu_unused();
        o.gpu_layers = (struct gpu_layers){cut ? GPU_LAYERS_LAST : GPU_LAYERS_ALL, 1};
        struct worker *w = worker_for_test(&o);
        assert_int_equal(before - gpu_unused(), all_of(&w->need));
        run_job(w, &spec, &r);
        assert_int_equal(r.status, OK);
        assert_int_equal(before - gpu_unused(), all_of(&w->need));
        running_clear(&r);
        worker_stop(w);
        assert_int_equal(gpu_unused(), before);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_is_told),
        cmocka_unit_test(what_is_advised_fits),
        cmocka_unit_test(the_plan_is_what_is_taken),
        cmocka_unit_test(as_many_layers_as_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
