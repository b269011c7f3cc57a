/* test_rows.c - the CUDA backend's ops on rows, pages and tables, emulated, against the naive
 * definitions. What only moves or adds numbers has equal bits; what sums or takes exponentials is
 * equal within the rounding of another order. Rows that are not live keep what they held. */
#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "kernels/cpu/page.h"
#include "kernels/half.h"
#include "kernels/kv_type.h"
#include "kernels/quant/f8_e4m3.h"
#include "tests/simt/gpu.h"
#include "tests/support/test.h"

enum { ROWS = 5, LIVE = 3 };
static const int sizes[] = {1, 7, 64, 100, 576, 896, 2051};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };
static const int32_t live[2] = {LIVE, 1};

static struct tensor host(int64_t rows, int64_t cols)
{
    float *p = xmalloc(sizeof *p * (size_t)(rows * cols));
    gpu_fill(p, (size_t)(rows * cols));
    return tensor_2d(p, DT_F32, rows, cols);
}

/* Rows lie apart, so that strides are used. */
static struct tensor wide(int64_t rows, int64_t cols)
{
    return tensor_cols(host(rows, cols + 3), 1, cols);
}

static void drop(struct tensor t)
{
    xfree((char *)t.data - (t.ndim == 2 && t.stride[0] == 4 * (t.shape[1] + 3) ? 4 : 0));
}

/* Every row of the device's view against the host's; beyond the live ones the device's `before`. */
static void compare(struct tensor dev, struct tensor want, int n_live, const char *what, float rel)
{
    int64_t rows = want.shape[0], n = want.shape[1];
    size_t span = (size_t)((rows - 1) * dev.stride[0] + 4 * n);
    char *got = xmalloc(span);
    gpu_down(got, dev.data, span);
    for (int64_t r = 0; r < (n_live ? n_live : rows); r++)
        gpu_near((float *)(void *)(got + r * dev.stride[0]), tensor_row(&want, r), (size_t)n, what,
                 rel, rel);
    xfree(got);
}

static void unchanged(struct tensor dev, struct tensor before, int first)
{
    struct tensor rest = tensor_rows(before, first, before.shape[0] - first);
    compare(tensor_rows(dev, first, rest.shape[0]), rest, 0, "rows that are not live", 0);
}

/* --- norms, glu, add */

static void norms(void)
{
    for (int i = 0; i < N_SIZES; i++) {
        int n = sizes[i];
        struct tensor x = wide(ROWS, n), d = host(ROWS, n), w = host(1, n), y = host(ROWS, n);
        w = tensor_1d(w.data, DT_F32, n);
        struct op_rmsnorm a = {gpu_tensor(x), gpu_tensor(w), {0}, 1e-6f, NULL}, ref = a;
        a.y = a.x; /* in place */
        assert_int_equal(op_rmsnorm(gpu.q, &a), OK);
        ref = (struct op_rmsnorm){x, w, y, 1e-6f, NULL};
        naive_rmsnorm(&ref, 0, ROWS);
        compare(a.y, y, 0, "rmsnorm", 2e-6f);

        struct op_rmsnorm b = {gpu_tensor(x), gpu_tensor(w), gpu_tensor(d), 1e-6f,
                               gpu_up(live, sizeof live)};
        assert_int_equal(op_rmsnorm(gpu.q, &b), OK);
        unchanged(b.y, d, LIVE);
        naive_rmsnorm(&ref, 0, LIVE);
        compare(b.y, y, LIVE, "rmsnorm of live rows", 2e-6f);
        drop(x);
        drop(d);
        drop(w);
        drop(y);
        gpu_free_all();
    }
}

static void head_norms(void)
{
    enum { H = 3, D = 20 };
    struct tensor all = host(ROWS, H * D + 8), w = tensor_1d(host(1, D).data, DT_F32, D);
    struct tensor x = tensor_heads(tensor_cols(all, 4, H * D), H, D), on = gpu_tensor(all);
    struct tensor dx = tensor_heads(tensor_cols(on, 4, H * D), H, D);
    struct op_rmsnorm a = {dx, gpu_tensor(w), dx, 1e-5f, NULL}, ref = {x, w, x, 1e-5f, NULL};
    assert_int_equal(op_rmsnorm(gpu.q, &a), OK);
    naive_rmsnorm(&ref, 0, ROWS * H);
    compare(on, all, 0, "rmsnorm of heads", 2e-6f);
    drop(all);
    drop(w);
}

