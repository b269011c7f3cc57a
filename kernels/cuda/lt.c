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
#include "kernels/backend.h"
#include "kernels/cuda/lt_algo.h"
#include "kernels/gpu/config.h"

#define LT_FILE "libcublasLt.so.13"
enum { PROBES = 8, ALIGN_MAX = 256, ALGO_ALIGN = 16 };

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

static void forget(struct lt *lt, struct lt_shape *s)
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
    for (int i = 0; i < LT_SHAPES; i++)
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

/* What is the product's own, not its shape's. Suggestions may look at it too. */
static bool aim(const struct lt *lt, const struct lt_shape *s, const struct lt_product *p)
{
    if (p->bias && !set_desc(lt, s->desc, LT_DESC_BIAS_POINTER, &p->bias, sizeof p->bias))
        return false;
    return p->scale_mode == LT_SCALE_SCALAR ||
           (set_desc(lt, s->desc, LT_DESC_A_SCALE_POINTER, &p->w_scale, sizeof p->w_scale) &&
            set_desc(lt, s->desc, LT_DESC_B_SCALE_POINTER, &p->x_scale, sizeof p->x_scale));
}

static bool describe(const struct lt *lt, struct lt_shape *s)
{
    const struct lt_key *k = &s->key;
    int32_t t = LT_OP_T, n = LT_OP_N, f32 = CUDA_R_32F, mode = k->scale_mode;
    const struct lt_sums sums = lt_sums_of(k->type);
    uint32_t bias = LT_EPILOGUE_BIAS;
    if (lt->f.MatmulDescCreate(&s->desc, sums.compute, sums.type) != LT_SUCCESS)
        return false;
    if (!set_desc(lt, s->desc, LT_DESC_TRANSA, &t, sizeof t) ||
        !set_desc(lt, s->desc, LT_DESC_TRANSB, &n, sizeof n))
        return false;
    if (mode != LT_SCALE_SCALAR &&
        (!set_desc(lt, s->desc, LT_DESC_A_SCALE_MODE, &mode, sizeof mode) ||
         !set_desc(lt, s->desc, LT_DESC_B_SCALE_MODE, &mode, sizeof mode)))
        return false;
    int8_t fast = 1; /* sums of fp8 products in the tensor cores' own precision */
    if (k->type == CUDA_R_8F_E4M3 && !set_desc(lt, s->desc, LT_DESC_FAST_ACCUM, &fast, sizeof fast))
        return false;
    if (k->bias && (!set_desc(lt, s->desc, LT_DESC_EPILOGUE, &bias, sizeof bias) ||
                    !set_desc(lt, s->desc, LT_DESC_BIAS_DATA_TYPE, &f32, sizeof f32)))
        return false;
    return lt->f.MatrixLayoutCreate(&s->w, k->type, (uint64_t)k->k, (uint64_t)k->n, k->w_stride) ==
               LT_SUCCESS &&
           lt->f.MatrixLayoutCreate(&s->x, k->type, (uint64_t)k->k, (uint64_t)k->m, k->x_stride) ==
               LT_SUCCESS &&
           lt->f.MatrixLayoutCreate(&s->y, sums.type, (uint64_t)k->n, (uint64_t)k->m,
                                    k->y_stride) == LT_SUCCESS;
}

void lt_prefer(struct lt *lt, const struct gpu_config *c)
{
    lt->prefer = c;
}

void lt_count(struct lt *lt, struct fallbacks *f)
{
    lt->fallbacks = f;
}

void lt_wait(struct lt *lt, struct ring *r)
{
    lt->ring = r;
}

int lt_version(const struct lt *lt)
{
    return (int)lt->f.GetVersion();
}

void lt_begin(struct lt *lt)
{
    lt->first = NULL;
}

/* The library's first suggestion, and what is named, where the library accepts it. */
static bool choose(struct lt *lt, struct lt_shape *s, const struct gpu_lt *named, size_t workspace)
{
    struct lt_found found;
    if (lt_suggestions(lt, s, workspace, &found, 1) < 1)
        return false;
    s->way = (struct lt_way){found.algo, found.workspace};
    if (!named)
        return true;
    bool fine = s->key.align >= ALGO_ALIGN && lt_make(lt, s, named, workspace, &s->wish);
    if (s->key.strict) {
        s->way = s->wish;
        return fine;
    }
    s->doubted = fine;
    if (!fine)
        lt_drop(lt);
    if (!fine && !lt->told_algo) {
        log_warn("cuda: cuBLASLt refuses algorithm %d, which configuration %s has for [%lld, %lld] "
                 "and %lld rows; its own suggestions are taken",
                 named->id, lt->prefer ? lt->prefer->id : "-", (long long)s->key.n,
                 (long long)s->key.k, (long long)s->key.m);
        lt->told_algo = true;
    }
    return true;
}

