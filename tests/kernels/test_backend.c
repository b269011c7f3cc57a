/* One small network, three steps with the sampler's token fed back, on the CPU, on the late backend
 * and on refusing ones: the same bits everywhere. */
#include "kernels/backend.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/late.h"
#include "tests/support/refuse.h"
#include "tests/support/test.h"

enum { V = 96, K = 64, HQ = 4, HKV = 2, D = 16, F = 64, QKV = (HQ + 2 * HKV) * D };
enum { SEQS = 2, FIRST = 5, STEPS = 3, PAGES = 2, SLOTS = 3 };

/* What lies in device memory. */
struct memory {
    float x[FIRST][K], y[FIRST][K], qkv[FIRST][QKV], mix[FIRST][HQ * D];
    float up[FIRST][2 * F], act[FIRST][F], tail[SEQS][K], logits[SEQS][V];
    float norm[K], head_norm[D], freq[D / 2];
    int32_t token[FIRST], pos[FIRST], row_seq[FIRST], seq_start[SEQS + 1], seq_slot[SEQS];
    int32_t table[SLOTS][PAGES], last[SLOTS], want[SEQS], live[2];
    struct sample_row row[SEQS];
    struct sample_out out[SEQS];
    uint16_t counts[SLOTS][V];
    float weights[6][2 * F * K];
    char kv[SLOTS * PAGES][HKV * 16 * 2 * D * 2];
};

/* Host side of one step: it must stay as it is until the step's fence. */
struct upload {
    int32_t token[FIRST], pos[FIRST], row_seq[FIRST], seq_start[SEQS + 1], want[SEQS], live[2];
    struct sample_row row[SEQS];
    struct sample_out out[SEQS];
    float logits[SEQS][V];
    struct fence fence;
};

struct net {
    const struct backend *b;
    struct device *dev;
    struct queue *q;
    struct memory *m;
    struct upload step[STEPS];
};

static float noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) * 0x1p-23f - 1;
}

static void up(struct net *n, void *dst, const void *src, size_t bytes)
{
    assert_int_equal(n->b->copy(n->q, dst, src, bytes, COPY_TO_DEVICE), OK);
}

static void net_open(struct net *n, const struct backend *b)
{
    struct device_options o = {.threads = 1};
    static struct memory host; /* read when the copies run */
    uint32_t seed = 3;
    void *at;
    memset(n, 0, sizeof *n);
    n->b = b;
    assert_int_equal(b->open(&o, &n->dev), OK);
    n->q = b->queue(n->dev);
    assert_int_equal(b->region(n->dev, REGION_WORK, sizeof *n->m, &at), OK);
    n->m = at;
    memset(&host, 0, sizeof host);
    for (int w = 0; w < 6; w++)
        for (int i = 0; i < 2 * F * K; i++)
            host.weights[w][i] = noise(&seed) * 0.3f;
    for (int i = 0; i < K; i++)
        host.norm[i] = 1 + 0.1f * noise(&seed);
    for (int i = 0; i < D; i++)
        host.head_norm[i] = 1 + 0.1f * noise(&seed);
    for (int i = 0; i < D / 2; i++)
        host.freq[i] = powf(100, -2.0f * (float)i / D);
    for (int i = 0; i < SLOTS * PAGES; i++)
        host.table[i / PAGES][i % PAGES] = SLOTS * PAGES - 1 - i;
    host.seq_slot[0] = 2;
    host.seq_slot[1] = 0;
    up(n, n->m, &host, sizeof host);
}

/* Rows: sequence 0 has three, sequence 1 two; afterwards one each. The last upload is a copy of
 * host memory that each step keeps for itself. */
