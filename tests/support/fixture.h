/* fixture.h - named arrays from a file under tests/data, written by tests/tools/fixture.py. */
#ifndef TESTS_SUPPORT_FIXTURE_H
#define TESTS_SUPPORT_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

struct fixture_array {
    char name[40];
    char type[8]; /* numpy's letters: "f4" "f8" "i4" "i8" "u1" "u2" "u4" "u8" */
    int64_t ndim, shape[4];
    const void *data; /* borrowed, 16-byte aligned */
};

struct fixture {
    int n;
    struct fixture_array array[160];
    char *bytes;
};

/* Both end the running test when the file or the array is not there. */
void fixture_load(struct fixture *f, const char *path);
const struct fixture_array *fixture_get(const struct fixture *f, const char *name,
                                        const char *type);
int64_t fixture_count(const struct fixture_array *a);
void fixture_clear(struct fixture *f);

/* The array's data. */
const float *fixture_f32(const struct fixture *f, const char *name);
const double *fixture_f64(const struct fixture *f, const char *name);
const int32_t *fixture_i32(const struct fixture *f, const char *name);
const uint8_t *fixture_u8(const struct fixture *f, const char *name);

#endif
