/* fixture.c - reads the heads of 96 bytes that tests/tools/fixture.py writes; data is borrowed from
 * the file's bytes. */
#include "tests/support/fixture.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/test.h"

enum { HEAD = 96 }; /* bytes before each array: name, type, dimensions, shape */

void fixture_load(struct fixture *f, const char *path)
{
    size_t n;
    memset(f, 0, sizeof *f);
    if (file_read(path, 1 << 24, &f->bytes, &n) != OK)
        print_error("%s\n", fail_text());
    assert_non_null(f->bytes);
    for (size_t at = 0; at + HEAD <= n;) {
        struct fixture_array *a = &f->array[f->n++];
        const char *p = f->bytes + at;
        int64_t bytes;
        memcpy(a->name, p, 40);
        memcpy(a->type, p + 40, 8);
        memcpy(&a->ndim, p + 48, 8);
        memcpy(a->shape, p + 56, 32);
        memcpy(&bytes, p + 88, 8);
        a->data = p + HEAD;
        at += HEAD + (size_t)(bytes + 15) / 16 * 16;
        assert_true(at <= n && f->n < (int)(sizeof f->array / sizeof *f->array));
    }
    assert_true(f->n > 0);
}

const struct fixture_array *fixture_get(const struct fixture *f, const char *name, const char *type)
{
    for (int i = 0; i < f->n; i++) {
        if (strcmp(f->array[i].name, name) != 0)
            continue;
        assert_string_equal(f->array[i].type, type);
        return &f->array[i];
    }
    print_error("no array %s in the fixture\n", name);
    assert_true(false);
    return NULL;
}

int64_t fixture_count(const struct fixture_array *a)
{
    int64_t n = 1;
    for (int i = 0; i < a->ndim; i++)
        n *= a->shape[i];
    return n;
}

void fixture_clear(struct fixture *f)
{
    xfree(f->bytes);
    memset(f, 0, sizeof *f);
}

const float *fixture_f32(const struct fixture *f, const char *name)
{
    return fixture_get(f, name, "f4")->data;
}

const double *fixture_f64(const struct fixture *f, const char *name)
{
    return fixture_get(f, name, "f8")->data;
}

const int32_t *fixture_i32(const struct fixture *f, const char *name)
{
    return fixture_get(f, name, "i4")->data;
}

const uint8_t *fixture_u8(const struct fixture *f, const char *name)
{
    return fixture_get(f, name, "u1")->data;
}
