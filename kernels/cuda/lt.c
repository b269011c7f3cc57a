/* lt.c - cuBLASLt: finding the library, and one descriptor and algorithm a shape.
 *
 * Row-major y [m, n] = x [m, k] w [n, k]^T is, column-major, D [n, m] = A^T B with A = w, B = x:
 * the case ("TN") that every GPU and type supports. Shapes live in a table that never grows; two
 * that meet in a full one take turns. */
#include "kernels/cuda/lt.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/cuda/lt_abi.h"
#include "kernels/gpu/registry.h"

#define LT_FILE "libcublasLt.so.13"
enum { SHAPES = 1024, PROBES = 8, ALIGN_MAX = 256, ALGO_ALIGN = 16 };

/* What decides the algorithm. Compared as bytes. */
struct key {
    int64_t m, n, k, w_stride, x_stride, y_stride;
    uint32_t align;
    int type;
    bool bias, add;
    char zero[6];
};

struct shape {
    struct key key; /* m 0: free */
    bool refused;
    void *desc, *w, *x, *y; /* the library's */
    struct lt_algo algo;
    size_t workspace;
};

struct lt {
    void *library, *handle;
    struct lt_functions f;
    struct shape shape[SHAPES];
    const struct gpu_config *prefer; /* or NULL */
    bool told, told_algo;            /* that a shape, an algorithm was refused */
};

/* clang-format off */
static const struct lt_limits limits[] = {
    /* cc  workspace tile      scratch */
    {  75, 4 << 20,  12 << 20, 64 << 20},
    {  80, 4 << 20,  20 << 20, 96 << 20},
    {  86, 4 << 20,  12 << 20, 64 << 20},
    {  90, 32 << 20, 24 << 20, 128 << 20},
    { 120, 32 << 20, 24 << 20, 128 << 20},
};
/* clang-format on */

const struct lt_limits *lt_limits(int cc)
{
    size_t i = sizeof limits / sizeof *limits - 1;
    while (i > 0 && limits[i].cc > cc)
        i--;
    return &limits[i];
}

/* --- finding it */

