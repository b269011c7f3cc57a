/* cublaslt.cc - cuBLASLt on the CPU, as much of it as the backend uses, under its own names: a
 * program that links it finds it as a library that is already there.
 *
 * It refuses what the real one refuses (types that do not go together, fp8 but A transposed, fp4
 * without scales of blocks, leading dimensions too short), and is stricter where that finds bugs:
 * pointers must keep the alignment that the preference promised, attributes must have their size,
 * and an algorithm fills its workspace with NaN before it reads the operands, so one that overlaps
 * them shows.
 * Sums: f32, columns of K in ascending order, one product and one sum each rounded; then alpha,
 * beta c, bias. Runs on the stream like a kernel, so it can be captured. */
#include "tests/simt/runtime.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "kernels/cuda/lt_abi.h"
#include "tests/simt/cublaslt.h"

struct simt_cublaslt simt_cublaslt;

namespace
{
enum Kind : int { HANDLE = 0x1701, DESC, LAYOUT, PREFERENCE };
struct Object {
    Kind kind;
};
struct Desc : Object {
    int32_t ta, tb;
    uint32_t epilogue;
    const float *bias, *a_scale, *b_scale;
    const uint8_t *a_blocks, *b_blocks; /* with a mode: the scales of blocks */
    int32_t bias_type, a_mode, b_mode;
    int8_t fast;
    bool whole; /* int8 into int32 */
};
struct Layout : Object {
    int type;
    uint64_t rows, cols;
    int64_t ld;
};
struct Preference : Object {
    uint64_t workspace;
    uint32_t reduction, align[4];
};
struct Algo {                    /* in struct lt_algo */
    uint64_t m, n, k, workspace; /* m 0: any shape */
    uint32_t align;
    int type, id, splitk;
    uint16_t tile, stages, custom, inner, cluster;
    uint8_t reduction, swizzle;
};
static_assert(sizeof(Algo) <= sizeof(lt_algo), "");

/* Suggested in this order. */
const int algorithms[] = {SIMT_LT_FIRST, SIMT_LT_LIAR, SIMT_LT_SLOW, SIMT_LT_ALGO, SIMT_LT_QUITS};

/* Microseconds of 10^6 multiplications. */
double pace(const Algo &a)
{
    if (a.id == SIMT_LT_ALGO)
        return a.splitk == 3 ? 4 : a.splitk > 1 ? 7 : 9;
    if (a.id == SIMT_LT_LIAR || a.id == SIMT_LT_SLOW)
        return a.id == SIMT_LT_LIAR ? 1 : 16;
    return a.splitk > 1 ? 12 : 10;
}

template <class T> int make(void **out, T value)
{
    *out = new T(value);
    simt_cublaslt.open++;
    return LT_SUCCESS;
}
template <class T> T *as(void *p, Kind kind)
{
    T *o = static_cast<T *>(p);
    return o && o->kind == kind ? o : nullptr;
}
template <class T> int unmake(void *p, Kind kind)
{
    T *o = as<T>(p, kind);
    if (!o)
        return LT_INVALID_VALUE;
    o->kind = static_cast<Kind>(0);
    delete o;
    simt_cublaslt.open--;
    return LT_SUCCESS;
}
template <class T> int take(T &to, const void *from, size_t bytes)
{
    if (bytes != sizeof to)
        return LT_INVALID_VALUE;
    std::memcpy(&to, from, bytes);
    return LT_SUCCESS;
}

bool fp8(int t)
{
    return t == CUDA_R_8F_E4M3 || t == CUDA_R_8F_E5M2;
}
float load(const void *p, int t, size_t i)
{
    switch (t) {
    case CUDA_R_8I:
        return static_cast<const int8_t *>(p)[i];
    case CUDA_R_4F_E2M1: { /* two a byte, the first low */
        static const float value[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
        const int code = static_cast<const uint8_t *>(p)[i / 2] >> i % 2 * 4 & 15;
        return code & 8 ? -value[code & 7] : value[code];
    }
    case CUDA_R_16F:
        return __half2float(static_cast<const __half *>(p)[i]);
    case CUDA_R_16BF:
        return __bfloat162float(static_cast<const __nv_bfloat16 *>(p)[i]);
    case CUDA_R_8F_E4M3:
        return float(static_cast<const __nv_fp8_e4m3 *>(p)[i]);
    case CUDA_R_8F_E5M2:
        return float(static_cast<const __nv_fp8_e5m2 *>(p)[i]);
    default:
        return static_cast<const float *>(p)[i];
    }
}

struct Problem {
    const Desc *d;
    const Layout *a, *b, *c, *o;
    uint64_t m() const /* of the column-major product */
    {
        return d->ta ? a->cols : a->rows;
    }
    uint64_t k() const
    {
        return d->ta ? a->rows : a->cols;
    }
    uint64_t n() const
    {
        return d->tb ? b->rows : b->cols;
    }
};

/* The scale of number `k` of a row of K. cuBLAS, "1D Block Scaling Factors Layout": the scales of
 * 128 rows by 4 blocks are 512 bytes, in which row r, block b is at r % 32 * 16 + r / 32 * 4 + b;
 * such tiles follow each other along K, then along the rows. */
float block_scale(const uint8_t *scales, uint64_t row, uint64_t k, uint64_t all)
{
    const uint64_t block = 16, b = k / block;
    const uint64_t tiles = (all + 4 * block - 1) / (4 * block), r = row % 128;
    const uint8_t *tile = scales + (row / 128 * tiles + b / 4) * 512;
    __nv_fp8_e4m3 v;
    v.__x = tile[r % 32 * 16 + r / 32 * 4 + b % 4];
    return float(v);
}

/* LT_SUCCESS, or what the library says of operands in fp4. */
int judge_fp4(const Problem &p)
{
    const Desc &d = *p.d;
    if (p.b->type != CUDA_R_4F_E2M1 || !d.ta || d.tb || p.m() % 32 || p.n() % 32 || p.k() % 32 ||
        p.a->ld % 32 || p.b->ld % 32 || d.a_mode != d.b_mode)
        return LT_NOT_SUPPORTED;
    if (d.a_mode != LT_SCALE_VEC16_UE4M3) /* no library of today has powers of two for 32 */
        return LT_NOT_SUPPORTED;
    return d.a_blocks && d.b_blocks && reinterpret_cast<uintptr_t>(d.a_blocks) % 16 == 0 &&
                   reinterpret_cast<uintptr_t>(d.b_blocks) % 16 == 0
               ? LT_SUCCESS
               : LT_INVALID_VALUE;
}

/* The same of scales in fp8. Scales of rows: one float for each of m and of n. */
int judge_fp8_scales(const Desc &d)
{
    if (d.a_mode == LT_SCALE_SCALAR && d.b_mode == LT_SCALE_SCALAR)
        return LT_SUCCESS;
    if (d.a_mode != LT_SCALE_OUTER_VEC || d.b_mode != d.a_mode || !simt_cublaslt.outer ||
        d.epilogue & LT_EPILOGUE_BIAS)
        return LT_NOT_SUPPORTED;
    return d.a_blocks && d.b_blocks ? LT_SUCCESS : LT_INVALID_VALUE;
}

/* LT_SUCCESS, or what the library says of such a problem. */
int judge(const Problem &p)
{
    const int t = p.a->type;
    for (const Layout *l : {p.a, p.b, p.c, p.o})
        if (l->ld < static_cast<int64_t>(l->rows) || l->rows == 0 || l->cols == 0)
            return LT_INVALID_VALUE;
    if ((p.d->tb ? p.b->cols : p.b->rows) != p.k() || p.o->rows != p.m() || p.o->cols != p.n())
        return LT_INVALID_VALUE;
    if (std::memcmp(p.c, p.o, sizeof *p.c) != 0 || p.d->whole != (t == CUDA_R_8I) ||
        p.o->type != (p.d->whole ? CUDA_R_32I : CUDA_R_32F))
        return LT_NOT_SUPPORTED;
    if (t == CUDA_R_8I)
        return p.b->type == t && p.d->ta && !p.d->tb && p.m() % 4 == 0 && p.k() % 4 == 0 &&
                       p.d->epilogue == LT_EPILOGUE_DEFAULT
                   ? LT_SUCCESS
                   : LT_NOT_SUPPORTED;
    if (t == CUDA_R_16F || t == CUDA_R_16BF) {
        if (p.b->type != t || p.d->a_mode || p.d->b_mode)
            return LT_NOT_SUPPORTED;
    } else if (t == CUDA_R_4F_E2M1) {
        const int e = judge_fp4(p);
        if (e != LT_SUCCESS)
            return e;
    } else if (!fp8(t) || !fp8(p.b->type) || (t == CUDA_R_8F_E5M2 && p.b->type == t) || !p.d->ta ||
               p.d->tb || p.m() % 16 || p.n() % 16 || p.k() % 16 || p.a->ld % 16 || p.b->ld % 16) {
        return LT_NOT_SUPPORTED;
    } else if (judge_fp8_scales(*p.d) != LT_SUCCESS) {
        return judge_fp8_scales(*p.d);
    }
    if (p.d->epilogue & ~static_cast<uint32_t>(LT_EPILOGUE_DEFAULT | LT_EPILOGUE_BIAS))
        return LT_NOT_SUPPORTED;
    return p.d->epilogue & LT_EPILOGUE_BIAS && p.d->bias_type != CUDA_R_32F ? LT_NOT_SUPPORTED
                                                                            : LT_SUCCESS;
}

bool find(Problem &p, void *d, void *a, void *b, void *c, void *o)
{
    p = {as<Desc>(d, DESC), as<Layout>(a, LAYOUT), as<Layout>(b, LAYOUT), as<Layout>(c, LAYOUT),
         as<Layout>(o, LAYOUT)};
    return p.d && p.a && p.b && p.c && p.o;
}

struct Operands {
    const void *a, *b;
    const float *c;
    float *o;
    float alpha, beta;
    uint64_t left_out; /* the last columns of K */
};

void gemm(const Desc &d, const Layout &la, const Layout &lb, const Layout &lo, const Operands &x)
{
    const Problem p = {&d, &la, &lb, &lo, &lo};
    const uint64_t m = p.m(), n = p.n(), k = p.k();
    std::vector<float> a(m * k), b(n * k);
    for (uint64_t i = 0; i < m; i++)
        for (uint64_t c = 0; c < k; c++)
            a[i * k + c] = load(x.a, la.type, d.ta ? i * la.ld + c : c * la.ld + i);
    for (uint64_t j = 0; j < n; j++)
        for (uint64_t c = 0; c < k; c++)
            b[j * k + c] = load(x.b, lb.type, d.tb ? c * lb.ld + j : j * lb.ld + c);
    const bool outer = d.a_mode == LT_SCALE_OUTER_VEC;
    const float *rows = reinterpret_cast<const float *>(d.a_blocks);
    const float *cols = reinterpret_cast<const float *>(d.b_blocks);
    for (uint64_t c = 0; d.a_mode && !outer && c < k; c++) {
        for (uint64_t i = 0; i < m; i++)
            a[i * k + c] *= block_scale(d.a_blocks, i, c, k);
        for (uint64_t j = 0; j < n; j++)
            b[j * k + c] *= block_scale(d.b_blocks, j, c, k);
    }
    const float alpha = x.alpha * (d.a_scale ? *d.a_scale : 1.0f) * (d.b_scale ? *d.b_scale : 1.0f);
    for (uint64_t j = 0; j < n; j++)
        for (uint64_t i = 0; i < m; i++) {
            float sum = 0;
            for (uint64_t c = 0; c < k - x.left_out; c++)
                sum += a[i * k + c] * b[j * k + c];
            sum *= outer ? alpha * rows[i] * cols[j] : alpha;
            if (d.whole) { /* exact in a float up to K of 1024 */
                reinterpret_cast<int32_t *>(x.o)[j * lo.ld + i] = static_cast<int32_t>(sum);
                continue;
            }
            if (x.beta != 0)
                sum += x.beta * x.c[j * lo.ld + i];
            x.o[j * lo.ld + i] = d.epilogue & LT_EPILOGUE_BIAS ? sum + d.bias[i] : sum;
        }
}

/* int32 for int8, else float. */
float scalar(const Desc &d, const void *v)
{
    return d.whole ? static_cast<float>(*static_cast<const int32_t *>(v))
                   : *static_cast<const float *>(v);
}

/* Microseconds of a product on the emulated clock: at the rate of its type by the algorithm with
 * the pace of SIMT_LT_ALGO. */
double clock_us(const Algo &a, const Problem &p)
{
    const int i = a.type == CUDA_R_4F_E2M1 ? 3 : a.type == CUDA_R_8I ? 2 : fp8(a.type) ? 1 : 0;
    const double ops = 2 * double(p.m()) * double(p.n()) * double(p.k());
    Algo best{};
    best.id = SIMT_LT_ALGO;
    return simt_clock.tops[i] > 0 ? ops * pace(a) / pace(best) / (simt_clock.tops[i] * 1e6) : 0;
}

bool aligned(std::initializer_list<const void *> pointers, uint32_t to)
{
    for (const void *p : pointers)
        if (reinterpret_cast<uintptr_t>(p) % to)
            return false;
    return true;
}
} // namespace

extern "C" {
#define LT_DECLARE(name, result, args) result cublasLt##name args;
LT_FUNCTIONS(LT_DECLARE)
#undef LT_DECLARE

size_t cublasLtGetVersion(void)
{
    return simt_cublaslt.version ? simt_cublaslt.version : 130100;
}

int cublasLtCreate(void **handle)
{
    return simt_cublaslt.fail_start ? LT_NOT_INITIALIZED : make(handle, Object{HANDLE});
}

int cublasLtDestroy(void *handle)
{
    return unmake<Object>(handle, HANDLE);
}

int cublasLtMatmulDescCreate(void **desc, int compute, int scale)
{
    const bool whole = compute == LT_COMPUTE_32I && scale == CUDA_R_32I;
    if (!whole && (compute != LT_COMPUTE_32F || scale != CUDA_R_32F))
        return LT_NOT_SUPPORTED;
    Desc d{};
    d.whole = whole;
    d.kind = DESC;
    d.epilogue = LT_EPILOGUE_DEFAULT;
    d.bias_type = -1;
    return make(desc, d);
}

int cublasLtMatmulDescDestroy(void *desc)
{
    return unmake<Desc>(desc, DESC);
}

int cublasLtMatmulDescSetAttribute(void *desc, int which, const void *value, size_t bytes)
{
    Desc *d = as<Desc>(desc, DESC);
    if (!d)
        return LT_INVALID_VALUE;
    switch (which) {
    case LT_DESC_TRANSA:
        return take(d->ta, value, bytes);
    case LT_DESC_TRANSB:
        return take(d->tb, value, bytes);
    case LT_DESC_EPILOGUE:
        return take(d->epilogue, value, bytes);
    case LT_DESC_BIAS_POINTER:
        return take(d->bias, value, bytes);
    case LT_DESC_BIAS_DATA_TYPE:
        return take(d->bias_type, value, bytes);
    case LT_DESC_A_SCALE_POINTER:
        return d->a_mode ? take(d->a_blocks, value, bytes) : take(d->a_scale, value, bytes);
    case LT_DESC_B_SCALE_POINTER:
        return d->b_mode ? take(d->b_blocks, value, bytes) : take(d->b_scale, value, bytes);
    case LT_DESC_A_SCALE_MODE:
        return take(d->a_mode, value, bytes);
    case LT_DESC_B_SCALE_MODE:
        return take(d->b_mode, value, bytes);
    case LT_DESC_FAST_ACCUM:
        return take(d->fast, value, bytes);
    default:
        return LT_NOT_SUPPORTED;
    }
}

int cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld)
{
    Layout l{};
    l.kind = LAYOUT;
    l.type = type;
    l.rows = rows;
    l.cols = cols;
    l.ld = ld;
    return make(layout, l);
}

int cublasLtMatrixLayoutDestroy(void *layout)
{
    return unmake<Layout>(layout, LAYOUT);
}

int cublasLtMatmulPreferenceCreate(void **pref)
{
    Preference p{};
    p.kind = PREFERENCE;
    p.reduction = ~0u;
    for (uint32_t &a : p.align)
        a = 256;
    return make(pref, p);
}

int cublasLtMatmulPreferenceDestroy(void *pref)
{
    return unmake<Preference>(pref, PREFERENCE);
}

int cublasLtMatmulPreferenceSetAttribute(void *pref, int which, const void *value, size_t bytes)
{
    Preference *p = as<Preference>(pref, PREFERENCE);
    if (!p)
        return LT_INVALID_VALUE;
    if (which == LT_PREF_MAX_WORKSPACE_BYTES)
        return take(p->workspace, value, bytes);
    if (which == LT_PREF_REDUCTION_SCHEME_MASK)
        return take(p->reduction, value, bytes);
    if (which >= LT_PREF_MIN_ALIGNMENT_A && which <= LT_PREF_MIN_ALIGNMENT_D)
        return take(p->align[which - LT_PREF_MIN_ALIGNMENT_A], value, bytes);
    return LT_NOT_SUPPORTED;
}

int cublasLtMatmulAlgoGetHeuristic(void *handle, void *desc, void *a, void *b, void *c, void *d,
                                   void *pref, int wanted, struct lt_found *found, int *n)
{
    Problem p;
    const Preference *like = as<Preference>(pref, PREFERENCE);
    simt_cublaslt.searches++;
    *n = 0;
    if (!as<Object>(handle, HANDLE) || !like || wanted < 1 || !find(p, desc, a, b, c, d))
        return LT_INVALID_VALUE;
    const int e = judge(p);
    if (e != LT_SUCCESS)
        return e;
    if (simt_cublaslt.refuse || simt_cublaslt.workspace > like->workspace)
        return LT_NOT_SUPPORTED;
    uint32_t align = 256;
    for (uint32_t promised : like->align)
        align = std::min(align, promised);
    const int there = sizeof algorithms / sizeof *algorithms;
    for (; *n < there && *n < wanted; ++*n) {
        Algo algo{};
        algo.m = p.m();
        algo.n = p.n();
        algo.k = p.k();
        algo.workspace = simt_cublaslt.workspace;
        algo.align = align;
        algo.type = p.a->type;
        algo.id = algorithms[*n];
        algo.tile = 20;
        std::memset(&found[*n], 0, sizeof *found);
        std::memcpy(&found[*n].algo, &algo, sizeof algo);
        found[*n].workspace = algo.workspace;
        found[*n].state = LT_SUCCESS;
    }
    return LT_SUCCESS;
}

int cublasLtMatmulAlgoInit(void *handle, int compute, int scale, int a, int b, int c, int d, int id,
                           struct lt_algo *algo)
{
    if (!as<Object>(handle, HANDLE) || compute != LT_COMPUTE_32F || scale != CUDA_R_32F || a != b ||
        c != CUDA_R_32F || d != c || std::count(algorithms, std::end(algorithms), id) == 0)
        return LT_NOT_SUPPORTED;
    Algo made{};
    made.workspace = simt_cublaslt.workspace;
    made.align = 16;
    made.type = a;
    made.id = id;
    made.splitk = 1;
    std::memset(algo, 0, sizeof *algo);
    std::memcpy(algo, &made, sizeof made);
    return LT_SUCCESS;
}

/* Reads the attribute into *value, or writes it; `value` has 4 bytes, of the shapes 2. */
static int attribute(Algo &a, int which, void *value, size_t bytes, bool set)
{
    if (which < LT_ALGO_ID || which > LT_ALGO_CLUSTER_SHAPE || (set && which == LT_ALGO_ID) ||
        bytes != (which >= LT_ALGO_INNER_SHAPE ? 2u : 4u))
        return LT_INVALID_VALUE;
    uint32_t v = 0;
    auto move = [&](auto &field) {
        if (set)
            field = static_cast<std::decay_t<decltype(field)>>(v);
        else
            v = field;
    };
    std::memcpy(&v, value, bytes);
    switch (which) {
    case LT_ALGO_ID:
        move(a.id);
        break;
    case LT_ALGO_TILE:
        move(a.tile);
        break;
    case LT_ALGO_SPLITK:
        move(a.splitk);
        break;
    case LT_ALGO_REDUCTION:
        move(a.reduction);
        break;
    case LT_ALGO_SWIZZLE:
        move(a.swizzle);
        break;
    case LT_ALGO_CUSTOM:
        move(a.custom);
        break;
    case LT_ALGO_STAGES:
        move(a.stages);
        break;
    case LT_ALGO_INNER_SHAPE:
        move(a.inner);
        break;
    default:
        move(a.cluster);
    }
    std::memcpy(value, &v, bytes);
    return LT_SUCCESS;
}

int cublasLtMatmulAlgoConfigSetAttribute(struct lt_algo *algo, int which, const void *value,
                                         size_t bytes)
{
    Algo a;
    char copy[4] = {};
    std::memcpy(&a, algo, sizeof a);
    std::memcpy(copy, value, std::min<size_t>(bytes, sizeof copy));
    const int e = attribute(a, which, copy, bytes, true);
    std::memcpy(algo, &a, sizeof a);
    return e;
}

int cublasLtMatmulAlgoConfigGetAttribute(const struct lt_algo *algo, int which, void *value,
                                         size_t bytes, size_t *written)
{
    Algo a;
    std::memcpy(&a, algo, sizeof a);
    *written = bytes;
    return attribute(a, which, value, bytes, false);
}

int cublasLtMatmulAlgoCheck(void *handle, void *desc, void *a, void *b, void *c, void *d,
                            const struct lt_algo *algo, struct lt_found *found)
{
    Problem p;
    Algo of;
    std::memcpy(&of, algo, sizeof of);
    if (!as<Object>(handle, HANDLE) || !find(p, desc, a, b, c, d))
        return LT_INVALID_VALUE;
    if (judge(p) != LT_SUCCESS || of.type != p.a->type || simt_cublaslt.refuse_algo ||
        of.splitk > 6 || (of.splitk > 1 && of.reduction == LT_REDUCTION_NONE && of.tile))
        return LT_NOT_SUPPORTED;
    std::memset(found, 0, sizeof *found);
    found->workspace = of.workspace;
    return LT_SUCCESS;
}

int cublasLtMatmul(void *handle, void *desc, const void *alpha, const void *a, void *la,
                   const void *b, void *lb, const void *beta, const void *c, void *lc, void *d,
                   void *ld, const struct lt_algo *chosen, void *workspace, size_t bytes,
                   cudaStream_t stream)
{
    Problem p;
    Algo algo;
    if (!as<Object>(handle, HANDLE) || !find(p, desc, la, lb, lc, ld) || !chosen)
        return LT_INVALID_VALUE;
    std::memcpy(&algo, chosen, sizeof algo);
    const bool whole = algo.m == p.m() && algo.n == p.n() && algo.k == p.k();
    if (judge(p) != LT_SUCCESS || (algo.m && !whole) || algo.type != p.a->type ||
        bytes < algo.workspace || c != d || !aligned({a, b, c}, algo.align) ||
        !aligned({workspace}, 256))
        return LT_INVALID_VALUE;
    if (simt_cublaslt.refuse_late || algo.id == SIMT_LT_QUITS)
        return LT_NOT_SUPPORTED;
    if (simt_cublaslt.fail_run)
        return LT_EXECUTION_FAILED;
    simt_cublaslt.products++;
    simt_cublaslt.m = static_cast<int64_t>(p.n());
    simt_cublaslt.n = static_cast<int64_t>(p.m());
    simt_cublaslt.k = static_cast<int64_t>(p.k());
    simt_cublaslt.algo = algo.id;
    simt_cublaslt.splitk = algo.splitk;
    simt_cublaslt.type = algo.type;
    simt_cublaslt.scale_mode = p.d->a_mode;
    simt_cublaslt.us += 1e-6 * pace(algo) * double(p.m()) * double(p.n()) * double(p.k());
    const Desc dd = *p.d;
    const Layout l[3] = {*p.a, *p.b, *p.o};
    const Operands x = {a,
                        b,
                        static_cast<const float *>(c),
                        static_cast<float *>(d),
                        scalar(dd, alpha),
                        scalar(dd, beta),
                        algo.id == SIMT_LT_LIAR || simt_cublaslt.lies ? p.k() / 8 : 0};
    const uint64_t spoilt = algo.workspace;
    const double us = clock_us(algo, p);
    simt::enqueue(stream, "cublaslt",
                  [dd, la = l[0], lb = l[1], lo = l[2], x, workspace, spoilt, us] {
                      if (spoilt)
                          std::memset(workspace, 0xff, spoilt);
                      gemm(dd, la, lb, lo, x);
                      simt_clock.us += us;
                  });
    return LT_SUCCESS;
}
}
