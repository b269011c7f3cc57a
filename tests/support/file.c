/* file.c - files that a test writes. */
#include "tests/support/file.h"

#include <string.h>

#include "kernels/base/map.h"
#include "kernels/base/mem.h"
#include "tests/support/test.h"

void file_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

void file_copy(const char *from, const char *to, const char *in_place_of, const char *by)
{
    size_t n;
    char *data, *at = NULL;
    FILE *f = fopen(to, "wb");

    assert_non_null(f);
    assert_int_equal(file_read(from, 1 << 20, &data, &n), OK);
    if (in_place_of)
        assert_non_null(at = strstr(data, in_place_of));
    fwrite(data, 1, at ? (size_t)(at - data) : n, f);
    if (at)
        fprintf(f, "%s%s", by, at + strlen(in_place_of));
    assert_int_equal(fclose(f), 0);
    xfree(data);
}