/* Of what `library` has. A program that holds the functions itself, as tests do, is one too. */
static enum status bind(void *library, const char *from, struct lt_functions *f)
{
#define LT_BIND(name, result, args)                                                                \
    *(void **)&f->name = dlsym(library, "cublasLt" #name);                                         \
    if (!f->name)                                                                                  \
        return fail(ERR_UNSUPPORTED, "cuda: %s has no cublasLt" #name, from);
    LT_FUNCTIONS(LT_BIND)
#undef LT_BIND
    size_t v = f->GetVersion();
    if (v / 10000 != LT_MAJOR)
        return fail(ERR_UNSUPPORTED, "cuda: %s is cuBLASLt %zu.%zu; this program needs %d", from,
                    v / 10000, v % 10000 / 100, LT_MAJOR);
    return OK;
}

static void *open_named(const char *path, char *file, size_t size)
{
    struct stat st;
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    snprintf(file, size, "%s%s", path, folder ? "/" LT_FILE : "");
    return dlopen(file, RTLD_NOW | RTLD_LOCAL);
}

static void *search(char *file, size_t size)
{
    static const char *const places[] = {
        LT_FILE, "/usr/local/cuda/lib64/" LT_FILE, "/usr/local/cuda-13/lib64/" LT_FILE,
        "/usr/local/cuda-13.0/lib64/" LT_FILE, "/opt/cuda/lib64/" LT_FILE};
    char self[512];
    void *library = NULL;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    char *end = strrchr(self, '/');
    if (end) {
        *end = 0;
        snprintf(file, size, "%s/" LT_FILE, self);
        library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    }
    for (size_t i = 0; !library && i < sizeof places / sizeof *places; i++) {
        snprintf(file, size, "%s", places[i]);
        library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}

/* The library and its functions; it stays NULL when nobody named one and there is none. */
static enum status find(const char *path, struct lt *lt, char *file, size_t size)
{
    snprintf(file, size, "this program");
    if (path)
        lt->library = open_named(path, file, size);
    else if (dlsym(RTLD_DEFAULT, "cublasLtGetVersion"))
        lt->library = dlopen(NULL, RTLD_NOW);
    else
        lt->library = search(file, size);
    if (lt->library)
        return bind(lt->library, file, &lt->f);
    return path ? fail(ERR_NOT_FOUND, "cuda: --cublaslt %s: %s", path, dlerror()) : OK;
}

/* Whether it may be used; a GPU must be there. */
static enum status start(struct lt *lt, const char *file)
{
    size_t v = lt->f.GetVersion();
    int e = lt->f.Create(&lt->handle);
    if (e != LT_SUCCESS)
        return fail(ERR_DEVICE, "cuda: cuBLASLt of %s does not start, status %d", file, e);
    log_info("cuda: cuBLASLt %zu.%zu.%zu of %s", v / 10000, v % 10000 / 100, v % 100, file);
    return OK;
}

enum status lt_open(const char *path, struct lt **out)
{
    struct lt *lt = xcalloc(1, sizeof *lt);
    char file[600];
    bool none = path && strcmp(path, "none") == 0;
    enum status s = none ? OK : find(path, lt, file, sizeof file);
    *out = NULL;
    if (s == OK && lt->library)
        s = start(lt, file);
    if (s == OK && lt->handle) {
        *out = lt;
        return OK;
    }
    if (s != OK && !path) { /* it was not asked for by name */
        log_warn("%s; kernels of our own multiply large batches", fail_text());
        s = OK;
    } else if (s == OK && !none) {
        log_info("cuda: " LT_FILE " is not found: large batches will be slower; --cublaslt PATH "
                 "says where it is");
    }
    lt_close(lt);
    return s;
}

static void forget(struct lt *lt, struct shape *s)
{
    if (s->desc)
        lt->f.MatmulDescDestroy(s->desc);
    void *const layouts[] = {s->w, s->x, s->y};
    for (int i = 0; i < 3; i++)
        if (layouts[i])
            lt->f.MatrixLayoutDestroy(layouts[i]);
    memset(s, 0, sizeof *s);
}

void lt_close(struct lt *lt)
{
    if (!lt)
        return;
    for (int i = 0; i < SHAPES; i++)
        forget(lt, &lt->shape[i]);
    if (lt->handle)
        lt->f.Destroy(lt->handle);
    if (lt->library)
        dlclose(lt->library);
    xfree(lt);
}

/* --- shapes */

static bool set_desc(const struct lt *lt, void *desc, int which, const void *value, size_t bytes)
{
    return lt->f.MatmulDescSetAttribute(desc, which, value, bytes) == LT_SUCCESS;
}

static bool describe(const struct lt *lt, struct shape *s)
{
    const struct key *k = &s->key;
    int32_t t = LT_OP_T, n = LT_OP_N, f32 = CUDA_R_32F;
    uint32_t bias = LT_EPILOGUE_BIAS;
    if (lt->f.MatmulDescCreate(&s->desc, LT_COMPUTE_32F, CUDA_R_32F) != LT_SUCCESS)
        return false;
    if (!set_desc(lt, s->desc, LT_DESC_TRANSA, &t, sizeof t) ||
        !set_desc(lt, s->desc, LT_DESC_TRANSB, &n, sizeof n))
        return false;
    if (k->bias && (!set_desc(lt, s->desc, LT_DESC_EPILOGUE, &bias, sizeof bias) ||
                    !set_desc(lt, s->desc, LT_DESC_BIAS_DATA_TYPE, &f32, sizeof f32)))
        return false;
    return lt->f.MatrixLayoutCreate(&s->w, k->type, (uint64_t)k->k, (uint64_t)k->n, k->w_stride) ==
               LT_SUCCESS &&
           lt->f.MatrixLayoutCreate(&s->x, k->type, (uint64_t)k->k, (uint64_t)k->m, k->x_stride) ==
               LT_SUCCESS &&
           lt->f.MatrixLayoutCreate(&s->y, CUDA_R_32F, (uint64_t)k->n, (uint64_t)k->m,
                                    k->y_stride) == LT_SUCCESS;
}

/* Sums of split K in f32 or none at all: never rounded to the output's type on the way. */
static int choose(const struct lt *lt, struct shape *s, size_t workspace)
{
    uint64_t most = workspace;
    uint32_t mask = LT_REDUCTION_NONE | LT_REDUCTION_COMPUTE_TYPE;
    struct lt_found found;
    void *pref = NULL;
    int n = 0, e = lt->f.MatmulPreferenceCreate(&pref);
    if (e != LT_SUCCESS)
        return e;
    e = lt->f.MatmulPreferenceSetAttribute(pref, LT_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
    if (e == LT_SUCCESS)
        e = lt->f.MatmulPreferenceSetAttribute(pref, LT_PREF_REDUCTION_SCHEME_MASK, &mask,
                                               sizeof mask);
    for (int i = LT_PREF_MIN_ALIGNMENT_A; i <= LT_PREF_MIN_ALIGNMENT_D && e == LT_SUCCESS; i++)
        e = lt->f.MatmulPreferenceSetAttribute(pref, i, &s->key.align, sizeof s->key.align);
    if (e == LT_SUCCESS)
        e = lt->f.MatmulAlgoGetHeuristic(lt->handle, s->desc, s->w, s->x, s->y, s->y, pref, 1,
                                         &found, &n);
    lt->f.MatmulPreferenceDestroy(pref);
    if (e == LT_SUCCESS && (n < 1 || found.state != LT_SUCCESS || found.workspace > workspace))
        e = LT_NOT_SUPPORTED;
    if (e == LT_SUCCESS) {
        s->algo = found.algo;
        s->workspace = found.workspace;
    }
    return e;
}

void lt_prefer(struct lt *lt, const struct gpu_config *c)
{
    lt->prefer = c;
}

/* From the library's own bytes where they are of this version, else by attributes. */
static bool make_algo(const struct lt *lt, const struct gpu_lt *from, int type,
                      struct lt_algo *algo)
{
    const struct {
        int which;
        uint32_t value;
    } set[] = {
        {LT_ALGO_TILE, (uint32_t)from->tile},           {LT_ALGO_SPLITK, (uint32_t)from->splitk},
        {LT_ALGO_REDUCTION, (uint32_t)from->reduction}, {LT_ALGO_SWIZZLE, (uint32_t)from->swizzle},
        {LT_ALGO_CUSTOM, (uint32_t)from->custom},       {LT_ALGO_STAGES, (uint32_t)from->stages}};
    const uint16_t inner = (uint16_t)from->inner, cluster = (uint16_t)from->cluster;
    if (from->has_raw && (size_t)from->ver == lt->f.GetVersion()) {
        memcpy(algo, from->raw, sizeof *algo);
        return true;
    }
    int e = lt->f.MatmulAlgoInit(lt->handle, LT_COMPUTE_32F, CUDA_R_32F, type, type, CUDA_R_32F,
                                 CUDA_R_32F, from->id, algo);
    for (size_t i = 0; i < sizeof set / sizeof *set && e == LT_SUCCESS; i++)
        e = lt->f.MatmulAlgoConfigSetAttribute(algo, set[i].which, &set[i].value,
                                               sizeof set[i].value);
    if (e == LT_SUCCESS)
        e = lt->f.MatmulAlgoConfigSetAttribute(algo, LT_ALGO_INNER_SHAPE, &inner, sizeof inner);
    if (e == LT_SUCCESS)
        e = lt->f.MatmulAlgoConfigSetAttribute(algo, LT_ALGO_CLUSTER_SHAPE, &cluster,
                                               sizeof cluster);
    return e == LT_SUCCESS;
}

/* Is this version of the library known to compute the type wrongly by such algorithms? */
static bool denied(const struct lt *lt, int type)
{
    int version = (int)lt->f.GetVersion();
    for (int i = 0; i < lt->prefer->n_deny; i++) {
        const struct gpu_deny *d = &lt->prefer->deny[i];
        if (version >= d->lt[0] && version <= d->lt[1] &&
            strcmp(d->what, type == CUDA_R_16F ? "f16" : "bf16") == 0)
            return true;
    }
    return false;
}

static const struct gpu_exception *named(const struct lt *lt, const struct key *k)
{
    for (int i = 0; lt->prefer && i < lt->prefer->n_gemm; i++) {
        const struct gpu_exception *x = &lt->prefer->gemm[i];
        bool f16 = x->w == DT_F16;
        if (x->lt.id >= 0 && x->n == k->n && x->k == k->k && x->m == gpu_bucket(k->m) &&
            f16 == (k->type == CUDA_R_16F))
            return x;
    }
    return NULL;
}

/* The algorithm that the configuration has for the shape, if the library accepts it as it is. */
static bool preferred(struct lt *lt, struct shape *s, size_t workspace)
{
    const struct gpu_exception *x = named(lt, &s->key);
    struct lt_algo algo;
    struct lt_found found = {0};
    if (!x || s->key.align < ALGO_ALIGN || denied(lt, s->key.type))
        return false;
    if (!make_algo(lt, &x->lt, s->key.type, &algo) ||
        lt->f.MatmulAlgoCheck(lt->handle, s->desc, s->w, s->x, s->y, s->y, &algo, &found) !=
            LT_SUCCESS ||
        found.workspace > workspace) {
        if (!lt->told_algo)
            log_warn("cuda: cuBLASLt refuses algorithm %d, which configuration %s has for [%lld, "
                     "%lld] and %d rows; its own suggestions are taken",
                     x->lt.id, lt->prefer->id, (long long)x->n, (long long)x->k, x->m);
        lt->told_algo = true;
        return false;
    }
    s->algo = algo;
    s->workspace = found.workspace;
    return true;
}

static uint64_t hash(const struct key *k)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < sizeof *k; i++)
        h = (h ^ ((const unsigned char *)k)[i]) * 1099511628211u;
    return h >> 16;
}

static struct shape *shape_of(struct lt *lt, const struct key *k, size_t workspace)
{
    uint64_t at = hash(k);
    struct shape *s = &lt->shape[at % SHAPES];
    for (uint64_t i = 0; i < PROBES; i++) {
        struct shape *other = &lt->shape[(at + i) % SHAPES];
        if (memcmp(&other->key, k, sizeof *k) == 0)
            return other;
        if (other->key.m == 0) {
            s = other;
            break;
        }
    }
    forget(lt, s);
    s->key = *k;
    int e = !describe(lt, s)              ? LT_NOT_SUPPORTED
            : preferred(lt, s, workspace) ? LT_SUCCESS
                                          : choose(lt, s, workspace);
    s->refused = e != LT_SUCCESS;
    return s;
}

/* The largest power of two that divides all three addresses. */
static uint32_t alignment(const struct lt_product *p)
{
    uint64_t bits = (uint64_t)(uintptr_t)p->w | (uint64_t)(uintptr_t)p->x |
                    (uint64_t)(uintptr_t)p->y | ALIGN_MAX;
    return (uint32_t)(bits & -bits);
}

static enum status refuse(struct lt *lt, struct shape *s)
{
    s->refused = true;
    if (!lt->told)
        log_warn("cuda: cuBLASLt has no algorithm for %s [%lld, %lld] x [%lld, %lld]; a kernel of "
                 "our own takes this shape and others like it",
                 s->key.type == CUDA_R_16F ? "f16" : "bf16", (long long)s->key.m,
                 (long long)s->key.k, (long long)s->key.n, (long long)s->key.k);
    lt->told = true;
    return ERR_UNSUPPORTED;
}

enum status lt_multiply(struct lt *lt, const struct lt_product *p, void *workspace, size_t bytes,
                        cudaStream_t stream)
{
    struct key key;
    float beta = p->add ? 1 : 0;
    memset(&key, 0, sizeof key); /* it is compared as bytes */
    key.m = p->m;
    key.n = p->n;
    key.k = p->k;
    key.w_stride = p->w_stride;
    key.x_stride = p->x_stride;
    key.y_stride = p->y_stride;
    key.align = alignment(p);
    key.type = (int)p->type;
    key.bias = p->bias != NULL;
    key.add = p->add;
    struct shape *s = shape_of(lt, &key, bytes);
    if (s->refused)
        return refuse(lt, s);
    if (p->bias && !set_desc(lt, s->desc, LT_DESC_BIAS_POINTER, &p->bias, sizeof p->bias))
        return refuse(lt, s);
    int e = lt->f.Matmul(lt->handle, s->desc, &p->factor, p->w, s->w, p->x, s->x, &beta, p->y, s->y,
                         p->y, s->y, &s->algo, workspace, s->workspace, stream);
    if (e == LT_NOT_SUPPORTED || e == LT_INVALID_VALUE || e == LT_ARCH_MISMATCH)
        return refuse(lt, s);
    return e == LT_SUCCESS ? OK : fail(ERR_DEVICE, "cuda: cuBLASLt: status %d", e);
}