static void net_upload(struct net *n, int s)
{
    struct upload *u = &n->step[s];
    int rows = s ? 2 : FIRST, split = s ? 1 : 3;
    for (int r = 0; r < rows; r++) {
        int seq = r >= split;
        u->row_seq[r] = seq;
        u->pos[r] = s ? (seq ? 1 : 2) + s : r - seq * split;
        u->token[r] = s ? TOKEN_FROM_SLOT : 7 * r + 1;
    }
    u->seq_start[1] = split;
    u->seq_start[2] = rows;
    u->want[0] = split - 1;
    u->want[1] = rows - 1;
    u->live[0] = rows;
    u->live[1] = SEQS;
    for (int i = 0; i < SEQS; i++)
        u->row[i] = (struct sample_row){.slot = i ? 0 : 2,
                                        .forced = -1,
                                        .seed = 5,
                                        .counter = (uint64_t)s,
                                        .temperature = 0.7f,
                                        .top_p = 0.95f,
                                        .frequency = 0.1f,
                                        .repetition = 1.1f,
                                        .n_top = 3};
    up(n, n->m->token, u->token, sizeof u->token);
    up(n, n->m->pos, u->pos, sizeof u->pos);
    up(n, n->m->row_seq, u->row_seq, sizeof u->row_seq);
    up(n, n->m->seq_start, u->seq_start, sizeof u->seq_start);
    up(n, n->m->want, u->want, sizeof u->want);
    up(n, n->m->live, u->live, sizeof u->live);
    up(n, n->m->row, u->row, sizeof u->row);
}

static struct tensor mat(void *p, int64_t rows, int64_t cols)
{
    return tensor_2d(p, DT_F32, rows, cols);
}

/* y = x W^T with the weight of that number, plus what y holds with `add`. */
static void linear(struct net *n, struct tensor x, int number, struct tensor y, bool add)
{
    struct op_linear a = {.x = x,
                          .w = mat(n->m->weights[number], y.shape[1], x.shape[1]),
                          .add = add ? y : (struct tensor){0},
                          .y = y,
                          .live = n->m->live};
    assert_int_equal(op_linear(n->q, &a), OK);
}

static void norm_linear(struct net *n, int rows, int number, struct tensor y)
{
    struct memory *m = n->m;
    struct op_norm_linear a = {.x = mat(m->x, rows, K),
                               .weight = tensor_1d(m->norm, DT_F32, K),
                               .eps = 1e-5f,
                               .h = mat(m->y, rows, K),
                               .w = {mat(m->weights[number], y.shape[1], K)},
                               .n_parts = 1,
                               .y = y,
                               .live = m->live};
    assert_int_equal(op_norm_linear(n->q, &a), OK);
}

static void net_forward(struct net *n, int rows)
{
    struct memory *m = n->m;
    struct ragged r = {.rows = rows,
                       .seqs = SEQS,
                       .live = m->live,
                       .pos = m->pos,
                       .row_seq = m->row_seq,
                       .seq_start = m->seq_start,
                       .seq_slot = m->seq_slot};
    struct kv_view kv = {m->kv, DT_BF16, 16, HKV, D, sizeof m->kv[0], m->table[0], PAGES, 0};
    struct op_embed embed = {mat(m->weights[0], V, K), {0}, r, m->token, m->last,
                             mat(m->x, rows, K),       1};
    assert_int_equal(op_embed(n->q, &embed), OK);
    linear(n, mat(m->x, rows, K), 5, mat(m->y, rows, K), false);
    struct op_add sum = {mat(m->x, rows, K), mat(m->y, rows, K), mat(m->x, rows, K), m->live};
    assert_int_equal(op_add(n->q, &sum), OK);
    norm_linear(n, rows, 1, mat(m->qkv, rows, QKV));
    struct tensor qkv = mat(m->qkv, rows, QKV), norm = tensor_1d(m->head_norm, DT_F32, D);
    struct tensor q = tensor_heads(tensor_cols(qkv, 0, HQ * D), HQ, D);
    struct tensor k = tensor_heads(tensor_cols(qkv, HQ * D, HKV * D), HKV, D);
    struct tensor v = tensor_heads(tensor_cols(qkv, (HQ + HKV) * D, HKV * D), HKV, D);
    struct op_rope_kv rope = {q, k, v, norm, norm, 1e-5f, r, m->freq, D / 2, true, 1, kv};
    assert_int_equal(op_rope_kv(n->q, &rope), OK);
    struct op_attention attn = {.q = q,
                                .r = r,
                                .kv = kv,
                                .scale = 0.25f,
                                .y = tensor_heads(mat(m->mix, rows, HQ * D), HQ, D)};
    assert_int_equal(op_attention(n->q, &attn), OK);
    linear(n, mat(m->mix, rows, HQ * D), 2, mat(m->x, rows, K), true);
    norm_linear(n, rows, 3, mat(m->up, rows, 2 * F));
    struct op_glu glu = {mat(m->up, rows, 2 * F), mat(m->act, rows, F), ACT_SILU, m->live};
    assert_int_equal(op_glu(n->q, &glu), OK);
    linear(n, mat(m->act, rows, F), 4, mat(m->x, rows, K), true);
    struct op_rmsnorm norm_out = {mat(m->x, rows, K), tensor_1d(m->norm, DT_F32, K),
                                  mat(m->y, rows, K), 1e-5f, m->live};
    assert_int_equal(op_rmsnorm(n->q, &norm_out), OK);
    struct op_gather gather = {mat(m->y, rows, K), mat(m->tail, SEQS, K), m->want, &m->live[1]};
    assert_int_equal(op_gather(n->q, &gather), OK);
    linear(n, mat(m->tail, SEQS, K), 0, mat(m->logits, SEQS, V), false);
}

