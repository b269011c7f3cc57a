/* test_gpu_config.c - reading, writing and checking configs: each built-in one survives a round
 * trip; what is wrong is refused, and the refusal names it. */
#include "kernels/gpu/config.h"

#include <string.h>

#include "kernels/gpu/registry.h"
#include "kernels/gpu/select.h"
#include "tests/support/test.h"

static struct arena arena;
static struct buf out;

static int clear(void **state)
{
    (void)state;
    arena_clear(&arena);
    buf_clear(&out);
    return 0;
}

static const char *builtin(const char *file)
{
    for (int i = 0; gpu_embedded[i].text; i++)
        if (strcmp(gpu_embedded[i].file, file) == 0)
            return gpu_embedded[i].text;
    fail_msg("%s is not built in", file);
    return NULL;
}

/* Written, read and written again: the same text, so nothing is lost. */
static void test_round_trip(void **state)
{
    (void)state;
    assert_non_null(gpu_embedded[0].text);
    for (int i = 0; gpu_embedded[i].text; i++) {
        struct gpu_config c, d;
        struct buf again = {0};
        const char *text = gpu_embedded[i].text;
        buf_reset(&out);
        assert_int_equal(gpu_config_read(&arena, text, strlen(text), &c), OK);
        gpu_config_write(&out, &c);
        if (gpu_config_read(&arena, out.data, out.len, &d) != OK)
            fail_msg("%s: %s", gpu_embedded[i].file, fail_text());
        assert_int_equal(gpu_check(&d), OK);
        gpu_config_write(&again, &d);
        assert_string_equal(out.data, again.data);
        assert_false(d.no_pdl);
        d.no_pdl = true;
        buf_reset(&out);
        gpu_config_write(&out, &d);
        assert_int_equal(gpu_config_read(&arena, out.data, out.len, &d), OK);
        assert_int_equal(d.no_pdl, d.unsupported == NULL);
        assert_memory_equal(&c.ceil, &d.ceil, sizeof c.ceil);
        assert_memory_equal(c.eff, d.eff, sizeof c.eff);
        assert_memory_equal(&c.match, &d.match, sizeof c.match);
        assert_memory_equal(c.skinny_max_m, d.skinny_max_m, sizeof c.skinny_max_m);
        buf_clear(&again);
    }
}

/* Puts `to` in the place of `from`, which must occur once. */
static void edit(struct buf *b, const char *from, const char *to)
{
    char *at = strstr(b->data, from);
    struct buf whole = {0};
    if (!at || strstr(at + 1, from))
        fail_msg("\"%s\" must occur once", from);
    buf_append(&whole, b->data, (size_t)(at - b->data));
    buf_puts(&whole, to);
    buf_puts(&whole, at + strlen(from));
    buf_clear(b);
    *b = whole;
}

#define SHA  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KIND "\"kind\":\"derived\",\"parent\":\"family-ada\",\"model\":1"
#define MEASURED                                                                                   \
    "\"kind\":\"measured\",\"date\":\"2026-11-21\",\"raw_sha256\":\"" SHA                          \
    "\",\"driver\":\"580.1\",\"tool\":\"tune 1\",\"cuda\":13000,\"cublaslt\":130100,"              \
    "\"kernel_abi\":\"0123456789abcdef\""
#define ENTRY(m, splits)                                                                           \
    "{\"w\":\"q4_0\",\"path\":\"skinny\",\"n\":4096,\"k\":4096,\"m\":" m                           \
    ",\"us\":9,\"base_us\":10,\"ci_pct\":1,\"p\":{\"nt\":1,\"r\":1,\"stages\":4,"                  \
    "\"splits\":" splits "}}"
#define ALGORITHM(w, ver, sums, ws, more)                                                          \
    "{\"w\":\"" w "\",\"path\":\"lt\",\"n\":64,\"k\":64,\"m\":64,\"us\":9,\"base_us\":10,"         \
    "\"ci_pct\":1,\"lt\":{\"ver\":" ver ",\"id\":66,\"tile\":0,\"stages\":0," sums                 \
    ",\"swz\":0,\"custom\":0,\"inner\":0,\"cluster\":0,\"ws\":" ws more "}}"
