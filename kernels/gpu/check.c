/* check.c - the rules for configs that need no GPU; run on every file at build time, in the tests,
 * and on what a user gives. */
#include <string.h>

#include "kernels/gpu/registry.h"

/* Of cuBLASLt: cublasLtReductionScheme_t; the rest as kernels/cuda/lt.c gives it. */
enum { LT_NO_SUMS = 0, LT_SUMS_F32 = 2, LT_SPLITS_MAX = 64, LT_WORKSPACE_MAX = 32 << 20 };

static bool is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

static bool is_date(const char *s)
{
    return strlen(s) == 10 && strspn(s, "0123456789-") == 10 && s[4] == '-' && s[7] == '-';
}

/* Are all words names of ceilings? */
static bool has_names(const char *words)
{
    for (size_t n; *words; words += n + (words[n] == ' ')) {
        const char *name;
        size_t at;
        bool found = false;
        n = strcspn(words, " ");
        for (int i = 0; gpu_ceil_row(i, &name, &at); i++)
            found |= strlen(name) == n && memcmp(name, words, n) == 0;
        if (!found)
            return false;
    }
    return true;
}

/* Nothing says "measured" that cannot be traced to its timings. */
static enum status check_provenance(const struct gpu_config *c)
{
    const struct gpu_provenance *p = &c->from;
    switch (p->kind) {
    case GPU_MEASURED:
        if (!is_date(p->date) || !is_hex(p->raw_sha256, 64))
            return fail(ERR_FORMAT, "provenance: measured needs a date and the raw_sha256 of its "
                                    "timings");
        if (!has_names(p->ceilings))
            return fail(ERR_FORMAT, "provenance.ceilings: not all are names of ceilings");
        if (!*p->driver || !*p->tool || !is_hex(p->kernel_abi, 16) || p->cuda == 0)
            return fail(ERR_FORMAT, "provenance: measured needs driver, cuda, tool and kernel_abi");
        break;
    case GPU_DERIVED:
        if (!*p->parent || p->model != GPU_MODEL)
            return fail(ERR_FORMAT, "provenance: derived needs a parent and model %d", GPU_MODEL);
        break;
    case GPU_HAND:
        if (!is_date(p->date) || !*p->how)
            return fail(ERR_FORMAT, "provenance: hand needs a date and how");
        break;
    case N_GPU_KIND:
        break;
    }
    if (p->kind != GPU_MEASURED && (*p->raw_sha256 || *p->ceilings || c->n_gemm + c->n_attn > 0))
        return fail(ERR_FORMAT, "provenance: only what was measured has exceptions and timings");
    return OK;
}

/* One K split for a weight whatever the rows: their bits must not depend on their number. */
static enum status check_splits(const struct gpu_config *c, int i)
{
    const struct gpu_exception *x = &c->gemm[i];
    for (int j = 0; j < i; j++) {
        const struct gpu_exception *y = &c->gemm[j];
        if (y->w != x->w || y->n != x->n || y->k != x->k)
            continue;
        if (y->m == x->m && y->x == x->x)
            return fail(ERR_FORMAT, "gemm[%d]: the same shape and m as gemm[%d]", i, j);
        if (gpu_path_tiled(x->p.path) && gpu_path_tiled(y->p.path) && x->p.splits != y->p.splits)
            return fail(ERR_FORMAT, "gemm[%d]: %d splits, gemm[%d] of the same weight has %d", i,
                        x->p.splits, j, y->p.splits);
    }
    return OK;
}

/* Sums in f32, as the search asks for; made for a version that the file names. */
static enum status check_algorithm(const struct gpu_config *c, int i)
{
    const struct gpu_lt *a = &c->gemm[i].lt;
    bool split = a->splitk > 1;
    if (a->reduction != LT_NO_SUMS && a->reduction != LT_SUMS_F32)
        return fail(ERR_FORMAT, "gemm[%d].lt: red %d rounds the sums of a split K", i,
                    a->reduction);
    if (split && a->reduction != LT_SUMS_F32)
        return fail(ERR_FORMAT, "gemm[%d].lt: splitk %d needs red %d", i, a->splitk, LT_SUMS_F32);
    if (a->splitk > LT_SPLITS_MAX || a->inner > UINT16_MAX || a->cluster > UINT16_MAX)
        return fail(ERR_FORMAT, "gemm[%d].lt: splitk, inner or cluster is out of range", i);
    if (a->workspace > LT_WORKSPACE_MAX)
        return fail(ERR_FORMAT, "gemm[%d].lt: ws %lld, there are at most %d", i,
                    (long long)a->workspace, LT_WORKSPACE_MAX);
    if (a->ver == 0 || c->from.cublaslt == 0)
        return fail(ERR_FORMAT, "gemm[%d].lt: needs ver, and cublaslt in the provenance", i);
    return OK;
}