static void glus(void)
{
    for (int i = 0; i < N_SIZES; i++)
        for (int act = ACT_SILU; act <= ACT_RELU; act++) {
            int n = sizes[i];
            struct tensor x = wide(ROWS, 2 * n), y = host(ROWS, n);
            float *first = tensor_row(&x, 0), *second = tensor_row(&x, 1);
            first[0] = -200;
            second[0] = 200;
            struct op_glu a = {gpu_tensor(x), gpu_tensor(y), (enum act)act,
                               gpu_up(live, sizeof live)};
            assert_int_equal(op_glu(gpu.q, &a), OK);
            unchanged(a.y, y, LIVE);
            struct op_glu ref = {x, y, (enum act)act, live};
            naive_glu(&ref, 0, LIVE);
            compare(a.y, y, LIVE, "glu", 2e-6f);
            drop(x);
            drop(y);
            gpu_free_all();
        }
}

static void adds(void)
{
    for (int i = 0; i < N_SIZES; i++) {
        struct tensor x = wide(ROWS, sizes[i]), z = host(ROWS, sizes[i]);
        struct op_add a = {gpu_tensor(x), gpu_tensor(z), {0}, gpu_up(live, sizeof live)};
        a.y = a.a;
        assert_int_equal(op_add(gpu.q, &a), OK);
        unchanged(a.y, x, LIVE);
        struct op_add ref = {x, z, x, live};
        naive_add(&ref, 0, LIVE);
        compare(a.y, x, LIVE, "add", 0);
        drop(x);
        drop(z);
        gpu_free_all();
    }
}

/* --- gather, embed */

static void gather_of(enum dtype t, int64_t n)
{
    static const int32_t index[] = {6, 0, 0, 3}, wanted[] = {3};
    size_t row = dtype_row_bytes(t, n);
    char *x = xmalloc(7 * row), *y = xmalloc(4 * row), *got = xmalloc(4 * row);
    for (size_t i = 0; i < 7 * row; i++)
        x[i] = (char)(gpu_noise() * 100);
    memset(y, 3, 4 * row);
    struct op_gather ref = {tensor_2d(x, t, 7, n), tensor_2d(y, t, 4, n), index, wanted}, a = ref;
    a.x = gpu_tensor(a.x);
    a.y = gpu_tensor(a.y);
    a.index = gpu_up(index, sizeof index);
    a.n_live = gpu_up(wanted, sizeof wanted);
    assert_int_equal(op_gather(gpu.q, &a), OK);
    naive_gather(&ref, 0, naive_gather_items(&ref));
    gpu_down(got, a.y.data, 4 * row);
    assert_memory_equal(got, y, 4 * row);
    xfree(x);
    xfree(y);
    xfree(got);
    gpu_free_all();
}

static void columns_of(int64_t n)
{
    static const int32_t most[] = {2};
    const size_t bytes = (size_t)n * sizeof(float);
    float *x = xmalloc(3 * bytes), *y = xcalloc(3, bytes), *got = xmalloc(3 * bytes);
    int32_t *index = xmalloc((size_t)n * sizeof *index);
    for (int64_t i = 0; i < 3 * n; i++)
        x[i] = gpu_noise();
    for (int64_t i = 0; i < n; i++)
        index[i] = (int32_t)((i * 7 + 3) % n);
    struct op_columns ref = {tensor_2d(x, DT_F32, 3, n), tensor_2d(y, DT_F32, 3, n), index, most};
    struct op_columns a = {gpu_tensor(ref.x), gpu_tensor(ref.y),
                           gpu_up(index, (size_t)n * sizeof *index), gpu_up(most, sizeof most)};
    assert_int_equal(op_columns(gpu.q, &a), OK);
    naive_columns(&ref, 0, naive_columns_items(&ref));
    gpu_down(got, a.y.data, 3 * bytes);
    assert_memory_equal(got, y, 3 * bytes);
    xfree(x);
    xfree(y);
    xfree(got);
    xfree(index);
    gpu_free_all();
}

static void gathers(void)
{
    columns_of(64);
    columns_of(1001);
    gather_of(DT_F32, 100);
    gather_of(DT_F32, 2051);
    gather_of(DT_BF16, 7);
    gather_of(DT_BF16, 64);
}