#define WHOLE  "\"splitk\":1,\"red\":0"
#define ROUNDS ",\"x\":\"fp8\""
#define W8A8(w, x, nt, splits)                                                                     \
    "{\"w\":\"" w "\",\"path\":\"w8a8\"" x ",\"n\":4096,\"k\":4096,\"m\":64,\"us\":9,"             \
    "\"base_us\":10,\"ci_pct\":1,\"p\":{\"nt\":" nt ",\"r\":2,\"stages\":2,\"splits\":" splits     \
    "}}"
#define LT(w, more)           ALGORITHM(w, "130100", WHOLE, "33554432", more)
#define LT_BAD(ver, sums, ws) ALGORITHM("bf16", ver, sums, ws, "")

struct change {
    const char *from, *to;
    const char *says; /* part of the refusal; NULL: it is taken */
    const char *gemm; /* entries of a config that says it was measured */
};

static enum status read_changed(const struct change *c, struct gpu_config *config)
{
    buf_reset(&out);
    buf_puts(&out, builtin("rtx4090.json"));
    if (c->from)
        edit(&out, c->from, c->to);
    if (c->gemm) {
        struct buf list = {0};
        edit(&out, KIND, MEASURED);
        buf_printf(&list, "\"gemm\":[%s]", c->gemm);
        edit(&out, "\"gemm\":[]", list.data);
        buf_clear(&list);
    }
    TRY(gpu_config_read(&arena, out.data, out.len, config));
    return gpu_check(config);
}