static enum status check_exception(const struct gpu_config *c, int i)
{
    const struct gpu_exception *x = &c->gemm[i];
    if (gpu_bucket(x->m) != x->m)
        return fail(ERR_FORMAT, "gemm[%d]: m %d is no bucket", i, x->m);
    for (int j = 0; j < c->match.n_cc; j++)
        if (gpu_legal(c->match.cc[j], x->w, &x->p) != OK)
            return fail_in(ERR_FORMAT, "gemm[%d]", i);
    if (gpu_path_x(x->p.path) != X_EXACT && gpu_path_x(x->p.path) != x->x)
        return fail(ERR_FORMAT, "gemm[%d]: %s rounds the activations, so x must be %s", i,
                    gpu_path_name(x->p.path), x_type_name(gpu_path_x(x->p.path)));
    if (x->lt.id >= 0)
        TRY(check_algorithm(c, i));
    /* Of a weight whose splits changed, some numbers of rows may gain nothing. */
    if (!(x->us > 0) || !(x->us <= x->base_us * 1.01))
        return fail(ERR_FORMAT, "gemm[%d]: slower than what it replaces", i);
    return check_splits(c, i);
}

static enum status check_attn(const struct gpu_config *c, int i)
{
    const struct gpu_attn *x = &c->attn[i];
    if (x->cut.chunk % 64 != 0)
        return fail(ERR_FORMAT, "attn[%d]: chunk_tokens %d is no multiple of 64", i, x->cut.chunk);
    for (int j = 0; j < i; j++)
        if (c->attn[j].head_dim == x->head_dim && c->attn[j].group == x->group)
            return fail(ERR_FORMAT, "attn[%d]: the same heads as attn[%d]", i, j);
    if (!(x->us > 0) || !(x->us <= x->base_us))
        return fail(ERR_FORMAT, "attn[%d]: slower than what it replaces", i);
    return OK;
}

static enum status check_numbers(const struct gpu_config *c)
{
    const struct gpu_ceil *l = &c->ceil;
    if (!(l->read_gbs > 0) || !(l->l2_gbs > 0) || !(l->bf16_tflops > 0) || !(l->int8_tops > 0) ||
        !(l->mma_bf16_tflops > 0) || !(l->mma_int8_tops > 0))
        return fail(ERR_FORMAT, "ceil: memory, L2, bf16 and int8 rates must be above 0");
    for (int i = 0; i < N_GPU_KERNEL; i++)
        if (!(c->eff[i].bw > 0) || !(c->eff[i].fl > 0))
            return fail(ERR_FORMAT, "eff.%s: bw and fl must be above 0",
                        gpu_kernel_name((enum gpu_kernel)i));
    for (int i = GPU_SKINNY_16; i <= GPU_SKINNY_ANY; i++) {
        int mma8 = c->mma8_max_m[i];
        if (gpu_bucket(c->skinny_max_m[i]) != c->skinny_max_m[i])
            return fail(ERR_FORMAT, "cross: skinny_max_m %d is no bucket", c->skinny_max_m[i]);
        if (mma8 != 0 && gpu_bucket(mma8) != mma8)
            return fail(ERR_FORMAT, "cross: mma8_max_m %d is no bucket", mma8);
    }
    if (c->attn_chunk % 64 != 0)
        return fail(ERR_FORMAT, "cross.attn_dec: chunk_tokens %d is no multiple of 64",
                    c->attn_chunk);
    return OK;
}

/* Every launch that the cost model could choose, for each format. */
static enum status check_domain(int cc)
{
    for (int w = 0; w < N_DTYPE; w++) {
        if (gpu_skinny_of((enum dtype)w) == GPU_PLAIN)
            continue;
        for (int i = 0; i < gpu_n_tiles(); i++) {
            struct gpu_params p = {GPU_PATH_SKINNY, gpu_tiles[i].nt, gpu_tiles[i].r,
                                   gpu_stages(cc),  GPU_SPLITS_MAX,  NULL};
            TRY(gpu_legal(cc, (enum dtype)w, &p));
        }
        for (int i = 0; i < gpu_n_mma8_tiles(); i++) {
            struct gpu_params p = {GPU_PATH_MMA8,   gpu_mma8_tiles[i].nt, gpu_mma8_tiles[i].r,
                                   GPU_MMA8_STAGES, GPU_SPLITS_MAX,       NULL};
            if (gpu_mma8_of((enum dtype)w) != N_GPU_KERNEL)
                TRY(gpu_legal(cc, (enum dtype)w, &p));
        }
    }
    return OK;
}

static enum status check_match(const struct gpu_config *c)
{
    const struct gpu_match *m = &c->match;
    if (!*c->id || !*c->name)
        return fail(ERR_FORMAT, "id and name must not be empty");
    for (int i = 0; i < m->n_cc && !c->unsupported; i++) {
        if (!gpu_limits_of(m->cc[i]))
            return fail(ERR_FORMAT, "match.cc: %d.%d is not a capability that inferd runs on",
                        m->cc[i] / 10, m->cc[i] % 10);
        TRY(check_domain(m->cc[i]));
    }
    if (m->n_pci > 0 && (m->n_cc != 1 || m->mem_gib[1] == 0))
        return fail(ERR_FORMAT, "match: pci needs one cc and mem_gib beside it");
    return OK;
}

enum status gpu_check(const struct gpu_config *c)
{
    TRY(check_match(c));
    TRY(check_provenance(c));
    if (c->unsupported)
        return OK;
    TRY(check_numbers(c));
    for (int i = 0; i < c->n_gemm; i++)
        TRY(check_exception(c, i));
    for (int i = 0; i < c->n_attn; i++)
        TRY(check_attn(c, i));
    return OK;
}
