/* test_panel.c - packing with vectors against packing without: the same bytes, for every type that
 * has such a packer, whole and ragged panels, whole and ragged steps, and any split of the panels.
 * (That panels hold the right numbers is test_linear's and test_dtype's matter.) */
#include "kernels/cpu/pack.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/isa.h"
#include "tests/support/test.h"

static const char *const isas[] = {"avx2", "avx512", "avx512bf16"};
static const enum dtype vector_types[] = {
    DT_F32,    DT_F16,   DT_BF16,    DT_Q8_0,  DT_Q8_1,   DT_Q4_0,  DT_Q4_1,    DT_Q5_0,
    DT_Q5_1,   DT_Q4_K,  DT_Q5_K,    DT_Q6_K,  DT_IQ4_NL, DT_IQ1_S, DT_IQ1_M,   DT_IQ2_XXS,
    DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S, DT_TQ1_0,  DT_TQ2_0, DT_Q2_K,    DT_Q2_0,
    DT_Q1_0,   DT_Q3_K,  DT_IQ4_XS,  DT_MXFP4, DT_NVFP4,  DT_Q8_K,  DT_F8_E4M3, DT_NF4,
};
enum { N_TYPES = sizeof vector_types / sizeof *vector_types };

/* Random bytes: packing moves bits and knows no numbers. */
static uint8_t *random_bytes(size_t n, uint64_t seed)
{
    uint8_t *p = xmalloc(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rng_philox(seed, i, 0).v[0];
    return p;
}

/* Rows begin at `first` of the buffer, so that no row is aligned. */
static void compare(const struct cpu_isa *isa, enum dtype t, int64_t n, int64_t k)
{
    size_t row = dtype_row_bytes(t, k), bytes = (size_t)panel_count(n) * panel_bytes(t, k);
    uint8_t *source = random_bytes(row * (size_t)n + 3, (uint64_t)(n * 1000 + k));
    struct tensor all = tensor_2d(source + 3, t, n, k);
    struct tensor part[2] = {tensor_rows(all, 0, n / 3), tensor_rows(all, n / 3, n - n / 3)};
    uint8_t *want = xmalloc(bytes), *got = xmalloc(bytes);
    struct pack_work plain = {part, 2, NULL, want}, fast = {part, 2, isa->pack[t], got};
    int64_t panels = panel_count(n);

    memset(want, 0x55, bytes);
    memset(got, 0xaa, bytes);
    pack_panels(&plain, 0, panels);
    pack_panels(&fast, panels / 2, panels);
    pack_panels(&fast, 0, panels / 2);
    for (size_t i = 0; i < bytes; i++)
        if (want[i] != got[i])
            fail_msg("%s %s [%lld, %lld]: byte %zu of %zu is %02x, expected %02x", isa->name,
                     dtype_info(t)->name, (long long)n, (long long)k, i, bytes, got[i], want[i]);
    xfree(source);
    xfree(want);
    xfree(got);
}

static void test_vectors_pack_the_same_bytes(void **state)
{
    static const int64_t rows[] = {1, 16, 48, 53};
    int ran = 0;

    (void)state;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        const struct cpu_isa *isa = isa_select(isas[i]);
        if (!isa)
            continue;
        ran++;
        for (int t = 0; t < N_TYPES; t++) {
            enum dtype type = vector_types[t];
            int block = dtype_info(type)->block, step = panel_format(type)->step;
            int unit = block > step ? block : step;
            assert_non_null(isa->pack[type]);
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
                compare(isa, type, rows[r], block); /* less than a step, or one */
                compare(isa, type, rows[r], 3 * unit);
                compare(isa, type, rows[r], 5 * unit + (step > block ? block : 0));
            }
        }
    }
    if (!ran)
        printf("SKIP no vector instructions here\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors_pack_the_same_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
