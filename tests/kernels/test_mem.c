/* test_mem.c - heap, big pages, maps and small files. Files are made under build/. */
#include "kernels/base/mem.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/logged.h"
#include "tests/support/test.h"

static void test_heap(void **state)
{
    unsigned char *z;
    char *p, *q;

    (void)state;
    p = xmalloc(0);
    assert_non_null(p);
    p = xrealloc(p, 100);
    memset(p, 1, 100);
    xfree(p);
    z = xcalloc(1000, 3);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(z[i], 0);
    xfree(z);
    p = xstrdup("abc");
    q = xstrndup("abcdef", 2);
    assert_string_equal(p, "abc");
    assert_string_equal(q, "ab");
    xfree(p);
    xfree(q);
    q = xstrndup("ab\0cd", 5); /* a C string ends at its NUL */
    assert_string_equal(q, "ab");
    xfree(q);
    xfree(NULL);
}

static void test_exhaustion_ends_the_process(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        log_hear(LOG_ERROR);
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        xcalloc(SIZE_MAX / 2, 3);
        _exit(0); /* reached only if the overflow went unnoticed */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

static void test_big_alloc(void **state)
{
    const size_t n = (5u << 20) + 123;
    unsigned char *p, *q;

    (void)state;
    assert_int_equal(big_alloc(n, (void **)&p), OK);
    assert_int_equal(big_alloc(1, (void **)&q), OK);
    assert_int_equal((uintptr_t)p % (2u << 20), 0);
    assert_int_equal((uintptr_t)q % (2u << 20), 0);
    for (size_t i = 0; i < n; i += 4096)
        assert_int_equal(p[i], 0);
    memset(p, 0xff, n);
    assert_int_equal(q[0], 0);
    big_free(p, n);
    q[4095] = 1; /* freeing one leaves the other */
    big_free(q, 1);
    big_free(NULL, 10);
}

static void test_big_alloc_fails_with_numbers(void **state)
{
    void *p = &p;

    (void)state;
    assert_int_equal(big_alloc((size_t)1 << 46, &p), ERR_NO_MEMORY); /* 64 TiB */
    assert_null(p);
    assert_non_null(strstr(fail_text(), "67108864 MiB"));
    assert_int_equal(big_alloc(SIZE_MAX - 1, &p), ERR_NO_MEMORY);
}

static char folder[64], path[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "build/test_mem.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void write_file(const void *data, size_t n)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void test_file_map(void **state)
{
    static unsigned char data[20000];
    struct file_map m;

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 + i / 256);
    write_file(data, sizeof data);
    assert_int_equal(file_map_open(path, &m), OK);
    assert_int_equal(m.size, sizeof data);
    assert_memory_equal(m.data, data, sizeof data);
    file_map_drop(&m, 100, 19000); /* advice only: the bytes stay readable */
    file_map_drop(&m, 0, SIZE_MAX);
    file_map_drop(&m, SIZE_MAX, 1);
    assert_memory_equal(m.data, data, sizeof data);
    file_map_close(&m);
    assert_null(m.data);
    file_map_close(&m);
    void *lent; /* in memory that is no file's, nothing is dropped */
    assert_int_equal(big_alloc(sizeof data, &lent), OK);
    memcpy(lent, data, sizeof data);
    m = (struct file_map){.data = lent, .size = sizeof data, .fd = -1};
    file_map_drop(&m, 0, sizeof data);
    assert_memory_equal(m.data, data, sizeof data);
    big_free(lent, sizeof data);
}

static void test_file_errors_name_the_path(void **state)
{
    struct file_map m;
    size_t n = 1;
    char *text = path;

    (void)state;
    assert_int_equal(file_map_open("build/no such file", &m), ERR_NOT_FOUND);
    assert_non_null(strstr(fail_text(), "build/no such file"));
    assert_int_equal(file_map_open("build", &m), ERR_IO);
    assert_non_null(strstr(fail_text(), "not a regular file"));
    assert_null(m.data);
    write_file("", 0);
    assert_int_equal(file_map_open(path, &m), ERR_FORMAT);
    file_map_close(&m);
    assert_int_equal(file_read("build/no such file", 10, &text, &n), ERR_NOT_FOUND);
    assert_null(text);
    assert_int_equal(n, 0);
}

static void test_file_read(void **state)
{
    char *text;
    size_t n;

    (void)state;
    write_file("ab\0cd", 5);
    assert_int_equal(file_read(path, 5, &text, &n), OK);
    assert_int_equal(n, 5);
    assert_memory_equal(text, "ab\0cd", 6);
    xfree(text);
    assert_int_equal(file_read(path, 4, &text, &n), ERR_TOO_LARGE);
    assert_null(text);
    write_file("", 0);
    assert_int_equal(file_read(path, 0, &text, &n), OK);
    assert_string_equal(text, "");
    xfree(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap),      cmocka_unit_test(test_exhaustion_ends_the_process),
        cmocka_unit_test(test_big_alloc), cmocka_unit_test(test_big_alloc_fails_with_numbers),
        cmocka_unit_test(test_file_map),  cmocka_unit_test(test_file_errors_name_the_path),
        cmocka_unit_test(test_file_read),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