static void embed_of(enum dtype t, float scale)
{
    enum { V = 9, K = 512, R = 6, SLOTS = 4 };
    static const int32_t token[R] = {8, ~1, TOKEN_FROM_SLOT, 0, 3, 100}, alive[2] = {5, 2};
    static const int32_t pos[R] = {0, 1, 0, 1, 2, 0}, row_seq[R] = {0, 0, 1, 1, 1, 9};
    static const int32_t seq_slot[2] = {3, 2}, last[SLOTS] = {-1, -1, 5, -1};
    const struct dtype_info *type = dtype_info(t);
    size_t bytes = V * dtype_row_bytes(t, K);
    uint8_t *table = xmalloc(bytes);
    for (size_t i = 0; i < bytes; i++) /* any bytes are a block; scales stay finite */
        table[i] = (uint8_t)(gpu_noise() * 60 + 60) & 0x7b;
    if (type->block == 1)
        for (size_t i = 0; i < V * K; i++)
            type->encode(&(float){gpu_noise()}, table + i * (size_t)type->bytes);
    struct tensor rows = host(2, K), y = host(R, K);
    struct op_embed ref = {.table = tensor_2d(table, t, V, K),
                           .rows = rows,
                           .r = {R, 2, alive, pos, row_seq, NULL, seq_slot, NULL},
                           .token = token,
                           .last = last,
                           .y = y,
                           .scale = scale},
                    a = ref;
    a.table = gpu_tensor(a.table);
    a.rows = gpu_tensor(a.rows);
    a.r.live = gpu_up(alive, sizeof alive);
    a.r.row_seq = gpu_up(row_seq, sizeof row_seq);
    a.r.pos = gpu_up(pos, sizeof pos);
    a.r.seq_slot = gpu_up(seq_slot, sizeof seq_slot);
    a.token = gpu_up(token, sizeof token);
    a.last = gpu_up(last, sizeof last);
    a.y = gpu_tensor(a.y);
    assert_int_equal(op_embed(gpu.q, &a), OK);
    unchanged(a.y, y, 5);
    naive_embed(&ref, 0, naive_embed_items(&ref));
    compare(a.y, y, 5, type->name, 0);
    xfree(table);
    drop(rows);
    drop(y);
    gpu_free_all();
}

static void embeds(void)
{
    int n = 0;
    for (enum dtype t = 0; t < N_DTYPE; t++) {
        struct op_case c = {OP_embed, DT_F32, t, 0, 9, 512};
        struct choice how; /* tables in panels: test_panel */
        if (!backend_cuda.can(gpu.dev, &c, &how) || how.layout != LAYOUT_ROWS)
            continue;
        embed_of(t, t % 2 ? 1 : 0.37f);
        n++;
    }
    assert_true(n >= 11);
}

/* --- rope, pages */

enum { STEP = 11, SEQS = 3, TABLE = 7 };

struct world {
    int32_t pos[STEP], row_seq[STEP], seq_start[SEQS + 1], seq_slot[SEQS], table[SEQS * TABLE];
    int32_t alive[2];
    struct ragged r; /* on the device */
    struct kv_view kv, ref;
    char *want, *got;
    size_t bytes;
};

static void world_open(struct world *w, enum dtype t, int heads, int dim)
{
    static const int past[SEQS] = {0, 70, 15}, rows[SEQS] = {5, 1, 5};
    int row = 0;
    memset(w, 0, sizeof *w);
    for (int s = 0; s < SEQS; s++) {
        w->seq_start[s] = row;
        w->seq_slot[s] = SEQS - 1 - s;
        for (int i = 0; i < rows[s]; i++, row++) {
            w->pos[row] = past[s] + i;
            w->row_seq[row] = s;
        }
    }
    w->seq_start[SEQS] = row;
    w->alive[0] = STEP - 1; /* the last row is not used */
    w->alive[1] = SEQS;
    for (int i = 0; i < SEQS * TABLE; i++)
        w->table[i] = i * 11 % (SEQS * TABLE);
    w->ref = (struct kv_view){.dtype = (uint8_t)t,
                              .page_tokens = PAGE_TOKENS,
                              .n_head = heads,
                              .head_dim = dim,
                              .table = w->table,
                              .table_stride = TABLE};
    w->ref.page_bytes = kv_page_bytes(t, heads, PAGE_TOKENS, dim);
    w->bytes = (size_t)w->ref.page_bytes * SEQS * TABLE;
    w->want = xcalloc(1, w->bytes);
    w->got = xcalloc(1, w->bytes);
    w->ref.base = w->want;
    w->kv = w->ref;
    w->kv.base = gpu_up(w->want, w->bytes);
    w->kv.table = gpu_up(w->table, sizeof w->table);
    w->r = gpu_ragged((struct ragged){.rows = STEP,
                                      .seqs = SEQS,
                                      .live = w->alive,
                                      .pos = w->pos,
                                      .row_seq = w->row_seq,
                                      .seq_start = w->seq_start,
                                      .seq_slot = w->seq_slot});
}

