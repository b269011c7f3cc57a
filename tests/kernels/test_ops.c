/* Contracts: each op with good arguments passes, and each violation is refused with the op and the
 * argument named, before anything is read. The null device runs nothing, so no memory is needed. */
#include "kernels/ops.h"

#include <string.h>

#include "kernels/null/null.h"
#include "tests/support/test.h"

static struct device *dev;
static struct queue *q;
static float memory[64]; /* an address that is not NULL */
static const int32_t ints[4];

enum { R = 3, K = 64, N = 96, H = 4, HKV = 2, D = 16 };

static int open_null(void **state)
{
    (void)state;
    struct device_options o = {0};
    if (backend_null.open(&o, &dev) != OK)
        return -1;
    q = backend_null.queue(dev);
    return 0;
}

static int close_null(void **state)
{
    (void)state;
    backend_null.close(dev);
    return 0;
}

static void refused(enum status s, const char *op, const char *arg)
{
    char head[64];
    snprintf(head, sizeof head, "op %s: %s", op, arg);
    if (s != ERR_INTERNAL || !strstr(fail_text(), head))
        print_error("expected '%s', got %s '%s'\n", head, status_name(s), fail_text());
    assert_int_equal(s, ERR_INTERNAL);
    assert_non_null(strstr(fail_text(), head));
    assert_string_equal(fail_field_name(), arg);
}

