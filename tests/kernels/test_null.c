/* The null device counts exactly and owns no memory. */
#include "kernels/null/null.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/test.h"

enum { R = 3, K = 256, N = 96 };

static void test_counts(void **state)
{
    (void)state;
    struct device_options o = {0};
    struct device *d;
    void *at, *kv;
    assert_int_equal(backend_null.open(&o, &d), OK);
    struct queue *q = backend_null.queue(d);
    /* 64 GiB: more than this test could touch. */
    assert_int_equal(backend_null.region(d, REGION_WORK, (size_t)1 << 36, &at), OK);
    assert_int_equal(backend_null.region(d, REGION_KV, 12345, &kv), OK);
    assert_true((char *)kv < (char *)at || (char *)kv >= (char *)at + ((size_t)1 << 36));
    assert_int_equal(backend_null.region(d, REGION_KV, 1, &kv), ERR_INTERNAL);

    struct op_linear a = {tensor_2d(at, DT_F32, R, K),
                          tensor_2d(at, DT_Q4_K, N, K),
                          tensor_1d(at, DT_F32, N),
                          {0},
                          tensor_2d((char *)at + 65536, DT_F32, R, N),
                          NULL};
    assert_int_equal(op_linear(q, &a), OK);
    assert_int_equal(op_linear(q, &a), OK);
    struct op_glu g = {tensor_2d(at, DT_F32, R, 2 * K), tensor_2d(at, DT_F32, R, K), ACT_SILU,
                       NULL};
    assert_int_equal(op_glu(q, &g), OK);
    const struct null_stats *s = null_stats(d);
    assert_int_equal(s->op[OP_linear].calls, 2);
    assert_true(s->op[OP_linear].flops == 2 * 2.0 * R * N * K);
    assert_true(s->op[OP_linear].bytes == 2 * (4.0 * R * K + N * 144 + 4 * N + 4.0 * R * N));
    assert_true(s->op[OP_glu].bytes == 3 * 4.0 * R * K);
    assert_int_equal(s->op[OP_add].calls, 0);
    assert_true(s->region[REGION_WORK] == (size_t)1 << 36);
    assert_int_equal(s->region[REGION_KV], 12345);
    assert_int_equal(s->region[REGION_WEIGHTS], 0);

    char host[4] = {1, 2, 3, 4};
    assert_int_equal(backend_null.copy(q, at, host, 4, COPY_TO_DEVICE), OK);
    assert_int_equal(backend_null.copy(q, host, at, 4, COPY_TO_HOST), OK);
    assert_int_equal(host[3], 0);
    assert_int_equal(s->copies, 2);
    assert_true(s->copy_bytes == 8);
    struct fence f;
    assert_int_equal(backend_null.record(q, &f), OK);
    assert_true(backend_null.done(q, &f));
    assert_int_equal(backend_null.wait(q, &f), OK);

    null_reset(d);
    assert_int_equal(s->op[OP_linear].calls, 0);
    assert_int_equal(s->copies, 0);
    assert_int_equal(s->region[REGION_KV], 12345);
    backend_null.close(d);
}

/* Touching its memory ends the process: a plan that reads device values shows at once. */
static void test_untouchable(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct device_options o = {0};
        struct device *d;
        void *at;
        signal(SIGSEGV, SIG_DFL);
        if (backend_null.open(&o, &d) == OK && backend_null.region(d, REGION_ROWS, 64, &at) == OK)
            *(volatile char *)at = 1;
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGSEGV);
}

/* In the place of a CPU it answers as that CPU does. */
static void test_like(void **state)
{
    (void)state;
    struct device_options o = {.threads = 1};
    struct device *cpu, *d;
    assert_int_equal(backend_cpu.open(&o, &cpu), OK);
    assert_int_equal(null_like(cpu, &d), OK);
    struct device_info want, info;
    backend_cpu.info(cpu, &want);
    backend_null.info(d, &info);
    assert_string_equal(info.backend, "null");
    assert_string_equal(info.isa, want.isa);
    assert_int_equal(info.page_tokens, want.page_tokens);
    assert_int_equal(info.kv_dtype, want.kv_dtype);
    for (int t = 0; t < N_DTYPE; t++) {
        struct op_case c = {OP_linear, DT_F32, (enum dtype)t, 0, N, K};
        struct choice a = {0}, b = {0};
        bool can = backend_cpu.can(cpu, &c, &a);
        assert_int_equal(backend_null.can(d, &c, &b), can);
        assert_int_equal(can, dtype_info((enum dtype)t)->decode != NULL);
        if (!can)
            continue;
        assert_int_equal(a.bytes, b.bytes);
        assert_int_equal(a.layout, b.layout);
        float rows[N];
        struct tensor w = tensor_2d(rows, (enum dtype)t, N, K), packed = {.data = rows};
        assert_int_equal(backend_null.pack(d, &w, 1, &b, &packed), OK);
        assert_int_equal(packed.layout, a.layout);
        assert_int_equal(packed.shape[0], N);
    }
    backend_null.close(d);
    backend_cpu.close(cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_untouchable),
        cmocka_unit_test(test_like),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