static uint64_t hash(const void *bytes, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return h;
}

/* The largest power of two that divides all three addresses. */
static uint32_t alignment(const struct lt_product *p)
{
    uint64_t bits = (uint64_t)(uintptr_t)p->w | (uint64_t)(uintptr_t)p->x |
                    (uint64_t)(uintptr_t)p->y | ALIGN_MAX;
    return (uint32_t)(bits & -bits);
}

static enum status refuse(struct lt *lt, struct lt_shape *s)
{
    const struct lt_key *k = &s->key;
    const char *why = lt_denied(lt, k);
    s->refused = true;
    if (lt->fallbacks && !k->strict && !s->counted)
        lt->fallbacks->products++;
    s->counted = true;
    if (!lt->told && !k->strict)
        log_warn("cuda: cuBLASLt %s %s [%lld, %lld] x [%lld, %lld]%s%s; a kernel of our own takes "
                 "this shape and others like it",
                 why ? "is not asked for" : "has no algorithm for", lt_type_name(k),
                 (long long)k->m, (long long)k->k, (long long)k->n, (long long)k->k,
                 why ? ": " : "", why ? why : "");
    lt->told |= !k->strict;
    return ERR_UNSUPPORTED;
}

/* By attributes, which are what an algorithm is. */
static uint64_t name_of(const struct gpu_lt *a)
{
    return a ? hash(a, offsetof(struct gpu_lt, workspace)) | 1 : 0;
}

static struct lt_key key_of(const struct lt_product *p)
{
    struct lt_key key;
    memset(&key, 0, sizeof key); /* it is compared as bytes */
    key.m = p->m;
    key.n = p->n;
    key.k = p->k;
    key.w_stride = p->w_stride;
    key.x_stride = p->x_stride;
    key.y_stride = p->y_stride;
    key.algo = name_of(p->algo);
    key.align = alignment(p);
    key.type = (int)p->type;
    key.scale_mode = p->scale_mode;
    key.bias = p->bias != NULL;
    key.add = p->add;
    key.strict = p->strict;
    return key;
}

static struct lt_shape *shape_of(struct lt *lt, const struct lt_product *p, size_t workspace)
{
    const struct lt_key k = key_of(p);
    uint64_t at = hash(&k, sizeof k) >> 16;
    struct lt_shape *s = &lt->shape[at % LT_SHAPES];
    for (uint64_t i = 0; i < PROBES; i++) {
        struct lt_shape *other = &lt->shape[(at + i) % LT_SHAPES];
        if (memcmp(&other->key, &k, sizeof k) == 0)
            return other;
        if (other->key.m == 0) {
            s = other;
            break;
        }
    }
    if (lt->first == s)
        lt->first = NULL;
    forget(lt, s);
    s->key = k;
    s->refused = lt_denied(lt, &k) || !describe(lt, s) || !aim(lt, s, p) ||
                 !choose(lt, s, p->algo, workspace);
    return s;
}

enum status lt_ready(struct lt *lt, const struct lt_product *p, size_t bytes)
{
    struct lt_shape *s = shape_of(lt, p, bytes);
    return s->refused ? refuse(lt, s) : OK;
}

enum status lt_multiply(struct lt *lt, const struct lt_product *p, void *workspace, size_t bytes,
                        cudaStream_t stream)
{
    enum cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    struct lt_shape *s = shape_of(lt, p, bytes);
    int e;
    if (!lt->first) {
        lt->first = s;
        lt->room = bytes;
    }
    if (s->refused || !aim(lt, s, p))
        return refuse(lt, s);
    if (s->doubted)
        cudaStreamIsCapturing(stream, &capture);
    if (s->doubted && capture == cudaStreamCaptureStatusNone)
        e = lt_prove(lt, s, p, workspace, stream);
    else
        e = lt_run(lt, s, &s->way, p, workspace, stream);
    if (e == LT_NOT_SUPPORTED || e == LT_INVALID_VALUE || e == LT_ARCH_MISMATCH)
        return refuse(lt, s);
    return e == LT_SUCCESS ? OK : fail(ERR_DEVICE, "cuda: cuBLASLt: status %d", e);
}
