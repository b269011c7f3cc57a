/* lt_queue.c - a queue over the emulated cuBLASLt.
 *
 * Bounds, of sum |x w|: what is decoded is rounded to bf16, as x is (2^-8 each), and the naive op
 * rounds x to bf16 for bf16 weights, to 8-bit integers for block formats. On sm_75 both are f16,
 * 2^-11, or 2^-25 of x for tiny weights. */
#include "tests/simt/lt_queue.h"

#include <math.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "tests/simt/cublaslt.h"
#include "tests/support/logged.h"
#include "tests/support/test.h"

const struct lt_limits lt_queue_limits = {0, 64 << 10, 64 << 10, 1 << 20};
struct cuda_queue lt_queue;

int lt_queue_open(void **state)
{
    (void)state;
    simt_cublaslt = (struct simt_cublaslt){.workspace = lt_queue_limits.workspace};
    lt_queue = (struct cuda_queue){
        .cc = 80, .sms = 4, .smem_max = 99 << 10, .limits = &lt_queue_limits, .early = true};
    product_plan(&lt_queue, LT_QUEUE_HALF_ROWS - 1, LT_QUEUE_BLOCK_ROWS - 1);
    product_seed = 1;
    product_find_types();
    log_hear(LOG_WARN);
    if (lt_open(NULL, &lt_queue.lt) != OK || !lt_queue.lt)
        return 1;
    lt_count(lt_queue.lt, &lt_queue.fallbacks);
    return product_queue_open(&lt_queue, lt_queue_limits.scratch);
}

int lt_queue_close(void **state)
{
    (void)state;
    gpu_plan_clear(&lt_queue.plan);
    int failed = product_queue_close(&lt_queue);
    lt_close(lt_queue.lt);
    log_unhear();
    return failed || simt_cublaslt.open != 0;
}

/* What the naive op may lose of sum |x w| when it rounds x to integers, block by block. */
static double integers_lose(const struct product *o, int r, const float *w)
{
    double sum = 0;
    for (int k = 0; k < o->s.k; k += 32) {
        double top = 0, size = 0;
        for (int i = k; i < k + 32; i++) {
            top = fmax(top, fabs((double)o->x[r * o->s.k + i]));
            size += fabs((double)w[i]);
        }
        sum += size * top / 254;
    }
    return sum * (o->s.m % 2 ? (double)o->naive.w.q->global : 1);
}

void lt_queue_near(struct product *o, int cc)
{
    enum dtype t = (enum dtype)o->naive.w.dtype;
    bool ints = dtype_info(t)->ints != NULL;
    double one = cc < 80 ? 0x1.1p-11 : 0x1.1p-8; /* rounding */
    double eps = t == DT_F16                ? 0x1.1p-11
                 : dtype_info(t)->block > 1 ? 2 * one
                 : cc < 80                  ? 0x1p-8 + one
                                            : 0x1p-19;
    int live = o->s.live ? o->s.live : o->s.m;
    float *row = xmalloc((size_t)o->s.k * 4);
    naive_linear(&o->naive, 0, naive_linear_items(&o->naive));
    for (int r = 0; r < live; r++)
        for (int c = 0; c < o->s.n; c++) {
            double got = o->got[r * o->s.n + c], want = o->want[r * o->s.n + c];
            double may = eps * product_size(o, r, c, row);
            for (int k = 0; k < o->s.k && cc < 80; k++) /* weights below f16's normal ones */
                may += 0x1p-25 * fabs((double)o->x[r * o->s.k + k]);
            may += (ints ? integers_lose(o, r, row) : 0) + 0x1p-22 * fabs(want);
            if (!(fabs(got - want) <= may))
                fail_msg("%s %d x %d x %d: y[%d][%d] is %.9g, defined as %.9g, may differ by %.3g",
                         dtype_info(t)->name, o->s.m, o->s.n, o->s.k, r, c, got, want, may);
        }
    xfree(row);
}
