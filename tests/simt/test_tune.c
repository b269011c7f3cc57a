/* test_tune.c - tuning on the emulated GPU: every launch of some weights is right, wrong results
 * are found, and `inferd tune` writes what can be loaded. Its speeds mean nothing. */
#include "kernels/gpu/tune_backend.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "kernels/base/sha256.h"
#include "kernels/gpu/registry.h"
#include "kernels/gpu/select.h"
#include "kernels/gpu/tune_backend_attn.h"
#include "server/cmd/cmd.h"
#include "tests/simt/cublaslt.h"
#include "tests/simt/gpu.h"
#include "tests/simt/mode.h"
#include "tests/support/test.h"

static const struct tune_weight weights[] = {{DT_Q4_0, 16, 1024}, {DT_BF16, 16, 64}};
static const int rows[] = {2, 8};
static const struct tune_options options = {
    .weights = weights, .n_weights = 2, .rows = rows, .n_rows = 2, .quick = true};

static struct device *dev;
static struct tune_backend *bench;

static int set_up(void **state)
{
    struct device_options o = {.index = 0, .cublaslt = "none"};
    (void)state;
    return backend_cuda.open(&o, &dev) != OK || tune_backend_open(dev, &options, &bench) != OK;
}

static const struct tune_weight for_lt[] = {{DT_BF16, 48, 256}, {DT_Q4_0, 48, 256}};
static const int one_row[] = {16};
static const struct tune_options with_lt = {
    .weights = for_lt, .n_weights = 2, .rows = one_row, .n_rows = 1, .lt = true};

static int set_up_lt(void **state)
{
    struct device_options o = {.index = 0};
    (void)state;
    simt_cublaslt = (struct simt_cublaslt){.workspace = 1 << 20};
    return backend_cuda.open(&o, &dev) != OK || tune_backend_open(dev, &with_lt, &bench) != OK;
}

static int tear_down(void **state)
{
    (void)state;
    tune_backend_close(bench);
    backend_cuda.close(dev);
    return 0;
}

static void test_run(void **state)
{
    struct tune_device d = tune_backend_device(bench);
    struct device_info info;
    struct tune_result r;
    struct arena a;
    struct buf log = {0};
    (void)state;
    arena_init(&a, 0);
    backend_cuda.info(dev, &info);
    struct gpu_config c = info.gpu->config;
    tune_log_begin(&log, c.id, "1", 0);
    if (tune_run(&d, &options, &a, &c, &log, &r) != OK)
        fail_msg("%s", fail_text());
    assert_true(r.complete);
    assert_int_equal(r.weights, 2);
    assert_int_equal(r.rejected, 0);
    assert_true(isfinite(r.gain) && r.gain >= 0.99);
    assert_int_equal(tune_verify(&d, &options, &info.gpu->config, &r), OK);
    buf_clear(&log);
    arena_clear(&a);
}

/* By the algorithms' own clock; kernels of our own take long. */
static enum status lt_time(void *ctx, const struct gpu_params *p, double *us)
{
    struct tune_device d = tune_backend_device(ctx);
    double before = simt_cublaslt.us;
    bool right;
    *us = 1e3;
    if (p->path == GPU_PATH_SKINNY)
        return OK;
    TRY(d.check(ctx, p, &right));
    *us = simt_cublaslt.us - before;
    return OK;
}

/* Of cuBLASLt's algorithms one is fast and wrong, one quits, and the best is none that the library
 * suggests: it is found, written, read, and taken by another version of the library too. */
