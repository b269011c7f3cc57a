/* test_device.c - the CUDA backend as a device: regions, copies through the ring, fences, graphs,
 * packing. Late streams run work only when something waits for it, so whatever is read or reused
 * too early is wrong here. */
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/gpu/select.h"
#include "tests/simt/gpu.h"
#include "tests/support/test.h"

static const struct simt_mode late = {.random = true, .lazy = true, .seed = 5};

static void test_find(void **state)
{
    (void)state;
    const struct backend *b;
    struct device *dev;
    struct device_options o = {.index = -1};
    assert_int_equal(backend_find("cuda", &b, &o.index), OK);
    assert_ptr_equal(b, &backend_cuda);
    assert_int_equal(o.index, 0);
    assert_int_equal(backend_find("cuda:3", &b, &o.index), OK);
    assert_int_equal(o.index, 3);
    assert_int_equal(b->open(&o, &dev), ERR_NOT_FOUND);
    assert_non_null(strstr(fail_text(), "cuda:3"));
    assert_int_equal(backend_find("cuda:", &b, &o.index), ERR_INVALID);
    assert_int_equal(backend_find("cudax", &b, &o.index), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "cuda:N"));
}

/* The emulator is no known GPU: it gets the configuration of one of its capability, scaled. A file
 * that has its facts is "of exactly this GPU". */
static void test_configuration(void **state)
{
    static const char path[] = "build/test_device_gpu.json";
    (void)state;
    if (simt_real())
        SKIP("which configuration a GPU gets, the emulated one knows");
    struct device_options o = {.index = 0, .cublaslt = "none", .strict = true};
    struct op_case c = {OP_linear, DT_F32, DT_Q4_0, 0, 4096, 4096};
    struct device_info info;
    struct device *dev;
    struct choice how;
    struct buf text = {0};
    assert_int_equal(backend_cuda.open(&o, &dev), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "like-rtx4060ti"));
    o.strict = false;
    assert_int_equal(backend_cuda.open(&o, &dev), OK);
    backend_cuda.info(dev, &info);
    assert_int_equal(info.gpu->how, GPU_NEAR);
    assert_int_equal(info.gpu->facts.sms, 4);
    assert_true(backend_cuda.can(dev, &c, &how));
    assert_string_equal(how.source, "like-rtx4060ti");
    assert_true(how.bound_us > 0 && how.us > how.bound_us);
    const struct quant fp8 = {.x = X_FP8};
    c = (struct op_case){OP_linear, DT_F32, DT_F8_E4M3, 2048, 4096, 4096};
    backend_cuda.many(dev, &c, &fp8, &how); /* nobody allows it */
    assert_string_equal(how.kernel, "skinny");
    c.w = DT_Q4_0;
    backend_cuda.many(dev, &c, NULL, &how);
    assert_string_equal(how.kernel, "mma8");
    assert_string_equal(how.source, "like-rtx4060ti");
    assert_true(how.bound_us > 0 && how.us > how.bound_us);
    gpu_config_write(&text, &info.gpu->config);
    backend_cuda.close(dev);

    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fwrite(text.data, 1, text.len, f);
    fclose(f);
    buf_clear(&text);
    o.strict = true;
    o.gpu_config = path;
    assert_int_equal(backend_cuda.open(&o, &dev), OK);
    backend_cuda.info(dev, &info);
    assert_int_equal(info.gpu->how, GPU_FILE);
    backend_cuda.close(dev);
    remove(path);
}

/* Under WSL Windows draws with the same memory, so more of it is left alone. */
static void test_margins(void **state)
{
    (void)state;
    static const struct {
        const char *release;
        int mib;
    } kernels[] = {{"6.8.0-48-generic\n", 256}, {"6.6.87.2-microsoft-standard-WSL2\n", 768}};
    static const char path[] = "build/test_device_osrelease";
    int64_t without[2];
    for (int i = 0; i < 2; i++) {
        struct device_options o = {.index = 0, .cublaslt = "none", .os_release = path};
        struct device_info info;
        struct device *dev;
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(kernels[i].release, f);
        fclose(f);
        assert_int_equal(backend_cuda.open(&o, &dev), OK);
        backend_cuda.info(dev, &info);
        assert_int_equal(info.margin_bytes, kernels[i].mib << 20);
        without[i] = info.free_bytes;
        backend_cuda.close(dev);
    }
    remove(path);
    if (!simt_real()) /* where others may take and give memory meanwhile */
        assert_int_equal(without[0] - without[1], 512 << 20);
}

