/* isa.c - which instructions this CPU has and its operating system saves: cpuid and xgetbv.
 *
 * A table is offered only when every extension that its files are compiled for is there; AVX state
 * without the system's consent (xgetbv) would fault or be lost at a context switch. */
#include "kernels/cpu/isa.h"

#include <cpuid.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/linear.h"

enum {
    FMA = 1 << 12,
    OSXSAVE = 1 << 27,
    F16C = 1 << 29, /* leaf 1, ecx */
    AVX2 = 1 << 5,
    AVX512F = 1 << 16,
    AVX512DQ = 1 << 17,
    AVX512BW = 1 << 30,    /* leaf 7, ebx; VL is bit 31 */
    AVX512_VNNI = 1 << 11, /* leaf 7, ecx */
    AVX512_BF16 = 1 << 5,  /* leaf 7 subleaf 1, eax */
    SAVES_YMM = 0x6,
    SAVES_ZMM = 0xe6 /* xcr0 */
};

static unsigned saved_state(void)
{
    unsigned low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has(unsigned reg, unsigned bits)
{
    return (reg & bits) == bits;
}

/* How many of the tables, in ascending order, this CPU can run. */
static int level(void)
{
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, FMA | OSXSAVE | F16C))
        return 1;
    unsigned saves = saved_state();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, AVX2) || !has(saves, SAVES_YMM))
        return 1;
    if (!has(b, AVX512F | AVX512DQ | AVX512BW | 1u << 31) || !has(c, AVX512_VNNI) ||
        !has(saves, SAVES_ZMM))
        return 2;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && has(a, AVX512_BF16) ? 4 : 3;
}

/* clang-format off */
/* Which kernel serves a format: its own, or that of a format with the same panels or kind of scales. FLOATS:
 * those that AVX512_BF16 adds in pairs. */
#define FORMATS(kernel) \
    [DT_F32] = kernel(F32),        [DT_F16] = kernel(F16),        [DT_Q8_0] = kernel(Q8_0), \
    [DT_Q4_0] = kernel(Q4_0),      [DT_Q4_1] = kernel(Q4_1),      [DT_Q5_0] = kernel(Q5_0), \
    [DT_Q5_1] = kernel(Q5_1),      [DT_Q4_K] = kernel(Q4_K),      [DT_Q5_K] = kernel(Q5_K), \
    [DT_Q6_K] = kernel(Q6_K), [DT_Q8_K] = kernel(Q8_K), \
    [DT_F64] = kernel(F32),        [DT_I8] = kernel(F32),         [DT_I16] = kernel(F32), \
    [DT_I32] = kernel(F32),        [DT_I64] = kernel(F32),        [DT_Q8_1] = kernel(Q8_0), \
    [DT_Q1_0] = kernel(Q1_0),      [DT_Q2_0] = kernel(Q2_0),      [DT_Q2_K] = kernel(Q2_K), \
    [DT_Q3_K] = kernel(Q3_K),      [DT_IQ1_S] = kernel(IQ4_XS),   [DT_IQ1_M] = kernel(Q3_K), \
    [DT_IQ2_XXS] = kernel(IQ4_XS), [DT_IQ2_XS] = kernel(Q3_K),    [DT_IQ2_S] = kernel(Q3_K), \
    [DT_IQ3_XXS] = kernel(IQ4_XS), [DT_IQ3_S] = kernel(IQ4_XS),   [DT_IQ4_NL] = kernel(IQ4_NL), \
    [DT_IQ4_XS] = kernel(IQ4_XS),  [DT_TQ1_0] = kernel(TQ2_0),    [DT_TQ2_0] = kernel(TQ2_0), \
    [DT_MXFP4] = kernel(IQ4_NL),   [DT_NVFP4] = kernel(NVFP4)
#define FLOATS(kernel) \
    [DT_BF16] = kernel(BF16), [DT_F8_E4M3] = kernel(F8_E4M3), [DT_NF4] = kernel(NF4)
/* Packing waits for memory; 256 bits are as fast as 512. */
#define PACKERS .pack = { \
    [DT_F32] = pack_avx2_F32,   [DT_F16] = pack_avx2_F16,    [DT_BF16] = pack_avx2_BF16, \
    [DT_Q8_0] = pack_avx2_Q8_0, [DT_Q8_1] = pack_avx2_Q8_1,  [DT_Q4_0] = pack_avx2_Q4_0, \
    [DT_Q4_1] = pack_avx2_Q4_1, [DT_Q5_0] = pack_avx2_Q5_0,  [DT_Q5_1] = pack_avx2_Q5_1, \
    [DT_Q4_K] = pack_avx2_Q4_K, [DT_Q5_K] = pack_avx2_Q5_K,  [DT_Q6_K] = pack_avx2_Q6_K, \
    [DT_IQ1_S] = pack_avx2_IQ1_S, [DT_IQ1_M] = pack_avx2_IQ1_M, [DT_IQ2_XXS] = pack_avx2_IQ2_XXS, \
    [DT_IQ2_XS] = pack_avx2_IQ2_XS, [DT_IQ2_S] = pack_avx2_IQ2_S, [DT_IQ3_XXS] = pack_avx2_IQ3_XXS, \
    [DT_IQ3_S] = pack_avx2_IQ3_S, [DT_TQ1_0] = pack_avx2_TQ1_0, [DT_TQ2_0] = pack_avx2_TQ2_0, \
    [DT_Q2_K] = pack_avx2_Q2_K, [DT_Q2_0] = pack_avx2_Q2_0, [DT_Q1_0] = pack_avx2_Q1_0, \
    [DT_Q3_K] = pack_avx2_Q3_K, [DT_IQ4_XS] = pack_avx2_IQ4_XS, [DT_MXFP4] = pack_avx2_MXFP4, \
    [DT_NVFP4] = pack_avx2_NVFP4, [DT_Q8_K] = pack_avx2_Q8_K, [DT_F8_E4M3] = pack_avx2_F8_E4M3, \
    [DT_NF4] = pack_avx2_NF4, [DT_IQ4_NL] = pack_avx2_Q4_0}