static void net_sample(struct net *n, int s)
{
    struct memory *m = n->m;
    struct upload *u = &n->step[s];
    if (s == 0)
        for (int i = 0; i < SEQS; i++) {
            int32_t prompt[] = {4, 5, 4, i}; /* read at once: this array goes out of scope */
            struct op_count c = {m->counts[i ? 0 : 2], V, prompt, 4, 3};
            assert_int_equal(op_count(n->q, &c), OK);
            memset(prompt, 0x55, sizeof prompt);
        }
    assert_int_equal(n->b->copy(n->q, u->logits, m->logits, sizeof u->logits, COPY_TO_HOST), OK);
    struct op_sample a = {
        mat(m->logits, SEQS, V), m->row, NULL, NULL, m->counts[0], m->last, m->out, &m->live[1]};
    assert_int_equal(op_sample(n->q, &a), OK);
    assert_int_equal(n->b->copy(n->q, u->out, m->out, sizeof u->out, COPY_TO_HOST), OK);
    assert_int_equal(n->b->record(n->q, &u->fence), OK);
}

/* All steps are in flight at once. */
static void net_run(struct net *n, const struct backend *b)
{
    net_open(n, b);
    for (int s = 0; s < STEPS; s++) {
        net_upload(n, s);
        net_forward(n, s ? 2 : FIRST);
        net_sample(n, s);
    }
}

static void net_finish(struct net *n)
{
    for (int s = 0; s < STEPS; s++) {
        for (int i = 0; i < 10 && !n->b->done(n->q, &n->step[s].fence); i++)
            continue;
        assert_int_equal(n->b->wait(n->q, &n->step[s].fence), OK);
        assert_true(n->b->done(n->q, &n->step[s].fence));
    }
    n->b->close(n->dev);
}

static void equal(const struct net *a, const struct net *b)
{
    for (int s = 0; s < STEPS; s++) {
        assert_memory_equal(a->step[s].logits, b->step[s].logits, sizeof a->step[s].logits);
        assert_memory_equal(a->step[s].out, b->step[s].out, sizeof a->step[s].out);
    }
}

static struct net cpu;

static int run_cpu(void **state)
{
    (void)state;
    net_run(&cpu, &backend_cpu);
    net_finish(&cpu);
    return 0;
}

static void test_cpu(void **state)
{
    (void)state;
    double sum = 0;
    for (int i = 0; i < V; i++)
        sum += fabs((double)cpu.step[2].logits[1][i]);
    assert_true(sum > 1 && isfinite(sum)); /* something was computed */
    assert_int_equal(cpu.step[0].out[0].n_top, 3);
}