/* `change` applied to a good argument struct makes op_<name> refuse `arg`. */
#define BAD(name, good, arg, change)                                                               \
    do {                                                                                           \
        struct op_##name a = good();                                                               \
        change;                                                                                    \
        refused(op_##name(q, &a), #name, arg);                                                     \
    } while (0)
#define GOOD(name, good, change)                                                                   \
    do {                                                                                           \
        struct op_##name a = good();                                                               \
        change;                                                                                    \
        assert_int_equal(op_##name(q, &a), OK);                                                    \
    } while (0)

static struct tensor mat(int64_t rows, int64_t cols)
{
    return tensor_2d(memory, DT_F32, rows, cols);
}

static struct ragged rows(void)
{
    return (struct ragged){
        .rows = R, .seqs = 1, .pos = ints, .row_seq = ints, .seq_start = ints, .seq_slot = ints};
}

static struct kv_view pages(void)
{
    return (struct kv_view){.base = memory,
                            .dtype = DT_BF16,
                            .page_tokens = 16,
                            .n_head = HKV,
                            .head_dim = D,
                            .page_bytes = HKV * 16 * 2 * D * 2,
                            .table = ints,
                            .table_stride = 1};
}

static struct op_embed embed(void)
{
    return (struct op_embed){mat(N, K), {0}, rows(), ints, NULL, mat(R, K), 1};
}

static struct op_rmsnorm rmsnorm(void)
{
    return (struct op_rmsnorm){mat(R, K), tensor_1d(memory, DT_F32, K), mat(R, K), 1e-5f, NULL};
}

static struct op_linear linear(void)
{
    struct tensor y = mat(R, N);
    y.data = memory + 1;
    return (struct op_linear){mat(R, K), tensor_2d(memory, DT_Q4_0, N, K), {0}, {0}, y, NULL};
}

static struct op_norm_linear norm_linear(void)
{
    struct op_linear a = linear();
    struct tensor h = mat(R, K);
    h.data = memory + 2;
    return (struct op_norm_linear){.x = a.x,
                                   .weight = tensor_1d(memory, DT_F32, K),
                                   .h = h,
                                   .w = {a.w},
                                   .n_parts = 1,
                                   .y = a.y};
}

static struct op_rope rope(void)
{
    return (struct op_rope){tensor_3d(memory, DT_F32, R, H, D), rows(), memory, D / 2, true, 1};
}

static struct op_kv_write kv_write(void)
{
    struct tensor k = tensor_3d(memory, DT_F32, R, HKV, D);
    return (struct op_kv_write){k, k, rows(), pages()};
}

static struct op_rope_kv rope_kv(void)
{
    struct tensor k = tensor_3d(memory, DT_F32, R, HKV, D);
    return (struct op_rope_kv){.q = tensor_3d(memory, DT_F32, R, H, D),
                               .k = k,
                               .v = k,
                               .r = rows(),
                               .inv_freq = memory,
                               .n_freq = D / 2,
                               .factor = 1,
                               .kv = pages()};
}

static struct op_attention attention(void)
{
    struct tensor t = tensor_3d(memory, DT_F32, R, H, D);
    return (struct op_attention){.q = t, .r = rows(), .kv = pages(), .scale = 1, .y = t};
}

static struct op_glu glu(void)
{
    return (struct op_glu){mat(R, 2 * K), mat(R, K), ACT_SILU, NULL};
}

static struct op_add add(void)
{
    return (struct op_add){mat(R, K), mat(R, K), mat(R, K), NULL};
}

static struct op_conv1d conv1d(void)
{
    return (struct op_conv1d){mat(R, K), mat(R, K), mat(K, 4), rows(), memory};
}

static struct op_gather gather(void)
{
    return (struct op_gather){mat(R, K), mat(2, K), ints, NULL};
}

static struct op_columns columns(void)
{
    struct tensor y = mat(R, K);
    y.data = (float *)y.data + R * K;
    return (struct op_columns){mat(R, K), y, ints, NULL};
}

static struct op_sample sample(void)
{
    static const struct sample_row row;
    static struct sample_out out;
    return (struct op_sample){.logits = mat(R, N), .row = &row, .out = &out};
}

static struct op_count count(void)
{
    static uint16_t counts[N];
    return (struct op_count){counts, N, ints, 4, 2};
}

static void test_rows(void **state)
{
    (void)state;
    GOOD(embed, embed, (void)0);
    GOOD(embed, embed, a.rows = mat(5, K));
    BAD(embed, embed, "table", a.table.data = NULL);
    BAD(embed, embed, "table", a.table.dtype = DT_U8);
    BAD(embed, embed, "table", a.table = tensor_2d(memory, DT_Q4_K, N, K));
    BAD(embed, embed, "r", a.r.rows = R + 1);
    BAD(embed, embed, "r", a.r.row_seq = NULL);
    BAD(embed, embed, "token", a.token = NULL);
    BAD(embed, embed, "rows", a.rows = mat(5, K + 1));
    BAD(embed, embed, "y", a.y = mat(R, K - 1));
    BAD(embed, embed, "y", a.y.dtype = DT_BF16);

    GOOD(rmsnorm, rmsnorm, (void)0);
    GOOD(rmsnorm, rmsnorm, a.x = a.y = tensor_3d(memory, DT_F32, R, 2, K));
    BAD(rmsnorm, rmsnorm, "x", a.x.data = NULL);
    BAD(rmsnorm, rmsnorm, "x", a.x.stride[1] = 8);
    BAD(rmsnorm, rmsnorm, "y", a.y = mat(R - 1, K));
    BAD(rmsnorm, rmsnorm, "weight", a.weight = tensor_1d(memory, DT_F32, K - 1));
    BAD(rmsnorm, rmsnorm, "weight", a.weight = tensor_1d(memory, DT_F16, K));
    BAD(rmsnorm, rmsnorm, "y",
        (a.x = tensor_3d(memory, DT_F32, R, 2, K), a.y = tensor_3d(memory, DT_F32, R, 3, K)));

    GOOD(glu, glu, (void)0);
    BAD(glu, glu, "x", a.x = mat(R, 2 * K - 2));
    BAD(glu, glu, "act", a.act = (enum act)9);
    GOOD(add, add, (void)0);
    BAD(add, add, "b", a.b = mat(R + 1, K));
    GOOD(gather, gather, (void)0);
    BAD(gather, gather, "index", a.index = NULL);
    BAD(gather, gather, "y", a.y = mat(2, K + 1));
    BAD(gather, gather, "x", a.x.data = NULL);
    GOOD(columns, columns, (void)0);
    BAD(columns, columns, "index", a.index = NULL);
    BAD(columns, columns, "x", a.x = mat(R, K + 1));
    BAD(columns, columns, "y", a.y = a.x);
    GOOD(conv1d, conv1d, (void)0);
    BAD(conv1d, conv1d, "w", a.w = mat(K, 1));
    BAD(conv1d, conv1d, "state", a.state = NULL);
}

static void test_linear(void **state)
{
    (void)state;
    GOOD(linear, linear, (void)0);
    GOOD(linear, linear, a.bias = tensor_1d(memory, DT_F32, N));
    GOOD(linear, linear, a.y.stride[0] = 4 * (N + 7));
    GOOD(linear, linear, (a.w.layout = LAYOUT_PANEL, a.w.stride[0] = 0)); /* opaque */
    BAD(linear, linear, "x", a.x.ndim = 1);
    BAD(linear, linear, "w", a.w = tensor_2d(memory, DT_Q4_0, N, K + 32));
    BAD(linear, linear, "w", a.w = tensor_2d(memory, DT_Q6_K, N, K));
    BAD(linear, linear, "w", a.w.data = NULL);
    BAD(linear, linear, "w", a.w.stride[0] = 8);
    BAD(linear, linear, "w", a.w.dtype = 200);
    BAD(linear, linear, "bias", a.bias = tensor_1d(memory, DT_F32, N + 1));
    GOOD(linear, linear, a.add = a.y);
    GOOD(linear, linear, (a.add = mat(R, N), a.add.stride[0] = 4 * (N + 3)));
    BAD(linear, linear, "add", a.add = mat(R, N + 1));
    BAD(linear, linear, "add", (a.add = a.y, a.add.stride[0] = 4 * (N + 1)));
    BAD(linear, linear, "y", a.y = mat(R, N - 1));
    BAD(linear, linear, "y", a.y.stride[0] = 4 * N - 4);
    BAD(linear, linear, "y", a.y.stride[0] = 4 * N + 2);
    BAD(linear, linear, "y", a.y.data = a.x.data);
    GOOD(norm_linear, norm_linear, (void)0);
    GOOD(norm_linear, norm_linear,
         (a.w[1] = a.w[0], a.n_parts = 2, a.y = mat(R, 2 * N), a.y.data = memory + 1));
    BAD(norm_linear, norm_linear, "h", a.h = mat(R, K + 1));
    BAD(norm_linear, norm_linear, "weight", a.weight.data = NULL);
    BAD(norm_linear, norm_linear, "n_parts", a.n_parts = 4);
    BAD(norm_linear, norm_linear, "w", a.n_parts = 2);
    BAD(norm_linear, norm_linear, "bias", a.bias = tensor_1d(memory, DT_F32, N + 1));
    BAD(norm_linear, norm_linear, "y", a.y = mat(R, N + 1));
    BAD(norm_linear, norm_linear, "y", a.y.data = a.h.data);
}

static void test_heads(void **state)
{
    (void)state;
    GOOD(rope, rope, (void)0);
    BAD(rope, rope, "x", a.x = mat(R, K));
    BAD(rope, rope, "inv_freq", a.inv_freq = NULL);
    BAD(rope, rope, "n_freq", a.n_freq = D / 2 + 1);
    BAD(rope, rope, "r", a.r.pos = NULL);

    GOOD(kv_write, kv_write, (void)0);
    BAD(kv_write, kv_write, "v", a.v = tensor_3d(memory, DT_F32, R, HKV, D + 1));
    BAD(kv_write, kv_write, "k", a.k = tensor_3d(memory, DT_F32, R, H, D));
    BAD(kv_write, kv_write, "kv", a.kv.page_bytes -= 1);
    BAD(kv_write, kv_write, "kv", a.kv.dtype = DT_Q8_0);
    BAD(kv_write, kv_write, "kv", a.kv.table = NULL);
    BAD(kv_write, kv_write, "kv", a.kv.head_dim = 2 * D);
    BAD(kv_write, kv_write, "kv", a.kv.window = -1);

    GOOD(rope_kv, rope_kv, (void)0);
    GOOD(rope_kv, rope_kv, a.q_norm = tensor_1d(memory, DT_F32, D));
    BAD(rope_kv, rope_kv, "q_norm", a.q_norm = tensor_1d(memory, DT_F32, K));
    BAD(rope_kv, rope_kv, "k_norm", a.k_norm = tensor_1d(memory, DT_BF16, D));
    BAD(rope_kv, rope_kv, "q", a.q = tensor_3d(memory, DT_F32, R + 1, H, D));
    BAD(rope_kv, rope_kv, "n_freq", a.n_freq = 0);
    BAD(rope_kv, rope_kv, "k", a.k = tensor_3d(memory, DT_F32, R, H, D));

    GOOD(attention, attention, (void)0);
    GOOD(attention, attention, a.sinks = tensor_1d(memory, DT_F32, H));
    BAD(attention, attention, "sinks", a.sinks = tensor_1d(memory, DT_F32, HKV));
    BAD(attention, attention, "q", a.q = a.y = tensor_3d(memory, DT_F32, R, HKV + 1, D));
    BAD(attention, attention, "y", a.y = tensor_3d(memory, DT_F32, R, HKV, D));
    BAD(attention, attention, "softcap", a.softcap = -1);
    BAD(attention, attention, "kv", a.kv.n_head = 0);
    BAD(attention, attention, "q", a.q.stride[1] = 4);
    BAD(attention, attention, "q", a.q = tensor_3d(memory, DT_F32, R, H, 2048));
}

static void test_sampler(void **state)
{
    (void)state;
    static const int32_t outside[] = {0, N};
    GOOD(sample, sample, (void)0);
    BAD(sample, sample, "logits", a.logits.dtype = DT_F16);
    BAD(sample, sample, "row", a.row = NULL);
    BAD(sample, sample, "out", a.out = NULL);
    GOOD(count, count, (void)0);
    BAD(count, count, "counts", a.counts = NULL);
    BAD(count, count, "n_prompt", a.n_prompt = 5);
    BAD(count, count, "token", a.token = NULL);
    BAD(count, count, "token", (a.token = outside, a.n = 2));
}

/* A backend without an op: composed where a composition exists, else the op is named. */
static void test_missing(void **state)
{
    (void)state;
    struct backend poor = backend_null;
    poor.name = "poor";
    poor.ops.rope_kv = NULL;
    poor.ops.norm_linear = NULL;
    dev->backend = &poor;
    null_reset(dev);
    const struct null_stats *s = null_stats(dev);
    GOOD(norm_linear, norm_linear,
         (a.w[1] = a.w[0], a.n_parts = 2, a.y = mat(R, 2 * N), a.y.data = memory + 1));
    assert_int_equal(s->op[OP_linear].calls, 2);
    assert_int_equal(s->op[OP_rmsnorm].calls, 1);
    GOOD(rope_kv, rope_kv, a.q_norm = tensor_1d(memory, DT_F32, D));
    assert_int_equal(s->op[OP_rmsnorm].calls, 2); /* q only */
    assert_int_equal(s->op[OP_rope].calls, 2);
    assert_int_equal(s->op[OP_kv_write].calls, 1);
    struct op_linear a = linear();
    poor.ops.linear = NULL;
    assert_int_equal(op_linear(q, &a), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "poor lacks the op linear"));
    poor.ops.rope = NULL; /* a composition needs its parts */
    struct op_rope_kv b = rope_kv();
    assert_int_equal(op_rope_kv(q, &b), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "the op rope"));
    dev->backend = &backend_null;
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(op_name(OP_embed), "embed");
    assert_string_equal(op_name(OP_count), "count");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_linear),
        cmocka_unit_test(test_heads),   cmocka_unit_test(test_sampler),
        cmocka_unit_test(test_missing), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, open_null, close_null);
}