#define SCALAR_OF(format) linear_scalar
#define AVX2_OF(format)   linear_avx2_##format
#define AVX512_OF(format) linear_avx512_##format
#define AVX512BF16_OF(format) linear_avx512bf16_##format

const struct cpu_isa isa_scalar = {
    .name = "scalar",
    .act = act_pack,
    .settle = settle_scalar,
    .masses = masses_scalar,
    .band = band_scalar,
    .linear = {FORMATS(SCALAR_OF), FLOATS(SCALAR_OF)},
};

const struct cpu_isa isa_avx2 = {
    .name = "avx2",
    .act = act_avx2,
    PACKERS,
    .scores = {[DT_F32] = attn_scores_avx2_f32, [DT_BF16] = attn_scores_avx2_bf16},
    .values = {[DT_F32] = attn_values_avx2_f32, [DT_BF16] = attn_values_avx2_bf16},
    .softmax = attn_softmax_avx2,
    .rmsnorm = rmsnorm_avx2,
    .glu = glu_avx2,
    .add = add_avx2,
    .rope = rope_avx2,
    .settle = settle_avx2,
    .masses = masses_avx2,
    .band = band_avx2,
    .linear = {FORMATS(AVX2_OF), FLOATS(AVX2_OF)},
};

const struct cpu_isa isa_avx512 = {
    .name = "avx512",
    .act = act_avx512,
    PACKERS,
    .scores = {[DT_F32] = attn_scores_avx512_f32, [DT_BF16] = attn_scores_avx512_bf16},
    .values = {[DT_F32] = attn_values_avx512_f32, [DT_BF16] = attn_values_avx512_bf16},
    .softmax = attn_softmax_avx512,
    .rmsnorm = rmsnorm_avx512,
    .glu = glu_avx512,
    .add = add_avx2,
    .rope = rope_avx2,
    .settle = settle_avx512,
    .masses = masses_avx512,
    .band = band_avx512,
    .linear = {FORMATS(AVX512_OF), FLOATS(AVX512_OF)},
};

const struct cpu_isa isa_avx512bf16 = {
    .name = "avx512bf16",
    .act = act_avx512bf16,
    PACKERS,
    .scores = {[DT_F32] = attn_scores_avx512_f32, [DT_BF16] = attn_scores_avx512bf16},
    .values = {[DT_F32] = attn_values_avx512_f32, [DT_BF16] = attn_values_avx512bf16},
    .softmax = attn_softmax_avx512,
    .q_bf16 = true,
    .rmsnorm = rmsnorm_avx512,
    .glu = glu_avx512,
    .add = add_avx2,
    .rope = rope_avx2,
    .settle = settle_avx512,
    .masses = masses_avx512,
    .band = band_avx512,
    .linear = {FORMATS(AVX512_OF), FLOATS(AVX512BF16_OF)},
};
#undef FORMATS
#undef SCALAR_OF
#undef AVX2_OF
#undef AVX512_OF
#undef AVX512BF16_OF
#undef FLOATS
#undef PACKERS
/* clang-format on */

const struct cpu_isa *isa_select(const char *forced)
{
    static const struct cpu_isa *const tables[] = {&isa_scalar, &isa_avx2, &isa_avx512,
                                                   &isa_avx512bf16};
    int n = level();

    if (!forced)
        return tables[n - 1];
    for (int i = 0; i < n; i++)
        if (!strcmp(forced, tables[i]->name))
            return tables[i];
    return NULL;
}

void isa_cpu_name(char *out, size_t size)
{
    enum { FIRST = 0x80000002u - 0x80000000u, PARTS = 3 };
    unsigned r[PARTS * 4] = {0};
    const char *name = (const char *)r;

    for (unsigned i = 0; i < PARTS; i++)
        __get_cpuid(0x80000000u + FIRST + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2],
                    &r[4 * i + 3]);
    int n = (int)strnlen(name, sizeof r);
    while (n > 0 && name[n - 1] == ' ')
        n--;
    snprintf(out, size, "%.*s", n > 0 ? n : 3, n > 0 ? name : "cpu");
}