static float number(const struct kv_view *kv, const char *at, int i)
{
    if (kv->dtype == DT_F8_E4M3)
        return f8_e4m3_value((uint8_t)at[i]) *
               kv_fp8_power(*page_scale(kv, at, i / kv->head_dim) % 255);
    return kv->dtype == DT_F32 ? ((const float *)(const void *)at)[i]
                               : half_bf16(((const uint16_t *)(const void *)at)[i]);
}

/* The pages of both, number by number: the CPU's order of elements is its own. */
static void world_close(struct world *w, float rel)
{
    const struct kv_view *kv = &w->ref;
    gpu_down(w->got, w->kv.base, w->bytes);
    if (rel == 0 && kv->dtype == DT_F8_E4M3)
        assert_memory_equal(w->got, w->want, w->bytes);
    for (int page = 0; page < SEQS * TABLE; page++)
        for (int h = 0; h < kv->n_head; h++) {
            int64_t at = page * kv->page_bytes + h * (kv->page_bytes / kv->n_head);
            for (int t = 0; t < PAGE_TOKENS; t++)
                for (int d = 0; d < kv->head_dim; d++) {
                    const char *want = w->want + at, *got = w->got + at;
                    float k = number(kv, want, page_k(kv, t, d));
                    float v = number(kv, want + page_half(kv), page_v(kv, t, d));
                    float k2 = number(kv, got, t * kv->head_dim + d);
                    float v2 = number(kv, got + page_half(kv), t * kv->head_dim + d);
                    gpu_near(&k2, &k, 1, "keys of a page", rel, rel / 8);
                    gpu_near(&v2, &v, 1, "values of a page", 0, 0);
                }
        }
    xfree(w->want);
    xfree(w->got);
    gpu_free_all();
}

static void rope_of(enum dtype t, bool neox, bool norm, int dim)
{
    enum { HQ = 4, HKV = 2 };
    const float rel = norm || t == DT_F32 ? 3e-6f : 0;
    struct world w;
    world_open(&w, t, HKV, dim);
    struct tensor all = host(STEP, (HQ + 2 * HKV) * dim), on = gpu_tensor(all), scale = {0};
    float freq[64];
    int n_freq = dim == 20 ? 8 : dim / 2; /* 20: a part of the head is turned */
    for (int i = 0; i < n_freq; i++)
        freq[i] = powf(10000, -2.0f * (float)i / (float)dim);
    if (norm)
        scale = tensor_1d(host(1, dim).data, DT_F32, dim);
    struct op_rope_kv a = {.eps = 1e-6f,
                           .r = w.r,
                           .inv_freq = gpu_up(freq, sizeof *freq * (size_t)n_freq),
                           .n_freq = n_freq,
                           .neox = neox,
                           .factor = 1.1f,
                           .kv = w.kv};
    struct tensor *part[] = {&a.q, &a.k, &a.v}, ref[3];
    for (int i = 0, at = 0; i < 3; i++) {
        int h = i ? HKV : HQ;
        *part[i] = tensor_heads(tensor_cols(on, at, h * dim), h, dim);
        ref[i] = tensor_heads(tensor_cols(all, at, h * dim), h, dim);
        at += h * dim;
    }
    if (norm)
        a.q_norm = a.k_norm = gpu_tensor(scale);
    assert_int_equal(op_rope_kv(gpu.q, &a), OK);
    struct ragged r = {.rows = STEP,
                       .seqs = SEQS,
                       .live = w.alive,
                       .pos = w.pos,
                       .row_seq = w.row_seq,
                       .seq_start = w.seq_start,
                       .seq_slot = w.seq_slot};
    for (int i = 0; i < 2; i++) {
        struct op_rmsnorm n = {ref[i], scale, ref[i], 1e-6f, w.alive};
        struct op_rope turn = {ref[i], r, freq, n_freq, neox, 1.1f};
        if (norm)
            naive_rmsnorm(&n, 0, naive_rmsnorm_items(&n));
        naive_rope(&turn, 0, naive_rope_items(&turn));
    }
    struct op_kv_write write = {ref[1], ref[2], r, w.ref};
    naive_kv_write(&write, 0, naive_kv_write_items(&write));
    compare(on, all, 0, "rope_kv", 3e-6f);
    drop(all);
    if (norm)
        drop(scale);
    /* a last bit of bf16 or e4m3 may differ */
    world_close(&w, t == DT_F32 ? 3e-6f : rel + (t == DT_BF16 ? 0x1p-7f : 0x1p-3f));
}

