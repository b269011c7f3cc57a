/* config_fields.c - see config_fields.h. */
#include "kernels/gpu/config_fields.h"

#include "kernels/gpu/config.h"

#define P(field) offsetof(struct gpu_provenance, field)
#define C(field) offsetof(struct gpu_ceil, field)
#define E(field) offsetof(struct gpu_eff, field)
#define G(field) offsetof(struct gpu_params, field)
#define X(field) offsetof(struct gpu_exception, field)
#define L(field) offsetof(struct gpu_lt, field)
#define T(field) offsetof(struct gpu_attn, field)
#define RATE     0, 1e7
#define COUNT    0, 1e9

/* clang-format off */
static const struct field provenance_fields[] = {
    {"date",       F_TEXT,   P(date),       false, 0, 0},   {"how",        F_TEXT,   P(how),        false, 0, 0},
    {"parent",     F_TEXT,   P(parent),     false, 0, 0},   {"tool",       F_TEXT,   P(tool),       false, 0, 0},
    {"driver",     F_TEXT,   P(driver),     false, 0, 0},   {"raw_sha256", F_TEXT,   P(raw_sha256), false, 0, 0},
    {"kernel_abi", F_TEXT,   P(kernel_abi), false, 0, 0},   {"model",      F_INT,    P(model),      false, COUNT},
    {"cuda",       F_INT,    P(cuda),       false, COUNT},  {"cublaslt",   F_INT,    P(cublaslt),   false, COUNT},
    {"gain",       F_NUMBER, P(gain),       false, COUNT},  {"worst",      F_NUMBER, P(worst),      false, COUNT},
    {"entries",    F_INT,    P(entries),    false, COUNT},  {"power_w",    F_INT,    P(power_w),    false, COUNT},
    {"sm_mhz",     F_INT,    P(sm_mhz),     false, COUNT},  {"ceilings",   F_TEXT,   P(ceilings),   false, 0, 0},
};
static const struct field ceil_fields[] = {
    {"copy_gbs",        F_NUMBER, C(copy_gbs),        true, RATE}, {"read_gbs",      F_NUMBER, C(read_gbs),      true, RATE},
    {"l2_gbs",          F_NUMBER, C(l2_gbs),          true, RATE}, {"bf16_tflops",   F_NUMBER, C(bf16_tflops),   true, RATE},
    {"fp8_tflops",      F_NUMBER, C(fp8_tflops),      true, RATE}, {"int8_tops",     F_NUMBER, C(int8_tops),     true, RATE},
    {"fp4_tflops",      F_NUMBER, C(fp4_tflops),      true, RATE}, {"mma_bf16_tflops", F_NUMBER, C(mma_bf16_tflops), true, RATE},
    {"mma_int8_tops",   F_NUMBER, C(mma_int8_tops),   true, RATE}, {"latency_us",    F_NUMBER, C(latency_us),    true, 0, 1e4},
    {"graph_gap_us",    F_NUMBER, C(graph_gap_us),    true, 0, 1e4}, {"launch_gap_us", F_NUMBER, C(launch_gap_us), false, 0, 1e4},
    {"pdl_gap_us",      F_NUMBER, C(pdl_gap_us),      false, 0, 1e4},
};
static const struct field eff_fields[] = {
    {"bw",    F_NUMBER, E(bw),    true, 0, 1.5},  {"fl",        F_NUMBER, E(fl),        true, 0, 1.5},
    {"t0_us", F_NUMBER, E(t0_us), true, 0, 1e4},  {"splitk_us", F_NUMBER, E(splitk_us), true, 0, 1e4},
};
static const struct field params_fields[] = {
    {"nt",     F_INT, G(nt),     true, COUNT}, {"r",      F_INT, G(r),      true, COUNT},
    {"stages", F_INT, G(stages), true, COUNT}, {"splits", F_INT, G(splits), true, COUNT},
};
static const struct field gemm_fields[] = {
    {"n",  F_INT64,  X(n),  true, 1, 1e9}, {"k",       F_INT64,  X(k),       true, 1, 1e9},
    {"m",  F_INT,    X(m),  true, 1, 1e9}, {"us",      F_NUMBER, X(us),      true, COUNT},
    {"base_us", F_NUMBER, X(base_us), true, COUNT}, {"ci_pct",  F_NUMBER, X(ci_pct),  true, 0, 100},
};
static const struct field attn_fields[] = {
    {"d",            F_INT, T(head_dim),  true, 1, 1024},          {"group",     F_INT, T(group),     true, 1, 1024},
    {"chunk_tokens", F_INT, T(cut.chunk), true, 64, GPU_CHUNK_MAX}, {"max_parts", F_INT, T(cut.parts), true, 1, GPU_PARTS_MAX},
    {"us",      F_NUMBER, T(us),      true, COUNT},                {"base_us", F_NUMBER, T(base_us), true, COUNT},
    {"ci_pct",  F_NUMBER, T(ci_pct),  true, 0, 100},
};
static const struct field lt_fields[] = {
    {"ver",       F_INT,   L(ver),       true, COUNT}, {"id",     F_INT, L(id),     true, -1, 1e9},
    {"tile",      F_INT,   L(tile),      true, COUNT}, {"stages", F_INT, L(stages), true, COUNT},
    {"splitk",    F_INT,   L(splitk),    true, COUNT}, {"red",    F_INT, L(reduction), true, COUNT},
    {"swz",       F_INT,   L(swizzle),   true, COUNT}, {"custom", F_INT, L(custom), true, COUNT},
    {"inner",     F_INT,   L(inner),     true, COUNT}, {"cluster", F_INT, L(cluster), true, COUNT},
    {"ws",        F_INT64, L(workspace), true, 0, 1e12},
};
/* clang-format on */
#undef P
#undef C
#undef E
#undef G
#undef X
#undef L
#undef T

struct table gpu_fields(enum gpu_fields which)
{
#define TABLE(t, own)                                                                              \
    {                                                                                              \
        t, (int)(sizeof t / sizeof *t), own                                                        \
    }
    /* clang-format off */
    static const struct table tables[N_GPU_FIELDS] = {
        [GPU_FIELDS_PROVENANCE] = TABLE(provenance_fields, "kind"),
        [GPU_FIELDS_CEIL] = TABLE(ceil_fields, ""),
        [GPU_FIELDS_EFF] = TABLE(eff_fields, ""),
        [GPU_FIELDS_PARAMS] = TABLE(params_fields, ""),
        [GPU_FIELDS_GEMM] = TABLE(gemm_fields, "w path x p lt"),
        [GPU_FIELDS_ATTN] = TABLE(attn_fields, ""),
        [GPU_FIELDS_LT] = TABLE(lt_fields, "raw"),
    };
    /* clang-format on */
#undef TABLE
    return tables[which];
}

const char *gpu_ceil_merge(struct arena *a, const struct gpu_ceil *measured, struct gpu_ceil *c)
{
    const char *names = "";
    for (size_t i = 0; i < sizeof ceil_fields / sizeof *ceil_fields; i++) {
        const struct field *f = &ceil_fields[i];
        double v = *(const double *)((const char *)measured + f->at);
        if (v <= 0)
            continue;
        *(double *)((char *)c + f->at) = v;
        names = arena_printf(a, "%s%s%s", names, *names ? " " : "", f->name);
    }
    return names;
}

bool gpu_ceil_row(int i, const char **name, size_t *at)
{
    if (i < 0 || (size_t)i >= sizeof ceil_fields / sizeof *ceil_fields)
        return false;
    *name = ceil_fields[i].name;
    *at = ceil_fields[i].at;
    return true;
}
