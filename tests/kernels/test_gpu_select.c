/* test_gpu_select.c - which config a GPU gets: the line of precedence, scaling, and refusals. */
#include "kernels/gpu/select.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/json.h"
#include "tests/support/test.h"

static struct arena arena;
static char folder[64];

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    snprintf(folder, sizeof folder, "build/test_gpu_select_%d", (int)getpid());
    mkdir("build", 0777);
    return mkdir(folder, 0777);
}

static int tear_down(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "%s/gpu", folder);
    arena_clear(&arena);
    unlink("build/test_gpu.json");
    rmdir(command);
    return rmdir(folder);
}

static const struct gpu_facts rtx4090 = {
    .pci = 0x10de2684, .cc = 89, .sms = 128, .mhz = 2520, .mem_bytes = 25393692672, .gbs = 1008};

static struct gpu_selected choose(struct gpu_facts f, const struct gpu_sources *s)
{
    struct gpu_selected got;
    if (gpu_select(&arena, &f, s, &got) != OK)
        fail_msg("%s", fail_text());
    return got;
}

static void test_line(void **state)
{
    /* clang-format off */
    static const struct {
        struct gpu_facts f;
        const char *id;
        enum gpu_how how;
    } rows[] = {
        {{0x10de2684, 89, 128, 2520, 25393692672,  1008, false, 0, 0, ""}, "rtx4090", GPU_EXACT},
        {{0x10de2335, 90, 132, 1980, 150754820096, 4800, false, 0, 0, ""}, "h200",    GPU_EXACT},
        /* other memory, other multiprocessors, a slice: never exact */
        {{0x10de2684, 89, 128, 2520, 51539607552,  1008, false, 0, 0, ""}, "like-rtx4090", GPU_NEAR},
        {{0x10de2684, 89, 114, 2520, 25393692672,  1008, false, 0, 0, ""}, "like-rtx4090", GPU_NEAR},
        {{0x10de2335, 90, 132, 1980, 150754820096, 4800, true, 0, 0, ""},  "like-h200",    GPU_NEAR},
        {{0x10de2335, 90, 60,  1980, 75161927680,  0,    true, 0, 0, ""},  "like-h200",    GPU_NEAR},
        /* known as near: 3070 is no A4500, though that has a nearer number of multiprocessors */
        {{0x10de2484, 86, 46,  1725, 8589934592,   448,  false, 0, 0, ""}, "like-rtx3080", GPU_NEAR},
        {{0x10de3182, 103, 148, 1900, 289910292480, 8000, false, 0, 0, ""}, "like-b200",   GPU_NEAR},
        /* never seen */
        {{0x10de9999, 80, 124, 1400, 103079215104, 1600, false, 0, 0, ""}, "like-a100-40", GPU_NEAR},
        /* in a sandbox that hides the id: by all the rest, where that is one GPU alone */
        {{0,          90, 132, 1980, 150754820096, 4800, false, 0, 0, ""}, "h200",         GPU_EXACT},
        {{0,          90, 132, 1980, 85045870592, 3352, false, 0, 0, ""},  "h100-sxm",     GPU_EXACT},
        {{0,          89, 142, 2520, 51527024640, 864,  false, 0, 0, ""},  "like-l40s",    GPU_NEAR},
        {{0,          87, 16,  1300, 64424509440,  204,  false, 0, 0, ""}, "orin64",       GPU_EXACT},
        {{0x10de9999, 103, 160, 1900, 309237645312, 8000, false, 0, 0, ""}, "like-family-blackwell", GPU_FAMILY},
        {{0x10de9999, 130, 160, 1900, 309237645312, 8000, false, 0, 0, ""}, "like-generic", GPU_GENERIC},
    };
    /* clang-format on */
    static const struct gpu_sources none;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gpu_selected got = choose(rows[i].f, &none);
        if (strcmp(got.config.id, rows[i].id) != 0 || got.how != rows[i].how)
            fail_msg("row %zu: %s", i, gpu_selected_title(&arena, &got));
    }
}

/* A scaled one fits its GPU, is legal, and keeps efficiencies. */
static void test_scaled(void **state)
{
    static const struct gpu_sources none;
    struct gpu_facts f = rtx4090;
    (void)state;
    struct gpu_selected whole = choose(f, &none);
    f.sms = 64;
    f.mem_bytes /= 2;
    f.gbs = 504;
    struct gpu_selected half = choose(f, &none);
    assert_int_equal(gpu_fits(&half.config, &f), OK);
    assert_int_equal(gpu_check(&half.config), OK);
    assert_int_equal(half.config.from.kind, GPU_DERIVED);
    assert_string_equal(half.config.from.parent, "rtx4090");
    assert_true(fabs(half.config.ceil.bf16_tflops / whole.config.ceil.bf16_tflops - 0.5) < 1e-9);
    assert_true(fabs(half.config.ceil.read_gbs - 504 * 0.9) < 1e-9);
    assert_memory_equal(half.config.eff, whole.config.eff, sizeof half.config.eff);
}