static void test_late(void **state)
{
    (void)state;
    int unready = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct net n;
        struct device_info info;
        late_seed(seed);
        net_run(&n, &backend_late);
        backend_late.info(n.dev, &info);
        assert_false(info.synchronous);
        assert_true(late_pending(n.dev) > 60); /* nothing has run yet */
        bool ready = backend_late.done(n.q, &n.step[STEPS - 1].fence);
        unready += !ready;
        net_finish(&n);
        equal(&n, &cpu);
    }
    assert_int_equal(unready, 20); /* no single poll runs three steps */
}

static void test_refuse(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 4; seed++) {
        struct net n;
        struct op_case fused = {.op = OP_rope_kv, .x = DT_F32, .w = DT_F32, .k = 32, .n = 32};
        const struct backend *b = refuse_backend(seed);
        assert_int_equal(refuse_lacks(OP_norm_linear), b->ops.norm_linear == NULL);
        net_run(&n, b);
        if (refuse_lacks(OP_rope_kv))
            assert_false(b->can(n.dev, &fused, NULL));
        net_finish(&n);
        equal(&n, &cpu);
    }
}

static void test_find(void **state)
{
    (void)state;
    const struct backend *b;
    int index;
    assert_int_equal(backend_find("auto", &b, &index), OK);
    assert_ptr_equal(b, &backend_cpu);
    assert_int_equal(backend_find(NULL, &b, &index), OK);
    assert_int_equal(backend_find("null", &b, &index), ERR_UNSUPPORTED); /* nothing to compute on */
    assert_int_equal(backend_find("abacus", &b, &index), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "abacus"));
    assert_non_null(strstr(fail_text(), "cpu"));
    assert_int_equal(backend_find("cpu:x", &b, &index), ERR_INVALID);
    assert_int_equal(backend_find("cpu:", &b, &index), ERR_INVALID);
    assert_int_equal(backend_find("cpu:-1", &b, &index), ERR_INVALID);
    assert_int_equal(backend_find("cpu:3", &b, &index), OK);
    assert_int_equal(index, 3);
}

/* Weights of several tensors are stacked. */
static void test_pack(void **state)
{
    (void)state;
    struct device_options o = {.threads = 1};
    struct device *d;
    struct choice c;
    float a[16][64], b[16][64], x[64], y[32];
    void *at;
    assert_int_equal(backend_cpu.open(&o, &d), OK);
    for (int i = 0; i < 16 * 64; i++) {
        a[i / 64][i % 64] = (float)(i / 64);
        b[i / 64][i % 64] = (float)(100 + i / 64);
    }
    for (int i = 0; i < 64; i++)
        x[i] = i == 9;
    struct op_case k = {OP_linear, DT_F32, DT_F32, 0, 32, 64};
    assert_true(backend_cpu.can(d, &k, &c));
    assert_int_equal(backend_cpu.region(d, REGION_WEIGHTS, c.bytes, &at), OK);
    struct tensor src[2] = {mat(a, 16, 64), mat(b, 16, 64)}, w = {.data = at};
    assert_int_equal(backend_cpu.pack(d, src, 2, &c, &w), OK);
    assert_int_equal(w.shape[0], 32);
    struct op_linear op = {mat(x, 1, 64), w, {0}, {0}, mat(y, 1, 32), NULL};
    assert_int_equal(op_linear(backend_cpu.queue(d), &op), OK);
    for (int i = 0; i < 32; i++)
        assert_true(y[i] == (float)(i < 16 ? i : 84 + i));
    k.w = DT_Q4_K; /* 64 is no multiple of its block of 256 */
    assert_false(backend_cpu.can(d, &k, &c));
    assert_int_equal(backend_cpu.region(d, REGION_WEIGHTS, 1, &at), ERR_INTERNAL);
    backend_cpu.close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu),  cmocka_unit_test(test_late), cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_find), cmocka_unit_test(test_pack),
    };
    return cmocka_run_group_tests(tests, run_cpu, NULL);
}
