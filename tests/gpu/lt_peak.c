/* lt_peak.c - see lt_peak.h. y = w^T x with both operands along K, the form that every type has:
 * bf16 and fp8 into f32, as the backend has it, int8 into int32. */
#include "tests/gpu/lt_peak.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/cuda/lt_abi.h"

enum { WORKSPACE = 64 << 20, PATTERN = 1 << 20, COMPUTE_32I = 72, FOUND_MAX = 8 };

struct lt_peak {
    void *library, *handle;
    struct lt_functions f;
};

struct product {
    struct lt_peak *lt;
    void *desc, *lw, *lx, *ly, *pref;
    void *w, *x, *y, *workspace;
    struct lt_found found[FOUND_MAX];
    cudaStream_t stream;
    bool whole; /* int8: scalars are int32 */
    int chosen, status;
};

struct lt_peak *lt_peak_open(const char *file)
{
    struct lt_peak *p = xcalloc(1, sizeof *p);
    bool all = (p->library = dlopen(file, RTLD_NOW | RTLD_LOCAL)) != NULL;
    const char *why = all ? NULL : dlerror();
#define BIND(name, result, args)                                                                   \
    *(void **)&p->f.name = p->library ? dlsym(p->library, "cublasLt" #name) : NULL;                \
    all = all && p->f.name;
    LT_FUNCTIONS(BIND)
#undef BIND
    if (all && p->f.Create(&p->handle) == LT_SUCCESS) {
        printf("{\"kind\": \"library\", \"name\": \"cublaslt\", \"version\": %zu}\n",
               p->f.GetVersion());
        return p;
    }
    printf("{\"kind\": \"note\", \"text\": \"cuBLASLt is not measured: %s\"}\n",
           why ? "not found" : "it does not start");
    p->handle = NULL;
    lt_peak_close(p);
    return NULL;
}

void lt_peak_close(struct lt_peak *p)
{
    if (!p)
        return;
    if (p->handle)
        p->f.Destroy(p->handle);
    if (p->library)
        dlclose(p->library);
    xfree(p);
}

/* Random numbers around 1, of either sign. */
static void *operand(cudaDataType type, size_t bytes, uint64_t seed)
{
    unsigned char *host = xmalloc(PATTERN);
    char *p;
    size_t have = bytes < PATTERN ? bytes : PATTERN;
    for (size_t i = 0; i < PATTERN; i++) {
        uint32_t r = rng_philox(seed, i, 0).v[0];
        host[i] = (unsigned char)r;
        if (type == CUDA_R_16BF) /* the upper byte: sign, and an exponent of 2^-2 or 2^-1 */
            host[i] = (unsigned char)(i % 2 ? (r & 0x80) | 0x3e : r);
        if (type == CUDA_R_8F_E4M3) /* exponents from 2^-2 to 2^1 */
            host[i] = (unsigned char)((r & 0x9f) | 0x20);
    }
    must(cudaMalloc((void **)&p, bytes), "memory");
    must(cudaMemcpy(p, host, have, cudaMemcpyHostToDevice), "copy");
    for (size_t n; have < bytes; have += n) {
        n = have < bytes - have ? have : bytes - have;
        must(cudaMemcpy(p + have, p, n, cudaMemcpyDeviceToDevice), "copy");
    }
    xfree(host);
    return p;
}

static bool describe(struct product *o, cudaDataType type, int n)
{
    const struct lt_functions *f = &o->lt->f;
    const int32_t t = LT_OP_T;
    const uint64_t workspace = WORKSPACE, k = (uint64_t)n;
    const int8_t fast = 1;
    const bool fp8 = type == CUDA_R_8F_E4M3;
    const int to = o->whole ? CUDA_R_32I : CUDA_R_32F;
    int got = 0;
    return f->MatmulDescCreate(&o->desc, o->whole ? COMPUTE_32I : LT_COMPUTE_32F,
                               o->whole ? CUDA_R_32I : CUDA_R_32F) == LT_SUCCESS &&
           f->MatmulDescSetAttribute(o->desc, LT_DESC_TRANSA, &t, sizeof t) == LT_SUCCESS &&
           (!fp8 || f->MatmulDescSetAttribute(o->desc, LT_DESC_FAST_ACCUM, &fast, sizeof fast) ==
                        LT_SUCCESS) &&
           f->MatrixLayoutCreate(&o->lw, type, k, k, n) == LT_SUCCESS &&
           f->MatrixLayoutCreate(&o->lx, type, k, k, n) == LT_SUCCESS &&
           f->MatrixLayoutCreate(&o->ly, to, k, k, n) == LT_SUCCESS &&
           f->MatmulPreferenceCreate(&o->pref) == LT_SUCCESS &&
           f->MatmulPreferenceSetAttribute(o->pref, LT_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                           sizeof workspace) == LT_SUCCESS &&
           f->MatmulAlgoGetHeuristic(o->lt->handle, o->desc, o->lw, o->lx, o->ly, o->ly, o->pref,
                                     FOUND_MAX, o->found, &got) == LT_SUCCESS &&
           got > 0 && (o->chosen = got) > 0;
}

static void multiply(void *ctx)
{
    struct product *o = ctx;
    const float one = 1, zero = 0;
    const int32_t ones = 1, zeros = 0;
    const struct lt_found *a = &o->found[o->chosen];
    o->status |=
        o->lt->f.Matmul(o->lt->handle, o->desc, o->whole ? (const void *)&ones : &one, o->w, o->lw,
                        o->x, o->lx, o->whole ? (const void *)&zeros : &zero, o->y, o->ly, o->y,
                        o->ly, &a->algo, o->workspace, a->workspace, o->stream);
}

static void drop(struct product *o)
{
    const struct lt_functions *f = &o->lt->f;
    void *const memory[] = {o->w, o->x, o->y, o->workspace};
    for (int i = 0; i < 4; i++)
        must(cudaFree(memory[i]), "memory");
    if (o->pref)
        f->MatmulPreferenceDestroy(o->pref);
    if (o->ly)
        f->MatrixLayoutDestroy(o->ly);
    if (o->lx)
        f->MatrixLayoutDestroy(o->lx);
    if (o->lw)
        f->MatrixLayoutDestroy(o->lw);
    if (o->desc)
        f->MatmulDescDestroy(o->desc);
}

bool lt_peak_measure(struct lt_peak *p, cudaDataType type, int n, cudaStream_t stream,
                     const struct effort *e, struct figure *out)
{
    const size_t all = (size_t)n * (size_t)n, size = type == CUDA_R_16BF ? 2 : 1;
    struct product o = {.lt = p, .stream = stream, .whole = type == CUDA_R_8I};
    bool found = false;
    o.w = operand(type, all * size, 1);
    o.x = operand(type, all * size, 2);
    must(cudaMalloc(&o.y, all * 4), "memory");
    must(cudaMalloc(&o.workspace, WORKSPACE), "memory");
    int n_found = describe(&o, type, n) ? o.chosen : 0;
    const struct effort part = {e->warmup, e->blocks, e->seconds / (n_found > 0 ? n_found : 1)};
    for (int i = 0; i < n_found; i++) {
        o.chosen = i;
        o.status = o.found[i].state;
        if (o.status != LT_SUCCESS)
            continue;
        struct figure got = measure(stream, &part, multiply, &o);
        if (o.status == LT_SUCCESS && (!found || got.us < out->us)) {
            *out = got;
            found = true;
        }
    }
    drop(&o);
    return found;
}
