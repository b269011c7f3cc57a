/* test_fp8.c - networks whose checkpoint declares activations in fp8, on the emulated CUDA backend:
 * they are rounded as declared without being asked for, by either path, on GPUs that multiply fp8,
 * and logits are PyTorch's with the same roundings; else, and where nobody wants it, exact. */
#include <string.h>

#include <library_types.h>

#include "kernels/cuda/cuda.h"
#include "kernels/gpu/registry.h"
#include "tests/simt/cublaslt.h"
#include "tests/simt/mode.h"
#include "tests/support/fp8_model.h"
#include "tests/support/test.h"

/* As tests/engine/test_fp8.c has them; bf16 of the decoded weights is in what is not rounded. */
static const double SAME = 1e-2, OTHER = 2e-2;

static struct way {
    int cc;
    bool lt, fast; /* cuBLASLt is there; it is faster than our kernel */
    enum x_type x;
} way;
static struct gpu_config config;

/* Shapes are tiny: fp8 is made to be worth it. */
static void prepare(struct stepper *s)
{
    struct cuda_queue *q = (struct cuda_queue *)s->dev->backend->queue(s->dev);

    config = *q->plan.config;
    config.match.cc[0] = q->cc = way.cc;
    config.ceil.read_gbs = config.ceil.l2_gbs = config.ceil.fp8_tflops = 1e6;
    config.ceil.bf16_tflops = config.ceil.mma_bf16_tflops = 0.01;
    config.eff[GPU_W8A8].t0_us = way.fast ? 100 : 0;
    config.eff[GPU_W8A8].fl = 1;
    config.eff[GPU_LT_FP8] = config.eff[GPU_W8A8];
    config.eff[GPU_LT_FP8].t0_us = way.fast ? 0 : 100;
    if (!way.lt)
        q->refused |= CUDA_NO_LT;
    q->plan.config = &config;
    gpu_plan_reset(&q->plan);
    simt_cublaslt.type = -1;
}

static void test_declared(void **state)
{
    static const struct way ways[] = {{89, false, false, X_DECLARED}, {90, true, true, X_DECLARED},
                                      {89, true, false, X_DECLARED},  {86, true, true, X_DECLARED},
                                      {89, true, true, X_EXACT},      {89, true, true, X_FP8}};

    (void)state;
    simt_mode(&(struct simt_mode){.seed = 1});
    for (size_t w = 0; w < (simt_slow() ? 2 : sizeof ways / sizeof *ways); w++)
        for (int i = 0; i < FP8_MODELS; i++) {
            double exact, rounded;

            way = ways[w];
            fp8_model_run(i, &backend_cuda, way.x, prepare, &exact, &rounded);
            bool round = way.cc >= GPU_FP8_CC && way.x != X_EXACT;
            bool library = simt_cublaslt.type == CUDA_R_8F_E4M3;
            if (!(round ? rounded < SAME && exact > OTHER : exact < SAME && rounded > OTHER))
                fail_msg("%s, way %zu: off by %g, by %g of what is not rounded", fp8_models[i], w,
                         rounded, exact);
            /* squares have more than one scale a row */
            if (!simt_real())
                assert_int_equal(library, round && way.lt && way.fast && i != 2);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_declared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
