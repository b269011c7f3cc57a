/* Views: shapes, strides and sizes of slices, heads and blocks. */
#include "kernels/tensor.h"

#include "tests/support/test.h"

static void test_views(void **state)
{
    (void)state;
    float x[6 * 8];
    struct tensor t = tensor_2d(x, DT_F32, 6, 8);
    assert_int_equal(t.stride[0], 32);
    assert_int_equal(t.stride[1], 4);
    assert_int_equal(tensor_count(&t), 48);
    assert_int_equal(tensor_bytes(&t), 192);
    struct tensor r = tensor_rows(t, 2, 3);
    assert_ptr_equal(r.data, x + 16);
    assert_int_equal(r.shape[0], 3);
    struct tensor c = tensor_cols(r, 2, 4);
    assert_ptr_equal(tensor_row(&c, 1), x + 26);
    assert_int_equal(c.shape[1], 4);
    assert_int_equal(c.stride[0], 32);
    struct tensor h = tensor_heads(c, 2, 2);
    assert_int_equal(h.ndim, 3);
    assert_int_equal(h.shape[1], 2);
    assert_int_equal(h.shape[2], 2);
    assert_int_equal(h.stride[0], 32);
    assert_int_equal(h.stride[1], 8);
    assert_int_equal(h.stride[2], 4);
}

static void test_blocks(void **state)
{
    (void)state;
    char bytes[3 * 2 * 144];
    struct tensor t = tensor_2d(bytes, DT_Q4_K, 3, 512);
    assert_int_equal(t.stride[0], 288);
    assert_int_equal(t.stride[1], 144);
    assert_int_equal(tensor_bytes(&t), sizeof bytes);
    struct tensor r = tensor_rows(t, 1, 1);
    assert_ptr_equal(r.data, bytes + 288);
    struct tensor v = tensor_1d(bytes, DT_F32, 5), d = tensor_3d(bytes, DT_F16, 2, 3, 4);
    assert_int_equal(tensor_bytes(&v), 20);
    assert_int_equal(tensor_bytes(&d), 48);
    assert_int_equal(d.stride[0], 24);
    assert_int_equal(d.stride[1], 8);
    assert_int_equal(d.layout, LAYOUT_ROWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
