/* test_buf.c - appending, dropping, formatting; the NUL behind the text. */
#include "kernels/base/buf.h"

#include <string.h>

#include "tests/support/test.h"

static void test_append(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_append(&b, NULL, 0);
    assert_string_equal(b.data, "");
    for (int i = 0; i < 10000; i++) {
        buf_putc(&b, (char)('a' + i % 26));
        assert_int_equal(b.data[b.len], '\0');
    }
    assert_int_equal(b.len, 10000);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    buf_reset(&b);
    assert_string_equal(b.data, "");
    buf_puts(&b, "xy");
    buf_append(&b, "\0z", 2);
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.data, "xy\0z", 5);
    buf_clear(&b);
    assert_null(b.data);
    buf_clear(&b);
    buf_reset(&b);
}

static void test_printf(void **state)
{
    struct buf b = {0};

    (void)state;
    for (int width = 1; width < 3000; width += 7) { /* around every size of the storage */
        size_t before = b.len;

        buf_printf(&b, "%*d", width, 5);
        assert_int_equal(b.len, before + (size_t)width);
        assert_int_equal(b.data[b.len - 1], '5');
        assert_int_equal(b.data[b.len], '\0');
    }
    buf_reset(&b);
    buf_printf(&b, "%s", "");
    assert_int_equal(b.len, 0);
    buf_clear(&b);
}

static void test_drop_and_reserve(void **state)
{
    struct buf b = {0};
    char *where;

    (void)state;
    buf_drop(&b, 5);
    buf_puts(&b, "abcdef");
    buf_drop(&b, 2);
    assert_string_equal(b.data, "cdef");
    buf_drop(&b, 0);
    buf_drop(&b, 100);
    assert_string_equal(b.data, "");
    buf_reserve(&b, 5000);
    where = b.data;
    for (int i = 0; i < 5000; i++)
        buf_putc(&b, 'x');
    assert_ptr_equal(b.data, where);
    buf_clear(&b);
}

static void test_bytes(void **state)
{
    (void)state;
    assert_int_equal(bytes_of("abc").n, 3);
    assert_int_equal(bytes_of(NULL).n, 0);
    assert_null(bytes_of(NULL).p);
    assert_true(bytes_equal((struct bytes){"abcd", 3}, "abc"));
    assert_false(bytes_equal((struct bytes){"abcd", 4}, "abc"));
    assert_false(bytes_equal((struct bytes){"abd", 3}, "abc"));
    assert_true(bytes_equal((struct bytes){NULL, 0}, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_printf),
        cmocka_unit_test(test_drop_and_reserve),
        cmocka_unit_test(test_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