static void ropes(void)
{
    rope_of(DT_F32, true, false, 64);
    rope_of(DT_BF16, true, true, 128);
    rope_of(DT_F32, false, true, 20);
    rope_of(DT_BF16, false, false, 16);
    rope_of(DT_F8_E4M3, true, true, 80);
}

/* rope and kv_write by themselves. */
static void apart_of(enum dtype kv)
{
    enum { H = 2, D = 32 };
    struct world w;
    world_open(&w, kv, H, D);
    struct tensor x = host(STEP, H * D), y = host(STEP, H * D), on = gpu_tensor(x);
    float freq[D / 2];
    for (int i = 0; i < D / 2; i++)
        freq[i] = powf(500000, -2.0f * (float)i / D);
    struct ragged r = {.rows = STEP,
                       .seqs = SEQS,
                       .live = w.alive,
                       .pos = w.pos,
                       .row_seq = w.row_seq,
                       .seq_start = w.seq_start,
                       .seq_slot = w.seq_slot};
    struct op_kv_write b = {tensor_heads(on, H, D), tensor_heads(gpu_tensor(y), H, D), w.r, w.kv};
    struct op_kv_write b2 = {tensor_heads(x, H, D), tensor_heads(y, H, D), r, w.ref};
    assert_int_equal(op_kv_write(gpu.q, &b), OK);
    naive_kv_write(&b2, 0, naive_kv_write_items(&b2));
    struct op_rope a = {b.k, w.r, gpu_up(freq, sizeof freq), D / 2, true, 1};
    struct op_rope a2 = {b2.k, r, freq, D / 2, true, 1};
    assert_int_equal(op_rope(gpu.q, &a), OK);
    naive_rope(&a2, 0, naive_rope_items(&a2));
    compare(on, x, 0, "rope", 3e-6f);
    drop(x);
    drop(y);
    world_close(&w, 0);
}

static void apart(void)
{
    apart_of(DT_BF16);
    apart_of(DT_F8_E4M3);
}

/* --- conv1d: a sequence in two chunks, another beginning in the second step */

static void conv_of(int n, int k)
{
    enum { R = 7, SLOTS = 3 };
    static const int32_t pos[2][R] = {{0, 1, 2, 3, 4, 0, 1}, {5, 6, 7, 8, 0, 1, 2}};
    static const int32_t row_seq[2][R] = {{0, 0, 0, 0, 0, 1, 1}, {0, 0, 0, 0, 1, 1, 1}};
    static const int32_t start[2][3] = {{0, 5, 7}, {0, 4, 7}}, slot[2][2] = {{2, 0}, {2, 1}};
    struct tensor w = host(n, k), y = host(R, n), state = host(SLOTS, (k - 1) * n);
    struct tensor dw = gpu_tensor(w), dy = gpu_tensor(y), ds = gpu_tensor(state);
    for (int step = 0; step < 2; step++) {
        struct tensor x = host(R, n);
        struct ragged r = {.rows = R,
                           .seqs = 2,
                           .pos = pos[step],
                           .row_seq = row_seq[step],
                           .seq_start = start[step],
                           .seq_slot = slot[step]};
        struct op_conv1d ref = {x, y, w, r, state.data};
        struct op_conv1d a = {gpu_tensor(x), dy, dw, gpu_ragged(r), ds.data};
        assert_int_equal(op_conv1d(gpu.q, &a), OK);
        naive_conv1d(&ref, 0, naive_conv1d_items(&ref));
        compare(dy, y, 0, "conv1d", 0);
        compare(ds, state, 0, "state of conv1d", 0);
        drop(x);
    }
    drop(w);
    drop(y);
    drop(state);
    gpu_free_all();
}

static void convs(void)
{
    conv_of(5, 2);
    conv_of(130, 4);
    conv_of(64, CONV1D_MAX);
}

#define IN_EACH_MODE(name)                                                                         \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        gpu_each_mode(name);                                                                       \
    }
IN_EACH_MODE(norms)
IN_EACH_MODE(head_norms)
IN_EACH_MODE(glus)
IN_EACH_MODE(adds)
IN_EACH_MODE(gathers)
IN_EACH_MODE(embeds)
IN_EACH_MODE(ropes)
IN_EACH_MODE(apart)
IN_EACH_MODE(convs)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),   cmocka_unit_test(test_head_norms),
        cmocka_unit_test(test_glus),    cmocka_unit_test(test_adds),
        cmocka_unit_test(test_gathers), cmocka_unit_test(test_embeds),
        cmocka_unit_test(test_ropes),   cmocka_unit_test(test_apart),
        cmocka_unit_test(test_convs),
    };
    return cmocka_run_group_tests(tests, gpu_open, gpu_close);
}