static void test_algorithms(void **state)
{
    struct tune_device d = tune_backend_device(bench);
    struct device_info info;
    struct tune_result r;
    struct arena a;
    struct buf log = {0}, text = {0};
    (void)state;
    if (simt_real()) /* the library there has a clock of its own, and no liar that is known */
        return;
    arena_init(&a, 0);
    backend_cuda.info(dev, &info);
    assert_int_equal(info.lt, 130100);
    struct gpu_config c = info.gpu->config, again;
    for (int i = GPU_SKINNY_16; i <= GPU_SKINNY_ANY; i++)
        c.skinny_max_m[i] = 8;
    d.time = lt_time;
    tune_log_begin(&log, c.id, "1", info.lt);
    if (tune_run(&d, &with_lt, &a, &c, &log, &r) != OK)
        fail_msg("%s", fail_text());
    assert_int_equal(r.rejected, 2 * (1 + 4 + 1)); /* the liar, its splits, and what quits */
    assert_int_equal(r.changed, 2);
    assert_int_equal(c.n_gemm, 2);
    c.from.kind = GPU_MEASURED;
    gpu_config_write(&text, &c);
    assert_int_equal(gpu_config_read(&a, text.data, text.len, &again), OK);
    for (int i = 0; i < 2; i++) {
        struct gpu_shape s = {for_lt[i].w, 16, 48, 256};
        struct gpu_params p = gpu_choose(&again, &s, true);
        assert_non_null(p.lt);
        assert_int_equal(p.lt->id, SIMT_LT_ALGO);
        assert_int_equal(p.lt->splitk, 3);
        assert_true(p.lt->has_raw && p.lt->ver == 130100);
    }
    assert_int_equal(gpu_choices_of(&again).algorithms, 2);
    assert_int_equal(tune_verify(&d, &with_lt, &again, &r), OK);
    assert_true(r.gain > 2);
    simt_cublaslt.version = 130200;
    for (int i = 0; i < 2; i++) /* which does not know these bytes */
        memset(again.gemm[i].lt.raw, 0xff, sizeof again.gemm[i].lt.raw);
    assert_int_equal(tune_verify(&d, &with_lt, &again, &r), OK);
    again.gemm[0].lt.id = SIMT_LT_LIAR;
    assert_int_equal(tune_verify(&d, &with_lt, &again, &r), ERR_INVALID);
    assert_non_null(strstr(fail_text(), "computes another result"));
    struct tune_options without = with_lt;
    without.lt = false;
    assert_int_equal(tune_verify(&d, &without, &again, &r), ERR_UNSUPPORTED);
    simt_cublaslt = (struct simt_cublaslt){0};
    buf_clear(&log);
    buf_clear(&text);
    arena_clear(&a);
}

/* Everything that this GPU has is measured; the rest stays 0, and what is taken is given back. */
static void test_ceilings(void **state)
{
    struct gpu_ceil c, sheet = {.fp8_tflops = 5, .read_gbs = 7};
    struct device_info before, after;
    struct arena a;
    (void)state;
    arena_init(&a, 0);
    backend_cuda.info(dev, &before);
    assert_int_equal(backend_cuda.ceilings(dev, &c), OK);
    backend_cuda.info(dev, &after);
    assert_true(after.fault == OK); /* others use a GPU at the same time */
    assert_true(after.free_bytes == before.free_bytes || simt_real());
    const double has[] = {c.copy_gbs,     c.read_gbs,        c.l2_gbs,
                          c.bf16_tflops,  c.mma_bf16_tflops, c.mma_int8_tops,
                          c.graph_gap_us, c.launch_gap_us,   c.int8_tops};
    for (size_t i = 0; i < sizeof has / sizeof *has; i++)
        assert_true(isfinite(has[i]) && (has[i] > 0 || simt_real()));
    if (simt_real()) /* it may have no cuBLASLt, but early starts */
        return arena_clear(&a);
    /* sm_89 multiplies no fp4, and starts no kernel early */
    assert_true(c.fp8_tflops > 0 && c.fp4_tflops == 0 && c.pdl_gap_us == 0);
    assert_string_equal(gpu_ceil_merge(&a, &c, &sheet),
                        "copy_gbs read_gbs l2_gbs bf16_tflops fp8_tflops int8_tops "
                        "mma_bf16_tflops mma_int8_tops graph_gap_us launch_gap_us");
    assert_true(sheet.read_gbs == c.read_gbs && sheet.fp8_tflops == c.fp8_tflops);
    arena_clear(&a);
}

static bool near(double a, double b)
{
    return fabs(a / b - 1) < 1e-3;
}

/* By a clock that products and launches move on at known rates, what is measured is these rates; of
 * the library's algorithms that of the best which computes what the first one does. */
static void test_known_ceilings(void **state)
{
    static const struct {
        int cc;
        bool fp8, fp4;
    } gpus[] = {{80, false, false}, {90, true, false}, {100, true, true}};
    (void)state;
    if (simt_real())
        return;
    for (int i = 0; i < 3; i++) {
        struct device_options o = {.cublaslt = NULL};
        struct gpu_ceil c;
        struct device *other;
        simt_faults(&(struct simt_faults){.cc = gpus[i].cc});
        simt_cublaslt = (struct simt_cublaslt){.workspace = 1 << 20};
        simt_clock = (struct simt_clock){true, 0, 450, {1e-3, 2e-3, 3e-3, 4e-3}};
        assert_int_equal(backend_cuda.open(&o, &other), OK);
        assert_int_equal(backend_cuda.ceilings(other, &c), OK);
        assert_true(near(c.bf16_tflops, 1e-3) && near(c.int8_tops, 3e-3));
        assert_true(gpus[i].fp8 ? near(c.fp8_tflops, 2e-3) : c.fp8_tflops == 0);
        assert_true(gpus[i].fp4 ? near(c.fp4_tflops, 4e-3) : c.fp4_tflops == 0);
        assert_true(near(c.launch_gap_us, 450) && near(c.graph_gap_us, 450));
        backend_cuda.close(other);
    }
    simt_clock = (struct simt_clock){0};
    simt_cublaslt = (struct simt_cublaslt){0};
    simt_faults(&(struct simt_faults){0});
}