static void test_info_and_regions(void **state)
{
    (void)state;
    struct device_options o = {.index = 0};
    struct device_info info;
    struct device *dev;
    void *p;
    char text[4096];
    assert_true(backend_cuda.count() > 0);
    assert_int_equal(backend_cuda.open(&o, &dev), OK);
    backend_cuda.info(dev, &info);
    assert_string_equal(info.backend, "cuda");
    if (!simt_real())
        assert_string_equal(info.isa, "sm_89");
    assert_true(info.free_bytes > 0 && info.free_bytes < info.total_bytes);
    assert_false(info.synchronous);
    assert_int_equal(info.fault, OK);
    assert_int_equal(backend_cuda.region(dev, REGION_KV, sizeof text, &p), OK);
    gpu_down(text, p, sizeof text);
    for (size_t i = 0; i < sizeof text; i++)
        assert_int_equal(text[i], 0);
    int64_t before = info.free_bytes;
    backend_cuda.info(dev, &info);
    assert_true(info.free_bytes <= before - (int64_t)sizeof text);
    assert_int_equal(backend_cuda.region(dev, REGION_KV, 1, &p), ERR_INTERNAL);
    assert_int_equal(backend_cuda.region(dev, REGION_WORK, (size_t)1 << 42, &p), ERR_NO_MEMORY);
    assert_non_null(strstr(fail_text(), "4194304.0 MiB"));
    assert_int_equal(backend_cuda.region(dev, REGION_WORK, 100, &p),
                     OK); /* it can be tried again */
    backend_cuda.close(dev);
    backend_cuda.close(NULL);
}

/* More than the ring holds, both ways, with the host's copy gone at once. */
static void test_large_copies(void **state)
{
    (void)state;
    const size_t n = 70 << 20;
    uint32_t *host = xmalloc(n), *back = xmalloc(n);
    simt_mode(&late);
    for (size_t i = 0; i < n / 4; i++)
        host[i] = (uint32_t)i * 2654435761u;
    char *a = gpu_up(host, n), *b = gpu_empty(n);
    memset(host, 0, n);
    assert_int_equal(backend_cuda.copy(gpu.q, b, a, n, COPY_ON_DEVICE), OK);
    gpu_down(back, b, n);
    for (size_t i = 0; i < n / 4; i++)
        assert_int_equal(back[i], (uint32_t)i * 2654435761u);
    xfree(host);
    xfree(back);
    gpu_free_all();
}

/* Steps as the worker makes them: up, add, down, a fence; several in flight, more than there are
 * events. A result is there once its fence is done, whether polled or waited for. */
static void test_fences(void **state)
{
    (void)state;
    enum { STEPS = 300, FLIGHT = 3, N = 100 };
    static float in[STEPS][N], out[STEPS][N];
    struct fence fence[STEPS];
    simt_mode(&late);
    struct tensor x = tensor_2d(gpu_empty(sizeof in[0]), DT_F32, 1, N);
    struct tensor sum = tensor_2d(gpu_up(in[0], sizeof in[0]), DT_F32, 1, N);
    struct op_add add = {sum, x, sum, NULL};
    for (int s = 0; s < STEPS + FLIGHT; s++) {
        if (s < STEPS) {
            for (int i = 0; i < N; i++)
                in[s][i] = (float)(s + i);
            const struct backend *b = &backend_cuda;
            assert_int_equal(b->copy(gpu.q, x.data, in[s], sizeof in[s], COPY_TO_DEVICE), OK);
            assert_int_equal(op_add(gpu.q, &add), OK);
            assert_int_equal(b->copy(gpu.q, out[s], sum.data, sizeof out[s], COPY_TO_HOST), OK);
            assert_int_equal(b->record(gpu.q, &fence[s]), OK);
        }
        int old = s - FLIGHT;
        if (old < 0)
            continue;
        if (old % 2)
            assert_int_equal(backend_cuda.wait(gpu.q, &fence[old]), OK);
        else
            while (!backend_cuda.done(gpu.q, &fence[old])) {
            }
        for (int i = 0; i < N; i++)
            assert_true(out[old][i] == (float)(old * (old + 1) / 2 + (old + 1) * i));
    }
    gpu_free_all();
}