/* clang-format off */
static const struct change changes[] = {
    {NULL, NULL, NULL, NULL},
    {NULL, NULL, NULL, ENTRY("8", "2") "," ENTRY("16", "2")},
    {"\"schema\":1", "\"schema\":2", "schema 2", NULL},
    {"\"schema\":1,", "", "schema", NULL},
    {"\"sm\":128", "\"sm\":\"128\"", "match.sm", NULL},
    {"\"sm\":128", "\"sm\":128.5", "match.sm", NULL},
    {"\"mig\":false", "\"mig\":false,\"name\":\"x\"", "match.name: is not known", NULL},
    {"10de:2684", "10de:268", "match.pci", NULL},
    {"10de:2684", "10DE:2684", "match.pci", NULL},
    {"[21,25]", "[25,21]", "mem_gib", NULL},
    {"\"8.9\"", "\"9.9\"", "9.9", NULL},
    {"\"copy_gbs\":927.4,", "", "copy_gbs", NULL},
    {"\"read_gbs\":927.4", "\"read_gbs\":0", "ceil", NULL},
    {"\"l2_gbs\"", "\"l3_gbs\"", "l3_gbs", NULL},
    {"\"lt_fp8\"", "\"lt_fp9\"", "lt_fp8", NULL},
    {"\"chunk_tokens\":128", "\"chunk_tokens\":100", "chunk_tokens", NULL},
    {"\"16\":{\"skinny_max_m\":96}", "\"16\":{\"skinny_max_m\":95}", "95", NULL},
    {"\"16\":{\"skinny_max_m\":96}", "\"16\":{}", "skinny_max_m", NULL},
    {"\"16\":{\"skinny_max_m\":96}", "\"pdl\":1,\"16\":{\"skinny_max_m\":96}", "pdl", NULL},
    {"\"gemm\":[],", "", "gemm", NULL},
    {"\"lt\":[130200,130400]", "\"lt\":[130200]", "deny.lt", NULL},
    /* provenance */
    {"\"kind\":\"derived\"", "\"kind\":\"guessed\"", "kind", NULL},
    {"\"kind\":\"derived\"", "\"kind\":\"measured\"", "raw_sha256", NULL},
    {"\"kind\":\"derived\"", "\"kind\":\"hand\"", "date", NULL},
    {"\"parent\":\"family-ada\"", "\"parent\":\"\"", "parent", NULL},
    {"\"model\":1", "\"model\":2", "model", NULL},
    {"\"gemm\":[]", "\"gemm\":[" ENTRY("8", "2") "]", "only what was measured", NULL},
    {KIND, MEASURED ",\"ceilings\":\"copy_gbs pdl_gap_us\"", NULL, NULL},
    {KIND, MEASURED ",\"ceilings\":\"copy_gbs red_gbs\"", "names of ceilings", NULL},
    {KIND, KIND ",\"ceilings\":\"copy_gbs\"", "only what was measured", NULL},
    /* choices */
    {NULL, NULL, "m 7 is no bucket", ENTRY("7", "2")},
    {NULL, NULL, "splitk 9", ENTRY("8", "9")},
    {NULL, NULL, "3 splits", ENTRY("8", "2") "," ENTRY("16", "3")},
    {NULL, NULL, "the same shape", ENTRY("8", "2") "," ENTRY("8", "2")},
    {NULL, NULL, NULL, LT("bf16", "")},
    {NULL, NULL, NULL, LT("bf16", ",\"raw\":\"" SHA SHA "\"")},
    {NULL, NULL, "raw", LT("bf16", ",\"raw\":\"" SHA "\"")},
    {NULL, NULL, "q4_0", LT("q4_0", "")},
    {NULL, NULL, "swizzle", LT("bf16", ",\"swizzle\":1")},
    {NULL, NULL, NULL, LT_BAD("130000", "\"splitk\":3,\"red\":2", "0")},
    {NULL, NULL, "needs ver", LT_BAD("0", WHOLE, "0")},
    {NULL, NULL, "rounds the sums", LT_BAD("130100", "\"splitk\":3,\"red\":4", "0")},
    {NULL, NULL, "needs red 2", LT_BAD("130100", "\"splitk\":3,\"red\":0", "0")},
    {NULL, NULL, "out of range", LT_BAD("130100", "\"splitk\":99,\"red\":2", "0")},
    {NULL, NULL, "ws", LT_BAD("130100", WHOLE, "33554433")},
    /* products that round */
    {NULL, NULL, NULL, W8A8("f8_e4m3", ROUNDS, "16", "1")},
    {NULL, NULL, "x must be fp8", W8A8("f8_e4m3", "", "16", "1")},
    {NULL, NULL, "gemm.x", W8A8("f8_e4m3", ",\"x\":\"exact\"", "16", "1")},
    {NULL, NULL, "q8_0", W8A8("q8_0", ROUNDS, "16", "1")},
    {NULL, NULL, "nt 4", W8A8("f8_e4m3", ROUNDS, "4", "1")},
    {NULL, NULL, "splitk 2", W8A8("f8_e4m3", ROUNDS, "16", "2")},
};
/* clang-format on */

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const struct change *c = &changes[i];
        struct gpu_config config;
        enum status s = read_changed(c, &config);
        if ((s == OK) != !c->says)
            fail_msg("change %zu: %s", i, s == OK ? "was taken" : fail_text());
        if (c->says && !strstr(fail_text(), c->says))
            fail_msg("change %zu: \"%s\" does not say \"%s\"", i, fail_text(), c->says);
    }
}

/* Exceptions and cuBLASLt algorithms survive writing. */
static void test_exceptions(void **state)
{
    static const struct change entries = {
        .gemm = ENTRY("8", "2") "," LT("bf16", ",\"raw\":\"" SHA SHA
                                               "\"") "," W8A8("f8_e4m3", ROUNDS, "16", "1")};
    struct gpu_config c, d;
    (void)state;
    assert_int_equal(read_changed(&entries, &c), OK);
    buf_reset(&out);
    gpu_config_write(&out, &c);
    assert_int_equal(gpu_config_read(&arena, out.data, out.len, &d), OK);
    assert_int_equal(d.n_gemm, 3);
    assert_int_equal(d.gemm[2].p.path, GPU_PATH_W8A8);
    assert_int_equal(d.gemm[2].p.nt, 16);
    assert_int_equal(d.gemm[2].x, X_FP8);
    assert_int_equal(d.gemm[1].x, X_EXACT);
    assert_int_equal(d.gemm[0].w, DT_Q4_0);
    assert_int_equal(d.gemm[0].p.splits, 2);
    assert_int_equal(d.gemm[1].p.path, GPU_PATH_LT);
    assert_int_equal(d.gemm[1].lt.id, 66);
    assert_true(d.gemm[1].lt.has_raw);
    assert_int_equal(d.gemm[1].lt.raw[0], 0x01);
    assert_int_equal(d.gemm[1].lt.raw[63], 0xef);
    assert_string_equal(d.from.raw_sha256, SHA);
}

