/* test_routes.c - the table is sound, and paths find their row. */
#include "api/routes.h"

#include <string.h>

#include "tests/support/test.h"

static const struct route *out;
static const char *id;
static char allow[64];

static void table(void **state)
{
    (void)state;
    for (int i = 0; i < routes_count(); i++) {
        const struct route *r = routes_at(i);

        assert_true(strcmp(r->method, "GET") == 0 || strcmp(r->method, "POST") == 0);
        assert_int_equal(r->path[0], '/');
        assert_non_null(r->begin);
        assert_true(!r->resume == !r->end); /* what runs jobs has both */
        for (int k = 0; k < i; k++)
            assert_false(strcmp(r->path, routes_at(k)->path) == 0 &&
                         strcmp(r->method, routes_at(k)->method) == 0);
        /* only health is open */
        assert_int_equal(r->open, strstr(r->path, "health") != NULL);
        assert_int_equal(routes_open(r->path), r->open);
    }
    assert_false(routes_open("/nowhere"));
    assert_false(routes_open(""));
}

static void found(void **state)
{
    (void)state;
    assert_int_equal(routes_find("GET", "/v1/models", &out, &id, allow), OK);
    assert_string_equal(out->path, "/v1/models");
    assert_int_equal(routes_find("HEAD", "/v1/models/", &out, &id, allow), OK);
    assert_string_equal(out->path, "/v1/models");
    assert_int_equal(routes_find("GET", "/v1/models/a/b c/", &out, &id, allow), OK);
    assert_string_equal(out->path, "/v1/models/{id}");
    assert_string_equal(id, "a/b c/");
}

static void not_found(void **state)
{
    static const char *const path[] = {"",          "/",           "/v1",         "/v1/models2",
                                       "/v1/model", "//v1/models", "/v1/models//"};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(routes_find("GET", path[i], &out, &id, allow), ERR_NOT_FOUND);
        assert_null(out);
    }
    assert_int_equal(routes_find("GET", path[6], &out, &id, allow), OK); /* the id "/" */
    assert_int_equal(routes_find("get", "/v1/models", &out, &id, allow), ERR_METHOD);
    assert_string_equal(allow, "GET, HEAD");
    assert_int_equal(routes_find("HEAD", "/v1/completions", &out, &id, allow), ERR_METHOD);
    assert_string_equal(allow, "POST");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(found),
                                       cmocka_unit_test(not_found)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