static const struct tune_heads heads[] = {{64, 4, 2}};
static const struct tune_step steps[] = {{2, 1, 300}, {1, 5, 200}};
static const struct tune_attn_options attn = {heads, 1, steps, 2, true};

static struct backend lying; /* all sequences see the pages of the first */
static enum status lying_attention(struct queue *q, const struct op_attention *a)
{
    int32_t slot[2] = {0, 0};
    void *first = (void *)a->r.seq_slot;
    TRY(backend_cuda.copy(q, first, slot, (size_t)a->r.seqs * sizeof *slot, COPY_TO_DEVICE));
    return backend_cuda.ops.attention(q, a);
}

/* Each cut is right for single rows and for many, with the same result but for rounding; pages that
 * are read wrongly are found. */
static void test_attention(void **state)
{
    static const struct gpu_cut cuts[] = {{64, 8}, {128, 32}, {1024, 16}};
    struct tune_pages *t;
    (void)state;
    assert_int_equal(tune_pages_open(dev, &attn, &t), OK);
    struct tune_attn_device d = tune_pages_device(t);
    lying = backend_cuda;
    lying.ops.attention = lying_attention;
    for (int i = 0; i < 2; i++) {
        double us = 0;
        bool right;
        assert_int_equal(d.begin(d.ctx, &heads[0], &steps[i]), OK);
        for (int j = 0; j < 3; j++) {
            assert_int_equal(d.check(d.ctx, &cuts[j], &right), OK);
            assert_true(right);
        }
        dev->backend = &lying;
        assert_int_equal(d.check(d.ctx, &cuts[0], &right), OK);
        dev->backend = &backend_cuda;
        assert_int_equal(right, steps[i].seqs == 1); /* there it does not lie */
        assert_int_equal(d.time(d.ctx, &cuts[1], &us), OK);
        assert_true(us > 0);
    }
    const struct tune_step large = {64, 1, 4096};
    assert_int_equal(d.begin(d.ctx, &heads[0], &large), ERR_NO_MEMORY);
    tune_pages_close(t);
}

static struct backend broken; /* the backend, with another product */
static int fault;

/* 1: the last row is left out, 2: rows are those before them, 3: one output is off. */
static enum status wrong_linear(struct queue *q, const struct op_linear *a)
{
    struct op_linear part = *a;
    if (fault == 1)
        part.x.shape[0] = part.y.shape[0] = a->x.shape[0] - 1;
    if (fault == 2)
        part.x.stride[0] = 0;
    TRY(backend_cuda.ops.linear(q, &part));
    float off = 1e3f;
    char *at = (char *)a->y.data + 7 * sizeof off;
    return fault == 3 ? backend_cuda.copy(q, at, &off, sizeof off, COPY_TO_DEVICE) : OK;
}

static void test_check(void **state)
{
    struct tune_device d = tune_backend_device(bench);
    struct gpu_shape s = {DT_Q4_0, 8, 16, 1024};
    struct gpu_params p = {GPU_PATH_SKINNY, 2, 1, gpu_stages(89), 2, NULL};
    bool right = false;
    double us = 0;
    (void)state;
    assert_int_equal(d.begin(d.ctx, &s), OK);
    assert_int_equal(d.check(d.ctx, &p, &right), OK);
    assert_true(right);
    assert_int_equal(d.time(d.ctx, &p, &us), OK);
    assert_true(us > 0);
    broken = backend_cuda;
    broken.ops.linear = wrong_linear;
    dev->backend = &broken;
    for (fault = 0; fault < 4; fault++) {
        assert_int_equal(d.check(d.ctx, &p, &right), OK);
        assert_int_equal(right, fault == 0);
    }
    dev->backend = &backend_cuda;
}

/* Launches that round x to fp4 are right, though they differ from those that do not; of a kernel
 * that does nothing they are not. */
