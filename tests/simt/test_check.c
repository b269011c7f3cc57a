/* test_check.c - kernels that compute wrongly, which the self-check at start finds: what takes
 * their place or that nothing does, what is said of it, what is remembered. The emulator makes
 * kernels idle, and its cuBLASLt lie. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/tasks/tasks.h"
#include "kernels/cuda/cuda.h"
#include "tests/simt/cublaslt.h"
#include "tests/simt/gpu.h"
#include "tests/support/jobs.h"
#include "tests/support/logged.h"
#include "tests/support/test.h"

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
    struct worker *w;
    simt_faults(faults);
    log_hear(LOG_INFO);
    assert_int_equal(worker_start(&o, &w), OK);
    struct engine_progress p = wait_while(w, ENGINE_LOADING);
    replaced = gauge_get(&w->stats.other_kernels);
    worker_stop(w);
    log_unhear();
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
        const char *said = liars[i].replaced ? log_heard() : p.message;
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
    log_hear(LOG_INFO);
    simt_faults(&(struct simt_faults){.idle = l->idle});
    enum status s = backend_cuda.check(dev);
    log_unhear();
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
        const char *said = l->replaced ? log_heard() : fail_text();
        if (s != (l->replaced ? OK : ERR_DEVICE) || (l->says && !strstr(said, l->says)))
            fail_msg("%s: %s, \"%s\" does not name %s", l->idle, status_name(s), said,
                     l->says ? l->says : "");
        assert_int_equal(l->replaced && l->says, strstr(log_heard(), "takes its place") != NULL);
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
    log_hear(LOG_INFO);
    simt_faults(&(struct simt_faults){.cc = r->cc, .idle = r->idle});
    enum status s = backend_cuda.check(dev);
    log_unhear();
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
            assert_null(strstr(log_heard(), "takes its place"));
            continue;
        }
        snprintf(says, sizeof says, ": %s takes its place", r->instead);
        if (!strstr(log_heard(), r->says) || !strstr(log_heard(), says))
            fail_msg("\"%s\" does not say %s%s", log_heard(), r->says, says);
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
        assert_int_equal(strstr(log_heard(), "kernel w8a8 of f8_e4m3 computes") != NULL, i);
        assert_int_equal(replaced, i);
        if (i == 1) {
            load_as(&mini, &(struct simt_faults){.cc = 89}, &how);
            assert_null(strstr(log_heard(), "kernels checked"));
            assert_non_null(strstr(log_heard(), "kernel w8a8 was found to compute wrongly here: "));
            assert_null(strstr(log_heard(), "here: w8a8"));
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
    assert_non_null(strstr(log_heard(), "kernel linear by cuBLASLt of bf16 computes wrongly here"));
    assert_non_null(strstr(log_heard(), "linear of our own takes its place"));
    assert_int_equal(check_one(&honest, true), ERR_DEVICE);
    assert_non_null(strstr(fail_text(), "--strict: kernel linear by cuBLASLt"));
    long before = simt_cublaslt.products;
    struct engine_progress p = load(NULL, NULL);
    assert_int_equal(p.state, ENGINE_READY);
    assert_true(simt_cublaslt.products > before);
    assert_non_null(strstr(log_heard(), "linear of our own takes its place"));
    assert_non_null(
        strstr(log_heard(), "GPU configuration: like-rtx4060ti (derived from rtx4060ti), "));
    simt_cublaslt.lies = false;
}

/* Found once for a GPU, a driver, a program and the formats; anew from a file that is damaged. */
static void what_was_found_is_remembered(void **state)
{
    (void)state;
    char folder[] = "build/test_faults-XXXXXX", path[512] = "";
    assert_non_null(mkdtemp(folder));
    load("attn_split", folder);
    assert_non_null(strstr(log_heard(), "kernels checked"));
    load(NULL, folder); /* the finding stands, and is said again */
    assert_null(strstr(log_heard(), "kernels checked"));
    assert_non_null(strstr(log_heard(), "kernel attention was found to compute wrongly"));
    assert_int_equal(replaced, 1);
    find_file(folder, path, sizeof path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, -20, SEEK_END);
    fputc('!', f);
    fclose(f);
    load(NULL, folder);
    assert_non_null(strstr(log_heard(), "kernels checked"));
    assert_null(strstr(log_heard(), "takes its place"));
    load(NULL, folder);
    assert_null(strstr(log_heard(), "kernels checked"));
    remove(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_liar_is_refused, gpu_well),
        cmocka_unit_test_teardown(a_model_that_rounds_is_checked, gpu_well),
        cmocka_unit_test_teardown(a_wrong_cublaslt_is_replaced, gpu_well),
        cmocka_unit_test_teardown(what_was_found_is_remembered, gpu_well),
        cmocka_unit_test_teardown(every_kernel_is_checked, gpu_well),
        cmocka_unit_test_teardown(what_rounds_is_checked, gpu_well),
    };
    /* The race build leaves out what is long and finds no race that others do not. */
    const size_t n = sizeof tests / sizeof *tests - (simt_checks_races() ? 2 : 0);
    return _cmocka_run_group_tests("check", tests, n, NULL, NULL);
}