static void test_graphs(void **state)
{
    (void)state;
    enum { N = 64 };
    float one[N], sum[N];
    struct graph *g;
    simt_mode(&late);
    for (int i = 0; i < N; i++)
        one[i] = 1;
    memset(sum, 0, sizeof sum);
    struct tensor x = tensor_2d(gpu_up(one, sizeof one), DT_F32, 1, N);
    struct tensor y = tensor_2d(gpu_up(sum, sizeof sum), DT_F32, 1, N);
    struct op_add add = {y, x, y, NULL};
    assert_int_equal(backend_cuda.capture(gpu.q, true, NULL), OK);
    assert_int_equal(op_add(gpu.q, &add), OK);
    assert_int_equal(backend_cuda.copy(gpu.q, x.data, one, sizeof one, COPY_TO_DEVICE),
                     ERR_INTERNAL);
    assert_int_equal(backend_cuda.copy(gpu.q, x.data, y.data, sizeof one, COPY_ON_DEVICE), OK);
    assert_int_equal(op_add(gpu.q, &add), OK);
    assert_int_equal(backend_cuda.capture(gpu.q, false, &g), OK);
    gpu_down(sum, y.data, sizeof sum);
    assert_true(sum[5] == 0); /* to capture runs nothing */
    for (int i = 0; i < 2; i++)
        assert_int_equal(backend_cuda.replay(gpu.q, g), OK);
    gpu_down(sum, y.data, sizeof sum);
    assert_true(sum[5] == 6); /* y 1, x 1, y 2; then y 3, x 3, y 6 */
    gpu_free_all();
}

/* Two tensors stacked; the second is a view with gaps. */
static void test_pack(void **state)
{
    (void)state;
    enum { K = 96, N1 = 3, N2 = 2 };
    float rows[N1 + N2][K], apart[N2][K + 8], got[N1 + N2][K];
    struct op_case c = {OP_embed, DT_F32, DT_F32, 0, N1 + N2, K};
    struct choice how;
    gpu_fill(&rows[0][0], (N1 + N2) * K);
    for (int i = 0; i < N2; i++)
        memcpy(apart[i] + 4, rows[N1 + i], sizeof rows[0]);
    assert_true(backend_cuda.can(gpu.dev, &c, &how));
    assert_int_equal(how.bytes, sizeof rows);
    struct tensor src[2] = {tensor_2d(rows, DT_F32, N1, K),
                            tensor_cols(tensor_2d(apart, DT_F32, N2, K + 8), 4, K)};
    struct tensor dst = {.data = gpu_empty(how.bytes)};
    assert_int_equal(backend_cuda.pack(gpu.dev, src, 2, &how, &dst), OK);
    gpu_down(got, dst.data, sizeof got);
    assert_memory_equal(got, rows, sizeof rows);
    assert_int_equal(dst.shape[0], N1 + N2);
    c.k = 100;
    c.w = DT_Q8_0;
    assert_false(backend_cuda.can(gpu.dev, &c, &how));
    gpu_free_all();
}

static int usual_mode(void **state)
{
    (void)state;
    simt_mode(&(struct simt_mode){0});
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_margins),
        cmocka_unit_test(test_info_and_regions),
        cmocka_unit_test_teardown(test_large_copies, usual_mode),
        cmocka_unit_test_teardown(test_fences, usual_mode),
        cmocka_unit_test_teardown(test_graphs, usual_mode),
        cmocka_unit_test(test_pack),
    };
    return cmocka_run_group_tests(tests, gpu_open, gpu_close);
}