/* Limits: a kernel that needs more shared memory than a block has, or another ring. */
static void test_legal(void **state)
{
    (void)state;
    struct gpu_params p = {GPU_PATH_SKINNY, 8, 2, 4, 8, NULL};
    assert_int_equal(gpu_smem(DT_BF16, &p), 98304);
    assert_int_equal(gpu_legal(89, DT_BF16, &p), OK);
    assert_int_equal(gpu_legal(75, DT_BF16, &p), ERR_FORMAT); /* 4 stages */
    p.stages = 2;
    assert_int_equal(gpu_legal(75, DT_BF16, &p), OK);
    assert_int_equal(gpu_legal(89, DT_BF16, &p), ERR_FORMAT);
    assert_int_equal(gpu_legal(70, DT_BF16, &p), ERR_FORMAT);
    p = (struct gpu_params){GPU_PATH_SKINNY, 8, 1, 4, 1, NULL};
    assert_int_equal(gpu_legal(89, DT_BF16, &p), ERR_FORMAT); /* not built */
    p = (struct gpu_params){GPU_PATH_SKINNY, 1, 1, 4, 1, NULL};
    assert_int_equal(gpu_legal(89, DT_F32, &p), ERR_FORMAT);
    p.path = GPU_PATH_LT;
    assert_int_equal(gpu_legal(89, DT_BF16, &p), OK);
    assert_int_equal(gpu_legal(75, DT_F16, &p), OK);
    assert_int_equal(gpu_legal(89, DT_Q4_K, &p), ERR_FORMAT);
    p.path = GPU_PATH_DEQUANT_LT;
    assert_int_equal(gpu_legal(89, DT_IQ4_NL, &p), OK);
    assert_int_equal(gpu_legal(75, DT_Q4_K, &p), OK);
    assert_int_equal(gpu_legal(75, DT_IQ4_NL, &p), ERR_FORMAT); /* its scales may exceed f16 */
}

/* fp8 on both sides: for weights in it, on capabilities that multiply it. */
static void test_legal_fp8(void **state)
{
    (void)state;
    struct gpu_params p = {GPU_PATH_W8A8, 8, 2, 2, 1, NULL};
    assert_int_equal(gpu_legal(89, DT_F8_E4M3, &p), OK);
    assert_int_equal(gpu_legal(120, DT_F8_E4M3, &p), OK);
    assert_int_equal(gpu_legal(86, DT_F8_E4M3, &p), ERR_FORMAT);
    assert_int_equal(gpu_legal(89, DT_BF16, &p), ERR_FORMAT);
    p = (struct gpu_params){.path = GPU_PATH_LT_FP8, .splits = 1};
    assert_int_equal(gpu_legal(90, DT_F8_E4M3, &p), OK);
    assert_int_equal(gpu_legal(80, DT_F8_E4M3, &p), ERR_FORMAT);
    assert_int_equal(gpu_legal(90, DT_Q8_0, &p), ERR_FORMAT);
}

static void test_buckets(void **state)
{
    (void)state;
    assert_int_equal(gpu_bucket(1), 1);
    assert_int_equal(gpu_bucket(3), 4);
    assert_int_equal(gpu_bucket(64), 64);
    assert_int_equal(gpu_bucket(9), 12);
    assert_int_equal(gpu_bucket(65), 96);
    assert_int_equal(gpu_bucket(100000), 8192);
    assert_int_equal(strlen(gpu_kernel_abi()), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_round_trip, clear),
        cmocka_unit_test_teardown(test_refused, clear),
        cmocka_unit_test_teardown(test_exceptions, clear),
        cmocka_unit_test(test_legal),
        cmocka_unit_test(test_legal_fp8),
        cmocka_unit_test(test_buckets),
    };
    arena_init(&arena, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