static void test_fp4(void **state)
{
    static const struct tune_weight fp4[] = {{DT_NVFP4, 48, 256}, {DT_MXFP4, 48, 256}};
    static const int many[] = {48};
    static const struct gpu_params ways[] = {
        {.path = GPU_PATH_W4A4, .nt = GPU_W4A4_NT, .r = 2, .stages = GPU_MMA8_STAGES, .splits = 1},
        {.path = GPU_PATH_LT_FP4, .splits = 1}};
    static const char *const kernels[] = {"w4a4", "fp4_weights"};
    const struct tune_options o = {.weights = fp4,
                                   .n_weights = 2,
                                   .rows = many,
                                   .n_rows = 1,
                                   .lt = true,
                                   .x = X_FP4,
                                   .quick = true};
    struct device_options how = {.round_x = X_FP4};
    struct gpu_params plain = {GPU_PATH_SKINNY, 2, 1, gpu_stages(120), 1, NULL};
    (void)state;
    if (simt_real()) /* which need not have them */
        return;
    simt_cublaslt = (struct simt_cublaslt){0};
    simt_faults(&(struct simt_faults){.cc = 120});
    assert_int_equal(backend_cuda.open(&how, &dev), OK);
    assert_int_equal(tune_backend_open(dev, &o, &bench), OK);
    struct tune_device d = tune_backend_device(bench);
    for (int i = 0; i < 2; i++) {
        const struct gpu_shape s = {fp4[i].w, many[0], fp4[i].n, fp4[i].k};
        bool right;
        assert_int_equal(d.begin(d.ctx, &s), OK);
        assert_int_equal(d.check(d.ctx, &plain, &right), OK);
        assert_true(right);
        for (int j = 0; j < 2; j++)
            for (int idle = 1; idle >= 0; idle--) { /* first: scratch is kept */
                simt_faults(&(struct simt_faults){.cc = 120, .idle = idle ? kernels[j] : NULL});
                assert_int_equal(d.check(d.ctx, &ways[j], &right), OK);
                assert_int_equal(right, !idle);
            }
    }
    simt_faults(&(struct simt_faults){0});
    tear_down(state);
}

static const char path[] = "build/test_tune.json",
                  log_path[] = "build/test_tune.json.timings.jsonl";
static const char folder[] = "build/test_tune_cache";

/* `inferd tune` with these options; without --output it goes to the user's cache. */
static int tune(const char *budget, const char *const *more)
{
    const char *argv[20] = {"tests/data/models/qwen2-q4_0.gguf",
                            "--quick",
                            "--budget",
                            budget,
                            "--cublaslt",
                            "none",
                            "--gpu-cache",
                            folder};
    int n = 8;
    struct config c;
    while (*more)
        argv[n++] = *more++;
    assert_int_equal(config_parse(&c, CMD_TUNE, n, (char **)argv), OK);
    int code = cmd_tune(&c);
    config_clear(&c);
    return code;
}

static const char *const fresh[] = {"--output", path, NULL},
                         *const resume[] = {"--output", path, "--resume", NULL},
                         *const verify[] = {"--verify", NULL},
                         *const to_cache[] = {"--resume", NULL};

/* The same, and what it says. */
static char *told(const char *budget, const char *const *more)
{
    static const char to[] = "build/test_tune.said";
    char *text;
    size_t n;
    fflush(NULL);
    int was[2] = {dup(1), dup(2)}, file = open(to, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0666);
    assert_true(file >= 0 && dup2(file, 1) == 1 && dup2(file, 2) == 2);
    int code = tune(budget, more);
    fflush(NULL);
    dup2(was[0], 1);
    dup2(was[1], 2);
    close(was[0]);
    close(was[1]);
    close(file);
    assert_int_equal(code, 0);
    assert_int_equal(file_read(to, 1 << 20, &text, &n), OK);
    remove(to);
    return text;
}

/* Weights that are done, by the timings on the disk. */
static int done_lines(void)
{
    char *text;
    size_t n;
    int lines = 0;
    if (file_read(log_path, 1 << 24, &text, &n) != OK)
        return 0;
    for (const char *p = text; (p = strstr(p, "{\"done\":")) && strchr(p, '\n'); p++)
        lines++;
    xfree(text);
    return lines;
}

/* Killed while it measures the second matrix or a later one, and gone on with: what was done is
 * taken over as it is. First of all tests, since the emulator's threads do not survive a fork. */