static void test_unsupported(void **state)
{
    static const struct gpu_facts v100 = {0x10de1db1, 70,    80, 1530, 16945512448,
                                          900,        false, 0,  0,    ""};
    struct gpu_sources none = {0};
    struct gpu_selected got;
    (void)state;
    assert_int_equal(gpu_select(&arena, &v100, &none, &got), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "V100"));
    assert_non_null(strstr(fail_text(), "7.0"));
}

static void put(const char *path, const struct buf *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fwrite(text->data, 1, text->len, f);
    fclose(f);
}

/* --gpu-config over the cache over the built-in one; each refused by name when it is wrong. */
static void test_files(void **state)
{
    const char *mine = "build/test_gpu.json";
    struct gpu_sources none = {0}, s = {.file = mine, .cache = folder}, strict = s;
    struct gpu_selected base = choose(rtx4090, &none);
    struct buf text = {0};
    char sub[80];
    (void)state;
    strict.strict = true;
    snprintf(sub, sizeof sub, "%s/gpu", folder);
    mkdir(sub, 0777);
    const char *cached = gpu_cache_path(&arena, folder, &rtx4090);

    base.config.id = "mine";
    gpu_config_write(&text, &base.config);
    put(mine, &text);
    base.config.id = "cached";
    buf_reset(&text);
    gpu_config_write(&text, &base.config);
    put(cached, &text);

    struct gpu_selected got = choose(rtx4090, &strict);
    assert_string_equal(got.config.id, "mine");
    assert_int_equal(got.how, GPU_FILE);
    s.file = NULL;
    got = choose(rtx4090, &s);
    assert_string_equal(got.config.id, "cached");
    assert_int_equal(got.how, GPU_CACHE);

    /* of another GPU */
    s.file = mine;
    base.config.match.sm = 127;
    buf_reset(&text);
    gpu_config_write(&text, &base.config);
    put(mine, &text);
    got = choose(rtx4090, &s);
    assert_string_equal(got.config.id, "cached");
    assert_non_null(strstr(got.refused, mine));
    assert_non_null(strstr(got.refused, "127"));
    assert_int_equal(gpu_select(&arena, &rtx4090, &strict, &got), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), mine));

    /* cut off; missing */
    text.len /= 2;
    put(cached, &text);
    unlink(mine);
    got = choose(rtx4090, &s);
    assert_string_equal(got.config.id, "rtx4090");
    assert_non_null(strstr(got.refused, mine));
    assert_non_null(strstr(got.refused, cached));
    unlink(cached);
    s.file = NULL;
    got = choose(rtx4090, &s);
    assert_string_equal(got.refused, "");
    buf_clear(&text);
}

/* As JSON; the profile is of the configuration and the precision. */
static void test_json(void **state)
{
    static const struct gpu_sources none;
    struct gpu_selected s = choose(rtx4090, &none);
    struct buf q4 = {0}, again = {0}, q8 = {0}, bare = {0};
    const struct json *a, *b, *c, *d;
    (void)state;
    gpu_selected_json(&q4, &s, "q4_0");
    gpu_selected_json(&again, &s, "q4_0");
    gpu_selected_json(&q8, &s, "q8_0");
    gpu_selected_json(&bare, &s, NULL);
    assert_string_equal(q4.data, again.data);
    assert_int_equal(json_parse(&arena, q4.data, q4.len, &a), OK);
    assert_int_equal(json_parse(&arena, q8.data, q8.len, &b), OK);
    assert_int_equal(json_parse(&arena, bare.data, bare.len, &d), OK);
    assert_string_equal(json_get(a, "id")->text.p, "rtx4090");
    assert_string_equal(json_get(a, "kind")->text.p, "derived");
    assert_string_equal(json_get(a, "selected")->text.p, "exact");
    assert_null(json_get(a, "refused"));
    assert_null(json_get(d, "profile"));
    a = json_get(a, "profile");
    assert_int_equal(a->text.n, 64);
    assert_string_not_equal(a->text.p, json_get(b, "profile")->text.p);
    s.config.skinny_max_m[0] = 1;
    buf_reset(&again);
    gpu_selected_json(&again, &s, "q4_0");
    assert_int_equal(json_parse(&arena, again.data, again.len, &c), OK);
    assert_string_not_equal(a->text.p, json_get(c, "profile")->text.p);
    buf_clear(&q4);
    buf_clear(&q8);
    buf_clear(&again);
    buf_clear(&bare);
}

static void test_strict(void **state)
{
    static const struct gpu_sources strict = {.strict = true};
    struct gpu_facts f = rtx4090;
    struct gpu_selected got;
    (void)state;
    assert_int_equal(gpu_select(&arena, &f, &strict, &got), OK);
    f.sms = 100;
    assert_int_equal(gpu_select(&arena, &f, &strict, &got), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "like-rtx4090"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),   cmocka_unit_test(test_scaled),
        cmocka_unit_test(test_files),  cmocka_unit_test(test_unsupported),
        cmocka_unit_test(test_strict), cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
