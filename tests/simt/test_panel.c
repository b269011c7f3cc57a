/* test_panel.c - weights in panels: rows read back on the emulator are the decoder's, bit for bit,
 * for every type; and what cannot be packed. */
#include "kernels/cuda/panel.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/pack.h"
#include "tests/simt/gpu.h"
#include "tests/simt/host_panel.h"
#include "tests/support/test.h"

enum { ROWS = 37, TOKENS = 6 };

static struct cuda_queue q;

static void *to_device(const void *from, size_t bytes)
{
    void *p;
    assert_int_equal(cudaMalloc(&p, bytes), cudaSuccess);
    assert_int_equal(cudaMemcpy(p, from, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    return p;
}

/* Any bytes are a valid block; with bit 6 of each cleared no f16 is infinite or NaN. */
static uint8_t *weight(enum dtype t, int64_t k)
{
    size_t bytes = ROWS * dtype_row_bytes(t, k);
    uint8_t *w = xmalloc(bytes);
    uint32_t seed = 5;
    for (size_t i = 0; i < bytes; i++)
        w[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24 & 0xbf);
    return w;
}

static void check(enum dtype t, int64_t k)
{
    static const int32_t token[TOKENS] = {0, 15, 16, ROWS - 1, ~1, 8}, live[2] = {5, 1};
    size_t bytes = cuda_panel_bytes(t, ROWS, k);
    uint8_t *w = weight(t, k), *packed = xmalloc(bytes);
    float *want = xmalloc((size_t)k * 4), *got = xmalloc((size_t)(TOKENS * k) * 4);
    struct tensor src = tensor_2d(w, t, ROWS, k);
    memset(got, 0xff, (size_t)(TOKENS * k) * 4);
    host_panel_pack(&src, 1, 0, (ROWS + PANEL_ROWS - 1) / PANEL_ROWS, packed);
    for (int i = 0; i < 2 * k; i++)
        got[i] = (float)i;
    struct op_embed a = {.table = src,
                         .rows = tensor_2d(to_device(got, (size_t)(2 * k) * 4), DT_F32, 2, k),
                         .r = {.rows = TOKENS, .live = to_device(live, sizeof live)},
                         .token = to_device(token, sizeof token),
                         .y =
                             tensor_2d(to_device(got, (size_t)(TOKENS * k) * 4), DT_F32, TOKENS, k),
                         .scale = 0.5f};
    a.table.data = to_device(packed, bytes);
    a.table.layout = LAYOUT_PANEL;
    assert_int_equal(cuda_panel_embed(&q, &a), OK);
    assert_int_equal(cudaStreamSynchronize(q.stream), cudaSuccess);
    cudaMemcpy(got, a.y.data, (size_t)(TOKENS * k) * 4, cudaMemcpyDeviceToHost);
    for (int i = 0; i < live[0]; i++) {
        if (token[i] >= 0)
            dtype_decode(t, tensor_row(&src, token[i]), want, k);
        for (int j = 0; j < k; j++) {
            float v = token[i] >= 0 ? 0.5f * want[j] : 0.5f * (float)(k + j);
            if (memcmp(&v, &got[i * k + j], 4) != 0)
                fail_msg("%s [%d][%d] is %.9g, not %.9g", dtype_info(t)->name, token[i], j,
                         (double)got[i * k + j], (double)v);
        }
    }
    for (int j = 0; j < k; j++) /* not live: not touched */
        assert_true(got[5 * k + j] != got[5 * k + j]);
    cudaFree(a.table.data);
    cudaFree(a.rows.data);
    cudaFree(a.y.data);
    cudaFree((void *)(uintptr_t)a.token);
    cudaFree((void *)(uintptr_t)a.r.live);
    xfree(w);
    xfree(packed);
    xfree(want);
    xfree(got);
}

static void test_embed(void **state)
{
    (void)state;
    assert_int_equal(cudaStreamCreate(&q.stream), cudaSuccess);
    for (int t = 0; t < N_DTYPE; t++)
        if (cuda_panel_format((enum dtype)t))
            check((enum dtype)t, dtype_info((enum dtype)t)->block > 32 ? 256 : 96);
    cudaStreamDestroy(q.stream);
}

/* The device makes the panels that the host does, of stacked tensors whose seam lies in a panel,
 * with a last panel that is not whole; many weights at once. */
static void test_made_there(void **state)
{
    (void)state;
    enum { N = 29, ROWS_A = 20 };
    struct tensor src[2 * N], dst[N];
    struct choice how[N];
    struct pack_item item[N];
    uint8_t *w[N];
    int n = 0;
    for (int t = 0; t < N_DTYPE; t++) {
        const int64_t k = dtype_info((enum dtype)t)->block > 32 ? 512 : 96;
        struct op_case c = {OP_linear, DT_F32, (enum dtype)t, 0, ROWS, k};
        if (!cuda_panel_format((enum dtype)t))
            continue;
        assert_true(n < N && backend_cuda.can(gpu.dev, &c, &how[n]));
        w[n] = weight((enum dtype)t, k);
        src[2 * n] = tensor_2d(w[n], (enum dtype)t, ROWS_A, k);
        src[2 * n + 1] =
            tensor_2d(tensor_row(&src[2 * n], ROWS_A), (enum dtype)t, ROWS - ROWS_A, k);
        dst[n].data = gpu_empty(how[n].bytes);
        item[n] = (struct pack_item){&src[2 * n], 2, &how[n], &dst[n]};
        n++;
    }
    assert_int_equal(n, N);
    assert_int_equal(backend_cuda.pack_all(gpu.dev, item, n), OK);
    for (int i = 0; i < n; i++) {
        uint8_t *want = xmalloc(how[i].bytes), *got = xmalloc(how[i].bytes);
        host_panel_pack(&src[2 * i], 2, 0, (ROWS + PANEL_ROWS - 1) / PANEL_ROWS, want);
        gpu_down(got, dst[i].data, how[i].bytes);
        if (memcmp(want, got, how[i].bytes) != 0)
            fail_msg("%s: the device's panels are not the host's",
                     dtype_info((enum dtype)src[2 * i].dtype)->name);
        assert_int_equal(dst[i].layout, LAYOUT_PANEL);
        xfree(want);
        xfree(got);
        xfree(w[i]);
    }
    gpu_free_all();
}

/* A model's token table of any type that has panels: chosen, packed, looked up. */
static void test_tables(void **state)
{
    static const int32_t token[TOKENS] = {ROWS - 1, 0, 15, 16, 3, 8}, none[TOKENS];
    int32_t *ids = to_device(token, sizeof token);
    int32_t *zero = to_device(none, sizeof none);
    (void)state;
    for (int t = 0; t < N_DTYPE; t++) {
        const int64_t k = dtype_info((enum dtype)t)->block > 32 ? 512 : 96;
        struct op_case c = {OP_embed, DT_F32, (enum dtype)t, 0, ROWS, k};
        struct choice how;
        if (!cuda_panel_format((enum dtype)t))
            continue;
        if (!backend_cuda.can(gpu.dev, &c, &how))
            fail_msg("no table of %s", dtype_info((enum dtype)t)->name);
        uint8_t *w = weight((enum dtype)t, k);
        float *want = xmalloc((size_t)k * 4), *got = xmalloc((size_t)(TOKENS * k) * 4);
        struct tensor src = tensor_2d(w, (enum dtype)t, ROWS, k), dst = {.data = NULL};
        dst.data = gpu_empty(how.bytes);
        assert_int_equal(backend_cuda.pack(gpu.dev, &src, 1, &how, &dst), OK);
        struct op_embed a = {.table = dst,
                             .rows = tensor_2d(NULL, DT_F32, 0, k),
                             .r = {TOKENS, 1, .pos = zero, .row_seq = zero, .seq_slot = zero},
                             .token = ids,
                             .y = tensor_2d(gpu_empty((size_t)(TOKENS * k) * 4), DT_F32, TOKENS, k),
                             .scale = 1};
        assert_int_equal(op_embed(gpu.q, &a), OK);
        gpu_down(got, a.y.data, (size_t)(TOKENS * k) * 4);
        for (int i = 0; i < TOKENS; i++) {
            dtype_decode((enum dtype)t, tensor_row(&src, token[i]), want, k);
            if (memcmp(want, got + i * k, (size_t)k * 4) != 0)
                fail_msg("a row of a table of %s", dtype_info((enum dtype)t)->name);
        }
        gpu_free_all();
        xfree(w);
        xfree(want);
        xfree(got);
    }
    cudaFree(ids);
    cudaFree(zero);
}

/* Every code of a scale, in rows of two groups, with every code of a number: as the decoder has
 * it. Numbers, scales and where they lie are those of the product. */
static void check_scales(enum dtype t, int rows, int scales)
{
    enum { K = 64, MOST = 128 };
    static float want[MOST * K], got[MOST * K];
    int32_t token[MOST], live[2] = {rows, 1};
    uint8_t w[MOST * 36];
    const struct dtype_info *type = dtype_info(t);
    const size_t row = dtype_row_bytes(t, K), bytes = cuda_panel_bytes(t, rows, K);
    for (size_t i = 0; i < row * (size_t)rows; i++)
        w[i] = (uint8_t)(i * 17);
    for (int i = 0; i < 256; i++) {
        const int block = i / scales, in = i % scales;
        w[block * type->bytes + in] = (uint8_t)i;
    }
    struct tensor src = tensor_2d(w, t, rows, K);
    uint8_t *packed = xmalloc(bytes);
    host_panel_pack(&src, 1, 0, rows / PANEL_ROWS, packed);
    for (int i = 0; i < rows; i++)
        token[i] = i;
    struct op_embed a = {.table = src,
                         .rows = tensor_2d(NULL, DT_F32, 0, K),
                         .r = {.rows = rows, .live = to_device(live, sizeof live)},
                         .token = to_device(token, sizeof token),
                         .y = tensor_2d(to_device(got, sizeof got), DT_F32, rows, K),
                         .scale = 1};
    a.table.data = to_device(packed, bytes);
    a.table.layout = LAYOUT_PANEL;
    assert_int_equal(cuda_panel_embed(&q, &a), OK);
    assert_int_equal(cudaStreamSynchronize(q.stream), cudaSuccess);
    cudaMemcpy(got, a.y.data, sizeof got, cudaMemcpyDeviceToHost);
    dtype_decode(t, w, want, (int64_t)rows * K);
    assert_memory_equal(want, got, (size_t)(rows * K) * sizeof *want);
    cudaFree(a.table.data);
    cudaFree(a.y.data);
    cudaFree((void *)(uintptr_t)a.token);
    cudaFree((void *)(uintptr_t)a.r.live);
    xfree(packed);
}

static void test_fp4_scales(void **state)
{
    (void)state;
    assert_int_equal(cudaStreamCreate(&q.stream), cudaSuccess);
    check_scales(DT_NVFP4, 64, 4);
    check_scales(DT_MXFP4, 128, 1);
    cudaStreamDestroy(q.stream);
}

/* What a model's weights take on the device. */
static size_t chosen_bytes(enum dtype t)
{
    struct op_case c = {OP_linear, DT_F32, t, 0, 4096, 4096};
    struct choice how;
    assert_true(backend_cuda.can(gpu.dev, &c, &how));
    assert_int_equal(how.layout, LAYOUT_PANEL);
    return how.bytes;
}

static void test_chosen_bytes(void **state)
{
    (void)state;
    assert_int_equal(chosen_bytes(DT_NVFP4), 4096 * 4096 / 8 * 9 / 2);  /* 4.5 bits a weight */
    assert_int_equal(chosen_bytes(DT_MXFP4), 4096 * 4096 / 8 * 17 / 4); /* 4.25 */
    assert_int_equal(chosen_bytes(DT_IQ4_NL), 4096 * 4096 / 8 * 12);
}

static void test_bytes(void **state)
{
    (void)state;
    assert_int_equal(cuda_panel_bytes(DT_Q8_0, 17, 96), 2 * 2 * 1088);
    assert_int_equal(cuda_panel_bytes(DT_Q4_0, 16, 64), 576);
    assert_int_equal(cuda_panel_bytes(DT_Q4_0, 16, 48), 0); /* half a block */
    assert_int_equal(cuda_panel_bytes(DT_BF16, 16, 64), 0); /* lies in rows */
}

/* Through the backend: two tensors stacked, more than a piece of the ring holds; the product of the
 * packed weight with a unit row is a column of the weight. */
static void through_backend(enum dtype t, int64_t k, enum layout layout, float rel)
{
    enum { N1 = 40000, N2 = 30000, N = N1 + N2, COLUMN = 5 };
    struct op_case c = {OP_linear, DT_F32, t, 0, N, k};
    struct choice how;
    size_t row = dtype_row_bytes(t, k);
    uint8_t *w = xmalloc(row * N);
    float *y = xmalloc(sizeof *y * N), *x = xcalloc((size_t)k, sizeof *x),
          *want = xmalloc(sizeof *x * (size_t)k);
    for (size_t i = 0; i < row * N; i++)
        w[i] = (uint8_t)(i % 2 ? 0x3c : i * 7 % 251); /* 0x3c00 ... is 1 in f16, 0.008 in bf16 */
    assert_true(backend_cuda.can(gpu.dev, &c, &how));
    assert_int_equal(how.layout, layout);
    struct tensor src[2] = {tensor_2d(w, t, N1, k), tensor_2d(w + row * N1, t, N2, k)};
    struct tensor dst = {.data = gpu_empty(how.bytes)};
    assert_int_equal(backend_cuda.pack(gpu.dev, src, 2, &how, &dst), OK);
    x[COLUMN] = 1;
    struct op_linear a = {gpu_tensor(tensor_2d(x, DT_F32, 1, k)),
                          dst,
                          {0},
                          {0},
                          tensor_2d(gpu_empty(sizeof *y * N), DT_F32, 1, N),
                          NULL};
    assert_int_equal(op_linear(gpu.q, &a), OK);
    gpu_down(y, a.y.data, sizeof *y * N);
    for (int n = 0; n < N; n++) {
        dtype_decode(t, w + row * (size_t)n, want, k);
        gpu_near(y + n, want + COLUMN, 1, dtype_info(t)->name, rel, 0);
    }
    gpu_free_all();
    xfree(w);
    xfree(y);
    xfree(x);
    xfree(want);
}

static void test_backend(void **state)
{
    struct op_case c = {OP_linear, DT_F32, DT_F64, 0, 16, 64};
    struct choice how;
    (void)state;
    through_backend(DT_BF16, 61, LAYOUT_ROWS, 0);
    through_backend(DT_BF16, 64, LAYOUT_ROWS, 0);
    through_backend(DT_Q8_0, 64, LAYOUT_PANEL, 1e-6f);
    assert_false(backend_cuda.can(gpu.dev, &c, &how));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_fp4_scales),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test_setup_teardown(test_chosen_bytes, gpu_open, gpu_close),
        cmocka_unit_test_setup_teardown(test_made_there, gpu_open, gpu_close),
        cmocka_unit_test_setup_teardown(test_tables, gpu_open, gpu_close),
        cmocka_unit_test_setup_teardown(test_backend, gpu_open, gpu_close)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