static void test_killed(void **state)
{
    char *first, *second, sha[65];
    size_t n_first, n_second;
    struct device_options o = {.gpu_config = path, .strict = true, .cublaslt = "none"};
    struct device_info info;
    (void)state;
    remove(log_path);
    remove(path);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(tune("300", fresh));
    while (done_lines() == 0)
        usleep(20000);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(access(path, F_OK), -1); /* a configuration is written whole or not at all */
    assert_int_equal(file_read(log_path, 1 << 24, &first, &n_first), OK);
    int done = done_lines();
    char *said = told("0.01", resume);
    assert_non_null(strstr(said, "1 of 5: q4_0 [269, 32], "));
    assert_non_null(strstr(said, " s left, speed x "));
    assert_non_null(strstr(said, "speed after / before: "));
    xfree(said);
    assert_int_equal(file_read(log_path, 1 << 24, &second, &n_second), OK);
    assert_true(n_second > n_first && memcmp(first, second, n_first) == 0);
    assert_int_equal(done_lines(), done + 1);
    assert_int_equal(backend_cuda.open(&o, &dev), OK);
    backend_cuda.info(dev, &info);
    assert_int_equal(info.gpu->how, GPU_FILE);
    assert_int_equal(info.gpu->config.from.kind, GPU_MEASURED);
    assert_int_equal(info.gpu->config.from.entries, 4 * (done + 1));
    assert_non_null(strstr(info.gpu->config.from.ceilings, "read_gbs"));
    sha256_hex(second, n_second, sha);
    assert_string_equal(info.gpu->config.from.raw_sha256, sha);
    backend_cuda.close(dev);
    xfree(first);
    xfree(second);
}

/* The new file cannot be written: the old one stays. (What it is written to is a folder.) */
static void test_stays_whole(void **state)
{
    char part[80], *before, *after;
    size_t n_before, n_after;
    (void)state;
    snprintf(part, sizeof part, "%s.%d.part", path, (int)getpid());
    assert_int_equal(mkdir(part, 0777), 0);
    assert_int_equal(file_read(path, 1 << 20, &before, &n_before), OK);
    assert_int_not_equal(tune("0.01", resume), 0);
    assert_int_equal(file_read(path, 1 << 20, &after, &n_after), OK);
    assert_int_equal(n_after, n_before);
    assert_memory_equal(after, before, n_before);
    rmdir(part);
    xfree(before);
    xfree(after);
    remove(path);
}

static void make_corrupt(const char *cached)
{
    mkdir("build/test_tune_cache", 0777);
    mkdir("build/test_tune_cache/gpu", 0777);
    FILE *f = fopen(cached, "w");
    assert_non_null(f);
    fputs("{\"schema\": 1, \"id\": \"half a fi", f);
    fclose(f);
}

/* The user's cache is broken: it is refused by name, and made anew by the next tuning. */
static void test_cache_is_rebuilt(void **state)
{
    struct device_options o = {.gpu_cache = folder, .cublaslt = "none"};
    struct device_info info;
    struct arena a;
    (void)state;
    arena_init(&a, 0);
    assert_int_equal(backend_cuda.open(&o, &dev), OK);
    backend_cuda.info(dev, &info);
    const char *cached = gpu_cache_path(&a, folder, &info.gpu->facts);
    backend_cuda.close(dev);
    const char *timed = arena_printf(&a, "%s.timings.jsonl", cached);
    make_corrupt(cached);
    assert_int_equal(rename(log_path, timed), 0); /* those of the tests before: less to measure */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(backend_cuda.open(&o, &dev), OK);
        backend_cuda.info(dev, &info);
        if (i == 0)
            assert_non_null(strstr(info.gpu->refused, cached));
        else
            assert_string_equal(info.gpu->refused, "");
        assert_int_equal(info.gpu->how == GPU_CACHE, i);
        backend_cuda.close(dev);
        if (i == 0)
            assert_int_equal(tune("0.01", to_cache), 0);
    }
    remove(cached);
    remove(timed);
    assert_int_equal(tune("0.01", verify), 0); /* of what is built in, where nothing was measured */
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_stays_whole),
        cmocka_unit_test(test_cache_is_rebuilt),
        cmocka_unit_test_setup_teardown(test_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_check, set_up, tear_down),
        cmocka_unit_test(test_fp4),
        cmocka_unit_test_setup_teardown(test_algorithms, set_up_lt, tear_down),
        cmocka_unit_test_setup_teardown(test_ceilings, set_up_lt, tear_down),
        cmocka_unit_test(test_known_ceilings),
        cmocka_unit_test_setup_teardown(test_attention, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
