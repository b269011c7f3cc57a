/* test_random.c - random weights on an asynchronous device: a few rows are packed and copied over
 * the rest there, so that large shapes are made in seconds. What lies in memory is the packed few
 * rows again and again, of another weight other rows, and no byte is left unwritten. */
#include <string.h>

#include "engine/load/model.h"
#include "kernels/base/mem.h"
#include "kernels/cuda/panel.h"
#include "tests/simt/gpu.h"
#include "tests/support/test.h"

enum { FEW = 1024 };

static char *download(const struct tensor *t, size_t bytes)
{
    char *host = xmalloc(bytes);
    gpu_down(host, t->data, bytes);
    return host;
}

static size_t bytes_of_rows(const struct tensor *t, int64_t rows)
{
    enum dtype d = (enum dtype)t->dtype;
    return t->layout == LAYOUT_PANEL ? cuda_panel_bytes(d, rows, t->shape[1])
                                     : dtype_row_bytes(d, t->shape[1]) * (size_t)rows;
}

static void check_weight(const struct tensor *t, const struct tensor *other)
{
    size_t all = bytes_of_rows(t, t->shape[0]), few = bytes_of_rows(t, FEW);
    assert_true(t->shape[0] > FEW && few < all);
    char *a = download(t, all), *b = download(other, few);
    assert_memory_not_equal(a, b, few);
    for (size_t at = few; at < all; at += few)
        assert_memory_equal(a, a + at, all - at < few ? all - at : few);
    /* The few are no copies themselves: no two tiles of 16 rows in them are alike. */
    for (size_t i = 1; i < 4; i++)
        assert_memory_not_equal(a, a + i * (few / 64), few / 64);
    xfree(a);
    xfree(b);
}

static void test_rows_repeat(void **state)
{
    static const char *const formats[] = {"q4_0", "bf16"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct random_model random = {"smollm2-135m", formats[i], 7};
        struct device_options o = {.index = 0, .cublaslt = "none"};
        struct device *dev;
        struct model *m;
        void *weights;
        assert_int_equal(backend_cuda.open(&o, &dev), OK);
        assert_int_equal(model_open(NULL, &random, &m), OK);
        assert_int_equal(model_place(m, dev), OK);
        assert_int_equal(backend_cuda.region(dev, REGION_WEIGHTS, m->weight_bytes, &weights), OK);
        assert_int_equal(model_load(m, dev, weights, NULL, NULL), OK);
        struct fence f;
        assert_int_equal(backend_cuda.record(backend_cuda.queue(dev), &f), OK);
        assert_int_equal(backend_cuda.wait(backend_cuda.queue(dev), &f), OK);
        const struct layer *l = m->net.layer;
        check_weight(&l[0].gate_up.part[0], &l[1].gate_up.part[0]);
        check_weight(&m->net.embed, &l[0].gate_up.part[0]);
        model_close(m);
        backend_cuda.close(dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_repeat)};
    return cmocka_run_group_tests(tests, gpu_open, gpu_close);
}
